//! Every limit and device that a container can be given, in the kernel's files and for its processes.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

use crate::settings::limit;
use crate::support::{eventually, output, run, text};
use crate::{Cli, daemon, with_both};

/// A disk of this machine, if it has any.
fn disk() -> Option<String> {
    let names = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|n| format!("/dev/{}", n.file_name().display())).collect();
    names.sort();
    names.retain(|path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device()));
    names.retain(|path| !path.starts_with("/dev/loop") && !path.starts_with("/dev/ram"));
    names.pop()
}

fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
}

#[test]
fn limits_of_every_kind_are_in_the_control_files() {
    with_both(|cli| {
        let memory = ["-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"];
        let cpu = ["--cpu-period", "50000", "--cpu-quota", "25000", "--cpuset-cpus", "0"];
        let more = ["--cpuset-mems", "0", "--oom-score-adj", "100", "--shm-size", "1m"];
        let mut words = [&["run", "-d", "--name", "held"][..], &memory, &cpu, &more].concat();
        if is_v1() {
            words.extend(["--memory-swappiness", "10", "--oom-kill-disable"]);
        }
        let disk = disk();
        let rates: Vec<String> = disk
            .iter()
            .flat_map(|disk| {
                [
                    format!("--device-read-bps={disk}:1mb"),
                    format!("--device-write-bps={disk}:2mb"),
                    format!("--device-read-iops={disk}:30"),
                    format!("--device-write-iops={disk}:40"),
                ]
            })
            .collect();
        words.extend(rates.iter().map(String::as_str));
        words.extend(["--ulimit", "nofile=100:200", "--ulimit", "core=0"]);
        cli.run(&[&words[..], &["busybox", "sleep", "600"]].concat());
        let pid = cli.inspect("held", "{{.State.Pid}}");
        let swap = limit(&pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
        assert_eq!(swap, if is_v1() { 96 << 20 } else { 32 << 20 }.to_string());
        let soft = limit(&pid, "memory", "memory.soft_limit_in_bytes", "memory.low");
        assert_eq!(soft, (32 << 20).to_string());
        let quota = limit(&pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(["25000", "25000 50000"].contains(&quota.as_str()), "{quota}");
        for (v1, v2) in [("cpuset.cpus", "cpuset.cpus"), ("cpuset.mems", "cpuset.mems")] {
            assert_eq!(limit(&pid, "cpuset", v1, v2), "0", "{v1}");
        }
        if is_v1() {
            let of = |file| limit(&pid, "memory", file, "");
            assert_eq!(of("memory.swappiness"), "10");
            assert!(of("memory.oom_control").contains("oom_kill_disable 1"));
        }
        if let (Some(disk), true) = (&disk, is_v1()) {
            for (file, rate) in [
                ("read_bps", 1 << 20),
                ("write_bps", 2 << 20),
                ("read_iops", 30),
                ("write_iops", 40),
            ] {
                let told = limit(&pid, "blkio", &format!("blkio.throttle.{file}_device"), "");
                assert!(told.ends_with(&format!(" {rate}")), "{disk} {file}: {told}");
            }
        }
        let proc = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        assert_eq!(proc("oom_score_adj").trim(), "100");
        let limits = proc("limits");
        let open = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
        assert_eq!(open.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["100", "200"]);
        assert!(
            proc("mountinfo").lines().any(|l| l.contains(" /dev/shm ") && l.contains("size=1024k"))
        );
        cli.run(&["rm", "-f", "held"]);
    });
}

#[test]
fn what_cannot_be_held_is_refused_or_warned_about() {
    with_both(|cli| {
        for (words, error) in [
            (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
            (&["--memory-swap", "64m"], "You should always set the Memory limit when using"),
            (&["--cpu-rt-period", "1000", "--cpu-rt-runtime", "2000"], "real-time"),
            (&["--oom-score-adj", "1001"], "range for oom score adj is [-1000, 1000]"),
            (&["--cpuset-mems", "4000"], "Requested memory nodes are not available"),
            (
                &["--device", "/dev/nosuch"],
                "custom device \"/dev/nosuch\": no such file or directory",
            ),
            (&["--device", "/etc/passwd"], "custom device \"/etc/passwd\": not a device node"),
            (&["--device-read-bps", "/dev/nosuch:1mb"], "/dev/nosuch: no such file or directory"),
            (&["--gpus", "all"], "could not select device driver \"\" with capabilities: [[gpu]]"),
            (&["--device", "a.com/gpu=c0"], "unresolvable CDI devices a.com/gpu=c0"),
        ] {
            let all = [&["run", "--rm"][..], words, &["busybox", "true"]].concat();
            let (code, told) = cli.code(&all);
            assert!([125, 127].contains(&code) && told.contains(error), "{words:?}: {code} {told}");
        }
        let (code, told) =
            cli.code(&["create", "--name", "warned", "--oom-kill-disable", "busybox", "true"]);
        let (warned, says) = match is_v1() {
            true => {
                ("OOM killer is disabled for the container, but no memory limit is set", "true")
            }
            false => ("does not support OomKillDisable", "<nil>"),
        };
        assert!(code == 0 && told.contains(warned), "{told}");
        assert_eq!(cli.inspect("warned", "{{.HostConfig.OomKillDisable}}"), says);
        cli.run(&["rm", "warned"]);
    });
}

#[test]
fn devices_are_made_with_the_access_that_was_asked_for() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("dev{}", cli.official));
        fs::create_dir_all(dir.join("sub")).unwrap();
        run(Command::new("mknod").arg(dir.join("sub/zero")).args(["c", "1", "5"]));
        let whole = format!("--device={}:/dev/all", dir.display());
        // The container's first process may use devices of its own making only if a rule says so.
        let script = "head -c3 /dev/all/sub/zero | wc -c; head -c3 /dev/mine | wc -c; \
                      echo > /dev/mine && echo written; mknod /tun c 10 229; \
                      exec 3< /tun && echo opened";
        let words = ["run", "--rm", "--device=/dev/zero:/dev/mine:r", &whole];
        let told =
            cli.run(&[&words[..], &["busybox", "sh", "-c", &format!("({script}); :")]].concat());
        // /dev/zero itself may be written, whatever the new node says: the rules are of numbers.
        assert_eq!(told, "3\n3\nwritten\n");
        if Path::new("/dev/fuse").exists() {
            let rule =
                ["run", "--rm", "--device-cgroup-rule", "c 10:229 rwm", "busybox", "sh", "-c"];
            let told = cli
                .run(&[&rule[..], &["mknod /tun c 10 229; exec 3<> /tun && echo opened"]].concat());
            assert_eq!(told, "opened\n");
            let read_only =
                ["run", "--rm", "--device", "/dev/fuse:/dev/fuse:r", "busybox", "sh", "-c"];
            let script = "(exec 3< /dev/fuse) && echo read; (exec 3> /dev/fuse) || echo refused";
            assert_eq!(cli.run(&[&read_only[..], &[script]].concat()), "read\nrefused\n");
        }
        let told = cli.run(&["run", "--rm", "--privileged", "busybox", "ls", "/dev"]);
        let host = run(Command::new("find").args(["/dev", "-maxdepth", "1", "-type", "c"]));
        for device in host.lines().filter(|path| *path != "/dev/console") {
            let name = device.trim_start_matches("/dev/");
            assert!(told.lines().any(|line| line == name), "{name}: {told}");
        }
    });
}

