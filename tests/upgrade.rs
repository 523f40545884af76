//! A new executable under containers that an older one started: daemon and shim of different versions
//! understand each other.
//!
//! What an older shim is: by itself, one of today behind a relay that lets through nothing but the words
//! of version 1 of the protocol, as they were when version 1 was released. `tests/upgrade REVISION` builds
//! that revision and starts the containers with it instead.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};

use multi_core::sys::{memfd, scm};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use support::daemon::Daemon;
use support::{MULTI, eventually, images};

/// Calls of version 1 and the keys that they may carry.
const CALLS: &[&str] = &["subscribe", "exec", "attach", "resize", "signal", "closeStdin"];
const CALL_KEYS: &[&str] =
    &["version", "op", "execId", "signal", "size", "attach", "netns", "exec"];
/// Answers and events of version 1 and their keys.
const REPLIES: &[&str] =
    &["ok", "started", "failed", "state", "exit", "execExit", "detached", "oom"];
const REPLY_KEYS: &[&str] =
    &["type", "pid", "errorKind", "message", "execId", "status", "oom", "time", "state"];

/// Stands in front of a shim of today and makes it one of version 1.
struct Relay {
    socket: PathBuf,
    behind: PathBuf,
    /// Words that a shim of version 1 would not have understood.
    foreign: Arc<Mutex<BTreeSet<String>>>,
}

impl Relay {
    /// Takes the place of the shim in `bundle`, while no daemon runs.
    fn in_front_of(bundle: &Path) -> Relay {
        let (socket, behind) = (bundle.join("shim.sock"), bundle.join("behind.sock"));
        std::fs::rename(&socket, &behind).unwrap();
        let listener = scm::listen(&socket).unwrap();
        let foreign = Arc::default();
        let relay = Relay { socket, behind, foreign };
        let (behind, foreign) = (relay.behind.clone(), relay.foreign.clone());
        std::thread::spawn(move || {
            loop {
                wait_readable(&[&listener]);
                let Ok(Some(caller)) = scm::accept(&listener) else { continue };
                let Ok(shim) = scm::connect(&behind) else { return };
                let foreign = foreign.clone();
                std::thread::spawn(move || serve(&caller, &shim, &foreign));
            }
        });
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Gone with its shim, mostly.
        let _ = std::fs::rename(&self.behind, &self.socket);
    }
}

fn wait_readable(sockets: &[&OwnedFd]) -> Vec<bool> {
    let mut fds: Vec<PollFd> =
        sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::NONE).unwrap();
    fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()
}

/// Passes messages and descriptors on, both ways, until one side closes.
fn serve(caller: &OwnedFd, shim: &OwnedFd, foreign: &Mutex<BTreeSet<String>>) {
    loop {
        let ready = wait_readable(&[caller, shim]);
        let ways =
            [(caller, shim, "op", CALLS, CALL_KEYS), (shim, caller, "type", REPLIES, REPLY_KEYS)];
        for (ready, (from, to, word, words, keys)) in ready.into_iter().zip(ways) {
            if !ready {
                continue;
            }
            let mut buffer = vec![0; 64 * 1024];
            let Ok((length, fds)) = scm::receive(from, &mut buffer, true) else { return };
            if length == 0 {
                return;
            }
            buffer.truncate(length);
            let long = buffer == b"{}" && !fds.is_empty();
            let text =
                if long { memfd::read_all(&fds[0], 64 << 20).unwrap() } else { buffer.clone() };
            check(&text, word, words, keys, foreign);
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            if scm::send(to, &buffer, &fds).is_err() {
                return;
            }
        }
    }
}

/// Notes what version 1 does not have.
fn check(
    text: &[u8],
    word: &str,
    words: &[&str],
    keys: &[&str],
    foreign: &Mutex<BTreeSet<String>>,
) {
    let mut foreign = foreign.lock().unwrap();
    let text = std::str::from_utf8(text).unwrap();
    let Ok(miniserde::json::Value::Object(object)) = miniserde::json::from_str(text) else {
        foreign.insert(format!("no object: {text}"));
        return;
    };
    for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
        foreign.insert(format!("key {key} of {text}"));
    }
    match object.get(word) {
        Some(miniserde::json::Value::String(value)) if words.contains(&value.as_str()) => {}
        other => drop(foreign.insert(format!("{word} {other:?}"))),
    }
    if let Some(miniserde::json::Value::Number(version)) = object.get("version")
        && version.to_string() != "1"
    {
        foreign.insert(format!("version {version}"));
    }
}

