//! A daemon of one's own: its data, sockets, network and mounts are nobody else's.
//!
//! ```no_run
//! let daemon = Daemon::start();
//! daemon.load(&images::busybox(), "busybox:latest");
//! assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
//! daemon.stop();     // SIGTERM; fails if anything is left of it
//! ```

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::images::Layout;
use super::namespace::Namespace;
use super::registry::{Registry, Setup};
use super::{MULTI, Process, Scratch, eventually, output, run, text};

/// The client that Docker distributes, as a peer.
pub const OFFICIAL_CLIENT: &str = "/usr/local/bin/docker";

/// A running `multi daemon`.
pub struct Daemon {
    executable: PathBuf,
    process: Option<Process>,
    options: Vec<String>,
    environment: Vec<(String, OsString)>,
    // Dropped in this order: the daemon first, its files last.
    namespace: Namespace,
    dir: Scratch,
}

impl Daemon {
    pub fn start() -> Daemon {
        Daemon::start_with(&[])
    }

    /// With further options of the daemon.
    pub fn start_with(options: &[&str]) -> Daemon {
        Daemon::start_as(Path::new(MULTI), options)
    }

    /// With another executable than the one under test.
    pub fn start_as(executable: &Path, options: &[&str]) -> Daemon {
        let mut daemon = Daemon::new(executable, options);
        daemon.start_again();
        daemon
    }

    /// Everything but the process, for a test that prepares something first: see [`Daemon::start_again`].
    pub fn new(executable: &Path, options: &[&str]) -> Daemon {
        Daemon {
            executable: executable.into(),
            process: None,
            options: options.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            namespace: Namespace::new(),
            dir: Scratch::new("d"),
        }
    }

    /// Sets a variable for the daemons that are started from now on.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// The next daemon on the same data, and its client, are another executable, as after an upgrade.
    pub fn become_executable(&mut self, executable: &Path) {
        self.executable = executable.into();
    }

    /// Starts a daemon that was stopped or killed, on the same data, and waits until it listens.
    pub fn start_again(&mut self) {
        self.spawn_again();
        let socket = self.socket();
        eventually("listening of the daemon", || {
            let process = self.process.as_mut().expect("it was started");
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            UnixStream::connect(&socket).ok()
        });
    }

