//! Answers: whole, streamed, or by giving the connection away.
//!
//! States: fresh, then one of sent, streaming, taken over. Header fields are set while fresh. A lazy
//! stream stays fresh until its first byte, so that an error before it still gets its own status.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::body::{LAST_CHUNK, put_chunk};
use super::{Conn, Headers, Request, websocket};
use crate::base::json;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result, worker};
use crate::sys::outq;

/// How long a client that [`loses_what_follows_the_head`] may take to read the head.
const READER_LIMIT: Duration = Duration::from_secs(1);
const READER_PAUSE: Duration = Duration::from_micros(100);

/// docker-py reads the head through a buffer and the stream past that buffer: what arrives together
/// with the head is lost to it. A slow engine never notices; ours has the output of a short command
/// ready before the client is scheduled.
fn loses_what_follows_the_head(user_agent: &str) -> bool {
    user_agent.starts_with("docker-sdk-python/") || user_agent.starts_with("docker-py/")
}

/// The answer to one request.
pub struct Response<'a> {
    /// Fields of the head; of no effect once the answer has begun.
    pub headers: Headers,
    conn: &'a Conn,
    /// The request was HEAD: the fields of an answer without its body.
    head_only: bool,
    /// HTTP/1.0 knows no chunks; the end of the connection ends the body.
    minor: u8,
    pub(super) keep_alive: bool,
    state: State,
}

enum State {
    Fresh,
    Sent,
    Streaming(Stream),
    TakenOver,
}

/// A connection that was given away, and what the client had sent on it already.
pub struct TakenOver {
    /// The client's connection, or with TLS, one end of a socket pair that is joined to it.
    pub stream: OwnedFd,
    /// Bytes that were read from the connection after the request.
    pub preread: Vec<u8>,
}

/// The body of a streamed answer. Clones share it; each write reaches the client at once, whole.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

struct Shared {
    conn: Conn,
    chunked: bool,
    silent: bool,
    state: Mutex<StreamState>,
}

#[derive(Default)]
struct StreamState {
    /// The head, until it is sent with the first bytes.
    head: Option<Vec<u8>>,
    /// A write failed or the stream was ended; nothing more is sent.
    closed: bool,
}

