//! Container logs: the drivers that write or send what containers say, and reading it back.
//!
//! The driver json-file writes a JSON object a line, `{"log":"text\n","stream":"stdout","attrs":{..},"time":".."}`,
//! to `<id>-json.log`; the driver local writes protocol buffers to `local-logs/container.log`. Older parts have the
//! same name with `.1`, `.2`, ..., perhaps gzipped (`.1.gz`). A line of the container that is longer than 16 KiB is
//! several entries, all but the last without the newline. Files are bounded unless the user says otherwise: 5 files
//! of 20 MB.
//!
//! Other drivers send messages away. Then a process of its own does so, and writes what it is given to a local cache in
//! the format of the driver local, so that every log can be read back:
//!
//! ```text
//! shim: Sink --- file drivers ---> Writer (Splitter, LogFile)
//!         `----- socket ---> sender: Splitter ---> cache (LogFile)
//!                                       `--------> Remote (syslog, journald, gelf, fluentd, splunk)
//! ```
//!
//! [`Writer`] takes the bytes of the container's streams as they come; it never holds more than one
//! unfinished line a stream. [`read`] gives entries back, from the start or the last N, and follows
//! through rotations. The two only share the files: each survives the death of the other at any instant, and
//! an entry that was cut by it is skipped and ended before the next one.
//!
//! Spec: Docker documentation "Configure logging drivers"; moby `daemon/logger` (formats and error texts).

mod attributes;
mod config;
mod decode;
mod drivers;
mod encode;
mod follow;
mod format;
mod frame;
mod local;
mod options;
mod parts;
mod queue;
mod reader;
mod records;
mod relay;
mod rotate;
mod sender;
mod sink;
mod split;
mod tail;
mod writer;

pub use attributes::TagInfo;
pub use config::{About, Config, LogPath, file_of};
pub use drivers::{described, names};
pub use format::Format;
pub use options::{DEFAULT_FILES, DEFAULT_MAX_BYTES, Settings, check_options, is_cache_option};
pub use reader::{Entry, Opened, Options, read};
pub use sender::serve as serve_sender;
pub use sink::Sink;
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