/// A client that stays attached.
struct Attached {
    child: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Attached {
    fn to(daemon: &Daemon, container: &str) -> Attached {
        let mut command = daemon.client();
        command.args(["attach", container]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Attached { child, input, output: BufReader::new(output) }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer
    }
}

#[test]
fn an_older_shim_serves_a_newer_daemon() {
    let old = std::env::var_os("MULTI_OLD_BINARY").map(PathBuf::from);
    let mut daemon = Daemon::start_as(old.as_deref().unwrap_or(Path::new(MULTI)), &[]);
    daemon.load(&images::busybox(), "busybox:latest");
    let server = "while read x; do [ $x = end ] && exit 3; echo \"got $x\"; done";
    let reader = ["run", "-d", "-i", "--name", "reader", "-m", "64m", "-p", "18081:80", "busybox"];
    daemon.docker(&[&reader[..], &["sh", "-c", server]].concat());
    daemon.docker(&["run", "-dt", "--name", "terminal", "busybox", "sh", "-c", "sleep 600"]);
    let restarting =
        ["run", "-d", "--restart", "always", "--name", "again", "busybox", "sleep", "600"];
    daemon.docker(&restarting);
    let pid = |daemon: &Daemon, name: &str| {
        daemon.docker(&["inspect", "-f", "{{.State.Pid}}", name]).trim().to_string()
    };
    let names = ["reader", "terminal", "again"];
    let pids = names.map(|name| pid(&daemon, name));
    let bundles = names.map(|name| {
        let id = daemon.docker(&["inspect", "-f", "{{.Id}}", name]);
        daemon.exec_root().join("shim").join(id.trim())
    });

    daemon.kill();
    daemon.become_executable(Path::new(MULTI));
    let relays = bundles.map(|bundle| old.is_none().then(|| Relay::in_front_of(&bundle)));
    daemon.start_again();

    assert_eq!(names.map(|name| pid(&daemon, name)), pids);
    // Streams, further processes, terminals, signals.
    let mut attached = Attached::to(&daemon, "reader");
    assert_eq!(attached.ask("one"), "got one\n");
    assert_eq!(daemon.docker(&["exec", "reader", "echo", "in"]), "in\n");
    let failed = daemon.try_docker(&["exec", "reader", "nosuch"]);
    assert_eq!(failed.status.code(), Some(127));
    assert_eq!(daemon.docker(&["logs", "reader"]), "got one\n");
    assert!(daemon.docker(&["top", "reader"]).contains(&pids[0]));
    // Its port and its limit are still there.
    let taken = daemon.try_docker(&["run", "--rm", "-p", "18081:80", "busybox", "true"]);
    assert_eq!(taken.status.code(), Some(125));
    daemon.docker(&["kill", "-s", "KILL", "again"]);
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    eventually("the end of the killed one", || {
        (daemon.docker(&["inspect", "-f", state, "again"]) == "exited 137\n").then_some(())
    });
    daemon.docker(&["stop", "-t", "0", "terminal"]);
    assert_eq!(daemon.docker(&["inspect", "-f", state, "terminal"]), "exited 137\n");
    writeln!(attached.input, "end").unwrap();
    assert_eq!(attached.child.wait().unwrap().code(), Some(3));
    assert_eq!(daemon.docker(&["wait", "reader"]), "3\n");
    // The next run has a shim of the new executable.
    daemon.docker(&["start", "terminal"]);
    daemon.docker(&["rm", "-f", "reader", "terminal", "again"]);
    for relay in relays.into_iter().flatten() {
        assert_eq!(*relay.foreign.lock().unwrap(), BTreeSet::new());
    }
    daemon.stop();
}
