//! What black-box tests share: scratch directories, programs that are watched, registries, images,
//! a daemon of one's own.
//!
//! Everything here cleans up when it is dropped, also when the test panics, and may be used by many
//! tests at the same time. Nothing waits by sleeping: readiness is an event (a log line, a socket that
//! accepts).
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod authority;
pub mod daemon;
pub mod faulty;
pub mod images;
pub mod namespace;
pub mod pulling;
pub mod raw;
pub mod registry;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The executable under test.
pub const MULTI: &str = env!("CARGO_BIN_EXE_multi");

/// How long anything may take that should be quick; generous, because machines may be slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that vanishes with its owner. Its path is short, so that sockets fit into it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mt-{name}-{}-{serial}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0)
            && !std::thread::panicking()
        {
            panic!("removing {}: {e}", self.0.display());
        }
    }
}

/// A place for what is expensive to make and the same for every run, below cargo's target directory.
pub fn cache_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A program in the background that is killed and reaped with its owner.
pub struct Process {
    pub child: Child,
}

impl Process {
    /// Starts `command` and waits until a line of its standard error or output holds `ready`.
    pub fn start(command: &mut Command, ready: &'static str) -> Process {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("starting {shown}: {e}"));
        let (tell, told) = mpsc::channel();
        watch(child.stdout.take().unwrap(), ready, tell.clone());
        watch(child.stderr.take().unwrap(), ready, tell);
        let mut process = Process { child };
        let limit = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match told.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(None) => return process,
                Ok(Some(line)) => seen.push(line),
                Err(e) => {
                    process.kill();
                    panic!("{shown} did not say {ready:?} ({e}):\n{}", seen.join("\n"));
                }
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads a pipe to its end, so that its writer never blocks. Sends lines until `ready`, then `None`.
fn watch(
    pipe: impl Read + Send + 'static,
    ready: &'static str,
    tell: mpsc::Sender<Option<String>>,
) {
    std::thread::spawn(move || {
        let mut found = false;
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if found {
                continue;
            }
            found = line.contains(ready);
            let _ = tell.send(if found { None } else { Some(line) });
        }
    });
}

/// Runs a program to its end and returns what it said; panics if it failed.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A TCP port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `check` gives a value. For things that have no event to wait for.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < limit, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
