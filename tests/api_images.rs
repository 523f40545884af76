//! Images in a real daemon, asked for by Docker's own client; and exit codes that come in time.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use support::daemon::Daemon;
use support::{MULTI, eventually, images, output, run, text};

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
fn files_of_a_load_lie_in_docker_tmpdir_and_go() {
    let mut daemon = Daemon::new(Path::new(MULTI), &[]);
    let dir = daemon.dir().join("elsewhere");
    let real = daemon.dir().join("real");
    // The directory may be a link to one, as may the data root.
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &dir).unwrap();
    daemon.set_env("DOCKER_TMPDIR", &dir);
    daemon.start_again();
    let entries = || fs::read_dir(&real).unwrap().flatten().count();
    let archive = images::many(2);
    let half = |daemon: &Daemon| -> Child {
        let mut client = daemon.official_client();
        client.arg("load").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        client.stdin.as_mut().unwrap().write_all(&archive[..archive.len() / 2]).unwrap();
        eventually("a file of the load", || (entries() > 0).then_some(()));
        client
    };
    let mut client = half(&daemon);
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the end of the load", || (entries() == 0).then_some(()));

    let mut client = half(&daemon);
    daemon.kill();
    client.wait().unwrap();
    assert_eq!(entries(), 1);
    daemon.start_again();
    eventually("the sweep", || (entries() == 0).then_some(()));

    let mut client = half(&daemon);
    client.stdin.take().unwrap().write_all(&archive[archive.len() / 2..]).unwrap();
    assert!(client.wait().unwrap().success());
    assert_eq!(entries(), 0);
    assert_eq!(ask(&daemon, &["images", "-q", "many"]).lines().count(), 2);
    assert!(!daemon.data_root().join("tmp").exists());
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
