//! Bodies: reading them by length or in chunks, and writing chunks.
//!
//! A chunk is sent by one write, so that what a handler writes reaches the client at once.
//!
//! Spec: RFC 9112 section 7.1; RFC 9110 section 10.1.1 (Expect).

use std::io::{self, Read, Write};

use super::Conn;
use super::head::{Buffer, Framing};

/// Longest line of chunk framing (size, extensions) or trailer that is taken.
const MAX_LINE_BYTES: usize = 4096;
/// Trailer lines that are taken.
const MAX_TRAILERS: usize = 64;

/// What is left of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes until the end.
    Length(u64),
    /// At the start of a chunk's size line.
    ChunkSize,
    /// Bytes of the present chunk.
    Chunk(u64),
    /// At the line end after a chunk.
    ChunkEnd,
    /// Until the connection ends.
    ToEnd,
    /// Read to the end.
    Done,
    /// Broken framing or a connection that ended early; nothing more can be read.
    Failed,
}

/// Decodes one body; the connection and what was read ahead come with each call.
#[derive(Debug)]
pub struct Decoder(State);

impl Decoder {
    /// For a body of this framing.
    pub fn new(framing: Framing) -> Decoder {
        Decoder(match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::ChunkSize,
            Framing::ToEnd => State::ToEnd,
        })
    }

    /// Whether everything was read.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Reads decoded bytes; 0 at the end of the body.
    ///
    /// # Errors
    /// Those of the connection; `UnexpectedEof` if it ends early; our `InvalidParameter` for broken
    /// chunks.
    pub fn read(&mut self, conn: &Conn, ahead: &mut Buffer, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.is_done() {
            return Ok(0);
        }
        let result = self.step(conn, ahead, out);
        if let Err(e) = &result
            && e.kind() != io::ErrorKind::WouldBlock
        {
            self.0 = State::Failed;
        }
        result
    }

    fn step(&mut self, conn: &Conn, ahead: &mut Buffer, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0 {
                State::Done => return Ok(0),
                State::Failed => return Err(io::ErrorKind::UnexpectedEof.into()),
                State::ToEnd => {
                    let n = read_some(conn, ahead, out, u64::MAX)?;
                    if n == 0 {
                        self.0 = State::Done;
                    }
                    return Ok(n);
                }
                State::Length(left) => {
                    let n = read_some(conn, ahead, out, left)?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let left = left - n as u64;
                    self.0 = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(n);
                }
                State::ChunkSize => self.0 = next_chunk(conn, ahead)?,
                State::ChunkEnd => {
                    if !line(conn, ahead)?.is_empty() {
                        return Err(malformed("chunk is not followed by a line end"));
                    }
                    self.0 = State::ChunkSize;
                }
                State::Chunk(left) => {
                    let n = read_some(conn, ahead, out, left)?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let left = left - n as u64;
                    // The line end is left to the next call: what has come is not held back for it.
                    self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(n);
                }
            }
        }
    }
}

/// Some bytes of the present part, at most `limit`; 0 when the connection ended.
fn read_some(conn: &Conn, ahead: &mut Buffer, out: &mut [u8], limit: u64) -> io::Result<usize> {
    let most = out.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
    let unread = ahead.unread();
    if unread.is_empty() {
        return (&mut &*conn).read(&mut out[..most]);
    }
    let n = most.min(unread.len());
    out[..n].copy_from_slice(&unread[..n]);
    ahead.consume(n);
    Ok(n)
}

