//! Containers that another OCI runtime makes (`--add-runtime`): the shim calls it by the command line that runc
//! defined, and is what containerd's shim is to it.
//!
//! ```text
//! create   the bundle gets a config.json; `create` makes the process, which becomes our child when the
//!          runtime has ended, as we are its subreaper
//! go       `start`
//! exec     `exec --detach` with a file that holds the process
//! signal   `kill`
//! the end  `delete --force`, before anybody is told
//! ```
//!
//! `create` is waited for: nothing else is to be done before. All other calls run beside the loop, as
//! [`Helper`]s; a process that ends before its `exec` has ended is remembered until then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::defaults;
use super::super::process::Pipes;
use super::super::seccomp;
use super::super::spec::Process;
use super::super::user;
use super::attached::Attached;
use super::protocol::{AttachHeader, ExecRequest, StartHeader, StartRequest};
use super::server::{Proc, Server};
use super::streams::Streams;
use crate::base::json::{self, ValueExt};
use crate::base::{At, Error, Kind, Result};
use crate::cgroup::Cgroup;
use crate::sys::caps::Set;
use crate::sys::{pidfd, scm};

crate::wire! {
    /// A runtime that is another program.
    pub struct External {
        "path" keep path: String,
        "args" omit args: Vec<String>,
        /// Where it keeps the state of its containers.
        "root" keep root: String,
    }
}

/// The version that every runtime reads, also those that do not know ours.
const OLD_VERSION: &str = "1.0.2";
/// How long `delete` may take.
const DELETE_PATIENCE: Duration = Duration::from_secs(20);
/// Longest log of a runtime that is read for its error.
const LOG_MAX: u64 = 256 * 1024;

/// A call of the runtime that has not ended.
pub(super) struct Helper {
    pub(super) child: Child,
    pub(super) what: What,
    log: PathBuf,
}

/// What a call is for.
pub(super) enum What {
    /// The program of the container.
    Start,
    /// The process of this exec.
    Exec { exec_id: String, pid_file: PathBuf, console: Option<OwnedFd> },
    /// A signal; who asked for it.
    Kill(OwnedFd),
}

/// One container and its runtime.
struct Bundle<'a> {
    runtime: &'a External,
    dir: &'a Path,
    id: &'a str,
}

impl Bundle<'_> {
    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}-log.json"))
    }

    /// The command line up to the options of `verb`; its log is new.
    fn command(&self, verb: &str, log: &Path) -> Command {
        let _ = fs::remove_file(log);
        let mut command = Command::new(&self.runtime.path);
        command.args(&self.runtime.args);
        command.args(["--root", &self.runtime.root]).arg("--log").arg(log);
        command.args(["--log-format", "json", verb]);
        command.env_clear().env("PATH", defaults::PATH).current_dir(self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn spawn(&self, command: &mut Command) -> Result<Child> {
        command.spawn().map_err(|e| {
            let e = Error::from(e);
            let kind = e.kind();
            let path = &self.runtime.path;
            Error::new(kind, format_args!("fork/exec {path}: {e}"))
        })
    }
}

fn bundle(server: &Server) -> Option<Bundle<'_>> {
    let runtime = server.header.runtime.as_ref()?;
    Some(Bundle { runtime, dir: &server.bundle, id: &server.header.id })
}

/// What a runtime said of its failure: the last error of its log.
fn said(log: &Path, status: ExitStatus) -> Error {
    let read = || -> Option<String> {
        use std::io::Read;
        let mut text = String::new();
        File::open(log).ok()?.take(LOG_MAX).read_to_string(&mut text).ok()?;
        let message = |line: &str| -> Option<(bool, String)> {
            let value: json::Value = json::parse(line.as_bytes()).ok()?;
            let is_error = value.get("level").and_then(|l| l.as_str()) == Some("error");
            Some((is_error, value.get("msg")?.as_str()?.to_string()))
        };
        let lines: Vec<_> = text.lines().filter_map(message).collect();
        let found = lines.iter().rev().find(|(is_error, _)| *is_error).or(lines.last());
        found.map(|(_, message)| message.clone())
    };
    let text = read().unwrap_or_else(|| format!("the runtime did not say why ({status})"));
    Error::new(Kind::Io, text)
}

