//! Images in a real daemon, asked for by Docker's own client; and exit codes that come in time.
#![allow(clippy::unwrap_used)]

mod support;

use support::daemon::Daemon;
use support::{images, output, run, text};

/// Standard output of Docker's client.
fn ask(daemon: &Daemon, args: &[&str]) -> String {
    run(daemon.official_client().args(args))
}

/// What Docker's client says when it must fail.
fn refused(daemon: &Daemon, args: &[&str]) -> String {
    let output = output(daemon.official_client().args(args));
    assert!(!output.status.success(), "docker {args:?} succeeded");
    text(&output.stderr)
}

#[test]
fn images_travel_and_go_as_with_docker() {
    let daemon = Daemon::start();
    daemon.load(&images::busybox(), "busybox:latest");
    let id = ask(&daemon, &["images", "-q", "--no-trunc"]).trim().to_string();
    assert_eq!(ask(&daemon, &["info", "-f", "{{.Images}} {{.Containers}}"]), "1 0\n");
    ask(&daemon, &["tag", "busybox", "copy:1"]);
    let format = ["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=copy"];
    assert_eq!(ask(&daemon, &format), "copy:1\n");
    assert!(ask(&daemon, &["history", "-q", "--no-trunc", "copy:1"]).starts_with(&id));

    let archive = daemon.dir().join("saved.tar");
    let archive = archive.to_str().unwrap();
    ask(&daemon, &["save", "-o", archive, "copy:1"]);
    assert_eq!(ask(&daemon, &["rmi", "copy:1"]), "Untagged: copy:1\n");

    let container = ask(&daemon, &["create", "--name", "user", "busybox", "true"]);
    let conflict = refused(&daemon, &["rmi", "busybox"]);
    let expected = format!("(must force) - container {} is using", &container[..12]);
    assert!(conflict.contains(&expected), "{conflict}");
    ask(&daemon, &["rm", "user"]);
    assert!(ask(&daemon, &["rmi", "busybox"]).contains(&format!("Deleted: {id}\n")));
    assert_eq!(ask(&daemon, &["images", "-aq"]), "");

    assert_eq!(ask(&daemon, &["load", "-i", archive]), "Loaded image: copy:1\n");
    assert_eq!(ask(&daemon, &["images", "-q", "--no-trunc"]).trim(), id);
    assert!(refused(&daemon, &["rmi", "nosuch"]).contains("No such image: nosuch:latest"));
    daemon.stop();
}

#[test]
fn an_exec_tells_its_exit_code_as_soon_as_its_stream_ends() {
    let daemon = Daemon::start();
    daemon.load(&images::busybox(), "busybox:latest");
    ask(&daemon, &["run", "-d", "--name", "host", "--net", "none", "busybox", "sleep", "600"]);
    for _ in 0..20 {
        let mut exec = daemon.official_client();
        let output = output(exec.args(["exec", "host", "sh", "-c", "exit 7"]));
        assert_eq!(output.status.code(), Some(7), "{}", daemon.log());
    }
    ask(&daemon, &["rm", "-f", "host"]);
    daemon.stop();
}
