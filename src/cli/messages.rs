//! Cuts a stream of JSON objects, written one after another, into the objects.

use std::io::{self, Read};

/// Longest single object that is taken.
const MAX_OBJECT: usize = 16 << 20;

/// The objects of a stream; separators between them do not matter.
pub struct Objects<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: bool,
}

impl<R: Read> Objects<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Objects<R> {
        Objects { reader, buffer: Vec::new(), start: 0, end: false }
    }

    /// The text of the next object; `None` at the end of the stream.
    ///
    /// # Errors
    /// Those of the reader; `UnexpectedEof` if the stream ends inside an object; `InvalidData` for an
    /// object beyond 16 MiB.
    pub fn next_object(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut scan = Scan::default();
        let mut at = self.start;
        loop {
            while at < self.buffer.len() {
                if scan.step(self.buffer[at]) {
                    let object = self.buffer[self.start..=at].trim_ascii().to_vec();
                    self.start = at + 1;
                    return Ok(Some(object));
                }
                at += 1;
            }
            if self.end {
                let rest = self.buffer[self.start..].trim_ascii();
                return match rest.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            self.buffer.drain(..self.start);
            at -= self.start;
            self.start = 0;
            if self.buffer.len() > MAX_OBJECT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "JSON object too long"));
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + 8192, 0);
            let n = loop {
                match self.reader.read(&mut self.buffer[filled..]) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            self.buffer.truncate(filled + *n.as_ref().unwrap_or(&0));
            self.end = n? == 0;
        }
    }
}

/// Where in an object the scanner stands.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Whether `byte` ends an object.
    fn step(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read, the worst a network can do.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(1);
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn objects_are_found_wherever_reads_end() {
        let mut objects = Objects::new(Slow(b"{\"a\":\"}{\\\"\"}\r\n{\"b\":[{}]} {}\n"));
        let mut next = || objects.next_object().unwrap().map(|o| String::from_utf8(o).unwrap());
        assert_eq!(next().unwrap(), "{\"a\":\"}{\\\"\"}");
        assert_eq!(next().unwrap(), "{\"b\":[{}]}");
        assert_eq!(next().unwrap(), "{}");
        assert_eq!(next(), None);
    }

    #[test]
    fn a_cut_object_is_an_error() {
        let mut objects = Objects::new(&b"{\"a\":1"[..]);
        assert_eq!(objects.next_object().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
