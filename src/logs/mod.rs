//! Container logs: Docker's json-file format, written by the shim and read by the daemon, and `none`.
//!
//! A log is one JSON object a line, `{"log":"text\n","stream":"stdout","attrs":{..},"time":".."}`, in the file
//! `<id>-json.log`; older parts are the same name with `.1`, `.2`, ..., perhaps gzipped (`.1.gz`). A line of the
//! container that is longer than 16 KiB is several entries, all but the last without the newline. Files are
//! bounded unless the user says otherwise: 5 files of 20 MB.
//!
//! [`Writer`] takes the bytes of the container's streams as they come; it never holds more than one
//! unfinished line a stream. [`read`] gives entries back, from the start or the last N, and follows
//! through rotations. The two only share the files: each survives the death of the other at any instant, and
//! a line that was cut by it is skipped and ended before the next one.
//!
//! Spec: Docker documentation "JSON File logging driver"; moby `daemon/logger/jsonfilelog` (format).

mod attributes;
mod decode;
mod encode;
mod follow;
mod options;
mod parts;
mod pattern;
mod reader;
mod rotate;
mod tail;
mod writer;

pub use attributes::{TagInfo, attributes};
pub use options::{DEFAULT_FILES, DEFAULT_MAX_BYTES, Settings, check_options};
pub use reader::{Entry, Options, read};
pub use writer::Writer;

/// Where the container wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    /// The number in the frames of Docker's API.
    pub fn number(self) -> u8 {
        match self {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        }
    }
}

#[cfg(test)]
mod tests;
