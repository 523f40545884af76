//! Containers that stand still: what the kernel says of them, and what can be done to them meanwhile.

use crate::settings::limit;
use crate::{Cli, daemon, with_both};

/// Whether the kernel holds the processes of the cgroup of `pid`.
fn is_frozen(pid: &str) -> bool {
    let told = limit(pid, "freezer", "freezer.state", "cgroup.events");
    told == "FROZEN" || told.lines().any(|line| line == "frozen 1")
}

fn paused(cli: &Cli, name: &str, script: &str, options: &[&str]) -> String {
    let words = ["--name", name, "busybox", "sh", "-c", script];
    cli.run(&[&["run", "-d"], options, &words[..]].concat());
    let pid = cli.inspect(name, "{{.State.Pid}}");
    assert_eq!(cli.run(&["pause", name]), format!("{name}\n"));
    assert!(is_frozen(&pid));
    pid
}

#[test]
fn a_paused_container_stands_still_and_is_shown_so() {
    with_both(|cli| {
        let pid = paused(cli, "still", "sleep 600", &[]);
        assert_eq!(cli.inspect("still", "{{.State.Status}} {{.State.Paused}}"), "paused true");
        assert_eq!(cli.inspect("still", "{{.State.Running}}"), "true");
        let status = cli.run(&["ps", "--filter", "status=paused", "--format", "{{.Status}}"]);
        assert!(status.starts_with("Up ") && status.ends_with(" (Paused)\n"), "{status}");
        assert_eq!(cli.run(&["info", "--format", "{{.ContainersPaused}}"]), "1\n");
        // What does not need the processes goes on.
        assert!(cli.run(&["top", "still"]).contains("sleep 600"));

        for (words, error) in [
            (&["pause", "still"][..], "is already paused"),
            (&["exec", "still", "true"], "is paused, unpause the container before exec"),
            (&["start", "still"], "cannot start a paused container, try unpause instead"),
            (&["attach", "still"], "cannot attach to a paused container, unpause it first"),
            (&["rm", "still"], "unpause and then stop the container before removing"),
        ] {
            let (code, told) = cli.code(words);
            assert!(code != 0 && told.contains(error), "{words:?}: {code} {told}");
        }
        assert!(is_frozen(&pid));
        assert_eq!(cli.run(&["unpause", "still"]), "still\n");
        assert!(!is_frozen(&pid));
        assert_eq!(cli.inspect("still", "{{.State.Status}} {{.State.Paused}}"), "running false");
        assert!(cli.code(&["unpause", "still"]).1.contains("is not paused"));
        let id = cli.inspect("still", "{{.Id}}");
        cli.run(&["kill", "still"]);
        assert!(cli.code(&["pause", "still"]).1.contains("is not running"));
        let seen = cli.events(&id);
        assert_eq!(seen, ["create", "start", "pause", "top", "unpause", "kill", "die"]);
        cli.run(&["rm", "still"]);
    });
}

#[test]
fn signals_that_end_a_paused_container_let_it_go_on() {
    with_both(|cli| {
        let trap = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
        paused(cli, "stopped", trap, &[]);
        cli.run(&["stop", "stopped"]);
        assert_eq!(cli.inspect("stopped", "{{.State.ExitCode}} {{.State.Paused}}"), "5 false");
        cli.run(&["rm", "stopped"]);

        paused(cli, "killed", "sleep 600", &[]);
        cli.run(&["kill", "killed"]);
        assert_eq!(cli.inspect("killed", "{{.State.ExitCode}}"), "137");
        cli.run(&["rm", "killed"]);

        // Any other signal waits until somebody lets it go on.
        let trap = "trap 'exit 6' USR1; while :; do sleep 0.1; done";
        let pid = paused(cli, "told", trap, &["--stop-signal", "TERM"]);
        cli.run(&["kill", "-s", "USR1", "told"]);
        assert!(is_frozen(&pid));
        cli.run(&["unpause", "told"]);
        assert_eq!(cli.run(&["wait", "told"]), "6\n");
        cli.run(&["rm", "told"]);

        paused(cli, "removed", "sleep 600", &[]);
        cli.run(&["rm", "-f", "removed"]);
    });
}

#[test]
fn a_new_daemon_finds_paused_containers_paused() {
    let mut daemon = daemon(&[]);
    let pid = paused(&Cli { daemon: &daemon, official: false }, "kept", "sleep 600", &[]);
    daemon.kill();
    assert!(is_frozen(&pid));
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    assert_eq!(cli.inspect("kept", "{{.State.Status}} {{.State.Pid}}"), format!("paused {pid}"));
    cli.run(&["unpause", "kept"]);
    assert!(!is_frozen(&pid));
    cli.run(&["exec", "kept", "true"]);
    cli.run(&["pause", "kept"]);
    // A daemon that ends stops its containers, the paused ones as well.
    daemon.terminate();
    daemon.start_again();
    let cli = Cli { daemon: &daemon, official: false };
    assert_eq!(cli.inspect("kept", "{{.State.Status}}"), "exited");
    cli.run(&["rm", "kept"]);
    daemon.stop();
}
