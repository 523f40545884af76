//! Exit codes of what cannot be run, and that nothing is left of it.

use crate::with_both;

#[test]
fn wrong_flags_and_unknown_images_exit_125() {
    with_both(|cli| {
        let (code, told) = cli.code(&["run", "--nonsense", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        assert!(told.starts_with("unknown flag: --nonsense\n"), "{told}");
        let (code, told) = cli.code(&["run", "-m", "lots", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("invalid argument \"lots\" for \"-m, --memory\" flag"), "{told}");
        let (code, told) = cli.code(&["run", "--pull", "never", "nosuch", "true"]);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("No such image: nosuch:latest"), "{told}");
        let (code, told) = cli.code(&["run", "--net", "nosuch", "--rm", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("network nosuch not found"), "{told}");
        let (code, told) = cli.code(&["run", "-v", "relative/:/x:bogus", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        let missing = ["run", "--rm", "--mount", "type=bind,src=/nonexistent,dst=/x", "busybox"];
        let (code, told) = cli.code(&missing);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("bind source path does not exist: /nonexistent"), "{told}");
    });
}

#[test]
fn a_name_in_use_exits_125_and_its_owner_lives_on() {
    with_both(|cli| {
        let id = cli.run(&["run", "-d", "--name", "taken", "busybox", "sleep", "600"]);
        let (code, told) = cli.code(&["run", "--name", "taken", "busybox", "true"]);
        assert_eq!(code, 125, "{told}");
        let reason = format!(
            "Conflict. The container name \"/taken\" is already in use by container \"{}\"",
            id.trim_end()
        );
        assert!(told.contains(&reason), "{told}");
        assert_eq!(cli.run(&["ps", "-aq", "--no-trunc"]), id);
        assert_eq!(cli.inspect("taken", "{{.State.Running}}"), "true");
        cli.run(&["rm", "-f", "taken"]);
    });
}

#[test]
fn unknown_commands_exit_127_and_unusable_ones_126() {
    with_both(|cli| {
        for (program, code, reason) in [
            ("nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
            ("/nosuch", 127, "no such file or directory"),
            ("/etc", 126, "is a directory"),
            ("/etc/passwd", 126, "permission denied"),
        ] {
            let (actual, told) = cli.code(&["run", "--rm", "busybox", program]);
            assert_eq!(actual, code, "{program}: {told}");
            assert!(told.contains(reason), "{program}: {told}");
            cli.nothing_left();

            // Without `--rm` the container stays, with its reason, and can be removed.
            assert_eq!(cli.code(&["run", "--name", "bad", "busybox", program]).0, code);
            let format = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}";
            let state = cli.inspect("bad", format);
            assert!(state.starts_with(&format!("created {code} ")), "{state}");
            assert!(state.contains(reason), "{state}");
            let (actual, told) = cli.code(&["start", "bad"]);
            assert_eq!(actual, 1, "{told}");
            assert!(told.contains(reason), "{told}");
            cli.run(&["rm", "bad"]);
        }
    });
}

#[test]
fn a_port_in_use_exits_125_and_leaves_nothing() {
    with_both(|cli| {
        let publish = ["-p", "18080:80", "busybox", "sleep", "600"];
        cli.run(&[&["run", "-d", "--name", "first"][..], &publish].concat());
        let second = [&["run", "--rm", "--name", "second"][..], &publish].concat();
        let (code, told) = cli.code(&second);
        assert_eq!(code, 125, "{told}");
        assert!(told.contains("18080 failed: port is already allocated"), "{told}");
        assert_eq!(cli.run(&["ps", "-a", "--format", "{{.Names}}"]), "first\n");
        assert_eq!(cli.inspect("first", "{{.State.Running}}"), "true");
        cli.run(&["rm", "-f", "first"]);
        // What the failure held back would be in the way now.
        cli.run(&[&["run", "-d", "--name", "second"][..], &publish].concat());
        cli.run(&["rm", "-f", "second"]);
    });
}

#[test]
fn a_container_that_is_not_there_is_named() {
    with_both(|cli| {
        for words in [
            &["start", "nosuch"][..],
            &["stop", "nosuch"],
            &["kill", "nosuch"],
            &["rm", "nosuch"],
            &["logs", "nosuch"],
            &["exec", "nosuch", "true"],
            &["attach", "nosuch"],
            &["top", "nosuch"],
            &["wait", "nosuch"],
            &["rename", "nosuch", "other"],
        ] {
            let (code, told) = cli.code(words);
            assert_eq!(code, 1, "{words:?}: {told}");
            assert!(told.contains("No such container: nosuch"), "{words:?}: {told}");
        }
    });
}
