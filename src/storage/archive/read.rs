//! Entries of a tar stream, one after another.
//!
//! Nothing is held but one copy buffer and the extended headers of the entry at hand, which are
//! bounded. A stream may end with two blocks of zeros or just stop between entries; anything else is
//! "unexpected EOF".

use std::io::{self, BufReader, Read};

use super::header::{BLOCK, Entry, Headers, Step};
use crate::base::{At, Error, Result};

/// Reads entries; what it reads as [`Read`] is the content of the entry that was returned last.
pub struct Reader<R> {
    inner: BufReader<R>,
    headers: Headers,
    /// Content of the current entry that was not read.
    left: u64,
    /// Zeros that fill up its last block.
    padding: u64,
    ended: bool,
}

fn cut_short() -> Error {
    Error::invalid("unexpected EOF")
}

impl<R: Read> Reader<R> {
    /// Reads the archive from `inner`, in pieces that may go beyond its end.
    pub fn new(inner: R) -> Reader<R> {
        let inner = BufReader::with_capacity(super::COPY_BYTES, inner);
        Reader { inner, headers: Headers::default(), left: 0, padding: 0, ended: false }
    }

    /// The next entry; what was not read of the one before is skipped. `None` at the end.
    ///
    /// # Errors
    /// `InvalidParameter` if this is no tar stream or it is cut short; whatever the stream gives.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let skip = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        self.skip(skip)?;
        let mut block = [0u8; BLOCK];
        while !self.ended {
            match self.fill(&mut block)? {
                0 if self.headers.is_unfinished() => return Err(cut_short()),
                0 => self.ended = true,
                BLOCK => match self.headers.block(&block)? {
                    Step::Entry(entry) => {
                        self.left = entry.size;
                        self.padding = padding(entry.size);
                        return Ok(Some(entry));
                    }
                    Step::Extension(size) => {
                        let mut data = vec![0; size];
                        if self.fill(&mut data)? != size {
                            return Err(cut_short());
                        }
                        self.skip(padding(size as u64))?;
                        if let Some(entry) = self.headers.extension(data)? {
                            return Ok(Some(entry));
                        }
                    }
                    Step::Zero | Step::More => {}
                    Step::End => self.ended = true,
                },
                _ => return Err(cut_short()),
            }
        }
        Ok(None)
    }

    /// Reads until `buffer` is full or the stream ends; the number of bytes read.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match self.inner.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).at("reading archive"),
            }
        }
        Ok(have)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let skipped = io::copy(&mut (&mut self.inner).take(count), &mut io::sink());
        if skipped.at("reading archive")? != count { Err(cut_short()) } else { Ok(()) }
    }

    /// Reads what is left of the stream after the last entry and gives the stream back.
    ///
    /// # Errors
    /// Whatever the stream gives.
    pub fn finish(mut self) -> Result<R> {
        io::copy(&mut self.inner, &mut io::sink()).at("reading archive")?;
        Ok(self.inner.into_inner())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(cut_short().into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Zeros that follow `size` bytes of content.
pub(super) fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
