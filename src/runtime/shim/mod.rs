//! The shim: one small process that keeps one container, and the daemon's handle on it.
//!
//! ```text
//!            spawn                go                 the process ends
//!   (none) ---------> created ----------> running ---------------------> ended
//!             \          |  drop before go: killed     shim killed: `kill_leftovers`
//!              `-> failed, nothing is left
//! ```
//!
//! A shim in `running` lives on when the daemon dies; [`Shim::connect`] finds it again through its bundle
//! directory. In `ended` it has written `exit.json` ([`exit_record`]) before it tells anybody, and goes
//! once its attached streams have taken what was still to be said.
//!
//! Everything here may block on the shim for as long as it works on the call; no lock is held meanwhile.

mod attached;
mod call;
mod end;
mod external;
mod message;
mod protocol;
mod server;
mod start;
mod streams;

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result, file, json};
use crate::cgroup::Cgroup;
use crate::sys::{memfd, pidfd, procfs, scm};

use super::spec::ConsoleSize;
pub use external::External;
use protocol::{AttachHeader, Call, OLDEST, Reply};
pub use protocol::{
    CGROUP_LEFT, ENDED, EXIT_RECORD, ExecRequest, ExecState, ExitRecord, LogConfig, RUN_RECORD,
    RunRecord, SOCKET, ShimState, StartRequest, VERSION,
};
pub(super) use protocol::{MESSAGE_MAX, kind_name, kind_of};
pub use server::serve;

/// A client's stream and what of the process it is joined to.
#[derive(Debug)]
pub struct Attach {
    /// A socket: the client's own connection or one end of a pair. It is duplicated into the shim, which
    /// shuts it down at the end; the caller may close its own at once.
    pub stream: OwnedFd,
    /// Bytes from the stream go to standard input.
    pub stdin: bool,
    /// Standard output goes to the stream.
    pub stdout: bool,
    /// Standard error goes to the stream; meaningless with a terminal.
    pub stderr: bool,
    /// Output is framed by Docker's 8-byte headers.
    pub multiplexed: bool,
    /// Keys that detach; empty for none.
    pub detach_keys: Vec<u8>,
    /// Bytes that were read from the stream already.
    pub preread: Vec<u8>,
}

impl Attach {
    fn header(&self) -> AttachHeader {
        AttachHeader {
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            multiplexed: self.multiplexed,
            detach_keys: self.detach_keys.clone(),
            preread: self.preread.clone(),
        }
    }
}

/// How long a shim whose connection has ended may take to end itself, in milliseconds.
const CLOSING_MS: u16 = 500;

/// What happens to a container by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The container's process ended and its output is in the log. The last event but `Closed`.
    Exit {
        /// Docker's exit code: 128 plus the signal's number when one killed it.
        status: i32,
        /// The kernel killed something in the container for want of memory.
        oom: bool,
        /// When it ended.
        time: Timestamp,
    },
    /// An exec process ended and its output was read.
    ExecExit {
        /// The id of the exec request.
        exec_id: String,
        /// As in `Exit`.
        status: i32,
        /// When it ended.
        time: Timestamp,
    },
    /// The detach keys were read from an attached stream.
    Detached {
        /// The exec process it was attached to, empty for the container's own.
        exec_id: String,
    },
    /// The kernel killed a process of the container for want of memory.
    Oom,
    /// Something of the container's output did not get into its log.
    LogFailed(String),
    /// The shim is gone. Without an `Exit` before, see [`exit_record`] and [`kill_leftovers`].
    Closed,
}

/// The daemon's handle on one shim. All methods may be called from several threads, except that
/// `wait_created`, `go` and `event` read the same connection.
pub struct Shim {
    bundle: PathBuf,
    connection: OwnedFd,
    /// The shim's process if it is our child.
    child: Option<Pid>,
    state: Mutex<ShimState>,
}

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shim({})", self.bundle.display())
    }
}

