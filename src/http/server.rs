//! The server: an accept thread per listener and a thread per connection.
//!
//! A panic in a handler costs the request that caused it, nothing else. A client that stops in the
//! middle of a head is dropped; between requests it may stay as long as it likes, at the cost of a few
//! pages of stack.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rustls::ServerConfig;

use super::body::Body;
use super::head::{Buffer, Framing, HEAD_TIMEOUT, Incoming, Refusal, RequestHead, read_request};
use super::listen::Listener;
use super::response::reason;
use super::tls::Tls;
use super::{Conn, Request, Response};
use crate::base::worker::{self, Worker};
use crate::base::{At, Error, Result};

/// Rest of a body that is read to keep a connection, in bytes.
const DRAIN_BYTES: u64 = 256 * 1024;
/// How long a closed connection is read from so that the client sees the answer.
const LINGER: Duration = Duration::from_millis(500);
/// Pause after accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests; called on many threads.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request`. What is not answered becomes an empty 200. An error is for answers that had
    /// begun: the connection is then closed so that the client sees that the answer is not whole.
    ///
    /// # Errors
    /// Of any kind.
    fn handle(&self, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()>;

    /// Answers a request whose handler panicked.
    fn panicked(&self, response: &mut Response<'_>);
}

/// Serves `listener` until the worker is dropped. Connections that are open then go on.
///
/// # Errors
/// `Io` when the thread or its event cannot be made.
pub fn serve(listener: Listener, handler: Arc<dyn Handler>) -> Result<Worker> {
    let event = Arc::new(
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .at("making an event")?,
    );
    Worker::spawn("listener", move |stop| {
        let wake = event.clone();
        let _guard = stop.on_cancel(move || {
            // Cannot fail: the counter starts at zero and is written once.
            let _ = wake.write(1);
        });
        while !stop.is_cancelled() {
            let mut fds = [
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(event.as_fd(), PollFlags::POLLIN),
            ];
            // EINTR only means to look again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            match listener.accept() {
                Ok(socket) => start(socket, listener.tls().cloned(), handler.clone()),
                Err(e) if is_passing(&e) => {}
                Err(e) => {
                    log::error!("accepting on {}: {e}", listener.name());
                    stop.wait(ACCEPT_PAUSE);
                }
            }
        }
    })
}

/// Failures of accept that concern one connection or nothing at all.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

fn start(socket: OwnedFd, tls: Option<Arc<ServerConfig>>, handler: Arc<dyn Handler>) {
    let run = move || match tls {
        None => serve_connection(&Conn::plain(socket), &*handler),
        Some(config) => match accept_tls(socket, config) {
            Ok(Some(conn)) => serve_connection(&conn, &*handler),
            Ok(None) => {}
            Err(e) => log::debug!("{e}"),
        },
    };
    if let Err(e) = worker::builder("http").spawn(run) {
        // The connection is closed with the closure.
        log::error!("starting thread http: {e}");
    }
}

/// The handshake; `None` for a client that spoke plain HTTP, which is told so.
fn accept_tls(socket: OwnedFd, config: Arc<ServerConfig>) -> Result<Option<Conn>> {
    let plain = Conn::plain(socket.try_clone().at("duplicating a connection")?);
    plain.set_read_timeout(Some(HEAD_TIMEOUT)).at("preparing a connection")?;
    let mut first = [0u8; 1];
    let n = nix::sys::socket::recv(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &mut first,
        nix::sys::socket::MsgFlags::MSG_PEEK,
    )
    .at("TLS handshake")?;
    // A TLS record starts with 22; every HTTP method with a capital letter.
    if n == 1 && first[0].is_ascii_uppercase() {
        let text =
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        (&mut &plain).write_all(text.as_bytes()).at("writing the response")?;
        linger(&plain);
        return Ok(None);
    }
    let session = Tls::accept(socket, config)?;
    plain.set_read_timeout(None).at("preparing a connection")?;
    Ok(Some(Conn::tls(session)))
}

/// Serves one connection until it ends or is given away.
pub fn serve_connection(conn: &Conn, handler: &dyn Handler) {
    let mut buffer = Buffer::default();
    loop {
        match read_request(conn, &mut buffer, HEAD_TIMEOUT) {
            Incoming::Closed => return,
            Incoming::Refused(refusal) => {
                refuse(conn, &refusal);
                return linger(conn);
            }
            Incoming::Request(head) => {
                if !answer(conn, &mut buffer, head, handler) {
                    return;
                }
            }
        }
    }
}

/// Answers one request; whether another can follow.
fn answer(conn: &Conn, buffer: &mut Buffer, head: RequestHead, handler: &dyn Handler) -> bool {
    let expects_continue = head.minor >= 1
        && head.framing != Framing::Length(0)
        && head.headers.has_token("Expect", "100-continue");
    let keep_alive = head.minor >= 1 && !head.headers.has_token("Connection", "close");
    let mut response = Response::new(conn, &head.method, head.minor, keep_alive);
    let body = Body::new(conn, buffer, head.framing, expects_continue);
    let mut request = Request::new(head, conn, body);
    // What a panic leaves half done belongs to this request, or sits behind locks that expect it.
    let outcome = catch_unwind(AssertUnwindSafe(|| handler.handle(&mut request, &mut response)));
    if response.is_taken_over() {
        return false;
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            log::debug!("{} {}: {e}", request.method, request.path);
            response.abort();
        }
        Err(_) => {
            // The panic hook has reported it.
            if response.is_fresh() {
                handler.panicked(&mut response);
            }
            response.abort();
        }
    }
    let usable = response.finish();
    if request.body.drain(if usable { DRAIN_BYTES } else { 0 }) {
        return usable;
    }
    linger(conn);
    false
}

fn refuse(conn: &Conn, refusal: &Refusal) {
    let text = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{} {}",
        refusal.status,
        reason(refusal.status),
        refusal.status,
        refusal.reason
    );
    // A client that does not listen loses nothing.
    let _ = (&mut &*conn).write_all(text.as_bytes());
}

/// Says that nothing more comes and waits a little for the client to close. Closing at once with
/// unread bytes would reset the connection and could take the answer away from the client.
fn linger(conn: &Conn) {
    if conn.half_close().is_err() || conn.set_read_timeout(Some(LINGER)).is_err() {
        return;
    }
    let mut sink = [0u8; 4096];
    let mut left = 2 * DRAIN_BYTES as usize;
    while let Ok(n @ 1..) = (&mut &*conn).read(&mut sink) {
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}

/// For handlers that have nothing to say about a panic but the fact.
pub fn panic_error() -> Error {
    Error::internal("internal error: the daemon's log says more")
}
