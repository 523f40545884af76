//! One TCP connection through the proxy: two sockets, data moved by splice(2), half-close kept.
//!
//! Data never enters this process: it goes from socket to pipe to socket. A direction has a pipe only
//! while data is on its way, so that an idle connection costs two descriptors and no buffer.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrIn, connect, getpeername, getsockopt,
    setsockopt, shutdown, socket, sockopt,
};

use super::Listener;
use crate::base::Result;
use crate::sys::scm;

/// Most bytes on their way in one direction: the default capacity of a pipe.
const PIPE_BYTES: usize = 64 * 1024;
/// Bytes moved before others get their turn.
const SHARE_BYTES: usize = 16 * PIPE_BYTES;
const SPARE_PIPES: usize = 8;

/// Empty pipes kept for use again.
#[derive(Default)]
pub(super) struct Pipes(Vec<Pipe>);

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipes {
    fn take(&mut self) -> Result<Pipe, Errno> {
        match self.0.pop() {
            Some(pipe) => Ok(pipe),
            None => nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
                .map(|(read, write)| Pipe { read, write }),
        }
    }

    fn give(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE_PIPES {
            self.0.push(pipe);
        }
    }
}

/// What a connection waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// For an event.
    Waits,
    /// For its next turn.
    Busy,
    /// For nothing any more.
    Ended,
}

#[derive(Default)]
struct Direction {
    pipe: Option<Pipe>,
    in_pipe: usize,
    /// The sender has finished.
    eof: bool,
    /// The receiver was told.
    closed: bool,
}

/// A connection.
pub(super) struct Tcp {
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    up: Direction,
    down: Direction,
}

impl Tcp {
    /// Takes a connection and begins one to the container; `None` if there is none now.
    ///
    /// # Errors
    /// EMFILE, ENFILE: there is a connection but no descriptor for it. Others: it was lost.
    pub(super) fn accept(listener: &Listener) -> Result<Option<Tcp>> {
        let Some(client) = scm::accept(&listener.socket)? else { return Ok(None) };
        fcntl(&client, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let server = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        for fd in [&client, &server] {
            // Small writes were written small for a reason that we do not know.
            let _ = setsockopt(fd, sockopt::TcpNoDelay, &true);
        }
        match connect(server.as_raw_fd(), &SockaddrIn::from(listener.target)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            // No way to the container: closing the client's side is all the answer there is.
            Err(e) => return Err(e.into()),
        }
        let (up, down) = Default::default();
        Ok(Some(Tcp { client, server, connected: false, up, down }))
    }

    pub(super) fn client(&self) -> &OwnedFd {
        &self.client
    }

    pub(super) fn server(&self) -> &OwnedFd {
        &self.server
    }

    /// Moves what can be moved now.
    pub(super) fn step(&mut self, pipes: &mut Pipes) -> Outcome {
        if !self.connected {
            match getsockopt(&self.server, sockopt::SocketError) {
                Ok(0) => {}
                _ => return Outcome::Ended,
            }
            // Not connected yet: the event was the client's.
            match getpeername::<SockaddrIn>(self.server.as_raw_fd()) {
                Ok(_) => self.connected = true,
                Err(_) => return Outcome::Waits,
            }
        }
        let up = self.up.pump(&self.client, &self.server, pipes);
        let down = self.down.pump(&self.server, &self.client, pipes);
        match (up, down) {
            (Ok(_), Ok(_)) if self.up.closed && self.down.closed => Outcome::Ended,
            (Ok(up), Ok(down)) if up || down => Outcome::Busy,
            (Ok(_), Ok(_)) => Outcome::Waits,
            _ => Outcome::Ended,
        }
    }
}

impl Direction {
    /// True if its share was used up and there may be more.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool, Errno> {
        let mut share = SHARE_BYTES;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        while !self.closed {
            if share == 0 {
                return Ok(true);
            }
            let mut moved = false;
            if self.pipe.is_none() {
                self.pipe = Some(pipes.take()?);
            }
            let Some(pipe) = &self.pipe else { return Err(Errno::EMFILE) };
            if !self.eof && self.in_pipe < PIPE_BYTES {
                let room = PIPE_BYTES - self.in_pipe;
                match splice(from, None, &pipe.write, None, room, flags) {
                    Ok(0) => (self.eof, moved) = (true, true),
                    Ok(n) => {
                        self.in_pipe += n;
                        moved = true;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(e) => return Err(e),
                }
            }
            if self.in_pipe > 0 {
                match splice(&pipe.read, None, to, None, self.in_pipe, flags) {
                    Ok(n) => {
                        self.in_pipe -= n;
                        share = share.saturating_sub(n);
                        moved = true;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(e) => return Err(e),
                }
            }
            if self.in_pipe == 0 {
                self.pipe.take().into_iter().for_each(|pipe| pipes.give(pipe));
                if self.eof {
                    // ENOTCONN: the receiver is gone too.
                    let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
                    self.closed = true;
                }
            }
            if !moved {
                return Ok(false);
            }
        }
        Ok(false)
    }
}
