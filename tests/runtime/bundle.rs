//! A container made of nothing but busybox, started through the library as the daemon does it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use multi_core::base::Result;
use multi_core::runtime::defaults;
use multi_core::runtime::shim::{Attach, Event, ExecRequest, Shim, StartRequest};
use multi_core::runtime::spec::Process;
use multi_core::sys::{memfd, random};

/// Long enough for a loaded machine, short enough to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a root file system and room for run state; removed at the end.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
}

impl Bundle {
    pub(crate) fn new() -> Bundle {
        static EXE: Once = Once::new();
        // A bench names an optimised executable.
        let exe = std::env::var("MULTI_EXE").unwrap_or(env!("CARGO_BIN_EXE_multi").into());
        EXE.call_once(|| memfd::use_exe(Path::new(&exe)).unwrap());
        let id = random::id();
        let dir = std::env::temp_dir().join(format!("multi-runtime-{}", &id[..12]));
        let root = dir.join("root");
        for sub in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "ls", "echo", "id", "sleep", "mount", "true", "stat", "tr", "grep",
            "head", "readlink", "hostname", "pwd", "env", "touch", "kill", "wc", "ps", "stty",
            "dd", "ip", "mkdir", "umount", "rm", "false", "seq", "yes",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nu:x:1000:1001::/home/u:/bin/sh\n",
        )
        .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nu:x:1001:\nextra:x:2000:u\n").unwrap();
        Bundle { dir, id }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// A request with Docker's defaults for `arguments`, without a cgroup.
    pub(crate) fn request(&self, arguments: &[&str]) -> StartRequest {
        let mut spec = defaults::spec();
        spec.root.as_mut().unwrap().path = self.root().to_str().unwrap().into();
        let process = spec.process.as_mut().unwrap();
        process.args = arguments.iter().map(|s| s.to_string()).collect();
        process.env = vec![format!("PATH={}", defaults::PATH)];
        spec.hostname = "box".into();
        StartRequest {
            id: self.id.clone(),
            bundle: self.run_dir().to_str().unwrap().into(),
            spec,
            ..StartRequest::default()
        }
    }

    /// Runs a shell script to its end: exit code and output.
    pub(crate) fn sh(&self, script: &str) -> (i32, String) {
        self.run(&self.request(&["sh", "-c", script])).unwrap()
    }

    /// Runs a request to its end: exit code and output.
    pub(crate) fn run(&self, request: &StartRequest) -> Result<(i32, String)> {
        let (client, theirs) = UnixStream::pair().unwrap();
        let shim = Shim::spawn(request, None, &[output(theirs.into())])?;
        shim.wait_created()?;
        shim.go()?;
        let text = read_all(client);
        Ok((exit_of(&shim), text))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = multi_core::runtime::shim::kill_leftovers(&self.run_dir());
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A client that reads both streams, unframed.
pub(crate) fn output(stream: OwnedFd) -> Attach {
    Attach {
        stream,
        stdin: false,
        stdout: true,
        stderr: true,
        multiplexed: false,
        detach_keys: Vec::new(),
        preread: Vec::new(),
    }
}

/// A client that also feeds standard input.
pub(crate) fn interactive(stream: OwnedFd) -> Attach {
    Attach { stdin: true, ..output(stream) }
}

pub(crate) fn read_all(mut client: UnixStream) -> String {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `wanted` was seen.
pub(crate) fn read_until(client: &mut UnixStream, wanted: &str) -> String {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        let length = client.read(&mut buffer).unwrap();
        assert!(length > 0, "the stream ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    text
}

pub(crate) fn write(client: &mut UnixStream, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
}

/// The next event.
pub(crate) fn next_event(shim: &Shim) -> Event {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = shim.event().unwrap() {
            return event;
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no event came");
        let mut fds = [PollFd::new(shim.event_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap());
    }
}

/// Waits for the end of the container.
pub(crate) fn exit_of(shim: &Shim) -> i32 {
    loop {
        match next_event(shim) {
            Event::Exit { status, .. } => return status,
            Event::Closed => panic!("the shim went away without an exit"),
            _ => {}
        }
    }
}

/// An exec request with the default capabilities.
pub(crate) fn exec_request(id: &str, arguments: &[&str]) -> ExecRequest {
    let process = Process {
        args: arguments.iter().map(|s| s.to_string()).collect(),
        env: vec![format!("PATH={}", defaults::PATH)],
        cwd: "/".into(),
        capabilities: defaults::spec().process.unwrap().capabilities,
        ..Process::default()
    };
    ExecRequest { exec_id: id.into(), process, ..ExecRequest::default() }
}
