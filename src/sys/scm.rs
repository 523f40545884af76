//! Message sockets that carry descriptors: SOCK_SEQPACKET with SCM_RIGHTS.
//!
//! One send is one receive; a descriptor arrives with close-on-exec set. An empty message never is
//! sent, so that a receive of nothing always means that the peer closed.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, UnixAddr,
};

use crate::base::{At, Error, Result};

/// Most descriptors in one message.
pub const MAX_FDS: usize = 16;

/// A connected pair.
///
/// # Errors
/// `Io`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .at("creating socket pair")
}

/// Sends one message; the descriptors are duplicated into it.
///
/// # Errors
/// `Io`; EPIPE without a signal when the peer is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_flags(socket, bytes, fds, MsgFlags::empty())
}

/// Sends one message without waiting for room.
///
/// # Errors
/// As [`send`]; EAGAIN when there is no room.
pub fn send_at_once(socket: impl AsFd, bytes: &[u8]) -> Result<()> {
    send_flags(socket, bytes, &[], MsgFlags::MSG_DONTWAIT)
}

fn send_flags(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &control[..0] } else { &control[..] };
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        let fd = socket.as_fd().as_raw_fd();
        match socket::sendmsg::<()>(fd, &[IoSlice::new(bytes)], control, flags, None) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one message into `buffer`: its length and its descriptors; 0 when the peer closed.
///
/// # Errors
/// `Io`; EAGAIN when `wait` is false and nothing is there; EMSGSIZE when the message was cut.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], wait: bool) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    loop {
        let mut iov = [IoSliceMut::new(buffer)];
        let fd = socket.as_fd().as_raw_fd();
        let message = match socket::recvmsg::<()>(fd, &mut iov, Some(&mut space), flags) {
            Ok(message) => message,
            // The peer closed without reading all of ours. That is told once, and before what it had sent.
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNRESET) => continue,
            Err(e) => return Err(e.into()),
        };
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                for fd in raw {
                    // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
                    fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(Error::from_errno(libc::EMSGSIZE));
        }
        return Ok((message.bytes, fds));
    }
}

/// Makes the descriptor number of `old` mean the socket `new`, close-on-exec.
///
/// # Errors
/// `Io`.
pub fn replace(old: BorrowedFd<'_>, new: &OwnedFd) -> Result<()> {
    // SAFETY: both are open; the number stays open and stays its owner's, who only ever used it as a
    // socket of this kind.
    let done = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    if done < 0 { Err(Error::last_os()) } else { Ok(()) }
}

/// A listening socket at `path`, which replaces a socket left there by a process that died.
///
/// # Errors
/// `Io` that names the path.
pub fn listen(path: &Path) -> Result<OwnedFd> {
    listen_by(new_socket(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?, path)
}

/// As [`listen`], of stream sockets.
///
/// # Errors
/// As [`listen`].
pub fn listen_stream(path: &Path) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None);
    listen_by(socket.at("creating socket")?, path)
}

fn listen_by(socket: OwnedFd, path: &Path) -> Result<OwnedFd> {
    with_address(path, |address| {
        if let Err(e) = socket::bind(socket.as_raw_fd(), address) {
            if e != nix::errno::Errno::EADDRINUSE {
                return Err(e);
            }
            nix::unistd::unlink(path)?;
            socket::bind(socket.as_raw_fd(), address)?;
        }
        socket::listen(&socket, Backlog::MAXCONN)
    })
    .at(format_args!("listening on {}", path.display()))?;
    Ok(socket)
}

/// Connects to a listening socket.
///
/// # Errors
/// `Io` that names the path; ENOENT or ECONNREFUSED when nobody listens.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = new_socket(SockFlag::SOCK_CLOEXEC)?;
    with_address(path, |address| socket::connect(socket.as_raw_fd(), address))
        .at(format_args!("connecting to {}", path.display()))?;
    Ok(socket)
}

/// Connects to a listening stream socket, such as one that waits for a terminal.
///
/// # Errors
/// As [`connect`].
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let socket =
        socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .at("creating socket")?;
    with_address(path, |address| socket::connect(socket.as_raw_fd(), address))
        .at(format_args!("connecting to {}", path.display()))?;
    Ok(socket)
}

/// Takes one connection of a listening socket; `None` when there is none.
///
/// # Errors
/// `Io`.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    match socket::accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        // SAFETY: accept4 returned a new descriptor that nobody else knows.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::ECONNABORTED) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn new_socket(flags: SockFlag) -> Result<OwnedFd> {
    socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).at("creating socket")
}

/// Calls `call` with an address for `path`; a path too long for a socket address goes through a
/// descriptor of its directory.
fn with_address(path: &Path, call: impl FnOnce(&UnixAddr) -> nix::Result<()>) -> nix::Result<()> {
    use nix::fcntl::{OFlag, open};
    if let Ok(address) = UnixAddr::new(path) {
        return call(&address);
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let dir = open(
        dir,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    call(&UnixAddr::new(&short)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_descriptors_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        let (r, w) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        send(&a, b"hello", &[w.as_fd()]).unwrap();
        drop((a, w));
        let mut buffer = [0; 16];
        let (n, fds) = receive(&b, &mut buffer, true).unwrap();
        assert_eq!(&buffer[..n], b"hello");
        nix::unistd::write(&fds[0], b"x").unwrap();
        assert_eq!(nix::unistd::read(&r, &mut buffer).unwrap(), 1);
        assert_eq!(receive(&b, &mut buffer, true).unwrap().0, 0);
    }

    #[test]
    fn last_words_are_heard_though_ours_were_not() {
        let (a, b) = pair().unwrap();
        send(&a, b"unread", &[]).unwrap();
        send(&b, b"last words", &[]).unwrap();
        drop(b);
        let mut buffer = [0; 16];
        assert_eq!(receive(&a, &mut buffer, true).unwrap().0, 10);
        assert_eq!(receive(&a, &mut buffer, true).unwrap().0, 0);
    }

    #[test]
    fn a_path_longer_than_an_address_works() {
        let dir = std::env::temp_dir().join(format!(
            "multi-scm-{}-{}",
            std::process::id(),
            "x".repeat(100)
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        // A socket left by a dead process is replaced.
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        assert!(accept(&listener).unwrap().is_none());
        let client = connect(&path).unwrap();
        let server = accept(&listener).unwrap().unwrap();
        send(&client, b"y", &[]).unwrap();
        assert_eq!(receive(&server, &mut [0; 4], true).unwrap().0, 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
