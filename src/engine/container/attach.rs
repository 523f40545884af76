//! Connecting clients to a container's streams.
//!
//! The client's own connection goes to the shim, which writes to it from then on: no thread of the
//! daemon is spent on it, and it lives on while the daemon is away. A client that attaches before the
//! start waits in the container's data and is handed over with the start.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Container;
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::runtime::shim::Attach;

/// The detach sequence when the client names none: ctrl-p ctrl-q.
pub const DEFAULT_DETACH_KEYS: &[u8] = &[16, 17];

/// What a client wants of the streams.
pub struct Request {
    /// The connection, its HTTP head answered.
    pub stream: OwnedFd,
    /// Bytes of input that were read together with the head.
    pub preread: Vec<u8>,
    /// Forward input.
    pub stdin: bool,
    /// Send standard output.
    pub stdout: bool,
    /// Send standard error.
    pub stderr: bool,
    /// Output of a container without a terminal is framed, so that the client can tell its streams apart.
    pub framed: bool,
    /// The bytes that detach a client of a terminal.
    pub detach_keys: Vec<u8>,
}

/// A client that waits for the start.
pub struct Waiting(Attach);

impl Waiting {
    /// What the shim gets.
    pub(super) fn into_attach(self) -> Attach {
        self.0
    }
}

/// Whether an attach is possible now, to be asked before the client's head is answered.
///
/// # Errors
/// `Conflict` with Docker's texts for a paused or restarting container.
pub fn check(container: &Container) -> Result<()> {
    let data = container.data();
    let state = &data.record.state;
    match () {
        () if state.paused => Err(Error::conflict(format_args!(
            "container {} is paused, unpause the container before attach",
            container.id
        ))),
        () if state.restarting => Err(Error::conflict(format_args!(
            "container {} is restarting, wait until the container is running",
            container.id
        ))),
        () => Ok(()),
    }
}

/// Connects `request` to the running container, or keeps it for the start.
///
/// # Errors
/// `Io` if the shim does not take it; the connection is closed then.
pub fn attach(engine: &Engine, container: &Arc<Container>, request: Request) -> Result<()> {
    let mut data = container.data();
    let config = &data.record.config;
    let attach = Attach {
        stream: request.stream,
        stdin: request.stdin && config.open_stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        multiplexed: request.framed && !config.tty,
        detach_keys: if config.tty { request.detach_keys } else { Vec::new() },
        preread: request.preread,
    };
    let sent = match data.shim.clone() {
        Some(shim) => {
            drop(data);
            shim.attach(&attach)
        }
        None => {
            data.waiting_attaches.push(Waiting(attach));
            drop(data);
            Ok(())
        }
    };
    engine.container_event(container, "attach", &[]);
    sent
}

/// Parses `ctrl-p,ctrl-q`, `a`, `ctrl-[`.
///
/// # Errors
/// `InvalidParameter` that quotes the text.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT_DETACH_KEYS.to_vec());
    }
    let key = |key: &str| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
        (&[byte], _) => Some(byte),
        (_, Some(&[byte @ b'a'..=b'z'])) => Some(byte - b'a' + 1),
        (_, Some(b"@")) => Some(0),
        (_, Some(b"[")) => Some(27),
        (_, Some(b"\\")) => Some(28),
        (_, Some(b"]")) => Some(29),
        (_, Some(b"^")) => Some(30),
        (_, Some(b"_")) => Some(31),
        _ => None,
    };
    text.split(',')
        .map(key)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| Error::invalid(format_args!("Invalid detach keys ({text}) provided")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_bytes() {
        assert_eq!(parse_detach_keys("").unwrap(), [16, 17]);
        assert_eq!(parse_detach_keys("ctrl-a,b,ctrl-[").unwrap(), [1, b'b', 27]);
        assert!(parse_detach_keys("ctrl-1").is_err());
        assert!(parse_detach_keys("ab").is_err());
    }
}