/// Docker's form of what a runtime said.
fn in_dockers_words(e: &Error, verb: &str) -> Error {
    Error::new(e.kind(), format_args!("OCI runtime {verb} failed: {e}: unknown"))
}

/// Makes the container. The answer goes out by the caller.
pub(super) fn create(
    starter: &OwnedFd,
    header: &StartHeader,
    request: &OwnedFd,
    netns: Option<&OwnedFd>,
    clients: Vec<(AttachHeader, OwnedFd)>,
) -> Result<(Proc, Option<Cgroup>)> {
    let Some(runtime) = &header.runtime else {
        return Err(Error::internal("no runtime to call"));
    };
    let dir = PathBuf::from(&header.bundle);
    let bundle = Bundle { runtime, dir: &dir, id: &header.id };
    fs::create_dir_all(&runtime.root).at(format_args!("creating {}", runtime.root))?;
    write_config(&dir, request, netns).map_err(|e| e.at("OCI runtime create failed"))?;
    let terminal = header.spec.process.terminal;
    let log = bundle.log("create");
    let pid_file = dir.join("init.pid");
    let mut command = bundle.command("create", &log);
    command.arg("--bundle").arg(&dir).arg("--pid-file").arg(&pid_file);
    let (mut streams, console) = streams(&dir, terminal, header.open_stdin, &mut command)?;
    streams.stdin_once = header.stdin_once;
    for (wants, stream) in clients {
        streams.add(Attached::new(stream, wants));
    }
    command.arg(bundle.id);
    let made = bundle.spawn(&mut command).and_then(|mut child| {
        // Its pipes are the container's: our copies must not keep them open.
        drop(command);
        let status = wait_beside(&mut child, starter)?;
        if !status.success() {
            return Err(said(&log, status));
        }
        if let Some(console) = console {
            streams.set_master(receive_master(&console)?);
        }
        let pid = read_pid(&pid_file)?;
        let path = &header.spec.linux.cgroups_path;
        let cgroup = (!path.is_empty()).then(|| Cgroup::at(path)).transpose()?;
        Ok((Proc::made(String::new(), pid, streams), cgroup))
    });
    remove(&dir.join(CONSOLE));
    made.map_err(|e| {
        let kept = in_dockers_words(&e, "create");
        let _ = delete(&bundle);
        kept
    })
}

/// Socket that a runtime hands a terminal to.
const CONSOLE: &str = "console.sock";

/// Gives the command its standard streams.
fn streams(
    dir: &Path,
    terminal: bool,
    open_stdin: bool,
    command: &mut Command,
) -> Result<(Streams, Option<OwnedFd>)> {
    if terminal {
        let path = dir.join(CONSOLE);
        let listener = scm::listen_stream(&path)?;
        command.arg("--console-socket").arg(path);
        return Ok((Streams::default(), Some(listener)));
    }
    let (streams, Pipes { stdin, stdout, stderr }) = Streams::pipes(open_stdin)?;
    command.stdout(stdout).stderr(stderr);
    if let Some(stdin) = stdin {
        command.stdin(stdin);
    }
    Ok((streams, None))
}

/// The terminal that was handed over before the runtime ended.
fn receive_master(listener: &OwnedFd) -> Result<OwnedFd> {
    let Some(caller) = scm::accept(listener)? else {
        return Err(Error::new(Kind::Io, "the runtime did not hand over a terminal"));
    };
    let (_, mut fds) = scm::receive(&caller, &mut [0; 256], true)?;
    let Some(master) = fds.pop() else {
        return Err(Error::new(Kind::Io, "the runtime handed over something else than a terminal"));
    };
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at("preparing the terminal")?;
    Ok(master)
}

