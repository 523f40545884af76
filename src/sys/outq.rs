//! How much of what was written to a socket is still on its way.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the other end of a local stream socket has read everything that was written to it. On a TCP
/// socket: whether the other host has it. True if the kernel does not tell.
pub fn is_empty(socket: BorrowedFd<'_>) -> bool {
    let mut queued: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ by its older name) fills one int; `queued` lives across the call and
    // `socket` is open.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut queued) };
    rc != 0 || queued == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_local_socket_is_empty_once_its_peer_has_read() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(is_empty(ours.as_fd()));
        ours.write_all(b"head").unwrap();
        assert!(!is_empty(ours.as_fd()));
        theirs.read_exact(&mut [0; 4]).unwrap();
        assert!(is_empty(ours.as_fd()));
    }
}
