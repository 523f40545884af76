//! Attach over a WebSocket, for browsers.
//!
//! The client's connection stays here, with its thread, because its bytes are in frames; a socket pair
//! goes to the shim in its place. Both directions are bounded: what one side does not take is not read
//! from the other.
//!
//! Spec: Docker Engine API 1.51, GET /containers/{id}/attach/ws.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::api::Call;
use crate::api::version::Version;
use crate::base::{At, Error, Result};
use crate::engine::container::attach::{self, parse_detach_keys};
use crate::engine::container::logs;
use crate::http::websocket::{self, Decoder, Event, NORMAL, PROTOCOL_ERROR};
use crate::http::{Request, Response};

/// How much is read at once; a frame to the client is never longer.
const BUFFER_BYTES: usize = 16 * 1024;

/// `GET /containers/{name}/attach/ws`.
///
/// # Errors
/// Before the head is sent: `NotFound`, `Conflict`, `InvalidParameter` for what is no handshake.
pub fn attach(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    attach::check(&container)?;
    let detach_keys = parse_detach_keys(request.query.text("detachKeys"))?;
    let wanted = |name: &str| call.version < Version(1, 42) || request.query.flag(name);
    let (stdin, stdout, stderr) = (wanted("stdin"), wanted("stdout"), wanted("stderr"));
    let (live, replay) = (request.query.flag("stream"), request.query.flag("logs"));
    let binary = call.version >= Version(1, 28);
    if replay {
        logs::check(&container)?;
    }
    let options = logs::Options { stdout, stderr, ..logs::Options::default() };
    let log = if replay { logs::open(&container, &options)? } else { None };
    let taken = response.take_over_websocket(request)?;
    let mut client = Client { stream: taken.stream.into(), binary };
    if let Some(log) = log {
        log.read(&mut |entry| client.data(entry.bytes))?;
    }
    if live {
        let (ours, theirs) = UnixStream::pair().at("making a socket pair")?;
        let asked = attach::Request {
            stream: theirs.into(),
            preread: Vec::new(),
            stdin,
            stdout,
            stderr,
            framed: false,
            detach_keys,
        };
        attach::attach(call.engine, &container, asked)?;
        return client.join(&ours, &taken.preread);
    }
    client.send(&websocket::close(NORMAL))
}

struct Client {
    stream: UnixStream,
    binary: bool,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(Error::from)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        bytes
            .chunks(BUFFER_BYTES)
            .try_for_each(|piece| self.send(&websocket::data(self.binary, piece)))
    }

    /// Passes bytes between the client and the container until one of them ends. `early` came with the
    /// client's request.
    fn join(mut self, container: &UnixStream, early: &[u8]) -> Result<()> {
        container.set_nonblocking(true).at("attaching")?;
        let mut decoder = Decoder::default();
        let mut pending = Vec::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        if !self.input(&mut decoder, early, &mut pending)? {
            return Ok(());
        }
        loop {
            feed(container, &mut pending);
            let wants = |write: bool, read: bool| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::POLLOUT, write);
                flags.set(PollFlags::POLLIN, read);
                flags
            };
            let busy = !pending.is_empty();
            let mut fds = [
                PollFd::new(container.as_fd(), wants(busy, true)),
                PollFd::new(self.stream.as_fd(), wants(false, !busy)),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                result => result.at("attaching")?,
            };
            let told = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
            let (output, input) = (told(&fds[0]), told(&fds[1]));
            let reads = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
            if output.intersects(reads) {
                let mut container = container;
                match container.read(&mut buffer) {
                    // The container has ended, or the detach keys were typed.
                    Ok(0) => return self.send(&websocket::close(NORMAL)),
                    Ok(length) => self.data(&buffer[..length])?,
                    Err(e) if is_transient(&e) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            if input.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) && busy {
                return Ok(());
            }
            if input.intersects(reads) && !busy {
                let length = match self.stream.read(&mut buffer) {
                    // Gone without a word.
                    Ok(0) => return Ok(()),
                    Ok(length) => length,
                    Err(e) if is_transient(&e) => continue,
                    Err(e) => return Err(e.into()),
                };
                if !self.input(&mut decoder, &buffer[..length], &mut pending)? {
                    return Ok(());
                }
            }
        }
    }

    /// Acts on what the client sent; false when that was the end.
    fn input(
        &mut self,
        decoder: &mut Decoder,
        bytes: &[u8],
        pending: &mut Vec<u8>,
    ) -> Result<bool> {
        let events = match decoder.feed(bytes) {
            Ok(events) => events,
            Err(e) => {
                self.send(&websocket::close(PROTOCOL_ERROR))?;
                return Err(e);
            }
        };
        for event in events {
            match event {
                Event::Data(bytes) => pending.extend_from_slice(&bytes),
                Event::Ping(payload) => self.send(&websocket::pong(&payload))?,
                Event::Close => {
                    self.send(&websocket::close(NORMAL))?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn is_transient(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Gives the container as much as it takes. One that takes nothing any more gets nothing.
fn feed(mut container: &UnixStream, pending: &mut Vec<u8>) {
    while !pending.is_empty() {
        match container.write(pending) {
            Ok(written) => drop(pending.drain(..written)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(_) => pending.clear(),
        }
    }
}
