//! The shim's own process: one thread, one epoll loop.
//!
//! It is started with a socket as standard input and nothing else of the daemon's: a session of its own,
//! null devices as output, no inherited descriptors. It is not dumpable, so that a process of the
//! container that shares its pid namespace cannot look into one of its children on the way in
//! (CVE-2016-9962).
//!
//! Epoll gives one event at a time and its token is the descriptor's number: no event can be stale, and
//! whoever has that number now gets it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::attached::STDERR;
use super::external::{Helper, Strangers};
use super::message;
use super::protocol::{Call, Reply, SOCKET, StartHeader, VERSION};
use super::streams::{Happened, Streams, set_interest};
use super::{end, kind_name, start};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result};
use crate::cgroup::{Cgroup, OomWatch};
use crate::logs::{self, Sink};
use crate::sys::{scm, trim};

/// How much is read from a process or a client at once.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long the output of an exec process that has ended is waited for, when its children hold the pipe.
pub(super) const OUTPUT_PATIENCE: Duration = Duration::from_secs(2);
/// Output in pieces that come closer together than this is a flood, and is left to gather for as long.
const LULL: Duration = Duration::from_millis(1);
/// So many pieces in a row make a flood: an answer of a few lines is not held up.
const FLOOD_PIECES: u32 = 16;
/// After this time without an event memory is given back.
const QUIET_MS: u16 = 500;
/// Exec processes that ended unseen; more are forgotten, oldest first.
const UNSEEN_MAX: usize = 64;

/// One process of the container that the shim started.
pub(super) struct Proc {
    /// Empty for the container's own.
    pub(super) exec_id: String,
    pub(super) pid: i32,
    pub(super) streams: Streams,
    /// Its stages, until it executes its program.
    pub(super) channel: Option<OwnedFd>,
    /// Who is told when it does.
    pub(super) waiter: Option<OwnedFd>,
    /// Its stages said that all is done but executing the program.
    pub(super) ready: bool,
    /// Its program runs, or ran.
    pub(super) started: bool,
    /// Docker's exit code, and when.
    pub(super) exited: Option<(i32, Timestamp)>,
    /// When to stop waiting for its output.
    pub(super) deadline: Option<Instant>,
    /// Its end was told, or it never started.
    pub(super) over: bool,
}

impl Proc {
    /// A process that another runtime makes; 0 for a number that is not known yet.
    pub(super) fn made(exec_id: String, pid: i32, streams: Streams) -> Proc {
        Proc {
            exec_id,
            pid,
            streams,
            channel: None,
            waiter: None,
            ready: true,
            started: false,
            exited: None,
            deadline: None,
            over: false,
        }
    }
}

/// All the shim knows.
pub(super) struct Server {
    pub(super) epoll: Epoll,
    pub(super) bundle: PathBuf,
    pub(super) header: StartHeader,
    pub(super) boot_id: String,
    listener: Option<OwnedFd>,
    signals: SignalFd,
    /// The daemon's connection that the shim was born with.
    pub(super) starter: Option<OwnedFd>,
    /// Connections that get events.
    subscribers: Vec<OwnedFd>,
    /// Accepted connections that have not said anything yet.
    callers: Vec<OwnedFd>,
    /// The container's own process is the first.
    pub(super) procs: Vec<Proc>,
    /// Where the output of the container's own process goes.
    pub(super) log: Option<Sink>,
    /// What epoll watches of the log's connection, if it has one.
    log_watched: Option<EpollFlags>,
    /// The container's system call filter, for exec.
    pub(super) filter: Option<OwnedFd>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) oom_watch: Option<OomWatch>,
    /// Calls of another runtime that have not ended.
    pub(super) helpers: Vec<Helper>,
    /// Ends of processes that such a call may turn out to have made.
    pub(super) strangers: Strangers,
    /// Names of the files of such calls.
    pub(super) next_serial: u64,
    /// Events of exec processes that nobody was there to hear.
    unseen: Vec<Reply>,
    pub(super) buffer: Vec<u8>,
    /// Small pieces of output that came in a row, and when the last one did.
    pieces: (u32, Instant),
}

