//! Containers that other OCI runtimes make: crun, runc, and our own by its command line.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::Mode;

use crate::support::daemon::Daemon;
use crate::support::{MULTI, Scratch, eventually, images, run};
use crate::{Cli, daemon};

/// The runtimes that are there, by name.
fn runtimes(dir: &Path) -> Vec<(&'static str, String)> {
    let ours = dir.join("multi-runtime");
    symlink(MULTI, &ours).unwrap();
    let mut all = vec![("multi", ours.to_str().unwrap().to_string())];
    for (name, path) in [("crun", "/usr/bin/crun"), ("oldrunc", "/usr/sbin/runc")] {
        if Path::new(path).exists() {
            all.push((name, path.into()));
        } else {
            eprintln!("skipped: {path} is not installed");
        }
    }
    all
}

fn with_runtimes(scenario: impl Fn(&mut Daemon, &str)) {
    let dir = Scratch::new("rt");
    let all = runtimes(dir.path());
    let options: Vec<String> =
        all.iter().map(|(name, path)| format!("--add-runtime={name}={path}")).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut daemon = daemon(&options);
    // crun does without this one, but not with it where it has controllers of its own.
    let unified = "/sys/fs/cgroup/unified";
    if daemon.namespace().mounts().contains(&format!(" {unified} ")) {
        run(daemon.namespace().command("umount").arg(unified));
    }
    for (name, _) in &all {
        scenario(&mut daemon, name);
        let cli = Cli { daemon: &daemon, official: false };
        cli.nothing_left();
        // The runtime was told to forget the container, too.
        let state = daemon.exec_root().join(format!("runtime-{name}"));
        let left: Vec<_> = std::fs::read_dir(state).unwrap().flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    daemon.stop();
}

#[test]
fn a_container_of_another_runtime_is_like_any_other() {
    with_runtimes(|daemon, name| {
        let cli = Cli { daemon, official: name == "crun" };
        let run = ["run", "--runtime", name, "--rm"];
        let script = "echo out; echo err >&2; id -u; cat; hostname; exit 7";
        let mut command = cli.command(
            &[&run[..], &["-i", "-u", "5:6", "-h", "box", "busybox", "sh", "-c", script]].concat(),
        );
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::Write;
        child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{name}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n5\ntyped\nbox\n", "{name}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n", "{name}");

        let limits = ["-d", "--name", "xc", "--memory", "64m", "--pids-limit", "50", "--init"];
        let script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done";
        cli.run(&[&run[..2], &[name], &limits, &["busybox", "sh", "-c", script]].concat());
        eventually("the log", || (cli.run(&["logs", "xc"]) == "up\n").then_some(()));
        assert_eq!(cli.inspect("xc", "{{.HostConfig.Runtime}}"), name);
        let pid = cli.inspect("xc", "{{.State.Pid}}");
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let memory = cgroups.lines().find(|l| l.contains(":memory:") || l.starts_with("0::/do"));
        let path = memory.unwrap().rsplit(':').next().unwrap();
        let v1 = format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes");
        let v2 = format!("/sys/fs/cgroup{path}/memory.max");
        let limit = std::fs::read_to_string(v1).or_else(|_| std::fs::read_to_string(v2)).unwrap();
        assert_eq!(limit.trim(), (64 << 20).to_string(), "{name}");

        assert_eq!(
            cli.run(&["exec", "xc", "sh", "-c", "echo in; cat /proc/1/comm"]),
            "in\ndocker-init\n"
        );
        assert_eq!(cli.code(&["exec", "xc", "sh", "-c", "exit 5"]).0, 5, "{name}");
        assert_eq!(cli.code(&["exec", "xc", "nosuch"]).0, 127, "{name}");
        assert_eq!(cli.run(&["exec", "-u", "3", "xc", "id", "-u"]), "3\n");
        cli.run(&["pause", "xc"]);
        assert_eq!(cli.inspect("xc", "{{.State.Status}}"), "paused");
        cli.run(&["unpause", "xc"]);
        cli.run(&["stop", "xc"]);
        assert_eq!(cli.inspect("xc", "{{.State.ExitCode}}"), "9", "{name}");
        assert_eq!(cli.run(&["logs", "xc"]), "up\nbye\n", "{name}");
        cli.run(&["start", "xc"]);
        cli.run(&["kill", "xc"]);
        assert_eq!(cli.run(&["wait", "xc"]), "137\n");
        cli.run(&["rm", "xc"]);

        let (code, text) = cli.code(&[&run[..], &["busybox", "nosuch"]].concat());
        // Clients go by Go's words, which crun does not use.
        assert_eq!(code, if name == "crun" { 125 } else { 127 }, "{name}: {text}");
        assert!(
            text.contains("OCI runtime create failed: ") && text.contains("not found"),
            "{text}"
        );
    });
}

#[test]
fn a_terminal_of_another_runtime_works() {
    with_runtimes(|daemon, name| {
        let cli = Cli { daemon, official: false };
        let run = ["run", "--runtime", name, "-dt", "--name", "xt", "busybox", "sh", "-c"];
        let script = "test -t 0 && test -t 1 && echo on a terminal; exec sleep 600";
        cli.run(&[&run[..], &[script]].concat());
        let told = || (cli.run(&["logs", "xt"]) == "on a terminal\r\n").then_some(());
        eventually("the log", told);
        let exec = cli.run(&["exec", "-t", "xt", "sh", "-c", "test -t 0 && echo so is exec"]);
        assert_eq!(exec, "so is exec\r\n", "{name}");
        cli.run(&["rm", "-f", "xt"]);
    });
}

#[test]
fn a_container_of_another_runtime_outlives_the_daemon() {
    with_runtimes(|daemon, name| {
        let dir = daemon.dir().to_path_buf();
        nix::unistd::mkfifo(&dir.join(name), Mode::S_IRWXU).unwrap();
        let volume = format!("{}:/t", dir.display());
        let script = format!("read x < /t/{name}; echo $x; exit 3");
        Cli { daemon, official: false }.run(&[
            "run",
            "-d",
            "--runtime",
            name,
            "--name",
            "xk",
            "-v",
            &volume,
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
        daemon.kill();
        daemon.start_again();
        let cli = Cli { daemon, official: false };
        assert_eq!(cli.inspect("xk", "{{.State.Status}}"), "running", "{name}");
        assert_eq!(cli.run(&["exec", "xk", "echo", "here"]), "here\n", "{name}");
        std::fs::write(dir.join(name), "late\n").unwrap();
        assert_eq!(cli.run(&["wait", "xk"]), "3\n", "{name}");
        assert_eq!(cli.run(&["logs", "xk"]), "late\n", "{name}");
        cli.run(&["rm", "xk"]);
        // Shim and daemon die together: the next daemon ends what is left.
        cli.run(&["run", "-d", "--runtime", name, "--name", "xl", "busybox", "sleep", "600"]);
        let pid = cli.inspect("xl", "{{.State.Pid}}");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let parent: i32 =
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
        daemon.kill();
        multi_core::sys::pidfd::kill(parent, libc::SIGKILL).unwrap();
        daemon.start_again();
        let cli = Cli { daemon, official: false };
        eventually("the end", || {
            (cli.inspect("xl", "{{.State.Status}}") == "exited").then_some(())
        });
        assert!(!Path::new("/proc").join(&pid).join("root/bin").exists(), "{name}");
        cli.run(&["rm", "xl"]);
    });
}

#[test]
fn runtimes_are_configured_and_told() {
    let dir = Scratch::new("rj");
    let calls = dir.join("calls");
    let script = dir.join("wrapped");
    let text = format!(
        "#!/bin/sh\necho \"$@\" >>{}\nshift\nexec {MULTI} runtime \"$@\"\n",
        calls.display()
    );
    std::fs::write(&script, text).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = dir.join("daemon.json");
    let config = format!(
        r#"{{"runtimes":{{"w":{{"path":"{}","runtimeArgs":["--mark"]}},"gone":{{"path":"/nosuch/rt"}}}},
            "default-runtime":"w"}}"#,
        script.display()
    );
    std::fs::write(&file, config).unwrap();
    let daemon = Daemon::start_with(&["--config-file", file.to_str().unwrap()]);
    daemon.load(&images::busybox(), "busybox:latest");
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.run(&["info", "-f", "{{.DefaultRuntime}}"]), "w\n");
    let all = cli.run(&["info", "-f", "{{range $k, $v := .Runtimes}}{{$k}} {{end}}"]);
    assert_eq!(all, "gone runc w \n");
    assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    let seen = std::fs::read_to_string(&calls).unwrap();
    assert!(seen.lines().all(|line| line.starts_with("--mark --root ")), "{seen}");
    for verb in ["create", "start", "delete"] {
        assert!(seen.contains(&format!(" {verb} ")), "{seen}");
    }
    // The built-in one by its names.
    for name in ["runc", "io.containerd.runc.v2"] {
        assert_eq!(cli.run(&["run", "--rm", "--runtime", name, "busybox", "echo", "hi"]), "hi\n");
    }
    assert_eq!(std::fs::read_to_string(&calls).unwrap(), seen);
    let (code, text) = cli.code(&["run", "--rm", "--runtime", "gone", "busybox", "true"]);
    assert_eq!(code, 127, "{text}");
    assert!(text.contains("fork/exec /nosuch/rt: no such file or directory"), "{text}");
    let (code, text) = cli.code(&["run", "--rm", "--runtime", "other", "busybox", "true"]);
    assert!(code == 125 && text.contains("unknown or invalid runtime name: other"), "{text}");
    cli.nothing_left();
    daemon.stop();
}
