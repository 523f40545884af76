//! The two engines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::support::images::Layout;
use crate::support::namespace::Namespace;
use crate::support::{MULTI, Process, Scratch, eventually, run};

/// Our executable: the one that was built for the bench, or the one that the user names.
pub(crate) fn multi() -> PathBuf {
    std::env::var_os("MULTI_BINARY").map_or_else(|| MULTI.into(), PathBuf::from)
}

/// An engine that runs.
pub(crate) trait Peer {
    /// Its own client, speaking to it.
    fn client(&self) -> Command;
    /// Process ids of everything that runs for the daemon itself.
    fn daemon_pids(&self) -> Vec<u32>;
    /// A directory for files.
    fn dir(&self) -> &Path;

    /// Runs its client.
    fn docker(&self, args: &[&str]) -> String {
        run(self.client().args(args))
    }

    /// Brings an image in.
    fn load(&self, layout: &Layout, name: &str) {
        let archive = self.dir().join("load.tar");
        run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy"]).args([
            format!("oci:{}", layout.path().display()),
            format!("docker-archive:{}:{name}", archive.display()),
        ]));
        self.docker(&["load", "-q", "-i", archive.to_str().expect("a plain path")]);
        std::fs::remove_file(&archive).expect("the archive is ours");
    }
}

/// Our engine.
pub(crate) struct Multi(Daemon);

impl Multi {
    pub(crate) fn start() -> Multi {
        Multi(Daemon::start_as(&multi(), &[]))
    }

    pub(crate) fn stop(self) {
        self.0.stop();
    }
}

impl Peer for Multi {
    fn client(&self) -> Command {
        let mut command = Command::new(multi());
        command.arg("docker").env("DOCKER_HOST", self.0.host()).env("HOME", self.dir());
        command
    }

    fn daemon_pids(&self) -> Vec<u32> {
        vec![self.0.pid()]
    }

    fn dir(&self) -> &Path {
        self.0.dir()
    }
}

/// Debian's `docker.io`.
pub(crate) struct Docker {
    process: Process,
    namespace: Namespace,
    dir: Scratch,
}

impl Docker {
    pub(crate) fn start() -> Docker {
        let (namespace, dir) = (Namespace::new(), Scratch::new("p"));
        let process = start_dockerd(&namespace, dir.path());
        Docker { process, namespace, dir }
    }

    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// Ends the daemon, keeping its data.
    pub(crate) fn end(&mut self) {
        run(Command::new("kill").args(["-TERM", &self.process.pid().to_string()]));
        eventually("the end of dockerd", || self.process.child.try_wait().ok().flatten());
    }

    /// Starts it again on the same data, without waiting for anything.
    pub(crate) fn spawn_again(&mut self) {
        self.process = spawn_dockerd(&self.namespace, self.dir.path());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }
}

fn spawn_dockerd(namespace: &Namespace, dir: &Path) -> Process {
    let log = std::fs::File::create(dir.join("log")).expect("the directory is ours");
    std::fs::write(dir.join("daemon.json"), "{}").expect("the directory is ours");
    let mut command = namespace.command("/usr/sbin/dockerd");
    command
        .arg(format!("--host=unix://{}/s", dir.display()))
        .args(["--config-file".into(), dir.join("daemon.json")])
        .args(["--data-root".into(), dir.join("data")])
        .args(["--exec-root".into(), dir.join("exec")])
        .args(["--pidfile".into(), dir.join("pid")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("descriptors are to be had"))
        .stderr(log);
    Process { child: command.spawn().expect("the package docker.io is installed") }
}

fn start_dockerd(namespace: &Namespace, dir: &Path) -> Process {
    let process = spawn_dockerd(namespace, dir);
    // It listens long before it answers, and one that is told to end before that may hang.
    crate::cost::until_ping(std::time::Instant::now(), &dir.join("s"));
    process
}

impl Drop for Docker {
    fn drop(&mut self) {
        // dockerd kills its containerd only when it ends by itself.
        if self.process.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.end();
        }
        for line in self.namespace.mounts().lines().rev() {
            let path = line.split(' ').nth(1).unwrap_or_default();
            if Path::new(path).starts_with(self.dir.path()) {
                let _ = self.namespace.command("umount").args(["-l", path]).status();
            }
        }
    }
}

impl Peer for Docker {
    fn client(&self) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command.env("DOCKER_HOST", format!("unix://{}/s", self.dir.path().display()));
        command.env("HOME", self.dir.path());
        command
    }

    fn daemon_pids(&self) -> Vec<u32> {
        let mut pids = vec![self.process.pid()];
        // containerd is started by the main thread or by another one: look at all.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.pid()));
        for task in tasks.into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        pids
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }
}
