//! The streams of an attached container: terminal or pipes on this side, one connection on the other.
//!
//! One thread, one poll(2): typed input, the daemon's output, the end of the container, signals. Input
//! that the container does not take is held back without blocking its output. Only TLS needs threads,
//! because what is readable there cannot be seen from outside.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use multi_core::api::types::container::WaitResponse;
use multi_core::base::{At, Error, Result, json};
use multi_core::cli::stdcopy::{Demultiplexer, Stream};
use multi_core::cli::term::{self, DetachScanner, Raw};
use multi_core::http::Conn;
use multi_core::http::client::{Answer, Upgraded};
use multi_core::sys::winsize;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, send};

use super::failure::Failure;
use super::session::Session;

/// Attempts to set the size of a terminal that is not there yet.
const RESIZE_ATTEMPTS: u32 = 10;
/// Typed input that is read at once.
const INPUT_BYTES: usize = 32 << 10;

/// What is attached, and to what.
pub(crate) struct Plan<'a> {
    /// The container whose signals and size are set, or the exec.
    pub(crate) id: &'a str,
    /// Whether `id` is an exec.
    pub(crate) exec: bool,
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// Whether our standard input goes to it.
    pub(crate) stdin: bool,
    /// Whether its standard output is shown.
    pub(crate) stdout: bool,
    /// Whether its standard error is shown.
    pub(crate) stderr: bool,
    /// The keys that detach, as configured; empty for the usual ones.
    pub(crate) detach_keys: &'a str,
    /// Whether signals go to the container instead of ending this program.
    pub(crate) forward_signals: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The user pressed the detach keys.
    Detached,
    /// The streams ended.
    Closed,
    /// The container ended with this status.
    Exited(i64),
}

/// A request for the status of a container that is not answered yet.
pub(crate) struct Waiting<'a> {
    answer: Option<Answer<'a>>,
    conn: Option<Conn>,
}

impl<'a> Waiting<'a> {
    /// `answer` has its head; its body comes with the end of the container.
    pub(crate) fn new(answer: Answer<'a>) -> Waiting<'a> {
        let conn = answer.conn().filter(|conn| !conn.is_tls());
        Waiting { answer: Some(answer), conn }
    }

    /// Blocks until the container has ended.
    pub(crate) fn status(&mut self) -> Result<i64> {
        let answer = self.answer.take().ok_or_else(|| Error::internal("status was taken"))?;
        let response: WaitResponse = json::parse(&answer.bytes()?).at("reading the status")?;
        match response.error.filter(|e| !e.message.is_empty()) {
            Some(error) => Err(Error::internal(error.message)),
            None => Ok(response.status_code),
        }
    }
}

/// Signals arrive through a descriptor while this lives.
pub(crate) struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Holds back what can be forwarded, or only what ends or resizes us.
    pub(crate) fn hold(all: bool) -> Result<Signals> {
        let mut set = SigSet::empty();
        for signal in Signal::iterator() {
            let ours = match signal {
                // Faults of this process, what cannot be held, and what says nothing to a container.
                Signal::SIGKILL
                | Signal::SIGSTOP
                | Signal::SIGSEGV
                | Signal::SIGBUS
                | Signal::SIGFPE
                | Signal::SIGILL
                | Signal::SIGABRT
                | Signal::SIGTRAP
                | Signal::SIGSYS
                | Signal::SIGCHLD
                | Signal::SIGPIPE
                | Signal::SIGURG => false,
                Signal::SIGINT
                | Signal::SIGTERM
                | Signal::SIGHUP
                | Signal::SIGQUIT
                | Signal::SIGWINCH => true,
                _ => all,
            };
            if ours {
                set.add(signal);
            }
        }
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).at("holding signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .at("creating a signalfd")?;
        Ok(Signals { fd, before })
    }

    fn next(&mut self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// One attached container.
pub(crate) struct Attached<'a> {
    session: &'a Session,
    plan: &'a Plan<'a>,
    conn: Conn,
    ahead: Vec<u8>,
    raw: Option<Raw>,
    scanner: Option<DetachScanner>,
    demultiplexer: Demultiplexer,
    /// Typed, not yet taken by the container.
    pending: Vec<u8>,
    stdin_open: bool,
    /// Attempts left to set the size, and when the next one is due.
    resize: Option<(u32, Instant)>,
}

impl<'a> Attached<'a> {
    /// Takes over the connection; the terminal goes into raw mode if there is one on both sides.
    pub(crate) fn new(
        session: &'a Session,
        plan: &'a Plan<'a>,
        upgraded: Upgraded,
    ) -> Result<Attached<'a>, Failure> {
        let mut attached = Attached {
            session,
            plan,
            conn: pollable(upgraded.conn)?,
            ahead: upgraded.preread,
            raw: None,
            scanner: None,
            demultiplexer: Demultiplexer::new(),
            pending: Vec::new(),
            stdin_open: plan.stdin,
            resize: None,
        };
        if plan.stdin && plan.tty {
            if term::stdin_is_terminal() {
                attached.raw = Some(Raw::enter(io::stdin().as_fd())?);
            }
            let keys = match plan.detach_keys {
                "" => term::DEFAULT_DETACH_KEYS.to_vec(),
                keys => term::detach_keys(keys).unwrap_or_else(|e| {
                    multi_core::cli::print::err(&format!(
                        "invalid detach escape keys, using default: {e}\n"
                    ));
                    term::DEFAULT_DETACH_KEYS.to_vec()
                }),
            };
            attached.scanner = Some(DetachScanner::new(keys));
        }
        if !plan.stdin {
            // Nothing will be written, and the daemon may count on being told.
            let _ = attached.conn.half_close();
        }
        Ok(attached)
    }