/// Runs the shim; standard input is the starting connection. Returns the process's exit code.
pub fn serve() -> u8 {
    match run() {
        Ok(()) => 0,
        Err(e) => {
            // The daemon reads the reason from the connection, if anybody is there at all.
            let _ = message::send(std::io::stdin(), &failed(&e), &[]);
            1
        }
    }
}

fn run() -> Result<()> {
    // ENOTTY and the like cannot be; EPERM means that we lead a session already.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_dumpable(false).at("prctl")?;
    nix::sys::prctl::set_child_subreaper(true).at("prctl")?;
    nix::unistd::chdir("/").at("chdir")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).at("blocking signals")?;
    let starter = std::io::stdin().as_fd().try_clone_to_owned()?;
    let Some((call, fds)) = message::receive::<Call>(&starter, true)? else {
        return Ok(());
    };
    // Standard input must not stay a second reference to the connection, or its end is never seen.
    nix::unistd::dup2_stdin(std::io::stdout()).at("dup2")?;
    let mut server = match start::start(starter, call, fds)? {
        Some(server) => server,
        None => return Ok(()),
    };
    server.serve()
}

/// What takes output to the log, if there is one.
pub(super) fn to_log(mut sink: Option<&mut Sink>) -> impl FnMut(u8, &[u8]) {
    move |stream, bytes| {
        if let Some(sink) = &mut sink {
            let stream = if stream == STDERR { logs::Stream::Stderr } else { logs::Stream::Stdout };
            sink.write(stream, bytes);
        }
    }
}

/// An error as an answer.
pub(super) fn failed(e: &Error) -> Reply {
    Reply {
        kind: "failed".into(),
        error_kind: kind_name(e.kind()).into(),
        message: e.message().into(),
        ..Reply::default()
    }
}

