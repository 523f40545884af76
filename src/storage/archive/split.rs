//! tar-split: what of a tar stream is not in the files it unpacks to, kept beside them, so that the
//! stream can be given back byte for byte (and with it the digest the layer is known by).
//!
//! The record is a gzip file of JSON lines, `tar-split.json.gz`:
//!
//! ```text
//! {"type":2,"payload":"<base64>","position":0}                          bytes of the stream: headers, padding, end
//! {"type":1,"name":"bin/sh","size":120,"payload":"<crc64>","position":1}   here comes the content of that file
//! ```
//!
//! A name that is not UTF-8 is in `name_raw`, base64. Files without content have a `null` payload and no
//! size. Content of sparse files goes into the record itself, since what is unpacked differs from what
//! was sent. Two files with content under one name are refused, as Docker does: only one can be there
//! to be read back.
//!
//! Spec: vbatts/tar-split `tar/storage`, `tar/asm`.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::COPY_BYTES;
use super::crc64::Crc64;
use super::header::{BLOCK, Entry, Headers, Kind, Step};
use super::read::padding;
use crate::base::{At, Error, Result, base64, json};
use crate::sys::rootfd::{self, Root};
use crate::wire;

const FILE: i64 = 1;
const SEGMENT: i64 = 2;
/// Longest line that is read, in bytes; tar-split writes segments of at most 1 MiB.
const MAX_LINE: u64 = 8 << 20;

wire! {
    /// A line of the record.
    struct Line {
        "type" keep kind: i64,
        "name" omit name: String,
        "name_raw" omit name_raw: String,
        "size" omit size: i64,
        "payload" keep payload: Option<String>,
        "position" keep position: i64,
    }
}

enum State {
    /// Filling a header block.
    Header,
    /// Filling an extended header; then so many zeros.
    Extension { data: Vec<u8>, need: usize, padding: u64 },
    /// Content of a file, and its sum.
    Content { entry: Box<Entry>, left: u64, crc: Crc64 },
    /// Bytes that go into the record as they are.
    Raw { left: u64 },
    /// After the end mark.
    Trailer,
}

/// Makes the record of a stream that is written to it piece by piece.
pub struct Recorder<W: Write> {
    out: W,
    headers: Headers,
    state: State,
    block: [u8; BLOCK],
    have: usize,
    raw: Vec<u8>,
    position: i64,
    names: HashSet<u64>,
    hash: RandomState,
}

impl<W: Write> Recorder<W> {
    /// Writes the record (not compressed) to `out`.
    pub fn new(out: W) -> Recorder<W> {
        Recorder {
            out,
            headers: Headers::default(),
            state: State::Header,
            block: [0; BLOCK],
            have: 0,
            raw: Vec::new(),
            position: 0,
            names: HashSet::new(),
            hash: RandomState::new(),
        }
    }

