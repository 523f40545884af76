//! Daemons that die or end while containers run, and what the next one finds.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::stat::Mode;

use crate::support::daemon::Daemon;
use crate::support::{eventually, run};
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
fn a_proxy_of_the_next_daemon_ends_with_its_container() {
    let mut daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&["run", "-d", "--name", "web", "-p", "18080:80", "busybox", "sleep", "600"]);
    let id = cli.inspect("web", "{{.Id}}");
    let endpoint = daemon.exec_root().join("shim").join(&id).join("endpoint.json");
    let proxy = || {
        let text = std::fs::read_to_string(&endpoint).unwrap_or_default();
        let pid = text.split("\"ProxyPid\":").nth(1)?.split([',', '}']).next()?.to_string();
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    };
    let first = proxy().unwrap_or_else(|| panic!("no proxy"));
    daemon.kill();
    run(Command::new("kill").args(["-KILL", &first]));
    gone(&first);
    daemon.start_again();
    let second = eventually("another proxy", || proxy().filter(|pid| *pid != first));
    daemon.kill();
    // Nobody is there to end it, and its interface stays.
    let shim = shim_of(&daemon, &id);
    run(Command::new("kill").args(["-KILL", &shim]));
    gone(&second);
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    assert_eq!(cli.inspect("web", "{{.State.Status}}"), "exited");
    cli.run(&["rm", "web"]);
    cli.nothing_left();
    daemon.stop();
}

#[test]
fn a_cgroup_that_was_in_use_at_the_end_goes_later() {
    let mut daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let mut guests = Vec::new();
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let id = cli.run(&["run", "-d", "--name", name, "busybox", "sleep", "600"]);
        let pid = cli.inspect(name, "{{.State.Pid}}");
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line = groups.lines().find(|l| l.contains(":memory:") || l.starts_with("0::/docker"));
        let mut parts = line.unwrap().splitn(3, ':').skip(1);
        let (controller, path) = (parts.next().unwrap(), parts.next().unwrap());
        let procs = format!("/sys/fs/cgroup/{controller}{path}/cgroup.procs");
        // Somebody who is none of the container's, and stays.
        let guest = Guest(Command::new("sleep").arg("600").spawn().unwrap());
        std::fs::write(&procs, guest.0.id().to_string()).unwrap();
        guests.push((guest, PathBuf::from(procs).parent().unwrap().to_path_buf()));
        ids.push(id.trim_end().to_string());
        cli.run(&["rm", "-f", name]);
    }
    for (_, dir) in &guests {
        assert!(dir.exists(), "{}", dir.display());
    }
    drop(guests.remove(0).0);
    let left = daemon.exec_root().join("left");
    eventually("removal of the first", || (!left.join(&ids[0]).exists()).then_some(()));
    // The next daemon knows of the other one.
    daemon.kill();
    daemon.start_again();
    let (guest, dir) = guests.remove(0);
    assert!(dir.exists());
    drop(guest);
    eventually("removal of the second", || (!left.join(&ids[1]).exists()).then_some(()));
    daemon.terminate();
    assert_eq!(daemon.leftovers(&ids), Vec::<String>::new());
}

/// A process that is ended and collected with its owner.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that keeps the container `id`.
fn shim_of(daemon: &Daemon, id: &str) -> String {
    let pid = run(Command::new("pgrep").args(["-f", &format!("shim.*{id}")]));
    assert_eq!(pid.lines().count(), 1, "{pid}\n{}", daemon.log());
    pid.trim().to_string()
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
