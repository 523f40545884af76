//! The real hierarchies of this machine, and the v2 code on its unified mount.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::resources::*;
use super::*;

/// A cgroup below a parent of its own; everything is killed and removed at the end.
struct Scratch {
    cgroup: Cgroup,
    parent: Cgroup,
}

impl Scratch {
    fn on(host: &Host, resources: &LinuxResources) -> Result<Scratch> {
        let parent = format!("/multi-test-{:x}", crate::sys::random::u64());
        let scratch = Scratch {
            cgroup: Cgroup::on(host, &container_path(&[&parent], "one"))?,
            parent: Cgroup::on(host, &parent)?,
        };
        scratch.cgroup.make(resources)?;
        Ok(scratch)
    }

    fn file(&self, controller: &str, file: &str) -> String {
        let path = self.cgroup.dir(controller).unwrap().join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .trim()
            .into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.parent.kill_all();
        let _ = self.parent.delete();
    }
}

/// A shell that waits for a line before it runs `script`, so that it can be moved first.
struct Shell(Child);

impl Shell {
    fn new(script: &str) -> Shell {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("read line; {script}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Shell(command.spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn go(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Runs it to its end; what it printed.
    fn finish(mut self) -> String {
        self.go();
        let mut out = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.wait().unwrap();
        out
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This machine's hierarchies if they are of version 1 and may be changed.
fn v1_host() -> Option<&'static Host> {
    let host = detect().ok()?;
    let usable = host.layout != Layout::V2 && Scratch::on(host, &LinuxResources::default()).is_ok();
    if !usable {
        println!("skipped: no cgroup v1 that may be changed");
    }
    usable.then_some(host)
}

/// The v2 mount of this machine taken for the resource hierarchy, whatever controllers it has.
fn v2_host() -> Option<Host> {
    let unified = detect().ok()?.unified.clone()?;
    let host = Host { layout: Layout::V2, v1: Vec::new(), unified: Some(unified) };
    let usable = Scratch::on(&host, &LinuxResources::default()).is_ok();
    if !usable {
        println!("skipped: no cgroup v2 that may be changed");
    }
    usable.then_some(host)
}

fn memory(limit: i64, swap: i64) -> LinuxMemory {
    LinuxMemory { limit: Some(limit), swap: Some(swap), ..LinuxMemory::default() }
}

fn device(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup { allow, kind: kind.into(), major, minor, access: "rwm".into() }
}

const MIB: i64 = 1 << 20;

#[test]
fn v1_limits_are_in_the_kernel_and_change_with_update() {
    let Some(host) = v1_host() else { return };
    let resources = LinuxResources {
        memory: Some(LinuxMemory {
            reservation: Some(32 * MIB),
            swappiness: Some(20),
            ..memory(64 * MIB, 128 * MIB)
        }),
        cpu: Some(LinuxCpu {
            shares: Some(512),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: "0".into(),
            ..LinuxCpu::default()
        }),
        pids: Some(LinuxPids { limit: 7 }),
        ..LinuxResources::default()
    };
    let scratch = Scratch::on(host, &resources).unwrap();
    assert_eq!(scratch.file("memory", "memory.limit_in_bytes"), (64 * MIB).to_string());
    assert_eq!(scratch.file("memory", "memory.memsw.limit_in_bytes"), (128 * MIB).to_string());
    assert_eq!(scratch.file("memory", "memory.soft_limit_in_bytes"), (32 * MIB).to_string());
    assert_eq!(scratch.file("memory", "memory.swappiness"), "20");
    assert_eq!(scratch.file("cpu", "cpu.shares"), "512");
    assert_eq!(scratch.file("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(scratch.file("pids", "pids.max"), "7");
    assert_eq!(scratch.file("cpuset", "cpuset.cpus"), "0");
    assert_ne!(scratch.file("cpuset", "cpuset.mems"), "");

    // Up past the old sum, then down below it: both orders of writing are needed.
    for (limit, sum) in [(256, 512), (32, 48), (-1, 0)] {
        let scale = |n: i64| if n > 0 { n * MIB } else { n };
        let change = LinuxResources {
            memory: Some(memory(scale(limit), scale(sum))),
            pids: Some(LinuxPids { limit: -1 }),
            ..LinuxResources::default()
        };
        scratch.cgroup.update(&change).unwrap_or_else(|e| panic!("{limit}: {e}"));
        if limit > 0 {
            assert_eq!(scratch.file("memory", "memory.limit_in_bytes"), scale(limit).to_string());
            assert_eq!(
                scratch.file("memory", "memory.memsw.limit_in_bytes"),
                scale(sum).to_string()
            );
        }
    }
    assert_eq!(scratch.file("pids", "pids.max"), "max");
    assert_eq!(scratch.file("cpu", "cpu.shares"), "512");
    let stats = scratch.cgroup.stats();
    assert_eq!(stats.pids.unwrap().current, 0);
    assert!(stats.memory.unwrap().limit > 1 << 60);
    assert!(stats.cpu.unwrap().per_cpu_ns.len() >= 2);
    assert_eq!(
        Cgroup::from_record(&scratch.cgroup.record()).dirs().len(),
        scratch.cgroup.dirs().len()
    );
}

#[test]
fn a_limit_that_cannot_be_held_is_an_error_and_leaves_nothing() {
    let Some(host) = v1_host() else { return };
    let path = format!("/multi-test-{:x}/one", crate::sys::random::u64());
    let cgroup = Cgroup::on(host, &path).unwrap();
    for (resources, text) in [
        (
            LinuxResources {
                cpu: Some(LinuxCpu { cpus: "4095".into(), ..LinuxCpu::default() }),
                ..LinuxResources::default()
            },
            "cpuset.cpus",
        ),
        (
            LinuxResources {
                cpu: Some(LinuxCpu { shares: Some(1), ..LinuxCpu::default() }),
                ..LinuxResources::default()
            },
            "the minimum allowed cpu-shares is 2",
        ),
        (
            LinuxResources {
                unified: [("memory.high".to_string(), "1".to_string())].into(),
                ..LinuxResources::default()
            },
            "cannot use unified on cgroup v1",
        ),
    ] {
        let e = cgroup.make(&resources).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
        assert!(cgroup.dirs().iter().all(|dir| !dir.exists()));
    }
    Cgroup::on(host, path.rsplit_once('/').unwrap().0).unwrap().delete().unwrap();
}

/// Freezing, killing and deleting with a process that forked.
fn life(host: &Host) {
    let scratch = Scratch::on(host, &LinuxResources::default()).unwrap();
    let mut shell = Shell::new("sleep 1000 & sleep 1000 & echo ready; wait");
    scratch.cgroup.join(shell.pid()).unwrap();
    assert_eq!(scratch.cgroup.pids().unwrap(), [shell.pid()]);
    let taken = Cgroup::make(&scratch.cgroup, &LinuxResources::default()).unwrap_err();
    assert!(taken.to_string().ends_with("it exists and has processes"), "{taken}");
    shell.go();
    let mut ready = [0; 6];
    shell.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    scratch.cgroup.freeze().unwrap();
    assert!(scratch.cgroup.is_frozen().unwrap());
    assert_eq!(scratch.cgroup.pids().unwrap().len(), 3);
    scratch.cgroup.thaw().unwrap();
    assert!(!scratch.cgroup.is_frozen().unwrap());
    // Also while frozen, and in a cgroup that the container made itself.
    let inner = scratch.cgroup.process_dir().unwrap().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), shell.pid().to_string()).unwrap();
    assert_eq!(scratch.cgroup.pids().unwrap().len(), 3);
    scratch.cgroup.freeze().unwrap();
    scratch.cgroup.kill_all().unwrap();
    shell.0.wait().unwrap();
    scratch.cgroup.delete().unwrap();
    assert!(!scratch.cgroup.exists() && !inner.exists());
    scratch.cgroup.delete().unwrap();
}

#[test]
fn v1_a_thread_moves_itself() {
    let Some(host) = v1_host() else { return };
    let scratch = Scratch::on(host, &LinuxResources::default()).unwrap();
    let cgroup = scratch.cgroup.clone();
    assert!(cgroup.is_joined_from_inside());
    // "tasks" moves one thread, so this one shows what happens to a process that has no other.
    let inside = std::thread::spawn(move || {
        cgroup.join_self().unwrap();
        fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let text = inside.join().unwrap();
    let path = scratch.cgroup.dir("memory").unwrap();
    let name = path.strip_prefix(&host.v1_of("memory").unwrap().mountpoint).unwrap();
    let name = name.to_str().unwrap();
    let v1 = text.lines().filter(|line| !line.starts_with("0::"));
    assert!(v1.clone().count() >= 2 && v1.into_iter().all(|l| l.ends_with(name)), "{text}");
}

#[test]
fn v1_processes_are_frozen_killed_and_their_cgroup_removed() {
    if let Some(host) = v1_host() {
        life(host);
    }
}

#[test]
fn v2_processes_are_frozen_killed_and_their_cgroup_removed() {
    if let Some(host) = v2_host() {
        life(&host);
    }
}

/// Device rules decide on a real open, before and after an update.
fn devices(host: &Host) {
    let mut resources = LinuxResources {
        devices: vec![device(false, "a", None, None), device(true, "c", Some(1), Some(3))],
        ..LinuxResources::default()
    };
    let scratch = Scratch::on(host, &resources).unwrap();
    let try_zero = || {
        let shell = Shell::new(
            "exec 2>/dev/null; : </dev/null && echo null; ( : </dev/zero ) && echo zero; \
             ( : </dev/random ) && echo random",
        );
        scratch.cgroup.join(shell.pid()).unwrap();
        shell.finish()
    };
    assert_eq!(try_zero(), "null\n");
    resources.devices.push(device(true, "c", Some(1), Some(5)));
    scratch.cgroup.update(&resources).unwrap();
    assert_eq!(try_zero(), "null\nzero\n");
    resources.devices.push(device(false, "c", Some(1), Some(5)));
    resources
        .devices
        .push(LinuxDeviceCgroup { access: "m".into(), ..device(true, "c", Some(1), Some(8)) });
    scratch.cgroup.update(&resources).unwrap();
    assert_eq!(try_zero(), "null\n");
    resources.devices = vec![device(true, "a", None, None), device(false, "c", Some(1), Some(5))];
    scratch.cgroup.update(&resources).unwrap();
    assert_eq!(try_zero(), "null\nrandom\n");
}

#[test]
fn v1_device_rules_decide_on_opens() {
    if let Some(host) = v1_host() {
        devices(host);
    }
}

#[test]
fn v2_device_program_decides_on_opens() {
    if let Some(host) = v2_host() {
        devices(&host);
    }
}

#[test]
fn a_process_killed_for_memory_is_noticed() {
    let Some(host) = v1_host() else { return };
    let resources =
        LinuxResources { memory: Some(memory(8 * MIB, 8 * MIB)), ..LinuxResources::default() };
    let scratch = Scratch::on(host, &resources).unwrap();
    let mut watch = scratch.cgroup.watch_oom().unwrap();
    assert_eq!(watch.take(), 0);
    // One line without end has to be kept in memory whole.
    let shell = Shell::new("exec tail /dev/zero");
    scratch.cgroup.join(shell.pid()).unwrap();
    shell.finish();
    let mut fds = [PollFd::new(watch.fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(5000u16)).unwrap(), 1);
    assert!(watch.take() >= 1);
    assert_eq!(watch.take(), 0);
    assert!(scratch.cgroup.oom_kills() >= 1);
    assert!(scratch.cgroup.stats().memory.unwrap().max_usage > 0);
}

#[test]
fn v2_gives_the_controllers_it_has_to_the_container() {
    let Some(host) = v2_host() else { return };
    let top = &host.unified.as_ref().unwrap().mountpoint;
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap();
    if !controllers.contains("hugetlb") {
        println!("skipped: the v2 mount has no controller hugetlb");
        return;
    }
    let huge = LinuxHugepageLimit { page_size: "2MB".into(), limit: 4 << 20 };
    let resources = LinuxResources { hugepage_limits: vec![huge], ..LinuxResources::default() };
    let scratch = Scratch::on(&host, &resources).unwrap();
    assert_eq!(scratch.file("", "hugetlb.2MB.max"), (4 << 20).to_string());
    assert!(scratch.cgroup.stats().hugetlb.contains_key("2MB"));
    assert!(scratch.cgroup.open_dir().unwrap().is_some());
    // Memory is on v1 here, so a limit on v2 cannot be held and says so.
    if !controllers.contains("memory") {
        let resources =
            LinuxResources { memory: Some(memory(64 * MIB, 0)), ..LinuxResources::default() };
        let e = scratch.cgroup.update(&resources).unwrap_err();
        assert!(e.to_string().starts_with("cannot set memory limit: the memory cgroup"), "{e}");
    }
}

#[test]
fn features_of_this_machine_agree_with_its_files() {
    let Some(host) = v1_host() else { return };
    let features = Features::of(host);
    assert!(features.memory_limit && features.pids_limit && features.cpu_cfs);
    assert!(!features.cpus.is_empty() && !features.mems.is_empty());
    let mut resources = LinuxResources {
        cpu: Some(LinuxCpu { cpus: features.cpus.clone(), ..LinuxCpu::default() }),
        ..LinuxResources::default()
    };
    assert!(features.check(&mut resources, false).unwrap().is_empty());
}

#[test]
fn a_path_that_is_no_cgroup_of_its_own_is_refused() {
    let Ok(host) = detect() else { return };
    for path in ["", "/", "..", "/.."] {
        assert!(Cgroup::on(host, path).is_err(), "{path:?}");
    }
}