impl Shim {
    /// Starts a shim and gives it `request`; returns once the shim's process exists. The container's
    /// process joins `netns` when one is given. Dropping the handle before [`Shim::go`] kills the
    /// container again.
    ///
    /// # Errors
    /// `Io` when the bundle or the process cannot be made; nothing is left then.
    pub fn spawn(
        request: &StartRequest,
        netns: Option<BorrowedFd<'_>>,
        attach: &[Attach],
    ) -> Result<Shim> {
        let exe = memfd::sealed_exe().at("sealing the executable")?;
        let bundle = PathBuf::from(&request.bundle);
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(&bundle)
            .at(format_args!("creating {}", bundle.display()))?;
        // A record of an earlier run of the same container would be taken for this one's.
        remove_if_there(&bundle.join(EXIT_RECORD))?;
        let (ours, theirs) = scm::pair()?;
        let text = json::to_string_plain(&StartRequest { version: VERSION, ..request.clone() });
        let memory = memfd::sealed(c"start", text.as_bytes())?;
        let call = Call {
            version: VERSION,
            op: "start".into(),
            netns: netns.is_some(),
            attach: attach.iter().map(Attach::header).collect(),
            ..Call::default()
        };
        let mut fds = vec![memory.as_fd()];
        fds.extend(netns);
        fds.extend(attach.iter().map(|a| a.stream.as_fd()));
        message::send(&ours, &call, &fds)?;
        let pid = start_process(&exe.path(), &theirs, &request.id)?;
        let state = Mutex::new(ShimState::default());
        Ok(Shim { bundle, connection: ours, child: Some(pid), state })
    }

    /// Waits until the container's process has its namespaces, its root and its user, and stands right
    /// before executing its program. Returns its process id. When it fails, the clients' streams are left
    /// open.
    ///
    /// # Errors
    /// Docker's text for what is wrong with the request or the image; nothing of the container is left.
    pub fn wait_created(&self) -> Result<i32> {
        let reply = self.answer(&self.connection, "created")?;
        self.lock().pid = reply.pid;
        Ok(reply.pid)
    }

    /// Lets the container's process execute its program.
    ///
    /// # Errors
    /// As [`Shim::wait_created`].
    pub fn go(&self) -> Result<()> {
        let call = Call { version: VERSION, op: "go".into(), ..Call::default() };
        message::send(&self.connection, &call, &[]).map_err(|e| self.gone(e))?;
        self.answer(&self.connection, "started").map(drop)
    }

    /// Finds the shim that keeps the container of `bundle`, after a restart of the daemon.
    ///
    /// # Errors
    /// `NotFound` when there is none: it ended (see [`exit_record`]) or was killed (see
    /// [`kill_leftovers`]).
    pub fn connect(bundle: &Path) -> Result<Shim> {
        let connection = scm::connect(&bundle.join(SOCKET)).map_err(|e| match e.errno() {
            Some(libc::ENOENT | libc::ECONNREFUSED) => e.with_kind(Kind::NotFound),
            _ => e,
        })?;
        let mut shim = Shim {
            bundle: bundle.into(),
            connection,
            child: None,
            state: Mutex::new(ShimState::default()),
        };
        let call = Call { version: OLDEST, op: "subscribe".into(), ..Call::default() };
        message::send(&shim.connection, &call, &[]).map_err(|e| shim.gone(e))?;
        let reply = shim.answer(&shim.connection, "state")?;
        shim.state = Mutex::new(reply.state.unwrap_or_default());
        Ok(shim)
    }

    /// What the shim said when it was connected to; after `wait_created` only the pid is known.
    pub fn state(&self) -> ShimState {
        self.lock().clone()
    }

    /// Joins a further stream to the container's process.
    ///
    /// # Errors
    /// `NotFound` when the container has ended.
    pub fn attach(&self, attach: &Attach) -> Result<()> {
        let call = Call { attach: vec![attach.header()], ..Call::default() };
        self.call("attach", call, &[attach.stream.as_fd()], "ok").map(drop)
    }

    /// Starts a further process in the container; returns its process id once it executes its program.
    /// When it fails, the client's stream is left open, for the caller to say why.
    ///
    /// # Errors
    /// Docker's text; `Conflict` when the exec id is in use; `NotFound` when the container has ended.
    pub fn exec(&self, request: &ExecRequest, attach: Option<&Attach>) -> Result<i32> {
        let call = Call {
            exec_id: request.exec_id.clone(),
            exec: Some(request.clone()),
            attach: attach.iter().map(|a| a.header()).collect(),
            ..Call::default()
        };
        let streams: Vec<BorrowedFd<'_>> = attach.iter().map(|a| a.stream.as_fd()).collect();
        self.call("exec", call, &streams, "started").map(|reply| reply.pid)
    }

    /// Sets the size of a terminal; `exec_id` is empty for the container's own process.
    ///
    /// # Errors
    /// `NotFound` when there is no such process, `InvalidParameter` when it has no terminal.
    pub fn resize(&self, exec_id: &str, width: u16, height: u16) -> Result<()> {
        let size = ConsoleSize { width: width.into(), height: height.into() };
        let call = Call { exec_id: exec_id.into(), size: Some(size), ..Call::default() };
        self.call("resize", call, &[], "ok").map(drop)
    }