    /// Sets the size of the container's terminal to ours now, and whenever ours changes.
    pub(crate) fn follow_size(&mut self) {
        if !self.set_size() {
            self.resize = Some((RESIZE_ATTEMPTS, Instant::now() + Duration::from_millis(10)));
        }
    }

    fn set_size(&self) -> bool {
        set_size(self.session, self.plan.id, self.plan.exec, 0)
    }

    /// Gives the terminal back; the streams go on.
    fn restore(&mut self) {
        self.raw = None;
    }

    /// Runs until the streams end, the user detaches, or the container has ended.
    pub(crate) fn run(
        &mut self,
        waiting: &mut Option<Waiting<'_>>,
        signals: &mut Signals,
    ) -> Result<End, Failure> {
        let shows = self.plan.stdout || self.plan.stderr;
        let ahead = std::mem::take(&mut self.ahead);
        self.show(&ahead)?;
        loop {
            let mut status_ready = false;
            let mut input_ready = false;
            let mut conn_events = PollFlags::empty();
            let mut signal_ready = false;
            {
                let stdin = io::stdin();
                let wait_conn = waiting.as_ref().and_then(|w| w.conn.as_ref());
                let mut wanted = PollFlags::POLLIN;
                if !self.pending.is_empty() {
                    wanted |= PollFlags::POLLOUT;
                }
                let mut fds = vec![
                    PollFd::new(self.conn.as_fd(), wanted),
                    PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
                ];
                let stdin_at = (self.stdin_open && self.pending.is_empty()).then(|| {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                    fds.len() - 1
                });
                let wait_at = wait_conn.map(|conn| {
                    fds.push(PollFd::new(conn.as_fd(), PollFlags::POLLIN));
                    fds.len() - 1
                });
                let timeout = match &self.resize {
                    Some((_, due)) => {
                        let left = due.saturating_duration_since(Instant::now());
                        PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO)
                    }
                    None => PollTimeout::NONE,
                };
                match poll(&mut fds, timeout) {
                    Ok(_) => {}
                    Err(nix::errno::Errno::EINTR) => continue,
                    Err(e) => return Err(Error::from(e).at("waiting for input").into()),
                }
                let events = |i: usize| fds[i].revents().unwrap_or(PollFlags::empty());
                conn_events |= events(0);
                signal_ready |= !events(1).is_empty();
                input_ready |= stdin_at.is_some_and(|i| !events(i).is_empty());
                status_ready |= wait_at.is_some_and(|i| !events(i).is_empty());
            }
            self.retry_size();
            if signal_ready {
                self.take_signals(signals)?;
            }
            if conn_events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
                && !self.receive()?
            {
                self.restore();
                return Ok(End::Closed);
            }
            if conn_events.contains(PollFlags::POLLOUT) {
                self.push()?;
            }
            if input_ready && self.typed()? {
                self.restore();
                return Ok(End::Detached);
            }
            if !self.stdin_open && self.pending.is_empty() && self.plan.stdin && !shows {
                self.restore();
                return Ok(End::Closed);
            }
            if status_ready && let Some(waiting) = waiting.as_mut() {
                let status = waiting.status();
                if !shows {
                    self.restore();
                    return Ok(End::Exited(status?));
                }
                // Output may still be on its way; it ends by itself.
                self.drain()?;
                self.restore();
                return Ok(End::Exited(status?));
            }
        }
    }

    /// Shows what is left of the output.
    fn drain(&mut self) -> Result<(), Failure> {
        while self.receive()? {}
        Ok(())
    }

    /// One read of the daemon's output; false at its end.
    fn receive(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0u8; 16 << 10];
        match (&mut &self.conn).read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.show(&buffer[..n])?;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(e) => Err(Error::from(e).at("reading the container's output").into()),
        }
    }

    fn show(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.tty {
            if plan.stdout || plan.stderr {
                put(&mut io::stdout().lock(), bytes)?;
            }
            return Ok(());
        }
        self.demultiplexer.feed(bytes, &mut |stream, data| match stream {
            Stream::Stdout if plan.stdout => put(&mut io::stdout().lock(), data),
            Stream::Stderr if plan.stderr => put(&mut io::stderr().lock(), data),
            _ => Ok(()),
        })?;
        Ok(())
    }

    /// Reads typed input; true when the detach keys were pressed.
    fn typed(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0u8; INPUT_BYTES];
        // Not through std's buffered stdin: poll(2) would not see what is buffered.
        let n = match nix::unistd::read(io::stdin().as_fd(), &mut buffer) {
            Ok(n) => n,
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => return Ok(false),
            // A terminal that hung up.
            Err(_) => 0,
        };
        if n == 0 {
            self.stdin_open = false;
            self.restore();
            let _ = self.conn.half_close();
            return Ok(false);
        }
        let mut detached = false;
        match &mut self.scanner {
            Some(scanner) => detached = scanner.feed(&buffer[..n], &mut self.pending),
            None => self.pending.extend_from_slice(&buffer[..n]),
        }
        self.push()?;
        Ok(detached)
    }

    /// Sends typed input as far as the container takes it.
    fn push(&mut self) -> Result<(), Failure> {
        while !self.pending.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.conn.as_fd().as_raw_fd(), &self.pending, flags) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(()),
                // The container reads no more; its output tells the rest.
                Err(_) => {
                    self.pending.clear();
                    self.stdin_open = false;
                    self.restore();
                }
            }
        }
        Ok(())
    }

    fn take_signals(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        while let Some(signal) = signals.next() {
            let terminal = self.plan.tty && (term::stdout_is_terminal() || self.raw.is_some());
            if signal == Signal::SIGWINCH && terminal {
                self.set_size();
            }
            if self.plan.forward_signals {
                forward(self.session, self.plan.id, signal);
            } else if signal != Signal::SIGWINCH {
                self.restore();
                let code = u8::try_from(128 + signal as i32).unwrap_or(1);
                return Err(Failure::silent(code));
            }
        }
        Ok(())
    }

    fn retry_size(&mut self) {
        let Some((left, due)) = self.resize else { return };
        if Instant::now() < due {
            return;
        }
        self.resize = None;
        if self.set_size() {
            return;
        }
        if left <= 1 {
            multi_core::cli::print::err("failed to resize tty, using default size\n");
            return;
        }
        let pause = Duration::from_millis(u64::from(RESIZE_ATTEMPTS + 2 - left) * 10);
        self.resize = Some((left - 1, Instant::now() + pause));
    }
}