    /// Starts a daemon that was stopped or killed, on the same data, and waits for nothing.
    pub fn spawn_again(&mut self) {
        assert!(self.process.is_none(), "the daemon runs");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("daemon.log"))
            .unwrap();
        let mut command = self.namespace.command(&self.executable);
        command
            .arg("daemon")
            .arg(format!("--host={}", self.host()))
            .args(["--config-file", "/dev/null"])
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--pidfile")
            .arg(self.dir.join("pid"))
            .args(&self.options)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("starting the daemon: {e}"));
        self.process = Some(Process { child });
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// What goes into `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn data_root(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn exec_root(&self) -> PathBuf {
        self.dir.join("exec")
    }

    /// A place for the test's own files, seen by the daemon too.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the daemon runs").pid()
    }

    /// Everything that the daemon wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// A registry that this daemon reaches as `localhost:PORT`.
    pub fn registry(&self) -> Registry {
        Registry::start(&Setup { namespace: Some(&self.namespace), ..Setup::default() })
    }

    /// Our client, speaking to this daemon, in its network.
    pub fn client(&self) -> Command {
        let mut command = self.namespace.command(&self.executable);
        command.arg("docker").env("DOCKER_HOST", self.host()).env("HOME", self.dir.path());
        command
    }

    /// Docker's client, speaking to this daemon, in its network.
    pub fn official_client(&self) -> Command {
        let newest = Path::new(OFFICIAL_CLIENT);
        // Where there is no newer one, the client of Debian's docker.io does.
        let client = if newest.exists() { newest } else { Path::new("/usr/bin/docker") };
        let mut command = self.namespace.command(client);
        command.env("DOCKER_HOST", self.host()).env("HOME", self.dir.path());
        command
    }

    /// Runs our client; panics unless it succeeds. Returns its standard output.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        assert!(
            output.status.success(),
            "docker {args:?}: {}\n{}\n{}",
            output.status,
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// Runs our client.
    pub fn try_docker(&self, args: &[&str]) -> Output {
        output(self.client().args(args))
    }

    /// Brings the image of a layout into the daemon under `name`, with skopeo and `docker load`.
    pub fn load(&self, layout: &Layout, name: &str) {
        let archive = self.dir.join("load.tar");
        let _ = std::fs::remove_file(&archive);
        run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy"]).args([
            format!("oci:{}", layout.path().display()),
            format!("docker-archive:{}:{name}", archive.display()),
        ]));
        self.docker(&["load", "-q", "-i", archive.to_str().unwrap()]);
        std::fs::remove_file(&archive).unwrap();
    }

    /// SIGKILL, as a crash would be.
    pub fn kill(&mut self) {
        drop(self.process.take().expect("the daemon runs"));
    }

    /// SIGTERM, and waits for the end. What the daemon left is kept for [`Daemon::start_again`].
    pub fn terminate(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        run(Command::new("kill").args(["-TERM", &process.pid().to_string()]));
        let status = eventually("the end of the daemon", || process.child.try_wait().unwrap());
        assert!(status.success(), "the daemon ended with {status}\n{}", self.log());
    }

    /// Ends the daemon and checks that no process, mount, cgroup, interface or socket of it is left.
    pub fn stop(mut self) {
        let containers = self.containers();
        self.terminate();
        assert_eq!(self.leftovers(&containers), Vec::<String>::new(), "{}", self.log());
    }

    /// The ids of all containers in the data root.
    fn containers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data_root().join("containers"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// The processes that run from our files: shims and proxies, which name our directory, and
    /// containers, whose root is in it.
    fn processes(&self) -> Vec<(u32, String)> {
        let root = self.dir.path().to_str().unwrap();
        let own = mount_namespace(self.namespace.pid());
        let belongs = |pid: &u32, command: &str| {
            let mounts = std::fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            command.contains(root) || (text(&mounts).contains(root) && mount_namespace(*pid) != own)
        };
        pids()
            .into_iter()
            .filter(|pid| *pid != self.namespace.pid())
            .map(|pid| {
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                (pid, text(&command).replace('\0', " "))
            })
            .filter(|(pid, command)| belongs(pid, command))
            .collect()
    }

    /// What is still there of a daemon that ended and of its containers.
    pub fn leftovers(&self, containers: &[String]) -> Vec<String> {
        let root = self.dir.path().to_str().unwrap().to_string();
        let mut found = Vec::new();
        let mounts = self.namespace.mounts();
        found.extend(mounts.lines().filter(|l| l.contains(&root)).map(|l| format!("mount {l}")));
        for (pid, command) in self.processes() {
            found.push(format!("process {pid} {command}"));
        }
        // Groups of others vanish while find looks, which it calls a failure.
        let groups = output(Command::new("find").args(["/sys/fs/cgroup", "-type", "d"]));
        let groups = text(&groups.stdout);
        let ours = |line: &&str| containers.iter().any(|id| line.contains(id));
        found.extend(groups.lines().filter(ours).map(|l| format!("cgroup {l}")));
        let links = run(self.namespace.command("ip").args(["-o", "link"]));
        found.extend(links.lines().filter(|l| l.contains(": veth")).map(|l| format!("link {l}")));
        for name in ["s", "pid"] {
            if self.dir.join(name).exists() {
                found.push(format!("file {name}"));
            }
        }
        found
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves containers behind: what runs from our files is ended here.
        drop(self.process.take());
        let root = self.dir.path().to_str().unwrap().to_string();
        for (pid, _) in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let mut mounts: Vec<String> = self
            .namespace
            .mounts()
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|path| path.starts_with(&root))
            .map(ToString::to_string)
            .collect();
        mounts.reverse();
        for path in mounts {
            let _ = self.namespace.command("umount").args(["-l", &path]).status();
        }
    }
}

fn mount_namespace(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// The processes of this machine, but this one.
fn pids() -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .collect()
}