impl Server {
    /// A server around the container's process.
    pub(super) fn new(
        starter: OwnedFd,
        header: StartHeader,
        boot_id: String,
        first: Proc,
        cgroup: Option<Cgroup>,
        log: Option<Sink>,
    ) -> Result<Server> {
        let mut chld = SigSet::empty();
        chld.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&chld, flags).at("making a signal descriptor")?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).at("making an epoll descriptor")?;
        let bundle = PathBuf::from(&header.bundle);
        let listener = scm::listen(&bundle.join(SOCKET))?;
        let mut server = Server {
            epoll,
            bundle,
            header,
            boot_id,
            listener: Some(listener),
            signals,
            starter: None,
            subscribers: Vec::new(),
            callers: Vec::new(),
            procs: vec![first],
            log,
            log_watched: None,
            filter: None,
            cgroup,
            oom_watch: None,
            helpers: Vec::new(),
            strangers: Strangers::new(),
            next_serial: 0,
            unseen: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            pieces: (0, Instant::now()),
        };
        server.add(server.signals.as_fd())?;
        if let Some(listener) = &server.listener {
            server.add(listener.as_fd())?;
        }
        server.add(starter.as_fd())?;
        server.starter = Some(starter);
        server.watch_channel(0)?;
        Ok(server)
    }

    /// Watches `fd` for input.
    pub(super) fn add(&self, fd: BorrowedFd<'_>) -> Result<()> {
        self.epoll
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, fd.as_raw_fd() as u64))
            .at("watching a descriptor")
    }

    /// Watches the channel of a new process.
    pub(super) fn watch_channel(&self, i: usize) -> Result<()> {
        self.procs[i].channel.as_ref().map_or(Ok(()), |channel| self.add(channel.as_fd()))
    }

    fn serve(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty()];
        while !self.is_finished() {
            let mut log_is_full = self.watch_log();
            for proc in &mut self.procs {
                // Only the container's own output, which comes first, goes to the log.
                proc.streams.watch(&self.epoll, std::mem::take(&mut log_is_full));
            }
            let deadline = self.procs.iter().filter_map(|p| p.deadline).min();
            let timeout = match deadline {
                None => EpollTimeout::from(QUIET_MS),
                Some(at) => {
                    let left =
                        at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                    EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
                }
            };
            match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => {}
                // Quiet for a while: nothing but this wait is needed of the program.
                Ok(0) if deadline.is_none() => {
                    self.buffer = Vec::new();
                    trim::wait_without_code(self.epoll.0.as_fd());
                    self.buffer = vec![0; BUFFER_BYTES];
                    continue;
                }
                Ok(0) => {}
                Ok(_) => {
                    self.ready(events[0].data() as RawFd, events[0].events());
                }
                Err(e) => return Err(Error::from(e).at("waiting for events")),
            }
            end::settle(self);
        }
        Ok(())
    }

    /// The container's process is over and everybody has been told.
    fn is_finished(&self) -> bool {
        self.procs[0].over && self.procs.iter().all(|p| !p.streams.has_clients())
    }

    fn ready(&mut self, fd: RawFd, events: EpollFlags) {
        let is = |slot: &Option<OwnedFd>| slot.as_ref().is_some_and(|f| f.as_raw_fd() == fd);
        let among = |list: &[OwnedFd]| list.iter().position(|f| f.as_raw_fd() == fd);
        if let Some(i) = self.procs.iter().position(|p| p.streams.owns(fd)) {
            self.stream_ready(i, fd, events);
        } else if fd == self.signals.as_fd().as_raw_fd() {
            self.reap();
        } else if self.log_owns(fd) {
            if let Some(log) = &mut self.log {
                log.ready();
            }
            self.pass_complaint();
        } else if is(&self.listener) {
            self.accept();
        } else if is(&self.starter) {
            start::starter_ready(self);
        } else if let Some(i) = among(&self.callers) {
            let caller = self.callers.remove(i);
            super::call::serve(self, caller);
        } else if let Some(i) = among(&self.subscribers) {
            // Subscribers say nothing; so this is the end of one.
            self.subscribers.remove(i);
        } else if let Some(i) = self.procs.iter().position(|p| is(&p.channel)) {
            let _ = start::stage_ready(self, i);
        } else if let Some(watch) = &mut self.oom_watch
            && watch.fd().as_raw_fd() == fd
            && watch.take() > 0
        {
            self.tell(Reply { kind: "oom".into(), time: Timestamp::now(), ..Reply::default() });
        }
    }

    /// Watches the log's connection, if it has one. True if no output should be read for now.
    fn watch_log(&mut self) -> bool {
        let Some(log) = &self.log else { return false };
        let is_full = log.is_full();
        if let Some(fd) = log.fd() {
            let mut wanted = EpollFlags::EPOLLIN;
            wanted.set(EpollFlags::EPOLLOUT, is_full);
            // The hang-up of one that is over would be reported for ever.
            let wanted = log.is_connected().then_some(wanted);
            set_interest(&self.epoll, fd, &mut self.log_watched, wanted);
        }
        is_full
    }

    fn log_owns(&self, fd: RawFd) -> bool {
        self.log_watched.is_some()
            && self.log.as_ref().and_then(Sink::fd).is_some_and(|f| f.as_raw_fd() == fd)
    }

    fn stream_ready(&mut self, i: usize, fd: RawFd, events: EpollFlags) {
        let proc = &mut self.procs[i];
        let sink = if i == 0 { self.log.as_mut() } else { None };
        let happened = proc.streams.ready(fd, events, &mut self.buffer, &mut to_log(sink));
        match happened {
            Happened::Nothing => {}
            Happened::Detached => {
                let exec_id = proc.exec_id.clone();
                self.tell(Reply { kind: "detached".into(), exec_id, ..Reply::default() });
            }
        }
        let read = self.procs[i].streams.take_read();
        self.gather(read);
        self.pass_complaint();
    }

    /// Lets a process that writes line by line without a pause fill its pipe for a moment, instead of
    /// being woken for each line. What fills the buffer, and whatever else happens, ends the flood.
    fn gather(&mut self, read: usize) {
        if read == 0 || read >= BUFFER_BYTES / 2 {
            self.pieces.0 = 0;
            return;
        }
        let now = Instant::now();
        let (count, last) = self.pieces;
        let count = if now.duration_since(last) < 2 * LULL { count + 1 } else { 0 };
        self.pieces = (count, now);
        if count >= FLOOD_PIECES {
            std::thread::sleep(LULL);
        }
    }

    /// Tells the daemon what is wrong with the log, once.
    pub(super) fn pass_complaint(&mut self) {
        if let Some(message) = self.log.as_mut().and_then(Sink::complaint) {
            self.tell(Reply { kind: "logFailed".into(), message, ..Reply::default() });
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        if let Ok(Some(caller)) = scm::accept(listener)
            && self.add(caller.as_fd()).is_ok()
        {
            self.callers.push(caller);
        }
    }

    /// Takes the ends of children. Those of the container that were handed to us, because their parent
    /// had ended in the host's pid namespace, end here too.
    fn reap(&mut self) {
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
        loop {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            let (pid, status) = match waitid(Id::All, flags) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, status),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Err(Errno::EINTR) => continue,
                _ => break,
            };
            let helper = self.helpers.iter().position(|h| h.child.id() as i32 == pid.as_raw());
            if let Some(proc) = self.procs.iter_mut().find(|p| p.pid == pid.as_raw()) {
                proc.exited = Some((status, Timestamp::now()));
            } else if let Some(i) = helper {
                let helper = self.helpers.remove(i);
                start::helper_ended(self, helper, status);
            } else if !self.helpers.is_empty() {
                self.strangers.insert(pid.as_raw(), (status, Timestamp::now()));
            }
        }
    }

    /// Begins to tell of want of memory, where there is a limit to run into. Without the watch the exit
    /// record still says it.
    pub(super) fn watch_memory(&mut self) {
        let memory = self.header.spec.linux.resources.memory.as_ref();
        if memory.and_then(|memory| memory.limit).is_none_or(|limit| limit <= 0) {
            return;
        }
        self.oom_watch = self.cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok());
        if let Some(watch) = &self.oom_watch
            && self.add(watch.fd()).is_err()
        {
            self.oom_watch = None;
        }
    }

    /// Makes a caller's connection, which is watched already, one that gets events.
    pub(super) fn subscribe(&mut self, connection: OwnedFd) {
        for event in std::mem::take(&mut self.unseen) {
            let _ = message::send(&connection, &event, &[]);
        }
        self.subscribers.push(connection);
    }

    /// The starting connection becomes one that gets events; it is watched already.
    pub(super) fn promote_starter(&mut self) {
        if let Some(starter) = self.starter.take() {
            self.subscribers.push(starter);
        }
    }

    /// Tells an event to everybody who listens. One who does not take it is cut off, and reconnects.
    pub(super) fn tell(&mut self, event: Reply) {
        self.subscribers.retain(|s| message::send_at_once(s, &event).is_ok());
        if self.subscribers.is_empty() && event.kind == "execExit" {
            if self.unseen.len() == UNSEEN_MAX {
                self.unseen.remove(0);
            }
            self.unseen.push(event);
        }
    }

    /// Answers a call; a caller that has gone does not matter.
    pub(super) fn answer(caller: &OwnedFd, reply: &Reply) {
        let _ = message::send(caller, reply, &[]);
    }

    /// The process an id names.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn find(&mut self, exec_id: &str) -> Result<&mut Proc> {
        self.procs.iter_mut().find(|p| p.exec_id == exec_id && !p.over).ok_or_else(|| {
            Error::not_found(if exec_id.is_empty() {
                super::protocol::ENDED.to_string()
            } else {
                format!("process of exec {exec_id} has ended")
            })
        })
    }

    /// What a daemon that connects anew is told.
    pub(super) fn state(&self) -> super::ShimState {
        let execs =
            self.procs[1..].iter().filter(|p| p.started && !p.over).map(|p| super::ExecState {
                exec_id: p.exec_id.clone(),
                pid: p.pid,
                ..super::ExecState::default()
            });
        super::ShimState { version: VERSION, pid: self.procs[0].pid, execs: execs.collect() }
    }

    /// Nobody new can come: the container has ended.
    pub(super) fn stop_listening(&mut self) {
        self.listener = None;
        let _ = std::fs::remove_file(self.bundle.join(SOCKET));
    }
}
