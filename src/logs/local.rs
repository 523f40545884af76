//! The record of Docker's `local` format: a protocol buffer between its length and its length.
//!
//! ```text
//! length u32 BE | LogEntry | length u32 BE
//!
//! message LogEntry {                      message PartialLogEntryMetadata {
//!     string source = 1;                      bool last = 1;
//!     int64 time_nano = 2;                    string id = 2;
//!     bytes line = 3;                         int32 ordinal = 3;
//!     bool partial = 4;                   }
//!     PartialLogEntryMetadata partial_log_metadata = 5;
//! }
//! ```
//!
//! The length behind allows reading from the end. The line is without its newline; it has one unless the
//! entry is partial and not the last.
//!
//! Spec: moby `api/types/plugins/logdriver/entry.proto`, `daemon/logger/local`; Protocol Buffers "Encoding".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::base::time::Timestamp;

use super::Stream;
use super::format::Decoded;
use super::records::Records;
use super::split::Piece;

/// Bytes of a length.
const LENGTH: usize = 4;
/// Longest entry, as in Docker.
pub(super) const MAX_ENTRY: usize = 1_000_000;

/// Appends the record of `piece`.
pub(super) fn encode(out: &mut Vec<u8>, piece: &Piece<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    bytes_field(out, 1, &[piece.stream.name().as_bytes()]);
    number_field(out, 2, piece.time.unix_nanos() as u64);
    bytes_field(out, 3, &piece.parts);
    if let Some(partial) = &piece.partial {
        number_field(out, 4, 1);
        let mut metadata = Vec::new();
        number_field(&mut metadata, 1, u64::from(partial.last));
        bytes_field(&mut metadata, 2, &[partial.id.as_bytes()]);
        number_field(&mut metadata, 3, u64::from(partial.ordinal));
        bytes_field(out, 5, &[&metadata]);
    }
    let length = ((out.len() - start - LENGTH) as u32).to_be_bytes();
    out[start..start + LENGTH].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// As always in this encoding, zero and empty fields are left out.
fn number_field(out: &mut Vec<u8>, field: u8, n: u64) {
    if n != 0 {
        out.push(field << 3);
        varint(out, n);
    }
}

fn bytes_field(out: &mut Vec<u8>, field: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > 0 {
        out.push(field << 3 | 2);
        varint(out, length as u64);
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record with an entry of that length.
    Whole(usize),
    /// Perhaps one, if more bytes come.
    More,
    /// No record.
    Damaged,
}

/// What stands at the start of `bytes`.
pub(super) fn record_at(bytes: &[u8]) -> Found {
    let Some(length) = length_at(bytes, 0) else { return Found::More };
    // An entry without time is none; nor are the zeros that power loss leaves.
    if length == 0 || length > MAX_ENTRY {
        return Found::Damaged;
    }
    match length_at(bytes, LENGTH + length) {
        None => Found::More,
        Some(behind) if behind == length => Found::Whole(length),
        Some(_) => Found::Damaged,
    }
}

/// Bytes of the record around an entry of `length` bytes.
pub(super) fn record_length(length: usize) -> usize {
    length + 2 * LENGTH
}

/// Where in a record its entry starts.
pub(super) const ENTRY_START: usize = LENGTH;

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let raw = bytes.get(at..at + LENGTH)?;
    Some(u32::from_be_bytes(raw.try_into().ok()?) as usize)
}

/// Reads an entry, without its lengths, into `text`.
pub(super) fn decode<'a>(entry: &'a [u8], text: &mut Vec<u8>) -> Option<Decoded<'a>> {
    text.clear();
    let (mut stream, mut nanos, mut partial, mut last) = (Stream::Stdout, None, false, false);
    let mut fields = Fields(entry);
    while let Some(field) = fields.next()? {
        match field {
            (1, Content::Bytes(b"stderr")) => stream = Stream::Stderr,
            (2, Content::Number(n)) => nanos = Some(n as i64),
            (3, Content::Bytes(line)) => text.extend_from_slice(line),
            (4, Content::Number(n)) => partial = n != 0,
            (5, Content::Bytes(metadata)) => {
                let mut fields = Fields(metadata);
                while let Some(field) = fields.next()? {
                    if let (1, Content::Number(n)) = field {
                        last = n != 0;
                    }
                }
            }
            _ => {}
        }
    }
    if !partial || last {
        text.push(b'\n');
    }
    let nanos = nanos?;
    let time = Timestamp {
        secs: nanos.div_euclid(1_000_000_000),
        nanos: nanos.rem_euclid(1_000_000_000) as u32,
    };
    Some(Decoded { time, stream, attrs: &[] })
}

enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// `None` for bytes that are no message, `Some(None)` at the end.
    #[allow(clippy::type_complexity)]
    fn next(&mut self) -> Option<Option<(u64, Content<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Number(self.varint()?),
            1 => Content::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Content::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Content::Bytes(self.take(4)?),
            _ => return None,
        };
        Some(Some((tag >> 3, content)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

/// How far the last `lines` records reach back from the end of `file`: where they start and how many there are.
///
/// # Errors
/// Those of reading.
pub(super) fn find_last(file: &File, lines: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut found = 0;
    while found < lines && end > 0 {
        match record_before(file, end)? {
            Some(start) => end = start,
            // Something is not whole: only reading from the start tells what is.
            None => return scan_last(file, lines),
        }
        found += 1;
    }
    Ok((end, found))
}

/// Where the record starts that ends at `end`.
fn record_before(file: &File, end: u64) -> io::Result<Option<u64>> {
    let length_at = |at: u64| -> io::Result<u64> {
        let mut raw = [0; LENGTH];
        file.read_exact_at(&mut raw, at)?;
        Ok(u64::from(u32::from_be_bytes(raw)))
    };
    let Some(behind) = end.checked_sub(LENGTH as u64) else { return Ok(None) };
    let length = length_at(behind)?;
    let start = behind.checked_sub(length + LENGTH as u64);
    match start.filter(|_| length > 0) {
        Some(start) if length_at(start)? == length => Ok(Some(start)),
        _ => Ok(None),
    }
}

fn scan_last(file: &File, lines: usize) -> io::Result<(u64, usize)> {
    let mut reader = file.try_clone()?;
    io::Seek::seek(&mut reader, io::SeekFrom::Start(0))?;
    let mut starts = std::collections::VecDeque::new();
    let mut records = Records::new(super::Format::Local);
    while records.next(&mut reader)?.is_some() {
        starts.push_back(records.last_start());
        if starts.len() > lines {
            starts.pop_front();
        }
    }
    let end = file.metadata()?.len();
    Ok((
        if lines == 0 { end } else { starts.front().copied().unwrap_or(0) },
        starts.len().min(lines),
    ))
}

/// The length of `file` without a record at its end that is not whole, which a crash can leave.
///
/// # Errors
/// Those of reading.
pub(super) fn whole_length(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length == 0 || record_before(file, length).is_ok_and(|start| start.is_some()) {
        return Ok(length);
    }
    let mut reader = file.try_clone()?;
    io::Seek::seek(&mut reader, io::SeekFrom::Start(0))?;
    let mut records = Records::new(super::Format::Local);
    let mut whole = 0;
    while let Some(record) = records.next(&mut reader)? {
        let length = record_length(record.len()) as u64;
        whole = records.last_start() + length;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::split::Partial;

    fn piece<'a>(text: &'a [u8], partial: Option<Partial<'a>>) -> Piece<'a> {
        let time = Timestamp { secs: 1_700_000_000, nanos: 5 };
        let ended = partial.is_none_or(|p| p.last);
        Piece { parts: [b"", text], stream: Stream::Stderr, time, ended, partial }
    }

    #[test]
    fn a_record_is_byte_for_byte_dockers() {
        let mut out = Vec::new();
        encode(&mut out, &piece(b"hi", None));
        let time = b"\x10\x85\x80\xa8\xb1\xe3\x9f\xe7\xcb\x17";
        let entry = [b"\x0a\x06stderr", &time[..], b"\x1a\x02hi"].concat();
        let length = (entry.len() as u32).to_be_bytes();
        assert_eq!(out, [&length[..], &entry, &length].concat());
        let mut text = Vec::new();
        let decoded = decode(&entry, &mut text).unwrap();
        assert_eq!((decoded.stream, decoded.time.nanos), (Stream::Stderr, 5));
        assert_eq!((decoded.time.secs, &text[..]), (1_700_000_000, &b"hi\n"[..]));
    }

    #[test]
    fn partial_entries_have_no_newline_but_the_last() {
        for (last, expected) in [(false, &b"x"[..]), (true, b"x\n")] {
            let mut out = Vec::new();
            encode(&mut out, &piece(b"x", Some(Partial { id: "abc", ordinal: 2, last })));
            let metadata: &[u8] = if last {
                b"\x2a\x09\x08\x01\x12\x03abc\x18\x02"
            } else {
                b"\x2a\x07\x12\x03abc\x18\x02"
            };
            assert!(out[..out.len() - 4].ends_with(&[b"\x20\x01", metadata].concat()));
            let mut text = Vec::new();
            assert!(decode(&out[4..out.len() - 4], &mut text).is_some());
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn every_change_of_an_entry_is_read_without_panic() {
        let mut out = Vec::new();
        encode(&mut out, &piece(b"some text", Some(Partial { id: "i", ordinal: 1, last: true })));
        let mut text = Vec::new();
        for at in 0..out.len() {
            let _ = decode(&out[4..at.max(4)], &mut text);
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = out.clone();
                changed[at] = byte;
                let _ = record_at(&changed);
                let _ = decode(&changed[4..], &mut text);
            }
        }
    }
}
