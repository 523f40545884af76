//! Shims and first processes that are killed by somebody else, at any moment: the daemon notices, gives
//! everything back, and goes on.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{eventually, run};
use crate::{Cli, daemon, with_both};

fn kill(signal: &str, pid: &str) {
    run(Command::new("kill").args([signal, pid]));
}

/// The process id of the shim of a running container.
fn shim_of(cli: &Cli, name: &str) -> String {
    let id = cli.inspect(name, "{{.Id}}");
    let record = cli.daemon.exec_root().join("shim").join(id).join("run.json");
    let record = std::fs::read_to_string(record).unwrap();
    let after = record.split("\"shimPid\":").nth(1).unwrap();
    after.chars().take_while(char::is_ascii_digit).collect()
}

/// Whether a process is no more, or waits only to be reaped.
fn ended(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

fn state(cli: &Cli, name: &str) -> String {
    cli.inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}")
}

#[test]
fn a_container_does_not_outlive_its_shim() {
    with_both(|cli| {
        let server = ["-p", "18090:80", "-m", "64m", "busybox", "sh", "-c", "sleep 600 & wait"];
        cli.run(&[&["run", "-d", "--name", "orphan"], &server[..]].concat());
        let pid = cli.inspect("orphan", "{{.State.Pid}}");
        let mut inside = cli.command(&["exec", "orphan", "sleep", "599"]);
        let mut inside = inside.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        eventually("the process inside", || {
            cli.run(&["top", "orphan"]).lines().find(|l| l.ends_with(" sleep 599")).map(drop)
        });
        kill("-KILL", &shim_of(cli, "orphan"));
        // Its clients are told, its end is known, its processes and its port are gone.
        assert!(!inside.wait().unwrap().success(), "{}", cli.daemon.log());
        assert_ne!(cli.run(&["wait", "orphan"]), "0\n");
        eventually("the end", || state(cli, "orphan").starts_with("exited ").then_some(()));
        eventually("the end of its process", || ended(&pid).then_some(()));
        eventually("the start of another life", || {
            (cli.code(&["start", "orphan"]).0 == 0).then_some(())
        });
        assert_eq!(cli.run(&["exec", "orphan", "echo", "in"]), "in\n");
        cli.run(&["rm", "-f", "orphan"]);
    });
}

#[test]
fn a_first_process_killed_from_outside_ends_its_container() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "shot", "busybox", "sleep", "600"]);
        kill("-KILL", &cli.inspect("shot", "{{.State.Pid}}"));
        assert_eq!(cli.run(&["wait", "shot"]), "137\n");
        assert_eq!(state(cli, "shot"), "exited 137 0");
        cli.run(&["rm", "shot"]);
    });
}

#[test]
fn questions_are_answered_while_a_shim_is_stuck() {
    with_both(|cli| {
        cli.run(&["run", "-d", "--name", "stuck", "busybox", "sleep", "600"]);
        let (pid, shim) = (cli.inspect("stuck", "{{.State.Pid}}"), shim_of(cli, "stuck"));
        kill("-STOP", &shim);
        // Nothing of this asks the shim.
        assert_eq!(cli.inspect("stuck", "{{.State.Status}}"), "running");
        assert!(cli.run(&["ps"]).contains("stuck"));
        assert!(cli.run(&["top", "stuck"]).contains(&pid));
        assert_eq!(cli.run(&["logs", "stuck"]), "");
        assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
        kill("-CONT", &shim);
        cli.run(&["stop", "-t", "0", "stuck"]);
        cli.run(&["rm", "stuck"]);
    });
}

#[test]
fn a_shim_killed_while_no_daemon_runs_is_found_dead() {
    let mut daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    cli.run(&["run", "-d", "--name", "lost", "-p", "18091:80", "busybox", "sleep", "600"]);
    let (pid, shim) = (cli.inspect("lost", "{{.State.Pid}}"), shim_of(&cli, "lost"));
    daemon.kill();
    kill("-KILL", &shim);
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: true };
    eventually("the end", || state(&cli, "lost").starts_with("exited ").then_some(()));
    // Whoever adopted it may take his time to wait for it.
    eventually("the end of its process", || ended(&pid).then_some(()));
    cli.run(&["start", "lost"]);
    cli.run(&["rm", "-f", "lost"]);
    cli.nothing_left();
    daemon.stop();
}

/// The shim is killed at moments from before its start to after the container's.
#[test]
fn a_shim_killed_at_any_step_of_a_start_leaves_nothing() {
    let daemon = daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let shims = || -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let children =
            tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<String> = children
            .flat_map(|text| text.split_ascii_whitespace().map(String::from).collect::<Vec<_>>())
            .collect();
        let is_shim = |pid: &String| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains("shim"))
        };
        pids.into_iter().filter(is_shim).collect()
    };
    let mut failures = 0;
    for round in 0..30u64 {
        let mut start = cli.command(&["run", "--rm", "-p", "18092:80", "busybox", "sleep", "0.01"]);
        let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let found = eventually("a shim, or the end", || {
            let found = shims();
            (!found.is_empty() || start.try_wait().unwrap().is_some()).then_some(found)
        });
        let begin = Instant::now();
        // From at once to later than the container may live, in steps of half a millisecond.
        while begin.elapsed() < Duration::from_micros(500 * round) {
            std::hint::spin_loop();
        }
        for shim in found {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-KILL", &shim]).stderr(Stdio::null()).status();
        }
        if !start.wait().unwrap().success() {
            failures += 1;
        }
        cli.nothing_left();
    }
    assert!(failures > 0, "no kill met a start");
    assert_eq!(cli.run(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    daemon.stop();
}
