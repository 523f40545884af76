//! A stream of bytes cut into the records of a format. What is not whole yet is kept for a later call, when the
//! file may have grown; what is damaged is passed over.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::base::time::Timestamp;

use super::Format;
use super::local::{self, Found};

/// Longest record that is looked at. 16 KiB of text take at most 96 KiB in JSON; the rest is room for attributes.
const MAX_RECORD: usize = 1 << 20;
const READ_BYTES: usize = 64 * 1024;

/// Cuts one file.
pub(super) struct Records {
    format: Format,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the input `buffer` starts.
    offset: u64,
    last_start: u64,
    /// Inside a record that is too long: its rest is passed over.
    skipping: bool,
}

impl Records {
    pub(super) fn new(format: Format) -> Records {
        let (start, end, offset, last_start) = (0, 0, 0, 0);
        Records { format, buffer: Vec::new(), start, end, offset, last_start, skipping: false }
    }

    /// Forgets what was kept.
    pub(super) fn clear(&mut self) {
        (self.start, self.end, self.offset, self.skipping) = (0, 0, 0, false);
    }

    /// Where the record that was given last starts, counted from where the reading began.
    pub(super) fn last_start(&self) -> u64 {
        self.last_start
    }

    /// What can still be made of the end of an input that will not grow; to be asked until there is nothing.
    pub(super) fn rest(&mut self) -> Option<&[u8]> {
        let rest = self.start..self.end;
        if self.skipping || rest.is_empty() {
            return None;
        }
        if self.format == Format::Json {
            self.start = self.end;
            return Some(&self.buffer[rest]);
        }
        // Behind what is cut or damaged there may be whole records.
        for at in rest {
            if let Found::Whole(length) = local::record_at(&self.buffer[at..self.end]) {
                return Some(self.take(at, length));
            }
        }
        self.start = self.end;
        None
    }

    /// The next whole record, without newline or lengths, or `None` at the end of what there is now.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn next(&mut self, input: &mut dyn Read) -> io::Result<Option<&[u8]>> {
        match self.format {
            Format::Json => self.next_line(input),
            Format::Local => self.next_local(input),
        }
    }

    fn next_line(&mut self, input: &mut dyn Read) -> io::Result<Option<&[u8]>> {
        let mut scanned = self.start;
        loop {
            if let Some(found) = self.buffer[scanned..self.end].iter().position(|b| *b == b'\n') {
                let line = self.start..scanned + found;
                self.last_start = self.offset + self.start as u64;
                self.start = line.end + 1;
                if std::mem::take(&mut self.skipping) {
                    scanned = self.start;
                    continue;
                }
                return Ok(Some(&self.buffer[line]));
            }
            if self.end - self.start > MAX_RECORD {
                self.skipping = true;
                self.start = self.end;
            }
            let kept = self.end - self.start;
            if !self.fill(input)? {
                return Ok(None);
            }
            scanned = kept;
        }
    }

    fn next_local(&mut self, input: &mut dyn Read) -> io::Result<Option<&[u8]>> {
        loop {
            match local::record_at(&self.buffer[self.start..self.end]) {
                Found::Whole(length) => return Ok(Some(self.take(self.start, length))),
                Found::Damaged => self.start += 1,
                Found::More if self.fill(input)? => {}
                Found::More => return Ok(None),
            }
        }
    }

    fn take(&mut self, at: usize, length: usize) -> &[u8] {
        self.last_start = self.offset + at as u64;
        self.start = at + local::record_length(length);
        &self.buffer[at + local::ENTRY_START..][..length]
    }

    /// Reads more behind what is kept, which moves to the start of the buffer. False at the end.
    fn fill(&mut self, input: &mut dyn Read) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.offset += self.start as u64;
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < self.end + READ_BYTES {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        loop {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The time of the last entry of a log; leaves the file at its start.
///
/// # Errors
/// Those of reading.
pub(super) fn last_time(file: &mut File, format: Format) -> io::Result<Option<Timestamp>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut text = Vec::new();
    let mut found = None;
    // The last record may be cut or long, so look farther back if there is none in a little.
    for window in [8 * 1024, 2 * MAX_RECORD as u64] {
        file.seek(SeekFrom::Start(length.saturating_sub(window)))?;
        let mut records = Records::new(format);
        while let Some(record) = records.next(file)? {
            if let Some(decoded) = format.decode(record, &mut text) {
                found = Some(decoded.time);
            }
        }
        if found.is_some() {
            break;
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_whatever_the_reads_are_and_long_ones_passed_over() {
        struct Dribble<'a>(&'a [u8], usize);
        impl Read for Dribble<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let n = self.1.min(self.0.len()).min(out.len());
                out[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let long = vec![b'x'; MAX_RECORD + 3 * READ_BYTES];
        let text = [b"one\n\n", long.as_slice(), b"\ntwo\nrest"].concat();
        for step in [1000, 65_536, 3_000_000] {
            let (mut input, mut records, mut got) =
                (Dribble(&text, step), Records::new(Format::Json), Vec::new());
            while let Some(line) = records.next(&mut input).unwrap() {
                got.push(String::from_utf8(line.to_vec()).unwrap());
            }
            assert_eq!(got, ["one", "", "two"]);
            assert_eq!(records.rest(), Some(&b"rest"[..]));
            assert_eq!(records.rest(), None);
        }
    }
}
