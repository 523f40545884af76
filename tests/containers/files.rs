//! Flags of `run` and `create` that read and write files, and those about names and programs.

use std::fs;

use crate::support::daemon::Daemon;
use crate::support::{images, output, text};
use crate::{Cli, with_both};

/// What a container prints that runs a script with these options.
fn sh(cli: &Cli, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm", "--net", "none"][..], options, &["busybox", "sh", "-c", script]];
    cli.run(&words.concat())
}

#[test]
fn environment_and_labels_come_from_files() {
    with_both(|cli| {
        let dir = cli.daemon.dir().join(format!("files{}", cli.official));
        fs::create_dir(&dir).unwrap();
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_string()
        };
        let env =
            file("env", "\u{feff}# comment\nA=1\n  B=two words \nFROM_HOST\nABSENT\nE=\n\nC=x=y\n");
        let script = "echo \"$A|$B|$C|$FROM_HOST|${ABSENT-none}|${E-none}|$OWN\"";
        let words = ["run", "--rm", "--net", "none", "--env-file", &env, "-e", "A=2", "-e", "OWN"];
        let mut command = cli.command(&[&words[..], &["busybox", "sh", "-c", script]].concat());
        command.env("FROM_HOST", "host").env("OWN", "own").env_remove("ABSENT");
        let told = output(&mut command);
        assert_eq!(text(&told.stdout), "2|two words |x=y|host|none||own\n");

        let labels = file("labels", "a=1\nwithout-value\n# c=3\n");
        let id_file = dir.join("id");
        let id_path = id_file.to_str().unwrap();
        let words =
            ["create", "--name", "filed", "--label-file", &labels, "-l", "a=2", "--cidfile"];
        let id = cli.run(&[&words[..], &[id_path, "busybox"]].concat());
        assert_eq!(fs::read_to_string(&id_file).unwrap(), id.trim_end());
        assert_eq!(cli.inspect("filed", "{{json .Config.Labels}}"), r#"{"a":"2"}"#);
        cli.run(&["rm", "filed"]);
        // The file keeps another container from being made, and goes with one that was not.
        let (code, told) = cli.code(&["create", "--cidfile", id_path, "busybox"]);
        assert_eq!(code, 1);
        let want = format!(
            "container ID file found, make sure the other container isn't running or delete {id_path}"
        );
        assert!(told.contains(&want), "{told}");
        fs::remove_file(&id_file).unwrap();
        let (code, _) = cli.code(&["run", "--cidfile", id_path, "-v", "/a:/b:bad", "busybox"]);
        assert_eq!((code, id_file.exists()), (125, false));

        for (words, content, want) in [
            ("--env-file", "=x\n", "no variable name on line '=x'"),
            ("--env-file", "a b=x\n", "variable 'a b' contains whitespaces"),
            ("--label-file", "=x\n", "no variable name on line '=x'"),
        ] {
            let path = file("bad", content);
            let (code, told) = cli.code(&["run", "--rm", words, &path, "busybox", "true"]);
            assert!(code == 125 && told.contains(want), "{words}: {code} {told}");
        }
    });
}

#[test]
fn programs_and_places_are_those_of_the_command_line() {
    with_both(|cli| {
        assert_eq!(sh(cli, &["-w", "/usr/bin"], "pwd"), "/usr/bin\n");
        let run =
            |words: &[&str]| cli.run(&[&["run", "--rm", "--net", "none"][..], words].concat());
        assert_eq!(run(&["--entrypoint", "echo", "busybox", "a", "b"]), "a b\n");
        // An empty one takes that of the image away, and its command with it.
        assert_eq!(run(&["--entrypoint", "", "busybox", "echo", "own"]), "own\n");
        let (code, told) = cli.code(&["run", "--rm", "-w", "relative", "busybox", "true"]);
        assert!(
            code == 125 && told.contains("the working directory 'relative' is invalid"),
            "{told}"
        );
        let (code, told) = cli.code(&["run", "--rm", "-w", "/etc/passwd", "busybox", "true"]);
        assert!(code == 125 || code == 126 || code == 127, "{code}");
        assert!(told.contains("not a directory"), "{told}");
        let (code, told) = cli.code(&["run", "--pull", "never", "nosuch:1", "true"]);
        assert!(code == 125 && told.contains("No such image: nosuch:1"), "{code} {told}");
        assert!(!told.contains("Unable to find"), "{told}");
        let (code, told) = cli.code(&["run", "--rm", "--platform", "bad/x/y/z", "busybox", "true"]);
        assert!(code != 0 && told.contains("platform"), "{code} {told}");
        let told = cli.run(&["run", "--rm", "--platform", "linux", "busybox", "echo", "here"]);
        assert_eq!(told, "here\n");
    });
}

#[test]
fn host_gateway_is_what_the_daemon_says() {
    for (options, want) in [
        (&[][..], vec!["172.17.0.1\tgate", "10.1.2.3\tnamed"]),
        (
            &["--host-gateway-ip=192.0.2.7", "--host-gateway-ip=2001:db8::7"],
            vec!["192.0.2.7\tgate", "2001:db8::7\tgate", "10.1.2.3\tnamed"],
        ),
    ] {
        let daemon = Daemon::start_with(options);
        daemon.load(&images::busybox(), "busybox:latest");
        for official in [false, true] {
            let cli = Cli { daemon: &daemon, official };
            let hosts = ["--add-host", "gate:host-gateway", "--add-host", "named=10.1.2.3"];
            let words = [&["run", "--rm"][..], &hosts, &["busybox", "cat", "/etc/hosts"]];
            let told = cli.run(&words.concat());
            let found: Vec<&str> =
                told.lines().filter(|l| l.ends_with("\tgate") || l.ends_with("\tnamed")).collect();
            assert_eq!(found, want);
        }
        daemon.stop();
    }
}
