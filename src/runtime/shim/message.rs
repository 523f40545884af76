//! Sending and receiving the protocol's messages, whatever their length.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::protocol::{INLINE_MAX, MESSAGE_MAX};
use crate::base::json::{self, Deserialize, Serialize};
use crate::base::{Error, Result};
use crate::sys::{memfd, scm};

/// What a packet says when its message is in the memfd beside it.
const IN_MEMFD: &[u8] = b"{}";

/// Sends one message and its descriptors.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    send_bytes(socket, json::to_string_plain(message).as_bytes(), fds)
}

/// Sends one message, or fails with EAGAIN when the other side has too many unread.
pub(super) fn send_at_once<T: Serialize>(socket: impl AsFd, message: &T) -> Result<()> {
    scm::send_at_once(socket, json::to_string_plain(message).as_bytes())
}

/// Sends one message that is JSON already.
pub(super) fn send_bytes(socket: impl AsFd, text: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if text.len() <= INLINE_MAX {
        return scm::send(socket, text, fds);
    }
    let long = memfd::sealed(c"message", text)?;
    let mut all = vec![long.as_fd()];
    all.extend_from_slice(fds);
    scm::send(socket, IN_MEMFD, &all)
}

/// The next message as text with its descriptors; `None` when the peer closed.
pub(super) fn receive_bytes(
    socket: impl AsFd,
    wait: bool,
) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; INLINE_MAX];
    let (length, mut fds) = scm::receive(socket, &mut buffer, wait)?;
    if length == 0 {
        return Ok(None);
    }
    buffer.truncate(length);
    if buffer == IN_MEMFD && !fds.is_empty() {
        buffer = memfd::read_all(fds.remove(0), MESSAGE_MAX)?;
    }
    Ok(Some((buffer, fds)))
}

/// The next message; `None` when the peer closed.
pub(super) fn receive<T: Deserialize>(
    socket: impl AsFd,
    wait: bool,
) -> Result<Option<(T, Vec<OwnedFd>)>> {
    match receive_bytes(socket, wait)? {
        Some((text, fds)) => Ok(Some((json::parse(&text)?, fds))),
        None => Ok(None),
    }
}

/// Whether an error only means that nothing is there to read now.
pub(super) fn is_would_block(e: &Error) -> bool {
    e.errno() == Some(libc::EAGAIN)
}