    /// Takes the next piece of the stream.
    ///
    /// # Errors
    /// `InvalidParameter` if the stream is no archive or has two files under one name; whatever `out`
    /// gives. The record is then of no use.
    pub fn record(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            bytes = self.step(bytes)?;
        }
        Ok(())
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        match &mut self.state {
            State::Header => {
                let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK - self.have));
                self.block[self.have..self.have + piece.len()].copy_from_slice(piece);
                self.have += piece.len();
                if self.have == BLOCK {
                    self.have = 0;
                    self.raw.extend_from_slice(&self.block);
                    self.header()?;
                }
                Ok(rest)
            }
            State::Extension { data, need, padding } => {
                let (piece, rest) = bytes.split_at(bytes.len().min(*need - data.len()));
                data.extend_from_slice(piece);
                if data.len() == *need {
                    let (data, padding) = (std::mem::take(data), *padding);
                    self.raw.extend_from_slice(&data);
                    self.state = State::Raw { left: padding };
                    if let Some(entry) = self.headers.extension(data)? {
                        self.file(&entry, None)?;
                    }
                    self.next_if_done();
                }
                Ok(rest)
            }
            State::Content { left, crc, .. } => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, rest) = bytes.split_at(take);
                crc.update(piece);
                *left -= take as u64;
                if *left == 0 {
                    let done = std::mem::replace(&mut self.state, State::Header);
                    if let State::Content { entry, crc, .. } = done {
                        self.file(&entry, Some(crc))?;
                        self.state = State::Raw { left: padding(entry.size) };
                    }
                    self.next_if_done();
                }
                Ok(rest)
            }
            State::Raw { left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, rest) = bytes.split_at(most.min(room(&self.raw)));
                *left -= piece.len() as u64;
                self.raw.extend_from_slice(piece);
                self.flush_if_long()?;
                self.next_if_done();
                Ok(rest)
            }
            State::Trailer => {
                let (piece, rest) = bytes.split_at(bytes.len().min(room(&self.raw)));
                self.raw.extend_from_slice(piece);
                self.flush_if_long()?;
                Ok(rest)
            }
        }
    }

    fn next_if_done(&mut self) {
        if matches!(self.state, State::Raw { left: 0 }) {
            self.state = State::Header;
        }
    }

    fn header(&mut self) -> Result<()> {
        match self.headers.block(&self.block)? {
            Step::Zero | Step::More => {}
            Step::End => self.state = State::Trailer,
            Step::Extension(need) => {
                let padding = padding(need as u64);
                self.state = State::Extension { data: Vec::with_capacity(need), need, padding };
                if need == 0 {
                    self.state = State::Raw { left: 0 };
                    if let Some(entry) = self.headers.extension(Vec::new())? {
                        self.file(&entry, None)?;
                    }
                    self.next_if_done();
                }
            }
            Step::Entry(entry) if entry.size == 0 => {
                self.check_name(&entry, false)?;
                self.file(&entry, None)?;
            }
            Step::Entry(entry) if entry.sparse.is_some() || entry.kind != Kind::File => {
                self.check_name(&entry, false)?;
                self.state = State::Raw { left: entry.size + padding(entry.size) };
            }
            Step::Entry(entry) => {
                self.check_name(&entry, true)?;
                let left = entry.size;
                let entry = Box::new(entry);
                self.state = State::Content { entry, left, crc: Crc64::default() };
            }
        }
        Ok(())
    }

    /// Refuses an entry in the place of a file whose content must be read back from there.
    fn check_name(&mut self, entry: &Entry, holds_content: bool) -> Result<()> {
        let path = rootfd::clean(Path::new(std::ffi::OsStr::from_bytes(&entry.name)));
        let hash = self.hash.hash_one(&path);
        if self.names.contains(&hash) || (holds_content && !self.names.insert(hash)) {
            let name = String::from_utf8_lossy(&entry.name);
            return Err(Error::invalid(format_args!(
                "duplicates of file paths not supported: {name:?}"
            )));
        }
        Ok(())
    }

    fn flush_if_long(&mut self) -> Result<()> {
        if self.raw.len() >= COPY_BYTES { self.segment() } else { Ok(()) }
    }

    fn segment(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let payload = base64::encode(&self.raw);
        self.raw.clear();
        let position = self.position;
        self.position += 1;
        writeln!(
            self.out,
            "{{\"type\":{SEGMENT},\"payload\":\"{payload}\",\"position\":{position}}}"
        )
        .at("writing tar-split record")
    }

    fn file(&mut self, entry: &Entry, crc: Option<Crc64>) -> Result<()> {
        self.segment()?;
        let mut line = Line { kind: FILE, position: self.position, ..Line::default() };
        self.position += 1;
        match std::str::from_utf8(&entry.name) {
            Ok(name) => line.name = name.to_string(),
            Err(_) => line.name_raw = base64::encode(&entry.name),
        }
        if let Some(crc) = crc {
            line.size = entry.size as i64;
            line.payload = Some(base64::encode(&crc.finish()));
        }
        writeln!(self.out, "{}", json::to_string(&line)).at("writing tar-split record")
    }

    /// Ends the record after the last piece of the stream.
    ///
    /// # Errors
    /// `InvalidParameter` if the stream ended inside an entry; whatever `out` gives.
    pub fn finish(mut self) -> Result<W> {
        match self.state {
            State::Header if self.have == 0 && !self.headers.is_unfinished() => {}
            State::Trailer => {}
            _ => return Err(Error::invalid("unexpected EOF")),
        }
        self.segment()?;
        Ok(self.out)
    }
}

