//! The standard streams of one process: pipes or a terminal on one side, clients and the log on the
//! other.
//!
//! All descriptors are non-blocking. Epoll watches exactly what can be acted upon ([`Streams::watch`]), so
//! that neither a full pipe nor a stalled client makes the shim spin.

use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::unistd::pipe2;

use super::super::process::Pipes;
use super::attached::{Attached, Input, STDERR, STDOUT};
use crate::base::{At, Error, Result};
use crate::sys::pty;

/// Where the lines of a container's output go.
pub(super) type Log<'a> = &'a mut dyn FnMut(u8, &[u8]);

/// What a client did that concerns others.
pub(super) enum Happened {
    /// Nothing of interest.
    Nothing,
    /// The detach keys were typed.
    Detached,
}

/// A descriptor and what epoll watches of it.
struct Watched {
    fd: OwnedFd,
    flags: Option<EpollFlags>,
}

/// Both sides of one process's streams.
#[derive(Default)]
pub(super) struct Streams {
    /// The terminal; then there are no pipes.
    master: Option<Watched>,
    stdin: Option<Watched>,
    stdout: Option<Watched>,
    stderr: Option<Watched>,
    clients: Vec<Attached>,
    /// See [`Attached::own`].
    owned: bool,
    /// Nobody had the terminal open at the last look.
    hung_up: bool,
    /// Input that the process has not taken yet.
    pending: Vec<u8>,
    /// Standard input is to be closed when `pending` is empty.
    stdin_ending: bool,
    /// The first client that ends its input ends the process's.
    pub(super) stdin_once: bool,
    /// Bytes of output that were read since [`Streams::take_read`].
    read: usize,
}

fn unblocked(fd: OwnedFd) -> Result<Option<Watched>> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).at("making a pipe non-blocking")?;
    Ok(Some(Watched { fd, flags: None }))
}