impl<'a> Response<'a> {
    pub(super) fn new(conn: &'a Conn, method: &str, minor: u8, keep_alive: bool) -> Response<'a> {
        Response {
            headers: Headers::new(),
            conn,
            head_only: method == "HEAD",
            minor,
            keep_alive,
            state: State::Fresh,
        }
    }

    /// Whether nothing was sent yet, so that another answer can still be given.
    pub fn is_fresh(&self) -> bool {
        match &self.state {
            State::Fresh => true,
            State::Streaming(stream) => !stream.has_begun(),
            State::Sent | State::TakenOver => false,
        }
    }

    /// Whether the connection was given away.
    pub fn is_taken_over(&self) -> bool {
        matches!(self.state, State::TakenOver)
    }

    /// Sends `value` as JSON, followed by a line end as Go's encoder does.
    ///
    /// # Errors
    /// `Io` when the client is gone.
    pub fn json<T: json::Serialize + ?Sized>(&mut self, status: u16, value: &T) -> Result<()> {
        let mut text = json::to_string_plain(value);
        text.push('\n');
        self.send(status, "application/json", text.as_bytes())
    }

    /// Sends a status without a body.
    ///
    /// # Errors
    /// `Io` when the client is gone.
    pub fn status(&mut self, status: u16) -> Result<()> {
        self.send(status, "", b"")
    }

    /// Sends a whole answer with one write; `content_type` may be empty.
    ///
    /// # Errors
    /// `Internal` if an answer has begun; `Io` when the client is gone.
    pub fn send(&mut self, status: u16, content_type: &str, body: &[u8]) -> Result<()> {
        self.require_fresh()?;
        if !content_type.is_empty() {
            self.headers.set("Content-Type", content_type);
        }
        // 204 and 304 have no body by definition, and must not state a length.
        if !matches!(status, 204 | 304) {
            self.headers.set("Content-Length", &body.len().to_string());
        }
        let mut out = self.head(status);
        if !self.head_only && !matches!(status, 204 | 304) {
            out.extend_from_slice(body);
        }
        self.state = State::Sent;
        (&mut &*self.conn).write_all(&out).at("writing the response")
    }

    /// Begins a streamed answer and sends its head now.
    ///
    /// # Errors
    /// `Internal` if an answer has begun; `Io` when the client is gone.
    pub fn stream(&mut self, status: u16, content_type: &str) -> Result<Stream> {
        let stream = self.lazy_stream(status, content_type)?;
        stream.begin().at("writing the response")?;
        Ok(stream)
    }

    /// Begins a streamed answer whose head is sent with its first bytes.
    ///
    /// # Errors
    /// `Internal` if an answer has begun.
    pub fn lazy_stream(&mut self, status: u16, content_type: &str) -> Result<Stream> {
        self.require_fresh()?;
        let chunked = self.minor >= 1;
        let mut headers = self.headers.clone();
        headers.set("Content-Type", content_type);
        if chunked {
            headers.set("Transfer-Encoding", "chunked");
        } else {
            self.keep_alive = false;
        }
        let plain = std::mem::replace(&mut self.headers, headers);
        let head = self.head(status);
        self.headers = plain;
        let stream = Stream(Arc::new(Shared {
            conn: self.conn.clone(),
            chunked,
            silent: self.head_only,
            state: Mutex::new(StreamState { head: Some(head), closed: false }),
        }));
        self.state = State::Streaming(stream.clone());
        Ok(stream)
    }

    /// Gives the connection away after `101 UPGRADED` (or, for clients that did not ask for an
    /// upgrade, `200 OK`). The caller owns what it gets; the server does not touch it any more.
    ///
    /// # Errors
    /// `Internal` if an answer has begun; `Io` when the client is gone.
    pub fn take_over(
        &mut self,
        request: &mut Request<'_>,
        content_type: &str,
    ) -> Result<TakenOver> {
        self.require_fresh()?;
        self.headers.set("Content-Type", content_type);
        request.unwatch();
        let out = if request.wants_upgrade() {
            self.headers.set("Connection", "Upgrade");
            self.headers.set("Upgrade", "tcp");
            let mut out = b"HTTP/1.1 101 UPGRADED\r\n".to_vec();
            self.headers.write_to(&mut out);
            out.extend_from_slice(b"\r\n");
            out
        } else {
            let mut out = b"HTTP/1.1 200 OK\r\n".to_vec();
            self.headers.write_to(&mut out);
            out.extend_from_slice(b"\r\n");
            out
        };
        let taken = self.give_away(request, &out)?;
        if request.headers.get("User-Agent").is_some_and(loses_what_follows_the_head) {
            self.wait_for_reader();
        }
        Ok(taken)
    }

    /// Gives the connection away as a WebSocket.
    ///
    /// # Errors
    /// `InvalidParameter` if the client does not ask for one, and the answer is still to be given;
    /// `Internal` if an answer has begun; `Io` when the client is gone.
    pub fn take_over_websocket(&mut self, request: &mut Request<'_>) -> Result<TakenOver> {
        self.require_fresh()?;
        websocket::accept(&request.headers, &mut self.headers)?;
        request.unwatch();
        let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        self.headers.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        self.give_away(request, &out)
    }

    /// Sends the head `out` and parts with the connection.
    fn give_away(&mut self, request: &mut Request<'_>, out: &[u8]) -> Result<TakenOver> {
        let preread = request.body.take_ahead();
        let stream =
            if self.conn.is_tls() { join(self.conn.clone())? } else { self.conn.duplicate()? };
        self.state = State::TakenOver;
        (&mut &*self.conn).write_all(out).at("writing the response")?;
        Ok(TakenOver { stream, preread })
    }

    /// Ends the answer; what no handler answered is an empty 200. False if the connection cannot be
    /// used any more.
    pub(super) fn finish(&mut self) -> bool {
        if self.is_fresh() && !matches!(self.state, State::Streaming(_)) {
            return self.status(200).is_ok() && self.keep_alive;
        }
        match &self.state {
            State::Streaming(stream) => stream.end().is_ok() && self.keep_alive,
            State::TakenOver => false,
            State::Fresh | State::Sent => self.keep_alive,
        }
    }

    /// Ends a stream without its last chunk, so that the client knows that it is not whole.
    pub(super) fn abort(&mut self) {
        if let State::Streaming(stream) = &self.state {
            stream.lock().closed = true;
        }
        self.keep_alive = false;
    }

    /// Waits until the client has read what was written, within [`READER_LIMIT`]. There is no event for
    /// it, so this asks again and again.
    fn wait_for_reader(&self) {
        let limit = Instant::now() + READER_LIMIT;
        while !outq::is_empty(self.conn.as_fd()) && Instant::now() < limit {
            std::thread::sleep(READER_PAUSE);
        }
    }

    fn require_fresh(&mut self) -> Result<()> {
        if !self.is_fresh() {
            return Err(Error::internal("the response has begun already"));
        }
        if let State::Streaming(stream) = &self.state {
            // Clones that are still about must not add to the other answer.
            stream.lock().closed = true;
        }
        Ok(())
    }

    fn head(&self, status: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "HTTP/1.{} {status} {}\r\n", self.minor.min(1), reason(status));
        self.headers.write_to(&mut out);
        let _ = write!(out, "Date: {}\r\n", http_date(Timestamp::now()));
        if !self.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the head was sent.
    pub fn has_begun(&self) -> bool {
        self.lock().head.is_none()
    }

    /// Sends the head if it was not sent yet.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn begin(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.head.take() {
            Some(head) if !state.closed => self.put(&mut state, &head),
            _ => Ok(()),
        }
    }

    /// Whether the client takes bytes at this moment. What is only of passing interest need not be sent
    /// to one that does not.
    pub fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(self.0.conn.as_fd(), PollFlags::POLLOUT)];
        // A failed poll says nothing; the write will.
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }

    fn end(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut out = state.head.take().unwrap_or_default();
        if self.0.chunked && !self.0.silent {
            out.extend_from_slice(LAST_CHUNK);
        }
        self.put(&mut state, &out)?;
        state.closed = true;
        Ok(())
    }

    fn put(&self, state: &mut StreamState, bytes: &[u8]) -> io::Result<()> {
        let result = (&mut &self.0.conn).write_all(bytes);
        state.closed |= result.is_err();
        result
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut out = state.head.take().unwrap_or_default();
        if !self.0.silent {
            out.reserve(bytes.len() + 16);
            if self.0.chunked {
                put_chunk(&mut out, bytes);
            } else {
                out.extend_from_slice(bytes);
            }
        }
        self.put(&mut state, &out)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.begin()
    }
}

