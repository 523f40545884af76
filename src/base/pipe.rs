//! A bounded pipe between two threads: one produces bytes, the other reads them, both at work.
//!
//! Whole buffers change hands, nothing is copied on the way but once in and once out. A pipe holds at
//! most [`BUFFERS`] buffers of [`BUFFER_BYTES`]; a writer that is ahead waits, so is a reader. The end
//! is reported to the reader only after [`Writer::finish`]; a writer that is dropped or fails before
//! makes the reader fail.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes of one buffer.
pub const BUFFER_BYTES: usize = 32 * 1024;
/// Full buffers that may wait for the reader.
pub const BUFFERS: usize = 6;

enum Message {
    Full(Vec<u8>),
    End,
    Failed(io::Error),
}

/// The end that bytes go into.
pub struct Writer {
    out: SyncSender<Message>,
    empty: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
}

/// The end that they come out of.
pub struct Reader {
    input: Receiver<Message>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    taken: usize,
    ended: bool,
}

/// A new pipe.
pub fn pipe() -> (Writer, Reader) {
    let (out, input) = sync_channel(BUFFERS);
    let (give_back, empty) = channel();
    let writer = Writer { out, empty, buffer: Vec::with_capacity(BUFFER_BYTES) };
    let reader = Reader { input, empty: give_back, buffer: Vec::new(), taken: 0, ended: false };
    (writer, reader)
}

impl Writer {
    /// Tells the reader that everything was written.
    ///
    /// # Errors
    /// `BrokenPipe` if the reader is gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.send(Message::End).map_err(|_| gone())
    }

    /// Tells the reader that there will be no end. It sees `error` once it has read what is there.
    pub fn fail(self, error: io::Error) {
        // A reader that is gone has an error of its own.
        let _ = self.out.send(Message::Failed(error));
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == BUFFER_BYTES {
            self.flush()?;
        }
        let n = bytes.len().min(BUFFER_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER_BYTES));
        next.clear();
        let full = std::mem::replace(&mut self.buffer, next);
        self.out.send(Message::Full(full)).map_err(|_| gone())
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.buffer.len() {
            if self.ended || buf.is_empty() {
                return Ok(0);
            }
            match self.input.recv() {
                Ok(Message::Full(next)) => {
                    let used = std::mem::replace(&mut self.buffer, next);
                    self.taken = 0;
                    // A writer that is gone needs no more buffers.
                    let _ = self.empty.send(used);
                }
                Ok(Message::End) => self.ended = true,
                Ok(Message::Failed(error)) => return Err(error),
                Err(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the source of the data stopped before its end",
                    ));
                }
            }
        }
        let n = buf.len().min(self.buffer.len() - self.taken);
        buf[..n].copy_from_slice(&self.buffer[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the reader of the data is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let data: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut writer, mut reader) = pipe();
        let sent = data.clone();
        let thread = std::thread::spawn(move || {
            for part in sent.chunks(7001) {
                writer.write_all(part).unwrap();
            }
            writer.finish().unwrap();
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        thread.join().unwrap();
        assert!(received == data);
    }

    #[test]
    fn a_writer_that_fails_or_vanishes_is_no_end() {
        let (mut writer, mut reader) = pipe();
        writer.write_all(b"ab").unwrap();
        writer.flush().unwrap();
        writer.fail(io::Error::other("why"));
        let mut received = Vec::new();
        assert_eq!(reader.read_to_end(&mut received).unwrap_err().to_string(), "why");
        assert_eq!(received, b"ab");
        let (writer, mut reader) = pipe();
        drop(writer);
        assert!(reader.read_to_end(&mut received).is_err());
    }

    #[test]
    fn a_reader_that_vanishes_stops_the_writer() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let e = writer.write_all(&[0; 2 * BUFFER_BYTES]).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::BrokenPipe);
    }
}