impl Streams {
    /// Pipes for a process without a terminal, and the other ends for it.
    pub(super) fn pipes(open_stdin: bool) -> Result<(Streams, Pipes)> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).at("making a pipe");
        let mut streams = Streams::default();
        let mut stdin = None;
        if open_stdin {
            let (read, write) = pipe()?;
            stdin = Some(read);
            streams.stdin = unblocked(write)?;
        }
        let (out_read, stdout) = pipe()?;
        let (err_read, stderr) = pipe()?;
        streams.stdout = unblocked(out_read)?;
        streams.stderr = unblocked(err_read)?;
        Ok((streams, Pipes { stdin, stdout, stderr }))
    }

    /// The process has a terminal; its stages opened it.
    pub(super) fn set_master(&mut self, master: OwnedFd) {
        self.master = Some(Watched { fd: master, flags: None });
    }

    /// Joins a client. True: it typed the detach keys before it was here.
    pub(super) fn add(&mut self, mut client: Attached) -> Happened {
        if self.owned {
            client.own();
        }
        let input = client.take_preread();
        self.clients.push(client);
        self.client_input(self.clients.len() - 1, input)
    }

    /// Whether `fd` is one of ours.
    pub(super) fn owns(&self, fd: RawFd) -> bool {
        let pipes = [&self.master, &self.stdin, &self.stdout, &self.stderr];
        pipes.into_iter().flatten().any(|w| w.fd.as_raw_fd() == fd)
            || self.clients.iter().any(|c| c.as_fd().as_raw_fd() == fd)
    }

    /// Does what can be done on `fd`, which epoll named.
    pub(super) fn ready(
        &mut self,
        fd: RawFd,
        events: EpollFlags,
        buffer: &mut [u8],
        log: Log<'_>,
    ) -> Happened {
        let is = |slot: &Option<Watched>| slot.as_ref().is_some_and(|w| w.fd.as_raw_fd() == fd);
        let writes = events.contains(EpollFlags::EPOLLOUT);
        let reads =
            events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if is(&self.stdout) {
            self.pump(STDOUT, buffer, log);
        } else if is(&self.stderr) {
            self.pump(STDERR, buffer, log);
        } else if is(&self.stdin) {
            self.feed();
        } else if is(&self.master) {
            if writes {
                self.feed();
            }
            if reads {
                self.pump(STDOUT, buffer, log);
            }
        } else if let Some(i) = self.clients.iter().position(|c| c.as_fd().as_raw_fd() == fd) {
            return self.client_ready(i, events, buffer);
        }
        Happened::Nothing
    }

    fn client_ready(&mut self, i: usize, events: EpollFlags, buffer: &mut [u8]) -> Happened {
        if events.contains(EpollFlags::EPOLLOUT) && !self.clients[i].flush() {
            self.clients.remove(i);
            return Happened::Nothing;
        }
        if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return self.client_hung_up(i, buffer);
        }
        if !events.contains(EpollFlags::EPOLLIN) {
            return Happened::Nothing;
        }
        let input = self.clients[i].input(buffer);
        self.client_input(i, input)
    }

    /// A client has gone, perhaps with input that is still to be passed on.
    fn client_hung_up(&mut self, i: usize, buffer: &mut [u8]) -> Happened {
        let client = &mut self.clients[i];
        client.hang_up();
        let feeds = client.feeds_stdin();
        if feeds {
            if !self.pending.is_empty() {
                return Happened::Nothing;
            }
            let input = client.input(buffer);
            if matches!(input, Input::Bytes(_) | Input::Detach(_)) {
                return self.client_input(i, input);
            }
        }
        self.clients.remove(i);
        if feeds {
            self.client_stdin_ended();
        }
        Happened::Nothing
    }

    fn client_input(&mut self, i: usize, input: Input) -> Happened {
        match input {
            Input::Nothing => {}
            Input::Bytes(bytes) => self.queue_input(&bytes),
            Input::End => self.client_stdin_ended_by(i),
            Input::Gone => {
                let fed = self.clients[i].feeds_stdin();
                self.clients.remove(i);
                if fed {
                    self.client_stdin_ended();
                }
            }
            Input::Detach(before) => {
                self.queue_input(&before);
                self.clients.remove(i);
                return Happened::Detached;
            }
        }
        Happened::Nothing
    }

    fn client_stdin_ended_by(&mut self, i: usize) {
        if self.clients[i].wants_stdin() {
            self.client_stdin_ended();
        }
    }

    fn client_stdin_ended(&mut self) {
        // A terminal has no end that could be passed on; Docker leaves it open as well.
        if self.stdin_once && self.master.is_none() {
            self.close_stdin();
        }
    }

    /// Ends the process's standard input after what was queued before.
    pub(super) fn close_stdin(&mut self) {
        self.stdin_ending = true;
        self.feed();
    }

    fn queue_input(&mut self, bytes: &[u8]) {
        // Nobody takes it: thrown away, as the null device would.
        if self.stdin.is_none() && self.master.is_none() {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.feed();
    }

    /// Writes queued input to the process as far as it takes it.
    fn feed(&mut self) {
        let Some(sink) = self.master.as_ref().or(self.stdin.as_ref()) else {
            self.pending = Vec::new();
            return;
        };
        let mut done = 0;
        let mut gone = false;
        while done < self.pending.len() {
            match nix::unistd::write(&sink.fd, &self.pending[done..]) {
                Ok(written) => done += written,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        if gone {
            self.pending = Vec::new();
            self.stdin = None;
            return;
        }
        if done == self.pending.len() {
            self.pending = Vec::new();
            if self.stdin_ending {
                self.stdin = None;
            }
        } else {
            self.pending.drain(..done);
        }
    }

    /// Reads once from the process and gives it to the log and the clients. False: there was nothing.
    fn pump(&mut self, stream: u8, buffer: &mut [u8], log: Log<'_>) -> bool {
        let terminal = self.master.is_some();
        let source = match (&self.master, stream) {
            (Some(_), _) => &mut self.master,
            (None, STDERR) => &mut self.stderr,
            (None, _) => &mut self.stdout,
        };
        let Some(watched) = source else { return false };
        let length = match nix::unistd::read(&watched.fd, buffer) {
            Ok(length @ 1..) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            // EIO: nobody has the terminal open. That may change, so it stays.
            _ => {
                if terminal {
                    self.hung_up = true;
                } else {
                    *source = None;
                }
                return false;
            }
        };
        self.hung_up = false;
        self.read += length;
        log(stream, &buffer[..length]);
        self.clients.retain_mut(|c| !c.reads(stream) || c.output(stream, &buffer[..length]));
        true
    }

    /// How much output was read since the last question.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    /// Reads until nothing is there, whatever the clients' queues hold: the process has ended, so there
    /// is an end to it.
    pub(super) fn drain(&mut self, buffer: &mut [u8], log: Log<'_>) {
        while self.pump(STDOUT, buffer, log) {}
        if self.master.is_none() {
            while self.pump(STDERR, buffer, log) {}
        }
    }

    /// Whether all output was read to its end.
    pub(super) fn output_ended(&self) -> bool {
        (self.master.is_none() || self.hung_up) && self.stdout.is_none() && self.stderr.is_none()
    }

    /// The process has ended and its output was read: clients go when they have taken theirs.
    pub(super) fn end(&mut self) {
        (self.master, self.stdin, self.stdout, self.stderr) = (None, None, None, None);
        for client in &mut self.clients {
            client.end();
        }
        self.clients.retain_mut(|c| c.flush() && !c.is_done());
    }

    /// The process has started: its clients' connections end with it.
    pub(super) fn started(&mut self) {
        self.owned = true;
        self.clients.iter_mut().for_each(Attached::own);
    }

    /// Whether clients still have to be served.
    pub(super) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Sets the size of the terminal.
    ///
    /// # Errors
    /// `InvalidParameter` when the process has none.
    pub(super) fn resize(&self, width: u16, height: u16) -> Result<()> {
        let Some(master) = &self.master else {
            return Err(Error::invalid("the process has no terminal"));
        };
        pty::resize(&master.fd, width, height)
    }

    /// Tells epoll what to watch now; while the log is full no output is read.
    pub(super) fn watch(&mut self, epoll: &Epoll, log_is_full: bool) {
        self.clients.retain(|c| !c.is_done());
        let waits = |stream: u8, clients: &[Attached]| {
            log_is_full || clients.iter().any(|c| c.reads(stream) && c.is_full())
        };
        let (out_waits, err_waits) = (waits(STDOUT, &self.clients), waits(STDERR, &self.clients));
        let has_input = !self.pending.is_empty();
        let flags_of = |read: bool, write: bool| {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, read);
            flags.set(EpollFlags::EPOLLOUT, write);
            flags
        };
        let mut master_flags = flags_of(!out_waits, has_input);
        // A terminal that nobody has open reports so for ever; in this mode only what changes is told.
        master_flags.set(EpollFlags::EPOLLET, self.hung_up && !master_flags.is_empty());
        let slots = [
            (&mut self.master, master_flags),
            (&mut self.stdin, flags_of(false, has_input)),
            (&mut self.stdout, flags_of(!out_waits, false)),
            (&mut self.stderr, flags_of(!err_waits, false)),
        ];
        for (slot, flags) in slots {
            if let Some(watched) = slot {
                // Watching nothing still reports a hang-up, for ever: then the descriptor is left out.
                let flags = (!flags.is_empty()).then_some(flags);
                set_interest(epoll, watched.fd.as_fd(), &mut watched.flags, flags);
            }
        }
        for client in &mut self.clients {
            let flags = client.interest(!has_input);
            let mut watched = client.watched;
            set_interest(epoll, client.as_fd(), &mut watched, flags);
            client.watched = watched;
        }
    }
}

/// Brings epoll's interest in `fd` from `current` to `wanted`, with as few calls as possible.
pub(super) fn set_interest(
    epoll: &Epoll,
    fd: BorrowedFd<'_>,
    current: &mut Option<EpollFlags>,
    wanted: Option<EpollFlags>,
) {
    if *current == wanted {
        return;
    }
    let token = fd.as_raw_fd() as u64;
    let done = match (*current, wanted) {
        (None, Some(flags)) => epoll.add(fd, EpollEvent::new(flags, token)),
        (Some(_), Some(flags)) => epoll.modify(fd, &mut EpollEvent::new(flags, token)),
        (Some(_), None) => epoll.delete(fd),
        (None, None) => Ok(()),
    };
    if done.is_ok() {
        *current = wanted;
    }
}