/// Sends a signal to the container, by its name without `SIG`.
pub(crate) fn forward(session: &Session, id: &str, signal: Signal) {
    let name = signal.as_str().trim_start_matches("SIG");
    // A container that is gone needs no signal.
    let _ = session.post(&format!("/containers/{id}/kill"), &[("signal", name)]);
}

/// Sets the size of the container's or exec's terminal to ours plus `more` on both sides; false if
/// that failed. Without a terminal there is nothing to set.
pub(crate) fn set_size(session: &Session, id: &str, exec: bool, more: u16) -> bool {
    let (rows, columns) = terminal_size();
    if rows == 0 && columns == 0 {
        return true;
    }
    let path = match exec {
        true => format!("/exec/{id}/resize"),
        false => format!("/containers/{id}/resize"),
    };
    let (height, width) = ((rows + more).to_string(), (columns + more).to_string());
    session.post(&path, &[("h", &height), ("w", &width)]).is_ok()
}

/// Rows and columns of the terminal on standard output; zeros if it is none.
pub(crate) fn terminal_size() -> (u16, u16) {
    winsize::size(io::stdout().as_fd()).unwrap_or((0, 0))
}

/// Writes everything at once; a reader that went away is the end of our own life, not an error.
fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Error::from(e)),
        result => result.at("writing output"),
    }
}

/// The connection itself, or a socket that two threads keep in step with its TLS session.
fn pollable(conn: Conn) -> Result<Conn> {
    if !conn.is_tls() {
        return Ok(conn);
    }
    let (ours, theirs) = UnixStream::pair().at("creating a socket pair")?;
    let other = theirs.try_clone().at("duplicating a socket")?;
    let reader = conn.clone();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.to_string())
            .stack_size(128 << 10)
            .spawn(work)
            .at("starting a thread")
    };
    spawn(
        "tls-output",
        Box::new(move || {
            let _ = io::copy(&mut &reader, &mut &other);
            let _ = other.shutdown(std::net::Shutdown::Write);
        }),
    )?;
    spawn(
        "tls-input",
        Box::new(move || {
            let _ = io::copy(&mut &theirs, &mut &conn);
            let _ = conn.half_close();
        }),
    )?;
    Ok(Conn::plain(ours.into()))
}

/// Fails as Docker does when a container's terminal shall get input that is none.
pub(crate) fn check_tty(stdin: bool, tty: bool) -> Result<(), Failure> {
    if tty && stdin && !is_terminal(io::stdin().as_fd()) {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    use std::io::IsTerminal;
    fd.is_terminal()
}
