//! The shim's side of a log whose messages are sent away: a process of its own sends them.
//!
//! The shim has one thread, and must: its children are born in another pid namespace, and it forks. So whoever talks to
//! the network, which may block for as long as it likes, is a process; the shim speaks to it over a socket and never
//! waits for it. What the socket does not take at once is queued, and the container's output is not read
//! ([`Relay::is_full`]) until the queue is empty: that is how a blocking log makes its container wait.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::socket::{MsgFlags, sendmsg};

use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result, json};
use crate::sys::pidfd;

use super::frame::{self, CONFIG, FAILURES, HEADER, READY, REFUSED};
use super::{Config, Stream};

/// How long a log may take to end after its container, as in Docker.
const CLOSING: Duration = Duration::from_secs(10);

/// What the sender said.
pub(super) enum Heard {
    Ready,
    /// Why the driver cannot be opened.
    Refused(String),
    /// Why a message could not be sent.
    Complaint(String),
    /// How many could not.
    Failures(u64),
    /// It is gone.
    End,
}

/// The connection to the sender of one log.
#[derive(Debug)]
pub(super) struct Relay {
    socket: UnixStream,
    pid: i32,
    queue: VecDeque<u8>,
    heard: Vec<u8>,
    /// The sender has gone.
    over: bool,
}

impl Relay {
    /// Starts the sender and tells it `config`. [`Relay::wait_ready`] says whether it can do its work.
    ///
    /// # Errors
    /// `Io` when no process can be made.
    pub(super) fn start(config: &Config) -> Result<Relay> {
        let (ours, theirs) = UnixStream::pair().at("making the connection of a log")?;
        let pid = start_process(&theirs.into(), config)?;
        Relay::over(ours, pid, config)
    }

    fn over(mut socket: UnixStream, pid: i32, config: &Config) -> Result<Relay> {
        let text = json::to_string_plain(config);
        socket.write_all(&frame::frame(CONFIG, text.as_bytes())).at("starting log sender")?;
        socket.set_nonblocking(true).at("starting log sender")?;
        let (queue, heard) = (VecDeque::new(), Vec::new());
        Ok(Relay { socket, pid, queue, heard, over: false })
    }