fn line(conn: &Conn, ahead: &mut Buffer) -> io::Result<Vec<u8>> {
    loop {
        let unread = ahead.unread();
        if let Some(end) = unread.iter().position(|b| *b == b'\n') {
            let line = unread[..end].strip_suffix(b"\r").unwrap_or(&unread[..end]).to_vec();
            ahead.consume(end + 1);
            return Ok(line);
        }
        if unread.len() > MAX_LINE_BYTES {
            return Err(malformed("chunk header is too long"));
        }
        if ahead.fill(conn)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn next_chunk(conn: &Conn, ahead: &mut Buffer) -> io::Result<State> {
    let text = line(conn, ahead)?;
    let digits = text.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let size = u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| malformed("invalid chunk size"))?;
    if size > 0 {
        return Ok(State::Chunk(size));
    }
    for _ in 0..MAX_TRAILERS {
        if line(conn, ahead)?.is_empty() {
            return Ok(State::Done);
        }
    }
    Err(malformed("too many trailers"))
}

/// The body of a request that is being answered.
pub struct Body<'a> {
    conn: &'a Conn,
    ahead: &'a mut Buffer,
    decoder: Decoder,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl<'a> Body<'a> {
    /// A body that comes after the head that was just read from `conn`.
    pub fn new(
        conn: &'a Conn,
        ahead: &'a mut Buffer,
        framing: Framing,
        expects_continue: bool,
    ) -> Body<'a> {
        Body { conn, ahead, decoder: Decoder::new(framing), expects_continue }
    }

    /// Whether everything was read.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether another message can follow on this connection after reading at most `limit` bytes of
    /// rest. A body that the client was not told to send yet is not waited for.
    pub(super) fn drain(&mut self, limit: u64) -> bool {
        if self.is_done() {
            return true;
        }
        let hopeless = match self.decoder.0 {
            State::Length(n) => n > limit,
            state => matches!(state, State::ToEnd | State::Failed),
        };
        if self.expects_continue || hopeless || limit == 0 {
            return false;
        }
        let mut rest = self.take(limit);
        io::copy(&mut rest, &mut io::sink()).is_ok() && self.is_done()
    }

    /// Takes what was read ahead of this body; for connections that are given away.
    pub(super) fn take_ahead(&mut self) -> Vec<u8> {
        self.decoder = Decoder(State::Done);
        self.ahead.take()
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || self.is_done() {
            return Ok(0);
        }
        if std::mem::take(&mut self.expects_continue) {
            (&mut &*self.conn).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        self.decoder.read(self.conn, self.ahead, out)
    }
}

fn malformed(what: &str) -> io::Error {
    crate::base::Error::invalid(format_args!("malformed chunked encoding: {what}")).into()
}

/// Appends `bytes` as one chunk to `out`.
pub fn put_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn read(framing: Framing, sent: &[u8]) -> (io::Result<Vec<u8>>, Vec<u8>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&ours).write_all(sent).unwrap();
        drop(ours);
        let conn = Conn::plain(theirs.into());
        let mut buffer = Buffer::default();
        let mut out = Vec::new();
        let result =
            Body::new(&conn, &mut buffer, framing, false).read_to_end(&mut out).map(|_| out);
        (result, buffer.take())
    }

    #[test]
    fn bodies_end_where_they_say() {
        let (body, rest) =
            read(Framing::Chunked, b"4;x=y\r\nWiki\r\n1\r\n!\r\n0\r\nT: v\r\n\r\nGET");
        assert_eq!(body.unwrap(), b"Wiki!");
        assert_eq!(rest, b"GET");
        assert_eq!(read(Framing::Length(3), b"abcd").0.unwrap(), b"abc");
        assert_eq!(read(Framing::ToEnd, b"abcd").0.unwrap(), b"abcd");
    }

    #[test]
    fn broken_chunks_are_errors() {
        for bad in [
            &b"x\r\nabc"[..],
            b"\r\nabc",
            b"-1\r\na\r\n0\r\n\r\n",
            b"3\r\nabcX\r\n0\r\n\r\n",
            b"3\r\nab",
            b"fffffffffffffffff\r\n",
            b"3\r\nabc\r\n",
        ] {
            assert!(read(Framing::Chunked, bad).0.is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(read(Framing::Length(5), b"abc").0.is_err());
        let long = [b"1;".as_slice(), &vec![b'a'; 3 * MAX_LINE_BYTES]].concat();
        assert!(read(Framing::Chunked, &long).0.is_err());
    }
}