/// Waits for the end of `child`; kills it when the daemon goes away.
fn wait_beside(child: &mut Child, starter: &OwnedFd) -> Result<ExitStatus> {
    if let Ok(process) = pidfd::open(child.id() as i32) {
        loop {
            let mut fds = [
                PollFd::new(process.as_fd(), PollFlags::POLLIN),
                PollFd::new(starter.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(e).at("waiting for the runtime"),
            }
            let happened = |i: usize| fds[i].revents().is_some_and(|r| !r.is_empty());
            if happened(0) {
                break;
            }
            if happened(1) {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::cancelled());
            }
        }
    }
    child.wait().at("waiting for the runtime")
}

fn read_pid(file: &Path) -> Result<i32> {
    let text = fs::read_to_string(file).at(format_args!("reading {}", file.display()))?;
    remove(file);
    text.trim()
        .parse()
        .map_err(|_| Error::internal(format_args!("the runtime wrote {text:?} for a process id")))
}

fn remove(file: &Path) {
    // What is left goes with the bundle.
    let _ = fs::remove_file(file);
}

/// Writes the bundle's configuration: what our own stages would find out by themselves is found out here.
fn write_config(dir: &Path, request: &OwnedFd, netns: Option<&OwnedFd>) -> Result<()> {
    let text = crate::sys::memfd::read_all(request, super::MESSAGE_MAX)?;
    let StartRequest { mut spec, user, groups, default_seccomp, .. } = json::parse(&text)?;
    drop(text);
    spec.oci_version = OLD_VERSION.into();
    let root = spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
    let root = File::open(&root).at(format_args!("opening {root}"))?;
    if let Some(process) = &mut spec.process {
        resolve_user(process, &root, &user, &groups)?;
    }
    let linux = spec.linux.get_or_insert_default();
    if default_seccomp {
        let bounding = spec.process.as_ref().and_then(|p| p.capabilities.as_ref());
        let bounding = bounding.map(|sets| Set::parse(&sets.bounding)).transpose()?;
        linux.seccomp = Some(seccomp::default_profile(bounding.unwrap_or(Set::EMPTY)));
    }
    if let Some(netns) = netns {
        // Ours while the runtime makes the container; later it is the process's.
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
        for ns in linux.namespaces.iter_mut().filter(|ns| ns.kind == "network") {
            ns.path.clone_from(&path);
        }
    }
    let file = dir.join("config.json");
    fs::write(&file, json::to_string_plain(&spec)).at(format_args!("writing {}", file.display()))
}

fn resolve_user(process: &mut Process, root: &File, user: &str, groups: &[String]) -> Result<()> {
    let found = user::lookup(root.as_fd(), user, groups)?;
    (process.user.uid, process.user.gid) = (found.uid, found.gid);
    process.user.additional_gids = found.groups;
    if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
        process.env.push(format!("HOME={}", found.home));
    }
    Ok(())
}

/// Lets the program of the container run; the daemon is told when the call has ended.
pub(super) fn start(server: &mut Server) -> Result<()> {
    let Some(bundle) = bundle(server) else { return Ok(()) };
    let log = bundle.log("start");
    let mut command = bundle.command("start", &log);
    let child = bundle.spawn(command.arg(bundle.id)).map_err(|e| in_dockers_words(&e, "start"))?;
    server.helpers.push(Helper { child, what: What::Start, log });
    Ok(())
}

/// Starts a further process; its caller is told when the call has ended.
///
/// # Errors
/// Docker's text.
pub(super) fn exec(
    server: &mut Server,
    request: &ExecRequest,
    clients: Vec<(AttachHeader, OwnedFd)>,
) -> Result<Proc> {
    let first = server.procs[0].pid;
    let Some(bundle) = bundle(server) else {
        return Err(Error::internal("no runtime to call"));
    };
    let mut process = request.process.clone();
    let root = File::open(format!("/proc/{first}/root")).at("opening the container's root")?;
    resolve_user(&mut process, &root, &request.user, &request.groups)?;
    // A name of our own: the id of an exec comes from outside.
    let serial = format!("exec-{}", server.next_serial);
    let (file, pid_file) =
        (bundle.dir.join(format!("{serial}.json")), bundle.dir.join(format!("{serial}.pid")));
    fs::write(&file, json::to_string_plain(&process))
        .at(format_args!("writing {}", file.display()))?;
    let log = bundle.log(&serial);
    let mut command = bundle.command("exec", &log);
    command.arg("--process").arg(&file).arg("--pid-file").arg(&pid_file).arg("--detach");
    let (mut streams, console) =
        streams(bundle.dir, process.terminal, request.open_stdin, &mut command)?;
    streams.stdin_once = true;
    for (wants, stream) in clients {
        streams.add(Attached::new(stream, wants));
    }
    let child = bundle.spawn(command.arg(bundle.id)).map_err(|e| in_dockers_words(&e, "exec"))?;
    let exec_id = request.exec_id.clone();
    let what = What::Exec { exec_id: exec_id.clone(), pid_file, console };
    server.helpers.push(Helper { child, what, log });
    server.next_serial += 1;
    Ok(Proc::made(exec_id, 0, streams))
}

