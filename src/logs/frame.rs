//! What shim and log sender say to each other over a stream socket.
//!
//! ```text
//! kind u8 | length u32 LE | payload
//!
//! shim:    config (JSON of `Config`), then output: nanoseconds since the epoch i64 LE, bytes as they came
//! sender:  ready or refused (text), then perhaps complaint (text), at its end the count of failures (u64 LE)
//! ```
//!
//! The shim ends the log by shutting its side down; the sender answers by ending when everything is sent.

use std::io::{self, Read};

/// The first frame: how to log.
pub(super) const CONFIG: u8 = b'c';
/// Standard output of the container, or its terminal.
pub(super) const STDOUT: u8 = b'o';
/// Standard error.
pub(super) const STDERR: u8 = b'e';
/// The driver is open.
pub(super) const READY: u8 = b'r';
/// The driver cannot be opened; the text says why.
pub(super) const REFUSED: u8 = b'f';
/// A message could not be sent; only the first is told of.
pub(super) const COMPLAINT: u8 = b'm';
/// How many messages could not be sent.
pub(super) const FAILURES: u8 = b'n';

/// Bytes before the payload.
pub(super) const HEADER: usize = 5;
/// Longest payload; a configuration with many labels is the longest there is.
pub(super) const PAYLOAD_MAX: usize = 16 << 20;

/// The header of a payload of `length` bytes.
pub(super) fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let length = (length as u32).to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// A whole frame.
pub(super) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&header(kind, payload.len())[..], payload].concat()
}

/// Reads the next frame into `payload`; `None` at the end, also in the middle of a frame: the other side was killed.
///
/// # Errors
/// Those of reading; `InvalidData` for a length that cannot be.
pub(super) fn read(input: &mut dyn Read, payload: &mut Vec<u8>) -> io::Result<Option<u8>> {
    let mut head = [0; HEADER];
    if !fill(input, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > PAYLOAD_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    payload.resize(length, 0);
    Ok(fill(input, payload)?.then_some(head[0]))
}

fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        // The shim was killed with our complaints unread.
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(e) => Err(e),
    }
}
