//! Daemons that die or end while containers run, and what the next one finds.

use std::path::Path;

use nix::sys::stat::Mode;

use crate::support::eventually;
use crate::{Cli, daemon};

/// Waits until a process is no more.
fn gone(pid: &str) {
    let proc = format!("/proc/{pid}");
    eventually("the end of the process", || (!Path::new(&proc).exists()).then_some(()));
}

#[test]
fn a_killed_daemon_leaves_containers_to_the_next_one() {
    let mut daemon = daemon(&[]);
    let dir = daemon.dir().to_path_buf();
    nix::unistd::mkfifo(&dir.join("go"), Mode::S_IRWXU).unwrap();
    let volume = format!("{}:/t", dir.display());
    let script = "trap 'echo bye; exit 4' TERM; echo before; read x < /t/go; echo $x; \
                  sleep 600 & wait";
    let cli = Cli { daemon: &daemon, official: false };
    let server = ["-p", "18080:80", "busybox", "sh", "-c", script];
    cli.run(&[&["run", "-d", "--name", "xc", "-v", &volume][..], &server].concat());
    let format = "{{.Id}} {{.State.Pid}} {{.State.StartedAt}} \
                  {{.NetworkSettings.Networks.bridge.IPAddress}}";
    let told = cli.inspect("xc", format);
    let pid = cli.inspect("xc", "{{.State.Pid}}");

    daemon.kill();
    // The container goes on, and its output is kept while nobody is there. Opening waits for it.
    std::fs::write(dir.join("go"), "during\n").unwrap();
    daemon.start_again();

    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.inspect("xc", format), told);
    assert_eq!(cli.inspect("xc", "{{.State.Status}}"), "running");
    eventually("the output", || (cli.run(&["logs", "xc"]) == "before\nduring\n").then_some(()));
    assert_eq!(cli.run(&["exec", "xc", "echo", "in"]), "in\n");
    assert!(cli.run(&["top", "xc"]).contains(&pid));
    // Its port is still its own.
    let second = ["run", "--rm", "-p", "18080:80", "busybox", "true"];
    assert_eq!(cli.code(&second).0, 125);

    daemon.kill();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    cli.run(&["stop", "xc"]);
    assert_eq!(cli.run(&["wait", "xc"]), "4\n");
    assert_eq!(cli.run(&["logs", "xc"]), "before\nduring\nbye\n");
    assert_eq!(cli.run(&["start", "xc"]), "xc\n");
    cli.run(&["rm", "-f", "xc"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn an_exit_code_is_kept_while_no_daemon_runs() {
    let mut daemon = daemon(&[]);
    let dir = daemon.dir().to_path_buf();
    nix::unistd::mkfifo(&dir.join("go"), Mode::S_IRWXU).unwrap();
    let volume = format!("{}:/t", dir.display());
    let cli = Cli { daemon: &daemon, official: false };
    let common = ["run", "-d", "-v", &volume, "--name"];
    let script = "read x < /t/go; echo last; exit 3";
    cli.run(&[&common[..], &["kept", "busybox", "sh", "-c", script]].concat());
    let kept = cli.inspect("kept", "{{.State.Pid}}");
    daemon.kill();
    std::fs::write(dir.join("go"), "x\n").unwrap();
    gone(&kept);
    daemon.start_again();

    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.run(&["wait", "kept"]), "3\n");
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}";
    assert_eq!(cli.inspect("kept", state), "exited 3 0");
    assert_eq!(cli.run(&["logs", "kept"]), "last\n");
    assert_eq!(cli.run(&["ps", "-q"]), "");

    // One that removes itself does so, though it ended unseen.
    let script = "read x < /t/go";
    cli.run(&[&common[..], &["rid", "--rm", "busybox", "sh", "-c", script]].concat());
    let rid = cli.inspect("rid", "{{.State.Pid}}");
    daemon.kill();
    std::fs::write(dir.join("go"), "x\n").unwrap();
    gone(&rid);
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    eventually("removal", || {
        (cli.run(&["ps", "-a", "--format", "{{.Names}}"]) == "kept\n").then_some(())
    });
    cli.run(&["rm", "kept"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn a_daemon_that_ends_stops_its_containers() {
    let mut daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let script = "trap 'exit 4' TERM; echo ready; sleep 600 & wait";
    cli.run(&["run", "-d", "--name", "once", "busybox", "sh", "-c", script]);
    let always = ["run", "-d", "--restart", "always", "--name", "always", "busybox", "sh", "-c"];
    cli.run(&[&always[..], &[script]].concat());
    for name in ["once", "always"] {
        eventually("the trap", || (cli.run(&["logs", name]) == "ready\n").then_some(()));
    }
    let pids = ["once", "always"].map(|name| cli.inspect(name, "{{.State.Pid}}"));
    daemon.terminate();
    for pid in &pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.inspect("once", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    eventually("another life", || {
        (cli.inspect("always", "{{.State.Status}}") == "running").then_some(())
    });
    assert_ne!(cli.inspect("always", "{{.State.Pid}}"), pids[1]);
    cli.run(&["rm", "-f", "once", "always"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn live_restore_keeps_containers_over_a_restart() {
    let mut daemon = daemon(&["--live-restore"]);
    let cli = Cli { daemon: &daemon, official: false };
    let script = "echo ready; sleep 600";
    cli.run(&["run", "-d", "--name", "live", "busybox", "sh", "-c", script]);
    let pid = cli.inspect("live", "{{.State.Pid}}");
    daemon.terminate();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.inspect("live", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(cli.run(&["exec", "live", "echo", "in"]), "in\n");
    assert_eq!(cli.run(&["logs", "live"]), "ready\n");
    cli.run(&["rm", "-f", "live"]);
    cli.nothing_left();
    daemon.stop();
}
