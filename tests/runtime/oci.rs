//! `multi runtime` from outside: bundles of nothing but busybox, the same checks run against crun and runc
//! where what they look at is not our own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use multi_core::base::json;
use multi_core::runtime::defaults;
use multi_core::runtime::spec::{
    Hook, Hooks, IdMapping, IoPriority, Linux, LinuxResources, LinuxSeccomp, LinuxSyscall, Mount,
    Namespace, Personality, Scheduler, Spec, TimeOffset,
};
use multi_core::sys::scm;

use crate::bundle::Bundle;

/// A bundle and the runtime that is asked.
struct Oci {
    bundle: Bundle,
    runtime: PathBuf,
    spec: Spec,
}

impl Oci {
    fn new() -> Oci {
        Oci::with(Path::new(env!("CARGO_BIN_EXE_multi")))
    }

    fn with(runtime: &Path) -> Oci {
        let bundle = Bundle::new();
        let mut spec = bundle.request(&["true"]).spec;
        // crun 1.8 refuses to read anything newer.
        spec.oci_version = "1.0.2".into();
        spec.mounts.retain(|m| m.kind != "cgroup");
        spec.linux.as_mut().unwrap().resources = Some(LinuxResources::default());
        Oci { bundle, runtime: runtime.into(), spec }
    }

    fn id(&self) -> String {
        format!("oci-{}", &self.bundle.id[..12])
    }

    fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }

    fn script(&mut self, script: &str) {
        let process = self.spec.process.as_mut().unwrap();
        process.args = ["sh", "-c", script].map(String::from).into();
    }

    fn write(&self) {
        fs::write(self.bundle.dir.join("config.json"), json::to_string(&self.spec)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        match self.runtime.file_name().unwrap().to_str().unwrap() {
            "multi" => drop(command.arg("runtime")),
            "crun" => drop(command.arg("--cgroup-manager=disabled")),
            _ => {}
        }
        command.arg("--root").arg(self.bundle.dir.join("state")).args(words);
        command.current_dir(&self.bundle.dir).stdin(Stdio::null());
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; its output.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.call(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}{told}");
        text
    }

    /// Runs the bundle to its end: exit code, output, errors.
    fn run(&self) -> (i32, String, String) {
        self.write();
        let output = self.call(&["run", &self.id()]);
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn status(&self) -> String {
        let state: json::Value = json::parse(self.ok(&["state", &self.id()]).as_bytes()).unwrap();
        use json::ValueExt;
        state.get("status").and_then(|s| s.as_str()).unwrap().to_string()
    }

    fn pid(&self) -> i32 {
        fs::read_to_string(self.bundle.dir.join("pid")).unwrap().parse().unwrap()
    }

    fn create(&self) {
        self.write();
        // A file, not a pipe: the container keeps it.
        let out = fs::File::create(self.bundle.dir.join("out")).unwrap();
        let mut command = self.command(&["create", "--pid-file", "pid", &self.id()]);
        command.stdout(out.try_clone().unwrap()).stderr(out);
        let status = command.status().unwrap();
        assert!(status.success(), "{}", self.out());
    }

    fn out(&self) -> String {
        fs::read_to_string(self.bundle.dir.join("out")).unwrap()
    }

    fn nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.bundle.dir.join("state")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.bundle.dir.to_str().unwrap()), "{mounts}");
        let cgroups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        for entry in cgroups {
            assert!(!entry.path().join(self.id()).exists(), "{:?}", entry.path());
        }
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id()]);
    }
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hook(script: &str) -> Hook {
    Hook {
        path: "/bin/sh".into(),
        args: ["sh", "-c", script].map(String::from).into(),
        env: vec![format!("PATH={}", defaults::PATH)],
        timeout: Some(20),
    }
}