/// How much more goes into a segment, so that segments depend on the stream and not on its pieces.
fn room(raw: &[u8]) -> usize {
    COPY_BYTES.saturating_sub(raw.len()).max(1)
}

/// Writes the stream that `record` (not compressed) was made of, with the files' content read below
/// `files`.
///
/// # Errors
/// `Internal` if a file is missing or its content has changed, or the record is damaged; whatever
/// `out` gives.
pub fn assemble(record: impl Read, files: &Root, out: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0u8; COPY_BYTES];
    lines(record, |line, payload| {
        let payload = payload.unwrap_or_default();
        if line.kind == SEGMENT {
            return out.write_all(&payload).at("writing archive");
        }
        let size = u64::try_from(line.size).map_err(|_| damaged("negative size"))?;
        if size == 0 {
            return Ok(());
        }
        let name = match line.name_raw.as_str() {
            "" => line.name.into_bytes(),
            raw => base64::decode(raw).ok_or_else(|| damaged("name is not base64"))?,
        };
        content(files, &name, size, &payload, out, &mut buffer)
    })
}

/// Length in bytes of the stream that [`assemble`] would write.
///
/// # Errors
/// `Internal` if the record is damaged.
pub fn length(record: impl Read) -> Result<u64> {
    let mut total = 0u64;
    lines(record, |line, payload| {
        let part = match line.kind {
            SEGMENT => payload.map_or(0, |p| p.len() as u64),
            _ => u64::try_from(line.size).map_err(|_| damaged("negative size"))?,
        };
        total = total.checked_add(part).ok_or_else(|| damaged("size"))?;
        Ok(())
    })?;
    Ok(total)
}

fn damaged(what: &str) -> Error {
    Error::internal(format_args!("tar-split record is damaged: {what}"))
}

/// Gives every line of the record, with its payload decoded, to `take`.
fn lines(
    record: impl Read,
    mut take: impl FnMut(Line, Option<Vec<u8>>) -> Result<()>,
) -> Result<()> {
    let mut record = BufReader::with_capacity(COPY_BYTES, record);
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = (&mut record).take(MAX_LINE).read_until(b'\n', &mut text);
        if read.at("reading tar-split record")? == 0 {
            return Ok(());
        }
        if !text.ends_with(b"\n") && text.len() as u64 == MAX_LINE {
            return Err(damaged("line too long"));
        }
        let line: Line = json::parse(&text).map_err(|e| damaged(e.message()))?;
        if !matches!(line.kind, FILE | SEGMENT) {
            return Err(damaged("unknown type of line"));
        }
        let payload = match line.payload.as_deref() {
            Some(text) => {
                Some(base64::decode(text).ok_or_else(|| damaged("payload is not base64"))?)
            }
            None => None,
        };
        take(line, payload)?;
    }
}

fn content(
    files: &Root,
    name: &[u8],
    size: u64,
    sum: &[u8],
    out: &mut dyn Write,
    buffer: &mut [u8],
) -> Result<()> {
    let shown = String::from_utf8_lossy(name);
    let path = rootfd::clean(Path::new(std::ffi::OsStr::from_bytes(name)));
    let wrong = || Error::internal(format_args!("file integrity checksum failed for {shown:?}"));
    // O_NONBLOCK: a fifo in the file's place must not hang the daemon.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = std::fs::File::from(files.open_at(&path, flags, 0)?);
    let mut crc = Crc64::default();
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let n = match file.read(&mut buffer[..most]) {
            Ok(0) => return Err(wrong()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).at(format_args!("reading {shown}")),
        };
        crc.update(&buffer[..n]);
        out.write_all(&buffer[..n]).at("writing archive")?;
        left -= n as u64;
    }
    if crc.finish() != *sum {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
