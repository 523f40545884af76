//! Streams in answers: Docker's progress messages, and the frames of container output.
//!
//! Spec: Docker Engine API 1.51, POST /images/create; POST /containers/{id}/attach, "Stream format".

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::types::progress::{Aux, Detail, ErrorDetail, Message};
use super::version::Version;
use crate::base::progress::Progress;
use crate::base::{Error, Result, bytesize, json};
use crate::http::response::Stream;

/// Standard output in frames.
pub const STDOUT: u8 = 1;
/// Standard error in frames.
pub const STDERR: u8 = 2;

/// Time between two reports of one action on one object.
const PACE: Duration = Duration::from_millis(100);
/// Length of the bar, in characters.
const BAR: usize = 50;

/// The content type of a stream of container output. `negotiable` is whether the client can learn it:
/// it asked for an upgrade, or the answer is an ordinary one. Frames have a name of their own since 1.42.
pub fn content_type(tty: bool, version: Version, negotiable: bool) -> &'static str {
    if !tty && negotiable && version >= Version(1, 42) {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    }
}

/// Writes `bytes` of `stream` as one frame with its 8-byte header, or, for a terminal, as they are.
///
/// # Errors
/// Those of the writer.
pub fn write_frame<W: Write + ?Sized>(
    out: &mut W,
    tty: bool,
    stream: u8,
    bytes: &[u8],
) -> Result<()> {
    if tty {
        return out.write_all(bytes).map_err(Error::from);
    }
    // A frame states its length in 32 bits.
    for part in bytes.chunks(1 << 24) {
        let length = (part.len() as u32).to_be_bytes();
        let header = [&[stream, 0, 0, 0], &length[..]].concat();
        // One write, so that a frame is one chunk of the answer.
        out.write_all(&[&header, part].concat())?;
    }
    Ok(())
}

/// Tells a client how far a pull, push or load is, in JSON messages. The answer begins with the first
/// message; a client that went away is not an error here, the work's cancel token tells of it.
pub struct JsonProgress(Mutex<State>);

struct State {
    out: Stream,
    /// When each object's action was last reported.
    reported: HashMap<String, (String, Instant)>,
}

impl JsonProgress {
    /// Writes to `out`.
    pub fn new(out: Stream) -> JsonProgress {
        JsonProgress(Mutex::new(State { out, reported: HashMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message was sent, so that an error has to be a message too.
    pub fn has_begun(&self) -> bool {
        self.lock().out.has_begun()
    }

    /// Ends the work with `outcome`: an error is returned if nothing was sent yet, so that it becomes
    /// the answer, and is the last message otherwise.
    ///
    /// # Errors
    /// That of `outcome`.
    pub fn finish(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(e) if self.has_begun() => {
                self.error(&e);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Sends an error as a message.
    pub fn error(&self, error: &Error) {
        let message = error.to_string();
        self.send(&Message {
            error_detail: Some(ErrorDetail { code: 0, message: message.clone() }),
            error: message,
            ..Message::default()
        });
    }

    /// Sends text of the form that `docker load` and `docker build` print as it is.
    pub fn text(&self, text: &str) {
        self.send(&Message { stream: text.into(), ..Message::default() });
    }

    /// Sends data for programs.
    pub fn aux(&self, aux: Aux) {
        self.send(&Message { aux: Some(aux), ..Message::default() });
    }

    fn send(&self, message: &Message) {
        // A client that is gone hears nothing more; see the type's documentation.
        let _ = json::write_to(&mut self.lock().out, message);
    }
}

/// Messages with an id that open or close the whole work, and do not belong to a layer's line.
fn is_headline(text: &str) -> bool {
    text.starts_with("Pulling from ")
}

impl Progress for JsonProgress {
    fn message(&self, id: &str, text: &str) {
        // An empty detail makes clients draw the message in the line of its object.
        let in_line = !id.is_empty() && !is_headline(text);
        self.send(&Message {
            status: text.into(),
            progress_detail: in_line.then(Detail::default),
            id: id.into(),
            ..Message::default()
        });
    }

    fn update(&self, id: &str, action: &str, current: u64, total: u64) {
        {
            let mut state = self.lock();
            let now = Instant::now();
            let whole = total > 0 && current >= total;
            let last = state.reported.get(id);
            let same = last.is_some_and(|(a, when)| a == action && now - *when < PACE);
            // A client that does not read must not hold the work up for a number that grows anyway.
            if (same || !state.out.is_ready()) && !whole {
                return;
            }
            state.reported.insert(id.into(), (action.into(), now));
        }
        let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.send(&Message {
            status: action.into(),
            progress_detail: Some(Detail {
                current: clamp(current),
                total: clamp(total),
                ..Detail::default()
            }),
            progress: bar(current, total),
            id: id.into(),
            ..Message::default()
        });
    }
}

/// Docker's bar for a wide terminal: `[====>      ]  1.2MB/3.4MB`.
pub fn bar(current: u64, total: u64) -> String {
    let size = |n: u64| bytesize::human(n as f64);
    if current == 0 && total == 0 {
        return String::new();
    }
    if total == 0 {
        return format!("{:>8}", size(current));
    }
    let done = ((current as f64 / total as f64 * 100.0) as usize / 2).min(BAR);
    let numbers = if current > total {
        format!("{:>8}", size(current))
    } else {
        format!("{:>8}/{}", size(current), size(total))
    };
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(BAR - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_dockers_header() {
        let mut out = Vec::new();
        write_frame(&mut out, false, STDERR, b"hello").unwrap();
        assert_eq!(out, b"\x02\0\0\0\0\0\0\x05hello");
        out.clear();
        write_frame(&mut out, true, STDERR, b"hello").unwrap();
        assert_eq!(out, b"hello");
    }

    #[test]
    fn frames_are_named_since_1_42_only() {
        let multiplexed = "application/vnd.docker.multiplexed-stream";
        assert_eq!(content_type(false, Version(1, 42), true), multiplexed);
        for (tty, minor, upgrade) in [(true, 51, true), (false, 41, true), (false, 51, false)] {
            let kind = content_type(tty, Version(1, minor), upgrade);
            assert_eq!(kind, "application/vnd.docker.raw-stream");
        }
    }

    #[test]
    fn bars_are_dockers() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(2_500_000, 0), "   2.5MB");
        let half = format!("[{}>{}] {:>8}/1kB", "=".repeat(25), " ".repeat(25), "500B");
        assert_eq!(bar(500, 1000), half);
        assert_eq!(bar(1000, 1000), format!("[{}>] {:>8}/1kB", "=".repeat(50), "1kB"));
        assert_eq!(bar(2000, 1000), format!("[{}>] {:>8}", "=".repeat(50), "2kB"));
    }
}
