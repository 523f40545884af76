//! What a container was told to be, seen from inside it and in the kernel's files.

use crate::support::run;
use crate::with_both;
use std::process::Command;

/// The value of a control file of the process `pid`, under its name in cgroup v1 or v2.
pub(crate) fn limit(pid: &str, controller: &str, v1: &str, v2: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let names = parts.next()?;
            names.split(',').any(|name| name == wanted).then(|| parts.next())?
        })
    };
    let file = match of(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", of("").unwrap()),
    };
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_string()
}

#[test]
fn limits_are_in_the_control_files() {
    with_both(|cli| {
        let limits = ["-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512"];
        let words = [&["run", "-d", "--name", "limited"][..], &limits, &["busybox", "sleep", "60"]];
        cli.run(&words.concat());
        let pid = cli.inspect("limited", "{{.State.Pid}}");
        assert_eq!(limit(&pid, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
        let cpu = limit(&pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert!(["50000", "50000 100000"].contains(&cpu.as_str()), "{cpu}");
        assert_eq!(limit(&pid, "pids", "pids.max", "pids.max"), "50");
        let told = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
        assert_eq!(cli.inspect("limited", told), "67108864 500000000 50");
        cli.run(&["rm", "-f", "limited"]);
    });
}

#[test]
fn a_container_that_takes_too_much_memory_is_killed() {
    with_both(|cli| {
        let hog = ["--net", "none", "busybox", "sh", "-c", "exec tail /dev/zero"];
        let words = ["run", "--name", "hog", "-m", "16m", "--memory-swap", "16m"];
        assert_eq!(cli.code(&[&words[..], &hog].concat()).0, 137);
        assert_eq!(cli.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
        cli.run(&["rm", "hog"]);
    });
}

#[test]
fn the_process_is_what_was_asked_for() {
    with_both(|cli| {
        let words = [
            &["run", "--rm", "-e", "A=b", "-w", "/tmp", "-u", "1000:33", "-h", "box"][..],
            &["--ulimit", "nofile=100:200", "busybox", "sh", "-c"],
            &["echo $A $PWD $(id -u):$(id -g) $(hostname) $(ulimit -n); tail -1 /etc/hosts"],
        ];
        let told = cli.run(&words.concat());
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some("b /tmp 1000:33 box 100"));
        let host = lines.next().unwrap();
        assert!(host.ends_with("\tbox"), "{host}");

        // The process is the first one, has Docker's capabilities and its filter.
        let status = "echo $$; grep -E '^(CapEff|CapBnd|CapAmb|Seccomp):' /proc/self/status";
        let told = cli.run(&["run", "--rm", "busybox", "sh", "-c", status]);
        let told: Vec<&str> = told.split_whitespace().collect();
        let capabilities = "00000000a80425fb";
        let none = "0000000000000000";
        let bounds = ["CapEff:", capabilities, "CapBnd:", capabilities, "CapAmb:", none];
        assert_eq!(told, [&["1"][..], &bounds, &["Seccomp:", "2"]].concat());
    });
}

#[test]
fn volumes_are_seen_and_read_only_ones_are_not_written() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("v{}", cli.official));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("in"), "content\n").unwrap();
        let path = dir.to_str().unwrap();
        let read_only = format!("{path}:/ro:ro");
        let writable = format!("{path}:/rw");
        let script = "cat /ro/in; touch /ro/x || echo refused; echo new > /rw/out";
        let words = ["run", "--rm", "-v", &read_only, "-v", &writable, "busybox", "sh", "-c"];
        assert_eq!(cli.run(&[&words[..], &[script]].concat()), "content\nrefused\n");
        assert_eq!(std::fs::read_to_string(dir.join("out")).unwrap(), "new\n");
        assert!(!dir.join("x").exists());

        let root = ["run", "--rm", "--read-only", "--tmpfs", "/t", "busybox", "sh", "-c"];
        let script = "touch /x || echo refused; touch /t/x && echo taken";
        assert_eq!(cli.run(&[&root[..], &[script]].concat()), "refused\ntaken\n");
    });
}

#[test]
fn inspect_tells_what_was_configured() {
    with_both(|cli| {
        let words = [
            &["create", "--name", "told", "-e", "A=b", "--label", "l=v", "-v", "/tmp:/x:ro"][..],
            &["-p", "127.0.0.1:18081:80/udp", "--entrypoint", "sh", "--restart", "always"],
            &["--stop-signal", "USR1", "busybox", "-c", "true"],
        ];
        let id = cli.run(&words.concat());
        let id = id.trim_end();
        let image = cli.run(&["images", "-q", "--no-trunc"]);
        for (format, expected) in [
            ("{{.Id}}", id),
            ("{{.Image}}", image.trim_end()),
            ("{{.Config.Image}}", "busybox"),
            ("{{.State.Status}}", "created"),
            ("{{.Path}} {{.Args}}", "sh [-c true]"),
            ("{{index .Config.Env 0}}", "A=b"),
            ("{{index .Config.Labels \"l\"}}", "v"),
            ("{{.HostConfig.Binds}}", "[/tmp:/x:ro]"),
            ("{{range .Mounts}}{{.Type}} {{.Source}} {{.RW}}{{end}}", "bind /tmp false"),
            ("{{.HostConfig.RestartPolicy.Name}}", "always"),
            ("{{.Config.StopSignal}}", "USR1"),
            (
                "{{json .HostConfig.PortBindings}}",
                r#"{"80/udp":[{"HostIp":"127.0.0.1","HostPort":"18081"}]}"#,
            ),
        ] {
            assert_eq!(cli.inspect("told", format), expected, "{format}");
        }
        cli.run(&["rm", "told"]);
    });
}

#[test]
fn a_signal_reaches_the_process_and_the_stop_signal_is_used() {
    with_both(|cli| {
        // A shell that is the first process of its namespace gets only the signals it handles.
        let script = "trap 'echo usr; exit 6' USR1; echo ready; sleep 600 & wait";
        let words = ["run", "-d", "--name", "xs", "--stop-signal", "USR1", "busybox", "sh", "-c"];
        cli.run(&[&words[..], &[script]].concat());
        crate::support::eventually("the trap", || {
            (cli.run(&["logs", "xs"]) == "ready\n").then_some(())
        });
        cli.run(&["stop", "xs"]);
        assert_eq!(cli.inspect("xs", "{{.State.ExitCode}}"), "6");
        assert_eq!(cli.run(&["logs", "xs"]), "ready\nusr\n");
        cli.run(&["rm", "xs"]);
        let alive = run(Command::new("ps").args(["-eo", "args"]));
        assert!(!alive.contains("trap 'echo usr; exit 6' USR1; echo ready"), "{alive}");
    });
}
