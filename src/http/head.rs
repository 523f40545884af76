//! Heads of requests and responses: the first line and the header fields, bounded and checked.
//!
//! At most 64 KB and 64 fields. A request with a body states its length in exactly one way; anything
//! that two parsers could read differently is refused, because that is how requests are smuggled.
//!
//! Spec: RFC 9112 sections 2, 3, 5 and 6.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::Conn;
use crate::base::{At, Error, Kind, Result};

/// Largest head, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Most header fields.
pub const MAX_FIELDS: usize = 64;
/// Time from the first byte of a request's head to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Header fields in order; names match without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No fields.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// The first field called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All fields called `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Whether a comma separated field has the element `token`.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }

    /// Adds a field. Line breaks in the value become spaces, so that a value cannot add fields.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_string(), value.replace(['\r', '\n', '\0'], " ")));
    }

    /// Replaces every field called `name` by one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.add(name, value);
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Appends the fields as they travel, without the empty line.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the peer closes; responses only.
    ToEnd,
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// `GET`, ...
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// The fields.
    pub headers: Headers,
    /// How the body is delimited.
    pub framing: Framing,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The words after it.
    pub reason: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// The fields.
    pub headers: Headers,
}

/// Why a head was refused: the status to answer and the words for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 431, 501 or 505.
    pub status: u16,
    /// What is wrong.
    pub reason: String,
}

fn refuse(status: u16, reason: impl Into<String>) -> Refusal {
    Refusal { status, reason: reason.into() }
}

/// Bytes read ahead on one connection.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// What was read and not consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes everything that was read and not consumed.
    pub fn take(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start.min(self.bytes.len()));
        self.bytes.clear();
        self.start = 0;
        rest
    }

    /// Marks `n` bytes as consumed; gives memory back that one long head needed.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start >= self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(8 * 1024);
        }
    }

    /// Reads more from `conn`; 0 at its end.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn fill(&mut self, conn: &Conn) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let old = self.bytes.len();
        self.bytes.resize(old + 4096, 0);
        let result = (&mut &*conn).read(&mut self.bytes[old..]);
        self.bytes.truncate(old + *result.as_ref().unwrap_or(&0));
        result
    }
}

/// What waiting for a request brought.
pub enum Incoming {
    /// A request.
    Request(RequestHead),
    /// The peer is gone, or was too slow.
    Closed,
    /// Bytes that are no acceptable request.
    Refused(Refusal),
}

/// Waits for the next request on `conn`: for ever for its first byte, `limit` for the rest of the head.
pub fn read_request(conn: &Conn, buffer: &mut Buffer, limit: Duration) -> Incoming {
    let mut deadline = None;
    let outcome = loop {
        if !buffer.unread().is_empty() {
            match parse_request(buffer.unread()) {
                Ok(Some((head, length))) => {
                    buffer.consume(length);
                    break Incoming::Request(head);
                }
                Ok(None) if buffer.unread().len() >= MAX_HEAD_BYTES => {
                    break Incoming::Refused(refuse(431, "Request Header Fields Too Large"));
                }
                Ok(None) => {
                    let now = Instant::now();
                    let end = *deadline.get_or_insert(now + limit);
                    let left = end.saturating_duration_since(now);
                    if left.is_zero() || conn.set_read_timeout(Some(left)).is_err() {
                        break Incoming::Closed;
                    }
                }
                Err(refusal) => break Incoming::Refused(refusal),
            }
        }
        match buffer.fill(conn) {
            Ok(0) | Err(_) => break Incoming::Closed,
            Ok(_) => {}
        }
    };
    if deadline.is_some() {
        // Only fails on a connection that is of no use any more.
        let _ = conn.set_read_timeout(None);
    }
    outcome
}

/// Parses the head at the start of `bytes`; `None` if it is not whole yet.
///
/// # Errors
/// The refusal to answer.
pub fn parse_request(bytes: &[u8]) -> std::result::Result<Option<(RequestHead, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refuse(431, "Request Header Fields Too Large"));
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            return Err(refuse(505, "HTTP Version Not Supported"));
        }
        Err(e) => return Err(refuse(400, format!("Bad Request: {e}"))),
    };
    let headers = collect(parsed.headers)?;
    let minor = parsed.version.unwrap_or(1);
    let hosts = headers.all("Host").count();
    if hosts > 1 {
        return Err(refuse(400, "Bad Request: too many Host headers"));
    }
    if minor == 1 && hosts == 0 {
        return Err(refuse(400, "Bad Request: missing required Host header"));
    }
    let framing = request_framing(&headers)?;
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let head = RequestHead {
        method: method.to_string(),
        target: target.to_string(),
        minor,
        headers,
        framing,
    };
    Ok(Some((head, length)))
}