#[test]
fn a_container_that_forks_without_end_is_held_seen_and_removed() {
    with_both(|cli| {
        let words =
            ["run", "-d", "--name", "bomb", "--pids-limit", "20", "busybox", "sleep", "600"];
        cli.run(&words);
        let pid = cli.inspect("bomb", "{{.State.Pid}}");
        // The shell ends when it cannot fork any more, and leaves its children behind.
        cli.run(&["exec", "-d", "bomb", "sh", "-c", "while :; do sleep 600 & done"]);
        eventually("the limit", || {
            let count = limit(&pid, "pids", "pids.current", "pids.current");
            (count.parse::<u64>().unwrap() >= 19).then_some(())
        });
        let told = cli.run(&["stats", "--no-stream", "--format", "{{.PIDs}}", "bomb"]);
        assert!((19..=20).contains(&told.trim().parse::<u64>().unwrap()), "{told}");
        let told = cli.run(&["top", "bomb"]);
        assert!(told.lines().count() >= 19, "{told}");
        cli.run(&["pause", "bomb"]);
        cli.run(&["ps", "-a"]);
        cli.run(&["rm", "-f", "bomb"]);
    });
}

#[test]
fn want_of_memory_is_told_once() {
    with_both(|cli| {
        let words =
            ["create", "--name", "hog", "-m", "16m", "--memory-swap", "16m", "--net", "none"];
        let id = cli.run(&[&words[..], &["busybox", "tail", "/dev/zero"]].concat());
        cli.run(&["start", "hog"]);
        assert_eq!(cli.run(&["wait", "hog"]), "137\n");
        assert_eq!(cli.inspect("hog", "{{.State.OOMKilled}}"), "true");
        assert_eq!(cli.events(id.trim_end()), ["create", "start", "oom", "die"]);
        cli.run(&["rm", "hog"]);
    });
}

/// The cgroup of `pid` in the hierarchy of `controller`.
fn cgroup_of(pid: &str, controller: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = text.lines().find(|line| {
        let names = line.split(':').nth(1).unwrap();
        names.is_empty() && !is_v1() || names.split(',').any(|name| name == controller)
    });
    line.unwrap().splitn(3, ':').nth(2).unwrap().to_string()
}

/// Parent cgroups that a test has made; they are removed with it, however it ends.
struct Parents(Vec<String>);

