//! The writing side, in the shim: bytes of the container in, whole lines of the log out.
//!
//! Invariants: the file ends with a whole line after every call that succeeded; a line that was cut (full disk,
//! SIGKILL of an earlier writer) is ended before the next one. Memory: one output buffer of 16 KiB and up
//! to 16 KiB for each stream while it has an unfinished line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::time::Timestamp;
use crate::base::{At, Result, json};

use super::Stream;
use super::encode::{self, Stamp};
use super::options::Settings;
use super::rotate::Rotation;

/// Longest piece of a line that becomes one entry.
pub(super) const MAX_PIECE: usize = 16 * 1024;
/// The buffer is written when it is this full, and at the end of every call.
const BUFFER_BYTES: usize = 16 * 1024;

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Length of the file, without what is in `out`.
    size: u64,
    settings: Settings,
    attrs: Vec<u8>,
    out: Vec<u8>,
    /// The file ends in the middle of a line.
    torn: bool,
    lines: [Line; 2],
    rotation: Rotation,
}

/// What one stream has written since its last newline.
#[derive(Default)]
struct Line {
    pending: Vec<u8>,
    /// Time of the first piece, if the line is cut into pieces: all get it, as in Docker.
    started: Option<Stamp>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.pending.len())
    }
}

impl Writer {
    /// Opens the log at `path`, making it if it is missing, to append to it. `options` are those of the driver,
    /// `attrs` go into every line.
    ///
    /// # Errors
    /// `InvalidParameter` for options that [`super::check_options`] refuses; `Io` that names the path.
    pub fn open(
        path: &Path,
        options: &BTreeMap<String, String>,
        attrs: &BTreeMap<String, String>,
    ) -> Result<Writer> {
        let settings = Settings::parse(options)?;
        let mut file = open(path).at(format_args!("opening {}", path.display()))?;
        let size = file.seek(SeekFrom::End(0)).at(format_args!("reading {}", path.display()))?;
        let torn = size > 0 && !ends_with_newline(path, size);
        let attrs = match attrs.is_empty() {
            true => Vec::new(),
            false => format!(",\"attrs\":{}", json::to_string(attrs)).into_bytes(),
        };
        let rotation = Rotation::new(path, settings);
        Ok(Writer {
            path: path.to_path_buf(),
            file,
            size,
            settings,
            attrs,
            out: Vec::new(),
            torn,
            lines: Default::default(),
            rotation,
        })
    }

    /// Takes what `stream` wrote; whole lines are in the file when it returns. Blocks only for the disk.
    ///
    /// # Errors
    /// `Io`, for example of a full disk: what was not written is lost, later calls try again.
    pub fn write(&mut self, stream: Stream, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let now = Stamp::new(Timestamp::now());
        let mut rest = data;
        let mut result = Ok(());
        while !rest.is_empty() {
            let line = &self.lines[stream as usize];
            let room = MAX_PIECE - line.pending.len();
            let window = &rest[..rest.len().min(room)];
            let (taken, ended) = match window.iter().position(|b| *b == b'\n') {
                Some(end) => (end, true),
                None if window.len() < room => {
                    self.lines[stream as usize].pending.extend_from_slice(window);
                    break;
                }
                // Not in the middle of a character, unless it is none.
                None => (window.len() - cut_character(window), false),
            };
            let piece = self.piece(stream, &rest[..taken], ended, &now);
            result = result.and(piece);
            rest = &rest[taken + usize::from(ended)..];
        }
        result.and(self.flush())
    }

    /// `stream` has ended: what it left without a newline is written as it is.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(&mut self, stream: Stream) -> Result<()> {
        if !self.lines[stream as usize].pending.is_empty() {
            let now = Stamp::new(Timestamp::now());
            self.piece(stream, b"", false, &now)?;
        }
        self.lines[stream as usize] = Line::default();
        self.flush()
    }

    /// One entry from what is pending and `data`.
    fn piece(&mut self, stream: Stream, data: &[u8], ended: bool, now: &Stamp) -> Result<()> {
        let mut result = Ok(());
        if let Some(max) = self.settings.max_bytes
            && self.size + self.out.len() as u64 >= max
        {
            result = self.flush().and_then(|()| self.rotate());
        }
        let line = &mut self.lines[stream as usize];
        let time = *line.started.get_or_insert(*now);
        encode::entry(&mut self.out, [&line.pending, data], ended, stream, &self.attrs, &time);
        line.pending.clear();
        if ended {
            line.started = None;
            // A long line is rare; its buffer is given back.
            if line.pending.capacity() > 1024 {
                line.pending = Vec::new();
            }
        }
        if self.out.len() >= BUFFER_BYTES {
            result = result.and(self.flush());
        }
        result
    }

    fn flush(&mut self) -> Result<()> {
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
        self.size += written as u64;
        if written > 0 {
            self.torn = self.out[written - 1] != b'\n';
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
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(size - 1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte == b'\n')
}

/// How many bytes at the end of `text` are the start of a character that is not whole.
fn cut_character(text: &[u8]) -> usize {
    let start = (1..=3.min(text.len()))
        .find(|back| text[text.len() - back] & 0xc0 != 0x80)
        .filter(|back| encode::character_length(text[text.len() - back]) > *back);
    start.unwrap_or(0)
}
