//! Run, look, enter, stop and remove; and what is told of it.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::{output, text};
use crate::with_both;

#[test]
fn run_gives_both_outputs_and_the_exit_code() {
    with_both(|cli| {
        let script = "echo out; echo err >&2; exit 7";
        let told = output(&mut cli.command(&["run", "--rm", "busybox", "sh", "-c", script]));
        assert_eq!(text(&told.stdout), "out\n");
        assert_eq!(text(&told.stderr), "err\n");
        assert_eq!(told.status.code(), Some(7));
    });
}

#[test]
fn large_output_comes_whole() {
    with_both(|cli| {
        let told = output(&mut cli.command(&["run", "--rm", "busybox", "seq", "300000"]));
        let expected: String = (1..=300_000).map(|i| format!("{i}\n")).collect();
        assert!(text(&told.stdout) == expected, "{} bytes", told.stdout.len());
        assert!(told.status.success());
    });
}

#[test]
fn a_detached_container_is_listed_entered_stopped_and_removed() {
    with_both(|cli| {
        let script = "trap 'echo bye; exit 4' TERM; echo one; echo two >&2; sleep 600 & wait";
        let id = cli.run(&["run", "-d", "--name", "web", "busybox", "sh", "-c", script]);
        let id = id.trim_end();
        assert_eq!(id.len(), 64);

        let columns = "{{.ID}} {{.Image}} {{.Names}} {{.State}}";
        let listed = cli.run(&["ps", "--format", columns]);
        assert_eq!(listed, format!("{} busybox web running\n", &id[..12]));
        assert_eq!(cli.run(&["ps", "-q", "--filter", "status=exited"]), "");

        let mut follow = cli.command(&["logs", "-f", "web"]);
        let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        let mut errors = BufReader::new(follow.stderr.take().unwrap()).lines();
        assert_eq!(errors.next().unwrap().unwrap(), "two");

        let exec = output(&mut cli.command(&["exec", "web", "sh", "-c", "echo in; exit 5"]));
        assert_eq!((text(&exec.stdout).as_str(), exec.status.code()), ("in\n", Some(5)));
        let env = ["exec", "-e", "A=b", "-w", "/tmp", "-u", "daemon", "web", "sh", "-c"];
        let words = [&env[..], &["echo $A $PWD $(id -u)"]].concat();
        assert_eq!(cli.run(&words), "b /tmp 1\n");
        assert_eq!(cli.code(&["exec", "web", "/nosuch"]).0, 127);
        assert_eq!(cli.code(&["exec", "web", "/etc"]).0, 126);

        let top = cli.run(&["top", "web", "-o", "pid,args"]);
        assert!(top.contains("sleep 600"), "{top}");

        assert_eq!(cli.run(&["rename", "web", "site"]), "");
        assert_eq!(cli.inspect(id, "{{.Name}}"), "/site");
        assert_eq!(cli.code(&["inspect", "web"]).0, 1);
        assert!(cli.code(&["rm", "site"]).1.contains("container is running"));

        assert_eq!(cli.run(&["stop", "site"]), "site\n");
        assert_eq!(lines.next().unwrap().unwrap(), "bye");
        assert!(lines.next().is_none(), "the end of the container ends its logs");
        assert!(follow.wait().unwrap().success());
        assert_eq!(cli.run(&["wait", "site"]), "4\n");
        assert_eq!(cli.inspect("site", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
        assert_eq!(cli.inspect("site", "{{.State.Pid}} {{.State.Running}}"), "0 false");
        let stopped = output(&mut cli.command(&["logs", "site"]));
        assert_eq!(text(&stopped.stdout), "one\nbye\n");
        assert_eq!(text(&stopped.stderr), "two\n");
        assert_eq!(cli.run(&["logs", "--tail", "1", "site"]), "bye\n");
        assert_eq!(cli.run(&["rm", "site"]), "site\n");
    });
}

#[test]
fn events_tell_a_life_in_its_order() {
    with_both(|cli| {
        // Names are free again after `--rm`; events are asked for by id.
        let file = cli.daemon.dir().join(format!("id-{}", cli.official));
        let cidfile = file.to_str().unwrap();
        cli.run(&["run", "--rm", "--cidfile", cidfile, "busybox", "true"]);
        let id = std::fs::read_to_string(&file).unwrap();
        let seen = cli.events(&id);
        assert_eq!(seen, ["create", "attach", "start", "die", "destroy"]);

        let words = ["create", "--name", "long", "busybox", "sleep", "600"];
        let id = cli.run(&words);
        cli.run(&["start", "long"]);
        cli.run(&["kill", "-s", "KILL", "long"]);
        assert_eq!(cli.run(&["wait", "long"]), "137\n");
        cli.run(&["rm", "long"]);
        let seen = cli.events(id.trim_end());
        assert_eq!(seen, ["create", "start", "kill", "die", "destroy"]);
    });
}

#[test]
fn wait_answers_when_the_container_ends() {
    with_both(|cli| {
        cli.run(&["run", "-d", "-i", "--name", "xw", "busybox", "sh", "-c", "read x; exit 9"]);
        let mut wait = cli.command(&["wait", "xw"]);
        let wait = wait.stdout(Stdio::piped()).spawn().unwrap();
        let mut attach = cli.command(&["attach", "xw"]);
        let mut attach = attach.stdin(Stdio::piped()).spawn().unwrap();
        attach.stdin.take().unwrap().write_all(b"x\n").unwrap();
        assert_eq!(attach.wait().unwrap().code(), Some(9));
        assert_eq!(text(&wait.wait_with_output().unwrap().stdout), "9\n");
        cli.run(&["rm", "xw"]);
    });
}

#[test]
fn a_stopped_container_starts_again_with_its_files() {
    with_both(|cli| {
        let script = "test -e /mark && exec cat /mark; echo kept > /mark; exit 3";
        assert_eq!(cli.code(&["run", "--name", "again", "busybox", "sh", "-c", script]).0, 3);
        assert_eq!(cli.run(&["start", "-a", "again"]), "kept\n");
        assert_eq!(cli.inspect("again", "{{.State.ExitCode}}"), "0");
        cli.run(&["rm", "again"]);

        cli.run(&["run", "-d", "--name", "sleeper", "busybox", "sleep", "600"]);
        let pid = cli.inspect("sleeper", "{{.State.Pid}}");
        cli.run(&["restart", "-t", "0", "sleeper"]);
        assert_ne!(cli.inspect("sleeper", "{{.State.Pid}}"), pid);
        assert_eq!(cli.inspect("sleeper", "{{.State.Status}}"), "running");
        cli.run(&["rm", "-f", "sleeper"]);
    });
}

#[test]
fn restarts_on_failure_come_to_an_end() {
    with_both(|cli| {
        let policy = ["create", "--name", "xr", "--restart", "on-failure:2"];
        let id = cli.run(&[&policy[..], &["busybox", "sh", "-c", "echo try; exit 9"]].concat());
        cli.run(&["start", "xr"]);
        assert_eq!(cli.run(&["wait", "xr"]), "9\n");
        assert_eq!(cli.inspect("xr", "{{.RestartCount}} {{.State.Status}}"), "2 exited");
        assert_eq!(cli.run(&["logs", "xr"]), "try\ntry\ntry\n");
        let lives = ["create", "start", "die", "start", "die", "start", "die"];
        assert_eq!(cli.events(id.trim_end()), lives);
        cli.run(&["rm", "xr"]);
    });
}

#[test]
fn listings_take_names_as_expressions_and_ids_by_their_beginning() {
    with_both(|cli| {
        let ids: Vec<String> = ["web1", "web2", "db-web"]
            .iter()
            .map(|name| cli.run(&["create", "--name", name, "busybox", "true"]).trim().to_string())
            .collect();
        let listed = |filters: &[&str]| {
            let filters = filters.iter().flat_map(|filter| ["-f", filter]);
            let words = ["ps", "-a", "--format", "{{.Names}}"];
            let told = cli.run(&words.into_iter().chain(filters).collect::<Vec<_>>());
            let mut names: Vec<String> = told.lines().map(ToString::to_string).collect();
            names.sort();
            names.join(" ")
        };
        for (filter, names) in [
            ("name=web", "db-web web1 web2"),
            ("name=^web", "web1 web2"),
            ("name=^/web[13-9]$", "web1"),
            ("name=^(db|cache)-.*", "db-web"),
            ("name=(?i)WEB\\d", "web1 web2"),
            ("name=[web", ""),
        ] {
            assert_eq!(listed(&[filter]), names, "{filter}");
        }
        assert_eq!(listed(&["name=web2", "name=^db"]), "db-web web2");
        assert_eq!(listed(&[&format!("id={}", &ids[2][..20])]), "db-web");
        assert_eq!(listed(&[&format!("id={}", &ids[2][1..20])]), "");
        cli.run(&["rm", "web1", "web2", "db-web"]);
    });
}