    /// Sends a signal to the container's process or to an exec process.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn signal(&self, exec_id: &str, signal: i32) -> Result<()> {
        let call = Call { exec_id: exec_id.into(), signal, ..Call::default() };
        self.call("signal", call, &[], "ok").map(drop)
    }

    /// Ends the standard input of a process.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub fn close_stdin(&self, exec_id: &str) -> Result<()> {
        let call = Call { exec_id: exec_id.into(), ..Call::default() };
        self.call("closeStdin", call, &[], "ok").map(drop)
    }

    /// Readable in poll when [`Shim::event`] has something to say.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Waits until [`Shim::event`] has something to say, for `limit` at most.
    pub fn wait_event(&self, limit: std::time::Duration) {
        let mut fds = [PollFd::new(self.event_fd(), PollFlags::POLLIN)];
        // Whatever ends the wait, the caller looks for himself.
        let _ = poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    }

    /// The next event, or `None` when there is none now. Does not block. After `Closed` there are no more.
    ///
    /// # Errors
    /// `Io`; `Internal` when the shim speaks nonsense.
    pub fn event(&self) -> Result<Option<Event>> {
        loop {
            let reply: Reply = match message::receive(&self.connection, false) {
                Ok(Some((reply, _))) => reply,
                Ok(None) => return Ok(Some(self.closed())),
                Err(e) if message::is_would_block(&e) => return Ok(None),
                Err(e) => return Err(e),
            };
            let exec_id = reply.exec_id;
            return Ok(Some(match reply.kind.as_str() {
                "exit" => Event::Exit { status: reply.status, oom: reply.oom, time: reply.time },
                "execExit" => Event::ExecExit { exec_id, status: reply.status, time: reply.time },
                "detached" => Event::Detached { exec_id },
                "oom" => Event::Oom,
                "logFailed" => Event::LogFailed(reply.message),
                // An event of a newer shim.
                _ => continue,
            }));
        }
    }

    /// A descriptor that becomes readable when the shim's process ends.
    ///
    /// # Errors
    /// `Io`.
    pub fn life(&self) -> Result<OwnedFd> {
        let pid = match self.child {
            // Our child, not waited for before `Closed`, so the number is its own.
            Some(pid) => pid.as_raw(),
            // It made the socket, and is there: it has answered.
            None => getsockopt(&self.connection, PeerCredentials)
                .at("finding the shim's process")?
                .pid(),
        };
        pidfd::open(pid).at("watching the shim's process")
    }

    /// The directory of the run state.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ShimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a shim that has told its container's end, for a moment at most: so that its
    /// process does not stay in the table until the next occasion.
    pub fn wait_gone(&self) {
        self.closed();
    }

    fn closed(&self) -> Event {
        // Mostly the connection ends when the process does. A shim that cut us off lives on, though.
        if let Some(pid) = self.child
            && let Ok(process) = pidfd::open(pid.as_raw())
        {
            let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(CLOSING_MS)).is_ok_and(|ready| ready > 0) {
                reap(Some(pid));
            }
        }
        Event::Closed
    }

    /// One call on a connection of its own, so that callers do not wait for each other.
    fn call(&self, op: &str, call: Call, fds: &[BorrowedFd<'_>], expected: &str) -> Result<Reply> {
        // One that we started ourselves has told nothing yet, and is as new as we are.
        let version = match self.lock().version {
            0 => VERSION,
            theirs => theirs.min(VERSION),
        };
        let call = Call { version, op: op.into(), ..call };
        let socket = scm::connect(&self.bundle.join(SOCKET)).map_err(|e| self.gone(e))?;
        message::send(&socket, &call, fds).map_err(|e| self.gone(e))?;
        self.answer(&socket, expected)
    }

    fn answer(&self, socket: &OwnedFd, expected: &str) -> Result<Reply> {
        let (reply, _) = message::receive::<Reply>(socket, true)
            .map_err(|e| self.gone(e))?
            // It ends when its container has, whatever it was asked meanwhile.
            .ok_or_else(|| Error::not_found(ENDED))?;
        match reply.kind.as_str() {
            kind if kind == expected => Ok(reply),
            "failed" => Err(Error::new(protocol::kind_of(&reply.error_kind), reply.message)),
            kind => Err(Error::internal(format_args!("unexpected answer {kind:?} of the shim"))),
        }
    }

    /// Gives an error of the connection its meaning: the shim is no longer there.
    fn gone(&self, e: Error) -> Error {
        match e.errno() {
            Some(libc::ENOENT | libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE) => {
                Error::not_found(ENDED)
            }
            _ => e.at(format_args!("talking to the shim in {}", self.bundle.display())),
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if let Some(pid) = self.child {
            UNREAPED.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        }
        reap(None);
    }
}

/// Shims whose handle was dropped while they lived; they are waited for at the next occasion.
static UNREAPED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn reap(ended: Option<Pid>) {
    if let Some(pid) = ended {
        // ECHILD: somebody waited for it before, which is as well.
        let _ = waitpid(pid, None);
    }
    let mut unreaped = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
    unreaped.retain(|pid| {
        use nix::sys::wait::WaitStatus::StillAlive;
        Some(*pid) != ended && matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(StillAlive))
    });
}

