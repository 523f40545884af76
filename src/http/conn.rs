//! One stream connection: a unix or TCP socket, with TLS or without. Clones share it, so that one
//! thread can read while another writes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::tls::Tls;
use crate::base::{At, Result};

/// A connection; see the module.
#[derive(Clone)]
pub struct Conn(Arc<Inner>);

enum Inner {
    // UnixStream's calls (read, write, shutdown, SO_RCVTIMEO) are those of every stream socket, so
    // it holds TCP sockets as well.
    Plain(UnixStream),
    Tls(Box<Tls>),
}

impl Conn {
    /// Takes over a connected stream socket.
    pub fn plain(socket: OwnedFd) -> Conn {
        Conn(Arc::new(Inner::Plain(UnixStream::from(socket))))
    }

    /// Takes over a TLS session.
    pub fn tls(session: Tls) -> Conn {
        Conn(Arc::new(Inner::Tls(Box::new(session))))
    }

    /// Whether the bytes on the socket are encrypted, so that its descriptor is of no use to others.
    pub fn is_tls(&self) -> bool {
        matches!(*self.0, Inner::Tls(_))
    }

    fn socket(&self) -> &UnixStream {
        match &*self.0 {
            Inner::Plain(socket) => socket,
            Inner::Tls(session) => session.socket(),
        }
    }

    /// Tells the peer that nothing more will be written; reading goes on.
    ///
    /// # Errors
    /// Those of shutdown(2), or of sending the TLS close notice.
    pub fn half_close(&self) -> io::Result<()> {
        if let Inner::Tls(session) = &*self.0 {
            session.close_notify()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Ends both directions and wakes every thread that blocks on the connection.
    pub fn shutdown(&self) {
        // The peer may be gone already; then there is nothing to end.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Bounds every later read; `None` waits for ever. A read that is too late fails with `WouldBlock`.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(limit)
    }

    /// Bounds every later write.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.socket().set_write_timeout(limit)
    }

    /// The socket as a descriptor of its own, for another process. Meaningless for TLS.
    ///
    /// # Errors
    /// `Io` when descriptors run out.
    pub fn duplicate(&self) -> Result<OwnedFd> {
        self.socket().as_fd().try_clone_to_owned().at("duplicating a connection")
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Read for &Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match &*self.0 {
                Inner::Plain(socket) => (&*socket).read(buffer),
                Inner::Tls(session) => session.read(buffer),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Write for &Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.0 {
            Inner::Plain(socket) => (&*socket).write(bytes),
            Inner::Tls(session) => session.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Conn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