    /// Waits until the driver is open, or something happens on `abort`.
    ///
    /// # Errors
    /// What the driver has against its options, or its peer against it; `Cancelled` after `abort`.
    pub(super) fn wait_ready(&mut self, abort: BorrowedFd<'_>) -> Result<()> {
        loop {
            match self.hear() {
                Some(Heard::Ready) => return Ok(()),
                Some(Heard::Refused(text)) => return Err(Error::new(Kind::Io, text)),
                Some(Heard::End) => return Err(Error::new(Kind::Io, "the log sender has ended")),
                Some(_) => continue,
                None => {}
            }
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(abort, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).at("waiting for the log sender"),
            }
            if fds[1].any() == Some(true) {
                return Err(Error::cancelled());
            }
        }
    }

    /// Gives on what `stream` wrote at `now`. Never blocks.
    ///
    /// # Errors
    /// `Io` when the sender is gone.
    pub(super) fn write(&mut self, stream: Stream, data: &[u8], now: Timestamp) -> Result<()> {
        if self.over {
            return Err(Error::new(Kind::Io, "the log sender has ended"));
        }
        let kind = match stream {
            Stream::Stdout => frame::STDOUT,
            Stream::Stderr => frame::STDERR,
        };
        let mut head = [0; HEADER + 8];
        head[..HEADER].copy_from_slice(&frame::header(kind, 8 + data.len()));
        head[HEADER..].copy_from_slice(&now.unix_nanos().to_le_bytes());
        let mut done = 0;
        if self.queue.is_empty() {
            done = self.send(&[IoSlice::new(&head), IoSlice::new(data)])?;
        }
        self.queue.extend(&head[done.min(head.len())..]);
        self.queue.extend(&data[done.saturating_sub(head.len())..]);
        Ok(())
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), parts, &[], flags, None) {
                Ok(sent) => return Ok(sent),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(e) => {
                    self.over = true;
                    self.queue = VecDeque::new();
                    return Err(e).at("talking to the log sender");
                }
            }
        }
    }

    /// Sends more of what is queued.
    pub(super) fn flush(&mut self) {
        while !self.queue.is_empty() {
            let (head, tail) = self.queue.as_slices();
            let parts = [IoSlice::new(head), IoSlice::new(tail)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], flags, None) {
                Ok(sent) => drop(self.queue.drain(..sent)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.over = true;
                    break;
                }
            }
        }
        self.queue = VecDeque::new();
    }

    /// Whether the container has to wait.
    pub(super) fn is_full(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The connection.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the sender has gone, so that there is nothing to watch.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The next thing that the sender said, if it said something. After `End` there is nothing more.
    pub(super) fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.take_heard() {
                return Some(heard);
            }
            if self.over {
                return None;
            }
            let mut buffer = [0; 512];
            match self.socket.read(&mut buffer) {
                Ok(length @ 1..) => self.heard.extend_from_slice(&buffer[..length]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return None,
                Ok(_) | Err(_) => {
                    self.over = true;
                    self.queue = VecDeque::new();
                    return Some(Heard::End);
                }
            }
        }
    }

    fn take_heard(&mut self) -> Option<Heard> {
        let mut input = &self.heard[..];
        let mut payload = Vec::new();
        let kind = frame::read(&mut input, &mut payload).ok()??;
        let left = input.len();
        self.heard.drain(..self.heard.len() - left);
        let text = || String::from_utf8_lossy(&payload).into_owned();
        Some(match kind {
            READY => Heard::Ready,
            REFUSED => Heard::Refused(text()),
            FAILURES => {
                let count = payload.first_chunk().map_or(0, |raw| u64::from_le_bytes(*raw));
                Heard::Failures(count)
            }
            _ => Heard::Complaint(text()),
        })
    }

    /// The container has ended: waits until everything is sent, for some seconds at most. Gives what the sender said.
    pub(super) fn close(&mut self) -> Vec<Heard> {
        let deadline = Instant::now() + CLOSING;
        let mut said = Vec::new();
        let mut open = true;
        loop {
            self.flush();
            if open && self.queue.is_empty() {
                // It can only fail when the sender is gone, which is noticed below.
                let _ = self.socket.shutdown(std::net::Shutdown::Write);
                open = false;
            }
            while let Some(heard) = self.hear() {
                let ended = matches!(heard, Heard::End);
                said.push(heard);
                if ended {
                    return said;
                }
            }
            if self.over {
                return said;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !self.queue.is_empty());
            let mut fds = [PollFd::new(self.socket.as_fd(), wanted)];
            let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        }
        self.kill();
        said.push(Heard::Complaint("the log did not end in time: it may be cut".into()));
        said
    }

    /// Only before the sender's end was noticed, so that the number is still its own.
    fn kill(&mut self) {
        if !self.over && self.pid > 0 {
            let _ = pidfd::kill(self.pid, libc::SIGKILL);
        }
        self.over = true;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts our executable as the sender, with `socket` as its standard input.
fn start_process(socket: &OwnedFd, config: &Config) -> Result<i32> {
    let spawn = || -> nix::Result<i32> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(socket.as_raw_fd(), 0)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
        let arguments = [c"multi", c"log-sender"];
        let variables = config.environment.iter();
        let environment: Vec<CString> = variables
            .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
            .collect();
        // The shim runs from the sealed copy, and so does its child.
        let exe = Path::new("/proc/self/exe");
        posix_spawn::<Path, _, _>(exe, &actions, &attributes, &arguments, &environment)
            .map(|pid| pid.as_raw())
    };
    spawn().at("starting log sender")
}
