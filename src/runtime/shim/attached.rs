//! One attached client: output in frames, input with detach keys, and a bounded queue between.
//!
//! Nothing here blocks. What a client does not take at once waits in its queue; the owner stops reading
//! from the process while a queue is [full](Attached::is_full), so that the process waits for its slowest
//! reader as it would at the end of a pipe, and no byte is lost.
//!
//! Spec: Docker Engine API, "Stream format" of attach.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, sendmsg, shutdown};

use super::protocol::AttachHeader;

/// Bytes a client may be behind before its process has to wait.
const QUEUE_LIMIT: usize = 64 * 1024;

/// Standard output in a frame's header.
pub(super) const STDOUT: u8 = 1;
/// Standard error in a frame's header.
pub(super) const STDERR: u8 = 2;

/// What reading from a client gave.
pub(super) enum Input {
    /// Bytes for standard input.
    Bytes(Vec<u8>),
    /// The client will send no more; it may still read.
    End,
    /// The detach keys.
    Detach(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// The connection is gone.
    Gone,
}

/// A client's stream.
pub(super) struct Attached {
    stream: OwnedFd,
    wants: AttachHeader,
    queue: Vec<u8>,
    /// How much of `queue` was sent.
    sent: usize,
    /// How many of the detach keys have been seen in a row.
    matched: usize,
    input_open: bool,
    hung_up: bool,
    /// No more output will come: shut down when the queue is empty.
    ending: bool,
    /// The process has started, so that the connection's end is ours to make.
    owned: bool,
    /// What epoll watches now; `None` before it was added.
    pub(super) watched: Option<EpollFlags>,
}

impl Attached {
    /// A client that joins now; bytes read before come back first from [`Attached::take_preread`].
    pub(super) fn new(stream: OwnedFd, wants: AttachHeader) -> Attached {
        Attached {
            stream,
            wants,
            queue: Vec::new(),
            sent: 0,
            matched: 0,
            input_open: true,
            hung_up: false,
            ending: false,
            owned: false,
            watched: None,
        }
    }

    /// Whether the client feeds standard input and has not ended it.
    pub(super) fn feeds_stdin(&self) -> bool {
        self.wants.stdin && self.input_open
    }

    /// Whether the client feeds standard input, or did.
    pub(super) fn wants_stdin(&self) -> bool {
        self.wants.stdin
    }

    /// Whether the client reads this stream of the process.
    pub(super) fn reads(&self, stream: u8) -> bool {
        if stream == STDERR { self.wants.stderr } else { self.wants.stdout }
    }

    /// Whether the process has to wait for this client.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() - self.sent >= QUEUE_LIMIT
    }

