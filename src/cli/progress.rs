//! Draws the progress of pull, load and the like: one line per layer that is rewritten in place on a
//! terminal, plain lines without progress bars elsewhere.
//!
//! Spec: Docker Engine API, "JSON message stream" of `POST /images/create`; ECMA-48 CUU, CUD, EL.

use std::io::{Read, Write};

use super::messages::Objects;
use crate::api::types::progress::{Detail, Message};
use crate::base::{At, Error, Kind, Result, bytesize, duration, json, time::Timestamp};

/// Columns that are assumed when nobody knows the terminal's width.
const UNKNOWN_WIDTH: usize = 200;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Whether the output is a terminal.
    pub terminal: bool,
    /// Its width in columns, if known.
    pub columns: Option<usize>,
}

/// Shows every message of `stream` on `out`.
///
/// # Errors
/// The error that the stream carries, with the daemon's text; `Io` of either side.
pub fn show(stream: impl Read, out: &mut dyn Write, screen: Screen) -> Result<()> {
    let mut objects = Objects::new(stream);
    let mut drawing = Drawing { screen, ids: Vec::new() };
    while let Some(object) = objects.next_object().at("reading the progress of the daemon")? {
        let message: Message = json::parse(&object).at("reading the progress of the daemon")?;
        drawing.message(&message, out)?;
    }
    Ok(())
}

struct Drawing {
    screen: Screen,
    /// The lines on the screen that may be rewritten, from the top.
    ids: Vec<String>,
}

impl Drawing {
    fn message(&mut self, message: &Message, out: &mut dyn Write) -> Result<()> {
        if message.aux.is_some() {
            return Ok(());
        }
        let mut text = String::new();
        let mut down = 0;
        let progress = message.progress_detail.as_ref();
        if !message.id.is_empty() && (progress.is_some() || !message.progress.is_empty()) {
            let line = match self.ids.iter().position(|id| *id == message.id) {
                Some(line) => line,
                None => {
                    self.ids.push(message.id.clone());
                    if self.screen.terminal {
                        text.push('\n');
                    }
                    self.ids.len() - 1
                }
            };
            down = self.ids.len() - line;
            if self.screen.terminal {
                text.push_str(&format!("\x1b[{down}A"));
            }
        } else {
            // A plain line: what is above it can no longer be counted, so it is left as it is.
            self.ids.clear();
        }
        let failed = self.line(message, &mut text);
        if !message.id.is_empty() && self.screen.terminal && down > 0 {
            text.push_str(&format!("\x1b[{down}B"));
        }
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).at("writing progress")?;
        failed
    }

    fn line(&self, message: &Message, text: &mut String) -> Result<()> {
        if let Some(error) = &message.error_detail {
            return Err(Error::new(Kind::Io, &error.message));
        }
        let mut end = "";
        let bar = message.progress_detail.as_ref().map(|d| bar(d, self.screen.columns));
        match &bar {
            Some(_) if self.screen.terminal && message.stream.is_empty() => {
                text.push_str("\x1b[2K\r");
                end = "\r";
            }
            // Bars are not drawn where they cannot be overwritten.
            Some(bar) if !bar.is_empty() => return Ok(()),
            _ => {}
        }
        if !message.id.is_empty() {
            text.push_str(&format!("{}: ", message.id));
        }
        match bar {
            Some(bar) if self.screen.terminal => {
                text.push_str(&format!("{} {bar}{end}", message.status));
            }
            _ if !message.progress.is_empty() => {
                text.push_str(&format!("{} {}{end}", message.status, message.progress));
            }
            _ if !message.stream.is_empty() => text.push_str(&format!("{}{end}", message.stream)),
            _ => text.push_str(&format!("{}{end}\n", message.status)),
        }
        Ok(())
    }
}

/// The bar, the counts and the time left, as far as they are known and fit.
fn bar(detail: &Detail, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(UNKNOWN_WIDTH);
    let (current, total) = (detail.current, detail.total);
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 {
        return match detail.units.as_str() {
            "" => format!("{:>8}", bytesize::human(current as f64)),
            units => format!("{current} {units}"),
        };
    }
    let half = ((current as f64 / total as f64 * 100.0) as i64 / 2).clamp(0, 50) as usize;
    let mut out = String::new();
    if columns > 110 {
        out.push_str(&format!("[{}>{}] ", "=".repeat(half), " ".repeat(50 - half)));
    }
    match detail.units.as_str() {
        _ if detail.hide_counts => {}
        "" if current > total => out.push_str(&format!("{:>8}", bytesize::human(current as f64))),
        "" => {
            let (current, total) = (bytesize::human(current as f64), bytesize::human(total as f64));
            out.push_str(&format!("{current:>8}/{total}"));
        }
        units if current > total => out.push_str(&format!("{current} {units}")),
        units => out.push_str(&format!("{current}/{total} {units}")),
    }
    if columns > 50 && current > 0 && detail.start > 0 && half < 50 {
        let elapsed_ns = Timestamp::now().unix_nanos() - detail.start.saturating_mul(1_000_000_000);
        let left_ns = (elapsed_ns / current).saturating_mul(total - current);
        let seconds = (left_ns as f64 / 1e9).round() as i64;
        out.push(' ');
        out.push_str(&duration::format_ns(seconds.saturating_mul(1_000_000_000)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"{\"status\":\"Pulling from library/x\",\"id\":\"latest\"}\r\n\
        {\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"aaa\"}\r\n\
        {\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"bbb\"}\r\n\
        {\"status\":\"Downloading\",\"progressDetail\":{\"current\":50,\"total\":100},\"progress\":\"[=>]\",\"id\":\"aaa\"}\r\n\
        {\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"aaa\"}\r\n\
        {\"status\":\"Digest: sha256:0\"}\r\n";

    fn draw(stream: &[u8], terminal: bool, columns: usize) -> String {
        let mut out = Vec::new();
        show(stream, &mut out, Screen { terminal, columns: Some(columns) }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_terminal_there_are_plain_lines() {
        assert_eq!(
            draw(STREAM, false, 80),
            "latest: Pulling from library/x\naaa: Pulling fs layer\nbbb: Pulling fs layer\n\
             aaa: Pull complete\nDigest: sha256:0\n"
        );
    }

    #[test]
    fn a_terminal_has_one_line_per_layer() {
        let bar = format!("[{}>{}] ", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            draw(STREAM, true, 120),
            format!(
                "latest: Pulling from library/x\n\
                 \n\x1b[1A\x1b[2K\raaa: Pulling fs layer \r\x1b[1B\
                 \n\x1b[1A\x1b[2K\rbbb: Pulling fs layer \r\x1b[1B\
                 \x1b[2A\x1b[2K\raaa: Downloading {bar}     50B/100B\r\x1b[2B\
                 \x1b[2A\x1b[2K\raaa: Pull complete \r\x1b[2B\
                 Digest: sha256:0\n"
            )
        );
    }

    #[test]
    fn an_error_in_the_stream_is_the_error() {
        let stream =
            b"{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}";
        let screen = Screen { terminal: false, columns: None };
        let error = show(&stream[..], &mut Vec::new(), screen).unwrap_err();
        assert_eq!(error.to_string(), "no space left");
    }

    #[test]
    fn bars_shrink_with_the_terminal() {
        let detail = Detail { current: 5_000_000, total: 20_000_000, ..Detail::default() };
        assert_eq!(bar(&detail, Some(80)), "     5MB/20MB");
        let unknown = Detail { current: 1500, ..Detail::default() };
        assert_eq!(bar(&unknown, Some(80)), "   1.5kB");
    }
}