/// Whether the third word of the first line is some version of HTTP.
fn names_a_version(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn collect(fields: &[httparse::Header<'_>]) -> std::result::Result<Headers, Refusal> {
    let mut list = Vec::with_capacity(fields.len());
    for field in fields {
        let value = std::str::from_utf8(field.value)
            .map_err(|_| refuse(400, "Bad Request: malformed header value"))?;
        list.push((field.name.to_string(), value.to_string()));
    }
    Ok(Headers(list))
}

fn request_framing(headers: &Headers) -> std::result::Result<Framing, Refusal> {
    let length = content_length(headers)?;
    match (transfer_chunked(headers)?, length) {
        (true, None) => Ok(Framing::Chunked),
        (true, Some(_)) => {
            Err(refuse(400, "Bad Request: both Transfer-Encoding and Content-Length"))
        }
        (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

fn content_length(headers: &Headers) -> std::result::Result<Option<u64>, Refusal> {
    let mut length = None;
    for value in headers.all("Content-Length") {
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let parsed = value.parse::<u64>().ok().filter(|_| digits);
        match (parsed, length) {
            (Some(n), None) => length = Some(n),
            (Some(n), Some(before)) if n == before => {}
            _ => return Err(refuse(400, "Bad Request: bad Content-Length")),
        }
    }
    Ok(length)
}

fn transfer_chunked(headers: &Headers) -> std::result::Result<bool, Refusal> {
    let mut values = headers.all("Transfer-Encoding");
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.trim().eq_ignore_ascii_case("chunked") => Ok(true),
        _ => Err(refuse(501, "Unsupported transfer encoding")),
    }
}

/// Reads the head of a response.
///
/// # Errors
/// `Io` when the connection ends first or what comes is not HTTP.
pub fn read_response(conn: &Conn, buffer: &mut Buffer) -> Result<ResponseHead> {
    loop {
        if let Some((head, length)) = parse_response(buffer.unread())? {
            buffer.consume(length);
            return Ok(head);
        }
        if buffer.unread().len() >= MAX_HEAD_BYTES {
            return Err(Error::new(Kind::Io, "response head is too large"));
        }
        if buffer.fill(conn).at("reading the response")? == 0 {
            return Err(Error::new(Kind::Io, "EOF").at("reading the response"));
        }
    }
}

fn parse_response(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bad = |e: &dyn std::fmt::Display| {
        Error::new(Kind::Io, format_args!("malformed HTTP response: {e}"))
    };
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(bad(&e)),
    };
    let headers = collect(parsed.headers).map_err(|r| bad(&r.reason))?;
    let head = ResponseHead {
        status: parsed.code.unwrap_or(0),
        reason: parsed.reason.unwrap_or_default().to_string(),
        minor: parsed.version.unwrap_or(1),
        headers,
    };
    Ok(Some((head, length)))
}

impl ResponseHead {
    /// How the body of this answer to `method` is delimited.
    ///
    /// # Errors
    /// `Io` for lengths that contradict each other.
    pub fn framing(&self, method: &str) -> Result<Framing> {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        let bad = |r: Refusal| Error::new(Kind::Io, r.reason);
        if transfer_chunked(&self.headers).map_err(bad)? {
            return Ok(Framing::Chunked);
        }
        Ok(content_length(&self.headers).map_err(bad)?.map_or(Framing::ToEnd, Framing::Length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(text: &str) -> u16 {
        parse_request(text.as_bytes()).map(|_| 200).unwrap_or_else(|r| r.status)
    }

    #[test]
    fn a_whole_head_is_parsed_and_its_length_known() {
        let text = b"POST /v1.51/x?a=b HTTP/1.1\r\nHost: d\r\ncontent-length: 3\r\n\r\nabc";
        let (head, length) = parse_request(text).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/v1.51/x?a=b"));
        assert_eq!(head.framing, Framing::Length(3));
        assert_eq!(&text[length..], b"abc");
        assert!(parse_request(b"GET / HTTP/1.1\r\nHost").unwrap().is_none());
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        let get = |fields: &str| status_of(&format!("POST / HTTP/1.1\r\nHost: d\r\n{fields}\r\n"));
        assert_eq!(get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400);
        assert_eq!(get("Content-Length: 3\r\nContent-Length: 4\r\n"), 400);
        assert_eq!(get("Content-Length: +3\r\n"), 400);
        assert_eq!(get("Content-Length: 99999999999999999999\r\n"), 400);
        assert_eq!(get("Transfer-Encoding: gzip\r\n"), 501);
        assert_eq!(get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501);
        assert_eq!(get("Content-Length: 3\r\nContent-Length: 3\r\n"), 200);
    }

    #[test]
    fn malformed_heads_are_refused() {
        assert_eq!(status_of("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(status_of("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status_of("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status_of("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n"), 400);
        assert_eq!(status_of("\x16\x03\x01\x02\x00"), 400);
        let many = "A: b\r\n".repeat(MAX_FIELDS + 1);
        assert_eq!(status_of(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
        assert_eq!(status_of("GET / HTTP/1.0\r\n\r\n"), 200);
    }

    #[test]
    fn a_value_cannot_add_fields() {
        let mut headers = Headers::new();
        headers.add("X", "a\r\nY: b");
        let mut out = Vec::new();
        headers.write_to(&mut out);
        assert_eq!(out, b"X: a  Y: b\r\n");
    }

    #[test]
    fn a_head_that_drips_is_given_up() {
        use std::io::Write;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let conn = Conn::plain(theirs.into());
        (&ours).write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        let start = Instant::now();
        let incoming = read_request(&conn, &mut Buffer::default(), Duration::from_millis(50));
        assert!(matches!(incoming, Incoming::Closed));
        assert!(start.elapsed() >= Duration::from_millis(50));
        // Still open on our side: it was the limit that ended it.
        (&ours).write_all(b"st: d\r\n\r\n").unwrap();
    }
}
