//! Takes apart the stream of a container without a terminal: frames of an 8-byte head and data.
//!
//! Head: stream (0 stdin, 1 stdout, 2 stderr, 3 an error of the daemon), three zero bytes, length as
//! big-endian u32. Frames may be cut anywhere by the network.
//!
//! Spec: Docker Engine API, "Attach to a container", stream format.

use crate::base::{Error, Result};

/// Where the data of a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; also frames that name standard input.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Remembers where in a frame the last piece ended.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    head: [u8; 8],
    head_filled: usize,
    left: usize,
    error: Vec<u8>,
}

impl Demultiplexer {
    /// At the start of a stream.
    pub fn new() -> Demultiplexer {
        Demultiplexer::default()
    }

    /// Gives every piece of data in `bytes` to `sink`, in order.
    ///
    /// # Errors
    /// `Internal` for a head that names no stream, and for an error that the daemon sent; those of
    /// `sink`.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Stream, &[u8]) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let n = (8 - self.head_filled).min(bytes.len());
                self.head[self.head_filled..self.head_filled + n].copy_from_slice(&bytes[..n]);
                self.head_filled += n;
                bytes = &bytes[n..];
                if self.head_filled < 8 {
                    return Ok(());
                }
                let [kind, _, _, _, length @ ..] = self.head;
                if kind > 3 {
                    return Err(Error::internal(format_args!("unrecognized input header: {kind}")));
                }
                self.left = u32::from_be_bytes(length) as usize;
                if self.left == 0 {
                    self.head_filled = 0;
                }
                continue;
            }
            let n = self.left.min(bytes.len());
            match self.head[0] {
                0 | 1 => sink(Stream::Stdout, &bytes[..n])?,
                2 => sink(Stream::Stderr, &bytes[..n])?,
                _ => self.error.extend_from_slice(&bytes[..n.min(64 << 10)]),
            }
            bytes = &bytes[n..];
            self.left -= n;
            if self.left == 0 {
                self.head_filled = 0;
                if !self.error.is_empty() {
                    let text = String::from_utf8_lossy(&self.error);
                    return Err(Error::internal(format_args!(
                        "error from daemon in stream: {text}"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn frames_survive_any_cut() {
        let stream =
            [frame(1, b"out"), frame(2, b"err"), frame(1, b""), frame(1, b"more")].concat();
        for cut in 1..stream.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demultiplexer = Demultiplexer::new();
            for piece in stream.chunks(cut) {
                let mut sink = |stream, data: &[u8]| {
                    if stream == Stream::Stdout { &mut out } else { &mut err }
                        .extend_from_slice(data);
                    Ok(())
                };
                demultiplexer.feed(piece, &mut sink).unwrap();
            }
            assert_eq!(
                (out.as_slice(), err.as_slice()),
                (&b"outmore"[..], &b"err"[..]),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn errors_of_the_daemon_end_the_stream() {
        let mut sink = |_, _: &[u8]| Ok(());
        let error = Demultiplexer::new().feed(&frame(3, b"gone"), &mut sink).unwrap_err();
        assert_eq!(error.to_string(), "error from daemon in stream: gone");
        let error = Demultiplexer::new().feed(&frame(9, b"x"), &mut sink).unwrap_err();
        assert_eq!(error.to_string(), "unrecognized input header: 9");
    }
}