/// Joins a TLS connection to a new socket pair by two threads and returns the pair's other end.
fn join(conn: Conn) -> Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair().at("making a socket pair")?;
    let (ours, incoming) = (Conn::plain(ours.into()), conn.clone());
    let outgoing = ours.clone();
    worker::builder("tls-in")
        .spawn(move || {
            copy(&incoming, &ours);
            // The client sends nothing more; whoever reads the pair sees that.
            let _ = ours.half_close();
        })
        .at("starting thread tls-in")?;
    worker::builder("tls-out")
        .spawn(move || {
            copy(&outgoing, &conn);
            let _ = conn.half_close();
            // Both directions end with the output: the process is gone, nobody reads the input.
            conn.shutdown();
            outgoing.shutdown();
        })
        .at("starting thread tls-out")?;
    Ok(theirs.into())
}

fn copy(from: &Conn, to: &Conn) {
    let mut buffer = [0u8; 16 * 1024];
    // Either end going away ends the copying; there is nobody to report it to.
    while let Ok(n) = io::Read::read(&mut &*from, &mut buffer) {
        if n == 0 || (&mut &*to).write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// The standard words for a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "UPGRADED",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(t: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (y, mo, d, h, mi, s) = t.civil();
    // 1970-01-01 was a Thursday.
    let day = DAYS[t.secs.div_euclid(86_400).rem_euclid(7) as usize];
    let month = MONTHS[mo as usize - 1];
    format!("{day}, {d:02} {month} {y} {h:02}:{mi:02}:{s:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_standard() {
        assert_eq!(http_date(Timestamp::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