impl Drop for Parents {
    fn drop(&mut self) {
        // Other tests' cgroups come and go meanwhile, which find complains about.
        let find = ["/sys/fs/cgroup", "-depth", "-type", "d"];
        let found = output(Command::new("find").args(find));
        for dir in text(&found.stdout).lines() {
            if self.0.iter().any(|path| dir.ends_with(path)) {
                let _ = fs::remove_dir(dir);
            }
        }
    }
}

#[test]
fn what_the_daemon_is_told_holds_for_containers_that_say_nothing() {
    let cdi = std::env::temp_dir().join(format!("cdi-{}", std::process::id()));
    fs::create_dir_all(&cdi).unwrap();
    let vendor = r#"{"cdiVersion":"0.6.0","kind":"a.com/gpu","devices":[{"name":"c0","containerEdits":{
        "env":["VENDOR=here"],"deviceNodes":[{"path":"/dev/vendor","hostPath":"/dev/zero"}],
        "mounts":[{"hostPath":"/etc/hostname","containerPath":"/vendor","options":["ro","bind"]}],
        "additionalGids":[4321]}}]}"#;
    fs::write(cdi.join("a.json"), vendor).unwrap();
    let parent = format!("/multi-test-{}", std::process::id());
    let own_parent = format!("{parent}-own");
    let relative = format!("multi-test-{}-rel", std::process::id());
    let _parents = Parents(vec![parent.clone(), own_parent.clone(), format!("/{relative}")]);
    let rt = is_v1() && fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap();
    let mut options = vec![
        format!("--cgroup-parent={parent}"),
        "--default-ulimit=nofile=111:222".into(),
        "--default-shm-size=2m".into(),
        "--default-cgroupns-mode=private".into(),
        format!("--cdi-spec-dir={}", cdi.display()),
    ];
    if rt {
        options.push("--cpu-rt-runtime=20000".into());
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let daemon = daemon(&options);
    let cli = Cli { daemon: &daemon, official: false };
    let mut words = vec!["run", "-d", "--name", "plain"];
    if rt {
        words.extend(["--cpu-rt-runtime", "10000"]);
    }
    words.extend(["busybox", "sleep", "600"]);
    let id = cli.run(&words).trim_end().to_string();
    let pid = cli.inspect("plain", "{{.State.Pid}}");
    assert_eq!(cgroup_of(&pid, "memory"), format!("{parent}/{id}"));
    if rt {
        assert_eq!(limit(&pid, "cpu", "cpu.rt_runtime_us", ""), "10000");
    }
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_ne!(fs::read_link(format!("/proc/{pid}/ns/cgroup")).unwrap(), own);
    assert_eq!(cli.inspect("plain", "{{.HostConfig.CgroupnsMode}}"), "private");
    let script = "ulimit -n; ulimit -Hn; df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(cli.run(&["exec", "plain", "sh", "-c", script]), "111\n222\n2048\n");

    // The container's own words win over the daemon's.
    let words =
        ["run", "-d", "--name", "own", "--cgroup-parent", &own_parent, "--cgroupns", "host"];
    let more = ["--ulimit", "nofile=50", "--shm-size", "1m", "busybox", "sleep", "600"];
    let id = cli.run(&[&words[..], &more].concat()).trim_end().to_string();
    let pid = cli.inspect("own", "{{.State.Pid}}");
    assert_eq!(cgroup_of(&pid, "memory"), format!("{own_parent}/{id}"));
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/cgroup")).unwrap(), own);
    assert_eq!(cli.run(&["exec", "own", "sh", "-c", script]), "50\n50\n1024\n");

    // A relative parent is below the daemon's own cgroup.
    let words =
        ["run", "-d", "--name", "rel", "--cgroup-parent", &relative, "busybox", "sleep", "600"];
    let id = cli.run(&words).trim_end().to_string();
    let pid = cli.inspect("rel", "{{.State.Pid}}");
    if is_v1() {
        let daemons = cgroup_of(&daemon.pid().to_string(), "memory");
        let daemons = daemons.trim_end_matches('/');
        assert_eq!(cgroup_of(&pid, "memory"), format!("{daemons}/{relative}/{id}"));
    }

    // What a vendor's file says of a device.
    let script = "echo $VENDOR; head -c2 /dev/vendor | wc -c; cat /vendor; id -G";
    let words =
        ["run", "--rm", "-u", "1000:1000", "--device", "a.com/gpu=c0", "busybox", "sh", "-c"];
    let told = cli.run(&[&words[..], &[script]].concat());
    let host = fs::read_to_string("/etc/hostname").unwrap();
    assert_eq!(told, format!("here\n2\n{host}1000 4321\n"));
    let told = cli.run(&["info", "--format", "{{json .CDISpecDirs}}"]);
    assert_eq!(told.trim_end(), format!("[\"{}\"]", cdi.display()));

    cli.run(&["rm", "-f", "plain", "own", "rel"]);
    cli.nothing_left();
    daemon.stop();
    fs::remove_dir_all(&cdi).unwrap();
}