fn start_process(exe: &Path, socket: &OwnedFd, id: &str) -> Result<Pid> {
    use std::os::fd::AsRawFd;
    let spawn = || -> nix::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(socket.as_raw_fd(), 0)?;
        let mode = nix::sys::stat::Mode::empty();
        actions.add_open(1, c"/dev/null", nix::fcntl::OFlag::O_WRONLY, mode)?;
        actions.add_dup2(1, 2)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigmask(&SigSet::empty())?;
        // Named ones only: glibc turns those it keeps for itself into ignored ones.
        attributes.set_sigdefault(&Signal::iterator().collect())?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
        )?;
        let id = CString::new(id).unwrap_or_default();
        let arguments = [c"multi", c"shim", id.as_c_str()];
        posix_spawn::<Path, _, _>(exe, &actions, &attributes, &arguments, &[c""; 0])
    };
    spawn().at("starting shim")
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).at(format_args!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// How the container of `bundle` ended, if it did since this boot.
///
/// # Errors
/// `Io` when the record is there but cannot be read.
pub fn exit_record(bundle: &Path) -> Result<Option<ExitRecord>> {
    let Some(bytes) = file::read_optional(&bundle.join(EXIT_RECORD))? else {
        return Ok(None);
    };
    let record: ExitRecord = json::parse(&bytes)?;
    Ok((record.boot_id == procfs::boot_id()?).then_some(record))
}

/// Kills what is left of a container whose shim vanished without recording an end, and removes its
/// cgroup. Waits up to seconds for the processes to end.
///
/// # Errors
/// `Io` when the record of the run cannot be read or the cgroup cannot be removed.
pub fn kill_leftovers(bundle: &Path) -> Result<()> {
    let Some(bytes) = file::read_optional(&bundle.join(RUN_RECORD))? else {
        return Ok(());
    };
    let record: RunRecord = json::parse(&bytes)?;
    if record.boot_id != procfs::boot_id()? {
        return Ok(());
    }
    // The descriptor first and the check second: then it is the checked process that gets the signal.
    let process = pidfd::open(record.pid);
    if procfs::start_time(record.pid).is_ok_and(|time| time == record.start_time) {
        match process {
            Ok(process) => drop(pidfd::send_signal(process, libc::SIGKILL)),
            Err(_) => drop(pidfd::kill(record.pid, libc::SIGKILL)),
        }
    }
    if let Some(runtime) = &record.runtime {
        external::remove_lost(runtime, bundle, &record.id);
    }
    if let Some(record) = &record.cgroup {
        let cgroup = Cgroup::from_record(record);
        if cgroup.exists() {
            cgroup.kill_all()?;
            cgroup.delete().inspect_err(|_| end::mark_left(bundle))?;
        }
    }
    Ok(())
}

/// The cgroup of the container that runs in `bundle`; `None` if none does, or without a cgroup of its own.
///
/// # Errors
/// `Io` when the record of the run cannot be read.
pub fn cgroup(bundle: &Path) -> Result<Option<Cgroup>> {
    let Some(bytes) = file::read_optional(&bundle.join(RUN_RECORD))? else {
        return Ok(None);
    };
    let record: RunRecord = json::parse(&bytes)?;
    if record.boot_id != procfs::boot_id()? {
        return Ok(None);
    }
    Ok(record.cgroup.as_ref().map(Cgroup::from_record))
}

/// Docker's exit code for an error of [`Shim::go`] or [`Shim::wait_created`]: 127 not found, 126 not
/// executable, else 128.
pub fn exit_code_of(error: &Error) -> i32 {
    // As Docker looks at it: runtimes differ in the case of the kernel's words.
    let text = error.message().to_ascii_lowercase();
    let has = |part: &str| text.contains(part);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("not a directory") || has("is a directory") {
        126
    } else {
        128
    }
}