/// Sends a signal to the container's process; `caller` is answered when the call has ended.
pub(super) fn kill(
    server: &mut Server,
    signal: i32,
    caller: OwnedFd,
) -> Result<(), (OwnedFd, Error)> {
    let Some(bundle) = bundle(server) else { return Ok(()) };
    let log = bundle.log("kill");
    let mut command = bundle.command("kill", &log);
    match bundle.spawn(command.arg(bundle.id).arg(signal.to_string())) {
        Ok(child) => server.helpers.push(Helper { child, what: What::Kill(caller), log }),
        Err(e) => return Err((caller, e)),
    }
    Ok(())
}

/// What a call came to.
pub(super) enum Done {
    /// The program of the container runs, or why it does not.
    Started(Result<()>),
    /// An exec's process and its terminal, or why there is none.
    Executed(String, Result<(i32, Option<OwnedFd>)>),
    /// The signal was sent, or why not.
    Killed(OwnedFd, Result<()>),
}

/// Ends a call whose process has ended with `status`.
pub(super) fn done(helper: Helper, status: ExitStatus) -> Done {
    let Helper { what, log, .. } = helper;
    let result = if status.success() { Ok(()) } else { Err(said(&log, status)) };
    remove(&log);
    match what {
        What::Start => Done::Started(result.map_err(|e| in_dockers_words(&e, "start"))),
        What::Kill(caller) => Done::Killed(
            caller,
            result.map_err(|e| match e.message() {
                text if text.contains("not running") || text.contains("does not exist") => {
                    e.with_kind(Kind::NotFound)
                }
                _ => e,
            }),
        ),
        What::Exec { exec_id, pid_file, console } => {
            let made = result.and_then(|()| {
                let master = console.map(|console| receive_master(&console)).transpose()?;
                Ok((read_pid(&pid_file)?, master))
            });
            remove(&pid_file.with_extension("json"));
            Done::Executed(exec_id, made.map_err(|e| in_dockers_words(&e, "exec")))
        }
    }
}

/// Removes what the runtime keeps of the container, which has ended or is to end.
pub(super) fn remove_container(server: &mut Server) {
    for mut helper in std::mem::take(&mut server.helpers) {
        let _ = helper.child.kill();
        let _ = helper.child.wait();
    }
    if let Some(bundle) = bundle(server) {
        // The daemon's own sweep is all that is left to do about a failure.
        let _ = delete(&bundle);
    }
}

/// Removes what `runtime` keeps of container `id` after its shim has vanished.
pub(super) fn remove_lost(runtime: &External, dir: &Path, id: &str) {
    let _ = delete(&Bundle { runtime, dir, id });
}

fn delete(bundle: &Bundle<'_>) -> Result<()> {
    let log = bundle.log("delete");
    let mut command = bundle.command("delete", &log);
    let mut child = bundle.spawn(command.args(["--force", bundle.id]))?;
    let end = Instant::now() + DELETE_PATIENCE;
    if let Ok(process) = pidfd::open(child.id() as i32) {
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) => {
                    let _ = child.kill();
                    break;
                }
                _ => break,
            }
        }
    }
    child.wait().at("waiting for the runtime")?;
    remove(&log);
    Ok(())
}

/// Ends of processes that are not known yet: those of an exec whose call has not ended.
pub(super) type Strangers = BTreeMap<i32, (i32, crate::base::time::Timestamp)>;
