//! The writing side: messages in, whole records of a log file out.
//!
//! Invariants: the file ends with a whole record after every call that succeeded; one that was cut (full disk,
//! SIGKILL of an earlier writer) is ended before the next one: a line by a newline, a record of the local format by
//! cutting it off. Memory: one output buffer of 16 KiB and what [`Splitter`] holds.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::time::Timestamp;
use crate::base::{At, Result, json};

use super::encode::Stamp;
use super::options::Settings;
use super::rotate::Rotation;
use super::split::{Piece, Splitter};
use super::{Format, Stream, local};

/// The buffer is written when it is this full, and at the end of every call.
const BUFFER_BYTES: usize = 16 * 1024;

/// Writes one container's log from the bytes of its streams.
#[derive(Debug)]
pub struct Writer {
    splitter: Splitter,
    file: LogFile,
}

impl Writer {
    /// Opens the log at `path`, making it if it is missing, to append to it. `attrs` go into every line of JSON.
    ///
    /// # Errors
    /// `Io` that names the path.
    pub fn open(
        path: &Path,
        format: Format,
        settings: Settings,
        attrs: &BTreeMap<String, String>,
    ) -> Result<Writer> {
        // JSON has no place for the ids of long lines.
        let splitter = Splitter::new(format == Format::Local);
        Ok(Writer { splitter, file: LogFile::open(path, format, settings, attrs)? })
    }

    /// Takes what `stream` wrote; whole lines are in the file when it returns. Blocks only for the disk.
    ///
    /// # Errors
    /// `Io`, for example of a full disk: what was not written is lost, later calls try again.
    pub fn write(&mut self, stream: Stream, data: &[u8]) -> Result<()> {
        let file = &mut self.file;
        let mut result = Ok(());
        let mut take = |piece: &Piece<'_>| {
            let added = file.add(piece);
            if result.is_ok() {
                result = added;
            }
        };
        self.splitter.write(stream, data, Timestamp::now(), &mut take);
        result.and(self.file.flush())
    }

    /// `stream` has ended: what it left without a newline is written as it is.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(&mut self, stream: Stream) -> Result<()> {
        let file = &mut self.file;
        let mut result = Ok(());
        self.splitter.finish(stream, Timestamp::now(), &mut |piece| result = file.add(piece));
        result.and(self.file.flush())
    }
}

/// Appends messages to a file and rotates it.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    format: Format,
    file: File,
    /// Length of the file, without what is in `out`.
    size: u64,
    settings: Settings,
    attrs: Vec<u8>,
    out: Vec<u8>,
    /// The file ends in the middle of a line.
    torn: bool,
    /// The last time and its text: many messages have the same.
    stamp: (Timestamp, Stamp),
    rotation: Rotation,
}

impl LogFile {
    /// As [`Writer::open`].
    pub(super) fn open(
        path: &Path,
        format: Format,
        settings: Settings,
        attrs: &BTreeMap<String, String>,
    ) -> Result<LogFile> {
        let mut file = open(path).at(format_args!("opening {}", path.display()))?;
        let reading = || format!("reading {}", path.display());
        let mut size = file.seek(SeekFrom::End(0)).at(reading())?;
        let mut torn = false;
        if size > 0 {
            match format {
                Format::Json => torn = !ends_with_newline(path, size),
                Format::Local => {
                    let whole = File::open(path).and_then(|file| local::whole_length(&file));
                    let whole = whole.at(reading())?;
                    if whole < size {
                        file.set_len(whole).at(format_args!("truncating {}", path.display()))?;
                        size = whole;
                    }
                }
            }
        }
        let attrs = match attrs.is_empty() {
            true => Vec::new(),
            false => format!(",\"attrs\":{}", json::to_string(attrs)).into_bytes(),
        };
        Ok(LogFile {
            path: path.to_path_buf(),
            format,
            file,
            size,
            settings,
            attrs,
            out: Vec::new(),
            torn,
            stamp: (Timestamp::ZERO, Stamp::new(Timestamp::ZERO)),
            rotation: Rotation::new(path, format, settings),
        })
    }

    /// Adds one message. It is in the file after [`LogFile::flush`].
    pub(super) fn add(&mut self, piece: &Piece<'_>) -> Result<()> {
        let mut result = Ok(());
        if let Some(max) = self.settings.max_bytes
            && self.size + self.out.len() as u64 >= max
        {
            result = self.flush().and_then(|()| self.rotate());
        }
        let stamp = &mut self.stamp;
        self.format.encode(&mut self.out, piece, &self.attrs, || {
            if stamp.0 != piece.time {
                *stamp = (piece.time, Stamp::new(piece.time));
            }
            stamp.1
        });
        if self.out.len() >= BUFFER_BYTES {
            result = result.and(self.flush());
        }
        result
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        if self.torn {
            // One write, so that the newline and the line stay together.
            self.out.insert(0, b'\n');
        }
        let result = loop {
            match self.file.write(&self.out[written..]) {
                Ok(0) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
            if written == self.out.len() {
                break Ok(());
            }
        };
        if result.is_err() {
            // Records that are not whole go; should that fail, the next one or the next writer sees to it.
            let whole = match self.format {
                Format::Local => 0,
                Format::Json => self.out[..written]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1),
            };
            let cut = self.file.set_len(self.size + whole as u64).is_ok();
            if cut || self.format == Format::Local {
                written = whole;
            }
        }
        self.size += written as u64;
        if written > 0 {
            self.torn = self.format == Format::Json && self.out[written - 1] != b'\n';
        }
        self.out.clear();
        self.out.shrink_to(2 * BUFFER_BYTES);
        result.at(format_args!("writing {}", self.path.display()))
    }

    fn rotate(&mut self) -> Result<()> {
        if self.settings.max_files < 2 {
            // One file: it starts anew. Its readers see it shrink.
            self.file.set_len(0).at(format_args!("truncating {}", self.path.display()))?;
        } else {
            self.rotation.rotate()?;
            self.file = open(&self.path).at(format_args!("opening {}", self.path.display()))?;
        }
        (self.size, self.torn) = (0, false);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

fn ends_with_newline(path: &Path, size: u64) -> bool {
    let last = || -> io::Result<u8> {
        let mut byte = [0];
        File::open(path)?.read_exact_at(&mut byte, size - 1)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte == b'\n')
}
