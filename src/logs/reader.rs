//! The reading side: entries of all parts from the oldest to the newest, then perhaps those to come.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result, json};

use super::parts::{self, Part};
use super::records::Records;
use super::tail::{self, Position};
use super::{Format, Stream, follow};

/// What to read of a log.
#[derive(Clone)]
pub struct Options {
    /// Whether entries of standard output are wanted.
    pub stdout: bool,
    /// Whether those of standard error are.
    pub stderr: bool,
    /// Nothing earlier.
    pub since: Option<Timestamp>,
    /// Nothing later.
    pub until: Option<Timestamp>,
    /// Only the last so many entries, counted before streams and times are selected, as in Docker.
    pub tail: Option<usize>,
    /// Goes on with new entries until this is cancelled, which means: the container has ended and its log is
    /// whole. What was written before is still read.
    pub follow: Option<Cancel>,
    /// Ends the reading at once.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            stdout: true,
            stderr: true,
            since: None,
            until: None,
            tail: None,
            follow: None,
            cancel: Cancel::new(),
        }
    }
}

/// One entry of a log.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// By which stream.
    pub stream: Stream,
    /// The text, with its newline unless the line goes on in the next entry of the stream.
    pub bytes: &'a [u8],
    attrs: &'a [u8],
}

impl Entry<'_> {
    /// Extra attributes of the entry.
    pub fn attrs(&self) -> BTreeMap<String, String> {
        // An object that holds anything but strings counts as none.
        if self.attrs.is_empty() {
            BTreeMap::new()
        } else {
            json::parse(self.attrs).unwrap_or_default()
        }
    }

    /// The attributes in the form of `docker logs --details`: `key=value,..`, escaped as in a query.
    pub fn details(&self) -> String {
        let mut out = String::new();
        for (key, value) in self.attrs() {
            if !out.is_empty() {
                out.push(',');
            }
            query_escape(&mut out, &key);
            out.push('=');
            query_escape(&mut out, &value);
        }
        out
    }
}

/// Go's `url.QueryEscape`.
fn query_escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Gives the wanted entries of the log of `format` at `path` to `sink`, in order. A log that does not exist is empty.
/// Blocks until the end, or with [`Options::follow`] until the container's.
///
/// # Errors
/// Whatever `sink` returns; `Cancelled`; `Io` that names the path.
pub fn read(
    path: &Path,
    format: Format,
    options: &Options,
    sink: &mut dyn FnMut(&Entry<'_>) -> Result<()>,
) -> Result<()> {
    Opened::new(path, format, options.clone())?.read(sink)
}

/// A log whose files are held: what was in it when it was opened can be read, though its container may be
/// removed meanwhile.
pub struct Opened {
    path: PathBuf,
    format: Format,
    options: Options,
    watch: Option<follow::Watch>,
    parts: Vec<Part>,
}

impl Opened {
    /// Opens the log of `format` at `path`, for what [`read`] says.
    ///
    /// # Errors
    /// `Io` that names the path.
    pub fn new(path: &Path, format: Format, options: Options) -> Result<Opened> {
        // Events from before the first look are then not missed.
        let watch = options.follow.as_ref().map(|_| follow::Watch::new(path, &options));
        let parts = parts::open_all(path)?;
        Ok(Opened { path: path.into(), format, options, watch, parts })
    }

    /// Gives the wanted entries to `sink`, as [`read`] does.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(self, sink: &mut dyn FnMut(&Entry<'_>) -> Result<()>) -> Result<()> {
        let Opened { path, format, options, watch, parts } = self;
        let (path, options) = (path.as_path(), &options);
        let mut reading =
            Reading { path, format, options, sink, text: Vec::new(), last: None, count: 0 };
        match reading.run(watch, parts) {
            Ok(()) | Err(Stop::AtUntil) => Ok(()),
            Err(Stop::Failed(e)) => Err(e),
        }
    }
}

/// Why reading ended before the log did.
pub(super) enum Stop {
    /// Everything later is not wanted.
    AtUntil,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Failed(e)
    }
}