    /// What epoll should watch; `stdin_ready` is false while the process's input is full. `None` is
    /// nothing at all: a hang-up that is known already would be reported for ever.
    pub(super) fn interest(&self, stdin_ready: bool) -> Option<EpollFlags> {
        let reads = self.input_open && (stdin_ready || !self.wants.stdin);
        if self.hung_up {
            return reads.then_some(EpollFlags::EPOLLIN);
        }
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, reads);
        flags.set(EpollFlags::EPOLLOUT, self.sent < self.queue.len());
        Some(flags)
    }

    /// Both directions are closed. What the client sent before can still be read.
    pub(super) fn hang_up(&mut self) {
        self.hung_up = true;
        (self.queue, self.sent) = (Vec::new(), 0);
    }

    /// Queues output and sends what the client takes at once. False: the connection is gone.
    pub(super) fn output(&mut self, stream: u8, bytes: &[u8]) -> bool {
        let length = (bytes.len() as u32).to_be_bytes();
        let frame = [stream, 0, 0, 0, length[0], length[1], length[2], length[3]];
        let head: &[u8] = if self.wants.multiplexed { &frame } else { &[] };
        let mut done = 0;
        if self.hung_up {
            return true;
        }
        if self.sent == self.queue.len() {
            match self.send(&[IoSlice::new(head), IoSlice::new(bytes)]) {
                Some(sent) => done = sent,
                None => return false,
            }
        }
        if done < head.len() {
            self.queue.extend_from_slice(&head[done..]);
        }
        self.queue.extend_from_slice(&bytes[done.saturating_sub(head.len())..]);
        true
    }

    /// Sends more of the queue. False: the connection is gone.
    pub(super) fn flush(&mut self) -> bool {
        while self.sent < self.queue.len() {
            match self.send(&[IoSlice::new(&self.queue[self.sent..])]) {
                Some(0) => return true,
                Some(sent) => self.sent += sent,
                None => return false,
            }
        }
        // Memory goes back once the client has caught up.
        (self.queue, self.sent) = (Vec::new(), 0);
        true
    }

    /// Bytes taken, 0 when it would block, `None` when the connection is gone.
    fn send(&self, parts: &[IoSlice<'_>]) -> Option<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.stream.as_raw_fd(), parts, &[], flags, None) {
                Ok(sent) => return Some(sent),
                Err(Errno::EAGAIN) => return Some(0),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// No more output will come.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// From now on dropping this ends the connection. Before, the daemon may have something to say to the
    /// client: why the process did not start.
    pub(super) fn own(&mut self) {
        self.owned = true;
    }

    /// Whether everything was said: the client can be let go.
    pub(super) fn is_done(&self) -> bool {
        self.ending && self.sent == self.queue.len()
    }

    /// Reads what the client sends.
    pub(super) fn input(&mut self, buffer: &mut [u8]) -> Input {
        match recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => {
                self.input_open = false;
                Input::End
            }
            Ok(_) if !self.wants.stdin => Input::Nothing,
            Ok(length) => self.scan(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => Input::Nothing,
            Err(_) => Input::Gone,
        }
    }

    /// What the daemon had read from the client already.
    pub(super) fn take_preread(&mut self) -> Input {
        let bytes = std::mem::take(&mut self.wants.preread);
        if bytes.is_empty() || !self.wants.stdin { Input::Nothing } else { self.scan(&bytes) }
    }

    /// Looks for the detach keys. A start of them that turns out to be something else is passed on.
    fn scan(&mut self, bytes: &[u8]) -> Input {
        let keys = &self.wants.detach_keys;
        if keys.is_empty() {
            return Input::Bytes(bytes.to_vec());
        }
        let mut out = Vec::with_capacity(bytes.len() + self.matched);
        for byte in bytes {
            if keys[self.matched] == *byte {
                self.matched += 1;
                if self.matched == keys.len() {
                    return Input::Detach(out);
                }
                continue;
            }
            out.extend_from_slice(&keys[..self.matched]);
            self.matched = 0;
            if keys[0] == *byte {
                self.matched = 1;
            } else {
                out.push(*byte);
            }
        }
        if out.is_empty() { Input::Nothing } else { Input::Bytes(out) }
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        // Closing a TCP connection with unread input would reset it and take unread output along.
        let mut buffer = [0; 1024];
        while matches!(recv(self.stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT), Ok(1..))
        {
        }
        // The daemon may hold the same connection; the client shall see the end now.
        let _ = shutdown(self.stream.as_raw_fd(), Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    fn pair(wants: AttachHeader) -> (Attached, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
                .unwrap();
        (Attached::new(ours, wants), theirs)
    }

    fn with_keys(keys: &[u8]) -> Attached {
        pair(AttachHeader { stdin: true, detach_keys: keys.to_vec(), ..AttachHeader::default() }).0
    }

    fn bytes(input: Input) -> Vec<u8> {
        match input {
            Input::Bytes(bytes) => bytes,
            _ => Vec::new(),
        }
    }

    #[test]
    fn detach_keys_are_found_across_reads_and_false_starts_pass() {
        let mut client = with_keys(&[16, 17]);
        assert_eq!(bytes(client.scan(b"ab\x10")), b"ab");
        assert_eq!(bytes(client.scan(b"c\x10\x10")), b"\x10c\x10");
        assert!(matches!(client.scan(b"\x11rest"), Input::Detach(before) if before.is_empty()));
    }

    #[test]
    fn a_slow_reader_gets_every_byte_in_order() {
        let (mut client, peer) =
            pair(AttachHeader { stdout: true, multiplexed: true, ..AttachHeader::default() });
        let chunk = [7u8; 8192];
        let mut chunks = 0;
        while !client.is_full() {
            assert!(client.output(STDOUT, &chunk));
            chunks += 1;
        }
        client.end();
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        while got.len() < chunks * (8 + chunk.len()) {
            assert!(client.flush());
            let length = nix::unistd::read(&peer, &mut buffer).unwrap();
            got.extend_from_slice(&buffer[..length]);
        }
        assert!(client.is_done());
        for frame in got.chunks(8 + chunk.len()) {
            assert_eq!(frame[..8], [1, 0, 0, 0, 0, 0, 32, 0]);
            assert_eq!(frame[8..], chunk);
        }
    }

    #[test]
    fn a_client_that_went_away_is_noticed() {
        let (mut client, peer) = pair(AttachHeader { stdout: true, ..AttachHeader::default() });
        drop(peer);
        assert!(!client.output(STDOUT, b"x"));
    }
}