#[test]
fn the_life_of_a_container_is_that_of_the_specification() {
    let mut oci = Oci::new();
    oci.script("trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done");
    oci.spec.annotations.insert("a".into(), "b".into());
    oci.create();
    assert_eq!(oci.status(), "created");
    let socket = oci.bundle.dir.join("state").join(oci.id()).join("start.sock");
    assert!(socket.exists() && oci.out().is_empty());
    assert_ne!(oci.call(&["run", &oci.id()]).status.code(), Some(0), "the name is taken");
    oci.ok(&["start", &oci.id()]);
    eventually("the output", || oci.out() == "up\n");
    assert_eq!((oci.status().as_str(), socket.exists()), ("running", false));
    let told = String::from_utf8_lossy(&oci.call(&["start", &oci.id()]).stderr).into_owned();
    assert!(told.contains("cannot start an already running container"), "{told}");
    let freezer = |oci: &Oci| {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", oci.pid())).unwrap();
        let line = text.lines().find(|l| l.contains(":freezer:") || l.starts_with("0::")).unwrap();
        let path = line.rsplit(':').next().unwrap();
        let v1 = format!("/sys/fs/cgroup/freezer{path}/freezer.state");
        fs::read_to_string(v1)
            .or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup{path}/cgroup.freeze")))
            .unwrap()
    };
    oci.ok(&["pause", &oci.id()]);
    assert!(["FROZEN\n", "1\n"].contains(&freezer(&oci).as_str()));
    assert_eq!(oci.status(), "paused");
    assert!(!oci.call(&["exec", &oci.id(), "true"]).status.success());
    oci.ok(&["resume", &oci.id()]);
    assert!(["THAWED\n", "0\n"].contains(&freezer(&oci).as_str()));
    let pids: Vec<i32> =
        json::parse(oci.ok(&["ps", "--format", "json", &oci.id()]).as_bytes()).unwrap();
    assert!(pids.contains(&oci.pid()), "{pids:?}");
    assert!(!oci.call(&["delete", &oci.id()]).status.success(), "it runs");
    assert!(oci.ok(&["list", "-q"]).contains(&oci.id()));
    assert!(oci.ok(&["events", "--stats", &oci.id()]).contains(r#""type":"stats""#));
    oci.ok(&["kill", &oci.id()]);
    eventually("the end", || oci.status() == "stopped");
    let told = String::from_utf8_lossy(&oci.call(&["kill", &oci.id()]).stderr).into_owned();
    assert!(told.contains("container not running"), "{told}");
    oci.ok(&["delete", &oci.id()]);
    let told = String::from_utf8_lossy(&oci.call(&["state", &oci.id()]).stderr).into_owned();
    assert!(told.contains("container does not exist"), "{told}");
    oci.ok(&["delete", "-f", &oci.id()]);
    oci.nothing_left();
}

#[test]
fn exec_joins_the_container_and_hands_codes_back() {
    let mut oci = Oci::new();
    oci.spec.process.as_mut().unwrap().args = ["sleep", "1000"].map(String::from).into();
    oci.create();
    oci.ok(&["start", &oci.id()]);
    let output = oci.call(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/tmp",
        "-u",
        "5:6",
        &oci.id(),
        "sh",
        "-c",
        "echo $A $PWD; id -u; hostname; readlink /proc/1/root; exit 4",
    ]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b /tmp\n5\nbox\n");
    for name in ["mnt", "pid", "net", "ipc", "uts"] {
        let inside = oci.ok(&["exec", &oci.id(), "readlink", &format!("/proc/self/ns/{name}")]);
        let first = fs::read_link(format!("/proc/{}/ns/{name}", oci.pid())).unwrap();
        assert_eq!(inside.trim(), first.to_str().unwrap());
    }
    let cgroups = oci.ok(&["exec", &oci.id(), "cat", "/proc/self/cgroup"]);
    assert!(cgroups.lines().any(|line| line.contains(&oci.id())), "{cgroups}");
    let output = oci.call(&["exec", &oci.id(), "nosuch"]);
    assert_eq!(output.status.code(), Some(255));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(r#"exec: "nosuch": executable file not found in $PATH"#), "{told}");
    let text = r#"{"terminal":false,"user":{"uid":7,"gid":8},"args":["id","-u"],
        "env":["PATH=/bin"],"cwd":"/"}"#;
    fs::write(oci.bundle.dir.join("process.json"), text).unwrap();
    assert_eq!(oci.ok(&["exec", "-p", "process.json", &oci.id()]), "7\n");
    // It keeps its streams, so they must not be ours to read to the end.
    let mut detached =
        oci.command(&["exec", "-d", "--pid-file", "pid2", &oci.id(), "sleep", "1000"]);
    assert!(detached.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid = fs::read_to_string(oci.bundle.dir.join("pid2")).unwrap();
    let alive = || Path::new("/proc").join(&pid).join("root/bin").exists();
    assert!(alive());
    oci.ok(&["delete", "--force", &oci.id()]);
    eventually("the end of what exec left", || !alive());
    oci.nothing_left();
}

#[test]
fn hooks_run_where_and_when_they_should() {
    for runtime in [env!("CARGO_BIN_EXE_multi"), "/usr/sbin/runc"] {
        if !Path::new(runtime).exists() {
            eprintln!("skipped: {runtime} is not installed");
            continue;
        }
        let mut oci = Oci::with(Path::new(runtime));
        let log = oci.bundle.dir.join("log");
        let say = |name: &str, wants: &str| {
            hook(&format!(
                "read -r state; ns=host; test $(readlink /proc/self/ns/mnt) = {} || ns=own; \
                 pid=host; test -e /proc/{}/fd || pid=own; \
                 case $state in *'\"status\":\"{wants}\"'*) s=well;; *) s=$state;; esac; \
                 echo {name} $ns $s >>{}",
                fs::read_link("/proc/self/ns/mnt").unwrap().display(),
                std::process::id(),
                log.display()
            ))
        };
        // The old runc of distributions is behind here.
        let started = if runtime.ends_with("runc") { "created" } else { "running" };
        let inside = Hook {
            path: "/bin/sh".into(),
            ..hook("read -r state; test -e /etc/passwd && echo startContainer; exit 0")
        };
        oci.spec.hooks = Some(Hooks {
            prestart: vec![say("prestart", "creating")],
            create_runtime: vec![say("createRuntime", "creating")],
            create_container: vec![say("createContainer", "creating")],
            start_container: vec![inside],
            poststart: vec![say("poststart", started)],
            poststop: vec![say("poststop", "stopped")],
        });
        oci.script("echo program");
        let (code, out, told) = oci.run();
        assert_eq!((code, out.as_str()), (0, "program\n"), "{runtime}: {told}");
        let expected = "prestart host well\ncreateRuntime host well\n\
             createContainer own well\npoststart host well\npoststop host well\n";
        assert_eq!(fs::read_to_string(&log).unwrap(), expected, "{runtime}");
        // A failure ends it, and nothing is left.
        oci.spec.hooks.as_mut().unwrap().create_runtime.push(hook("echo why >&2; exit 1"));
        let (code, out, told) = oci.run();
        assert!(code != 0 && out.is_empty() && told.contains("why"), "{runtime}: {code} {told}");
        oci.nothing_left();
    }
}

#[test]
fn a_user_namespace_maps_ids_and_owns_the_others() {
    let mut oci = Oci::new();
    let map = vec![IdMapping { container_id: 0, host_id: 100_000, size: 5000 }];
    oci.linux().uid_mappings = map.clone();
    oci.linux().gid_mappings = map;
    oci.linux().namespaces.push(Namespace { kind: "user".into(), path: String::new() });
    // The owner must be able to reach it.
    let chown = Command::new("chown").args(["-R", "100000:100000"]).arg(oci.bundle.root()).status();
    assert!(chown.unwrap().success());
    oci.script(
        "id; cat /proc/self/uid_map; echo $$; touch /new; hostname other && hostname; \
        mount -t tmpfs x /tmp && echo mounted; ls -ln /dev/null | cut -c1; exec sleep 1000",
    );
    let all = oci.spec.process.as_mut().unwrap();
    let names = multi_core::sys::caps::current().unwrap().permitted.names();
    all.capabilities = Some(defaults::capabilities(&names));
    oci.linux().masked_paths.clear();
    oci.create();
    oci.ok(&["start", &oci.id()]);
    eventually("the output", || oci.out().lines().count() >= 6);
    let out = oci.out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("uid=0(root) gid=0"), "{out}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "5000"]);
    assert_eq!(&lines[2..], ["1", "other", "mounted", "c"], "{out}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(oci.bundle.root().join("new")).unwrap().uid(), 100_000);
    let status = fs::read_to_string(format!("/proc/{}/status", oci.pid())).unwrap();
    assert!(status.contains("Uid:\t100000\t100000"), "{status}");
    // A process of exec comes into it as well.
    assert_eq!(oci.ok(&["exec", &oci.id(), "id", "-u"]), "0\n");
    oci.ok(&["delete", "-f", &oci.id()]);
    oci.nothing_left();
}

#[test]
fn a_mount_with_mapped_ids_shows_other_owners() {
    let mut oci = Oci::new();
    let source = oci.bundle.dir.join("source");
    fs::create_dir(&source).unwrap();
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1001), Some(1002)).unwrap();
    let map = |from, to| vec![IdMapping { container_id: from, host_id: to, size: 100 }];
    oci.spec.mounts.push(Mount {
        destination: "/mapped".into(),
        kind: "bind".into(),
        source: source.to_str().unwrap().into(),
        options: ["rbind", "idmap"].map(String::from).into(),
        uid_mappings: map(1000, 5000),
        gid_mappings: map(1000, 6000),
    });
    oci.script("stat -c '%u:%g' /mapped /mapped/file");
    let (code, out, told) = oci.run();
    assert_eq!((code, out.as_str()), (0, "5000:6000\n5001:6002\n"), "{told}");
    oci.script("touch /mapped/new");
    oci.spec.mounts.last_mut().unwrap().options = ["rbind", "rro"].map(String::from).into();
    let (code, _, told) = oci.run();
    assert!(code == 1 && told.contains("/mapped/new: Read-only file system"), "{told}");
}

#[test]
fn clocks_of_a_time_namespace_are_set() {
    let mut oci = Oci::new();
    if !Path::new("/proc/self/ns/time").exists() {
        eprintln!("skipped: this kernel has no time namespaces");
        return;
    }
    oci.linux().namespaces.push(Namespace { kind: "time".into(), path: String::new() });
    let offset = TimeOffset { secs: 1_000_000, nanosecs: 0 };
    oci.linux().time_offsets.insert("boottime".into(), offset);
    oci.script("cut -d. -f1 /proc/uptime || cat /proc/uptime");
    oci.spec.process.as_mut().unwrap().args = ["cat", "/proc/uptime"].map(String::from).into();
    let (code, out, told) = oci.run();
    let uptime: f64 = out.split(' ').next().unwrap().parse().unwrap();
    assert!(code == 0 && uptime > 1_000_000.0, "{out}{told}");
}

#[test]
fn an_agent_answers_for_filtered_calls() {
    let mut oci = Oci::new();
    let socket = oci.bundle.dir.join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    oci.linux().seccomp = Some(LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        listener_path: socket.to_str().unwrap().into(),
        listener_metadata: "some words".into(),
        syscalls: vec![LinuxSyscall {
            names: ["mkdir", "mkdirat"].map(String::from).into(),
            action: "SCMP_ACT_NOTIFY".into(),
            ..LinuxSyscall::default()
        }],
        ..LinuxSeccomp::default()
    });
    let id = oci.id();
    let agent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 8192];
        let (length, fds) = scm::receive(&stream, &mut buffer, true).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // Nobody answers any more: the call fails with ENOSYS.
        assert_eq!(fds.len(), 1);
        drop(fds);
        text
    });
    oci.script("mkdir /tmp/x; echo code $?");
    let (code, out, told) = oci.run();
    assert_eq!((code, out.as_str()), (0, "code 1\n"), "{told}");
    assert!(told.contains("Function not implemented"), "{told}");
    let text = agent.join().unwrap();
    assert!(text.contains(r#""fds":["seccompFd"]"#) && text.contains(&id), "{text}");
    assert!(text.contains(r#""metadata":"some words""#), "{text}");
}

#[test]
fn a_terminal_is_handed_over_and_a_program_can_be_typed_to() {
    let mut oci = Oci::new();
    oci.spec.process.as_mut().unwrap().terminal = true;
    oci.script("stty size; test -t 0 && echo tty; read x; echo got $x; readlink /proc/self/fd/0");
    oci.write();
    let told = oci.call(&["create", &oci.id()]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("console socket"), "{told:?}");
    let socket = oci.bundle.dir.join("console");
    let listener = UnixListener::bind(&socket).unwrap();
    oci.ok(&["create", "--console-socket", "console", &oci.id()]);
    let (stream, _) = listener.accept().unwrap();
    let (_, mut fds) = scm::receive(&stream, &mut [0; 256], true).unwrap();
    let master = fds.pop().unwrap();
    multi_core::sys::pty::resize(&master, 91, 31).unwrap();
    let blocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty());
    nix::fcntl::fcntl(master.as_fd(), blocking).unwrap();
    let mut master = fs::File::from(master);
    oci.ok(&["start", &oci.id()]);
    let mut lines = BufReader::new(master.try_clone().unwrap());
    let mut line = || {
        let mut text = String::new();
        lines.read_line(&mut text).unwrap();
        text.trim_end().to_string()
    };
    assert_eq!((line(), line()), ("31 91".into(), "tty".into()));
    master.write_all(b"words\n").unwrap();
    assert_eq!((line(), line(), line()), ("words".into(), "got words".into(), "/dev/pts/0".into()));
    oci.ok(&["delete", "-f", &oci.id()]);
}

#[test]
fn descriptors_are_passed_when_asked_for_and_no_others() {
    let mut oci = Oci::new();
    oci.script("cat <&3; readlink /proc/self/fd/4 || echo none");
    oci.write();
    fs::write(oci.bundle.dir.join("given"), "given\n").unwrap();
    let shell = format!(
        "exec 3<given 4<config.json; exec {} runtime --root state run --preserve-fds 1 {}",
        env!("CARGO_BIN_EXE_multi"),
        oci.id()
    );
    let output =
        Command::new("sh").args(["-c", &shell]).current_dir(&oci.bundle.dir).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "given\nnone\n", "{output:?}");
}

#[test]
fn limits_are_set_and_changed() {
    use multi_core::runtime::spec::{LinuxMemory, LinuxPids};
    let mut oci = Oci::new();
    oci.linux().resources = Some(LinuxResources {
        memory: Some(LinuxMemory { limit: Some(64 << 20), ..LinuxMemory::default() }),
        pids: Some(LinuxPids { limit: 33 }),
        ..LinuxResources::default()
    });
    oci.spec.process.as_mut().unwrap().args = ["sleep", "1000"].map(String::from).into();
    oci.create();
    let value = |controller: &str, v1: &str, v2: &str| {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", oci.pid())).unwrap();
        let at = |line: &str| line.rsplit(':').next().unwrap().to_string();
        let name = format!(":{controller}:");
        let file = match text.lines().find(|l| l.contains(&name)) {
            Some(line) => format!("/sys/fs/cgroup/{controller}{}/{v1}", at(line)),
            None => format!("/sys/fs/cgroup{}/{v2}", at(text.lines().last().unwrap())),
        };
        fs::read_to_string(file).unwrap().trim().to_string()
    };
    let memory = || value("memory", "memory.limit_in_bytes", "memory.max");
    let pids = || value("pids", "pids.max", "pids.max");
    assert_eq!((memory(), pids()), ((64 << 20).to_string(), "33".into()));
    oci.ok(&["update", "--memory", "32m", &oci.id()]);
    let mut child = oci.command(&["update", "-r", "-", &oci.id()]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"pids":{"limit":44}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((memory(), pids()), ((32 << 20).to_string(), "44".into()));
    oci.ok(&["delete", "-f", &oci.id()]);
    oci.nothing_left();
}

#[test]
fn priorities_domain_and_names_are_set() {
    let mut oci = Oci::new();
    oci.spec.oci_version = "1.2.0".into();
    oci.spec.domainname = "dom".into();
    let process = oci.spec.process.as_mut().unwrap();
    process.scheduler =
        Some(Scheduler { policy: "SCHED_BATCH".into(), nice: 5, ..Scheduler::default() });
    process.io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".into(), priority: 6 });
    process.user.umask = Some(0o27);
    process.user.additional_gids = vec![11, 12];
    oci.linux().personality = Some(Personality { domain: "LINUX32".into(), flags: Vec::new() });
    oci.script(
        "cat /proc/sys/kernel/domainname /proc/self/personality; umask; \
        grep Groups: /proc/self/status; cat /proc/self/stat; uname -m || true",
    );
    let (code, out, told) = oci.run();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        (code, &lines[..4]),
        (0, &["dom", "00000008", "0027", "Groups:\t11 12 "][..]),
        "{told}"
    );
    let fields: Vec<&str> = lines[4].rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!((fields[16], fields[38]), ("5", "3"), "{out}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let mut oci = Oci::new();
    let refused = |oci: &Oci, text: &str| {
        let (code, _, told) = oci.run();
        assert!(code == 1 && told.contains(text), "{text}: {told}");
        oci.nothing_left();
    };
    oci.linux().namespaces.retain(|n| n.kind != "uts");
    refused(&oci, "without a private UTS namespace");
    let mut oci = Oci::new();
    oci.linux().rootfs_propagation = "nonsense".into();
    refused(&oci, "rootfsPropagation=nonsense");
    let mut oci = Oci::new();
    oci.spec.process.as_mut().unwrap().apparmor_profile = "some-profile".into();
    if !Path::new("/sys/module/apparmor").exists() {
        refused(&oci, "unable to apply apparmor profile: ");
    }
    let output = oci.call(&["--systemd-cgroup", "list"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cgroupfs"), "{output:?}");
    // An error goes to the log as well, for those who look there.
    let oci = Oci::new();
    let log = oci.bundle.dir.join("log.json");
    let log = log.to_str().unwrap();
    oci.call(&["--log", log, "--log-format", "json", "state", "nosuch"]);
    let mut text = String::new();
    fs::File::open(log).unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with(r#"{"level":"error","msg":"container does not exist","time":"#),
        "{text}"
    );
}