pub(super) struct Reading<'a> {
    pub(super) path: &'a Path,
    format: Format,
    pub(super) options: &'a Options,
    sink: &'a mut dyn FnMut(&Entry<'_>) -> Result<()>,
    text: Vec<u8>,
    /// Time of the last entry that was read, wanted or not.
    pub(super) last: Option<Timestamp>,
    count: u32,
}

impl Reading<'_> {
    fn run(&mut self, watch: Option<follow::Watch>, mut parts: Vec<Part>) -> Result<(), Stop> {
        let start = match self.options.tail {
            Some(lines) => Some(
                tail::find(&parts, self.format, lines)
                    .at(format_args!("reading {}", self.path.display()))?,
            ),
            None => None,
        };
        let oldest = start.map_or(parts.len(), |start| start.part + 1);
        parts.truncate(oldest);
        let mut records = Records::new(self.format);
        let mut newest = None;
        while let Some(part) = parts.pop() {
            records.clear();
            let position = start.map(|s| s.position).filter(|_| parts.len() + 1 == oldest);
            let passed = self.options.since.zip(part.last_time);
            let is_newest = parts.is_empty();
            if !is_newest && position.is_none() && passed.is_some_and(|(since, last)| last < since)
            {
                continue;
            }
            self.part(&part, position, &mut records)?;
            if is_newest {
                newest = Some(part);
            } else {
                self.rest(&mut records)?;
            }
        }
        match watch {
            Some(watch) => follow::follow(self, watch, newest, records),
            None => self.rest(&mut records),
        }
    }

    /// Everything from `position` to the end of `part`, whose file is then at its end.
    pub(super) fn part(
        &mut self,
        part: &Part,
        position: Option<Position>,
        records: &mut Records,
    ) -> Result<(), Stop> {
        let mut skip = 0;
        let mut gzip;
        let mut file = &part.file;
        let input: &mut dyn Read = if part.gzipped {
            gzip = part.reader().at(self.reading())?;
            if let Some(Position::Record(n)) = position {
                skip = n;
            }
            &mut gzip
        } else {
            let at = if let Some(Position::Byte(at)) = position { at } else { 0 };
            file.seek(SeekFrom::Start(at)).at(self.reading())?;
            &mut file
        };
        self.records(input, records, skip, part.gzipped)
    }

    /// All whole records that `input` has now, but for the first `skip`.
    pub(super) fn records(
        &mut self,
        input: &mut dyn Read,
        records: &mut Records,
        mut skip: usize,
        may_be_damaged: bool,
    ) -> Result<(), Stop> {
        loop {
            match records.next(input) {
                Ok(Some(_)) if skip > 0 => skip -= 1,
                Ok(Some(record)) => self.record(record)?,
                Ok(None) => return Ok(()),
                // A compressed part that was cut gives what it has.
                Err(_) if may_be_damaged => return Ok(()),
                Err(e) => return Err(Error::from(e).at(self.reading()).into()),
            }
        }
    }

    /// What is left at the end of a part that will not grow, such as a last line that only lacks its newline.
    fn rest(&mut self, records: &mut Records) -> Result<(), Stop> {
        while let Some(record) = records.rest() {
            self.record(record)?;
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), Stop> {
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(64) {
            self.options.cancel.check()?;
        }
        let Some(decoded) = self.format.decode(record, &mut self.text) else { return Ok(()) };
        self.last = Some(decoded.time);
        let options = self.options;
        if options.since.is_some_and(|since| decoded.time < since) {
            return Ok(());
        }
        if options.until.is_some_and(|until| decoded.time > until) {
            return Err(Stop::AtUntil);
        }
        let wanted = match decoded.stream {
            Stream::Stdout => options.stdout,
            Stream::Stderr => options.stderr,
        };
        if wanted {
            let (time, stream, attrs) = (decoded.time, decoded.stream, decoded.attrs);
            (self.sink)(&Entry { time, stream, bytes: &self.text, attrs })?;
        }
        Ok(())
    }

    pub(super) fn reading(&self) -> String {
        format!("reading {}", self.path.display())
    }

    /// # Errors
    /// `Cancelled`.
    pub(super) fn check(&self) -> Result<(), Stop> {
        match self.options.cancel.is_cancelled() {
            true => Err(Error::new(Kind::Cancelled, "context canceled").into()),
            false => Ok(()),
        }
    }
}
