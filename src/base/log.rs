//! The daemon's log: Docker's logfmt lines (or JSON) on standard error, behind the `log` macros.
//!
//! `time="2026-11-22T07:03:00.123456789Z" level=info msg="..."`. The level may change while the daemon
//! runs (SIGHUP). Fatal exists only as a configured level: it lets nothing through.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::{Error, Result, time::Timestamp};

struct Logger {
    json: AtomicBool,
}

static LOGGER: Logger = Logger { json: AtomicBool::new(false) };

/// Line format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// logfmt.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the logger; later calls only change level and format.
pub fn init(level: LevelFilter, format: Format) {
    LOGGER.json.store(format == Format::Json, Ordering::Relaxed);
    // An error means that it is installed already, which is what we want.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// The filter for a name of `--log-level`.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn parse_level(name: &str) -> Result<LevelFilter> {
    Ok(match name {
        "trace" => LevelFilter::Trace,
        "debug" => LevelFilter::Debug,
        "info" => LevelFilter::Info,
        "warn" | "warning" => LevelFilter::Warn,
        "error" => LevelFilter::Error,
        "fatal" | "panic" => LevelFilter::Off,
        _ => {
            return Err(Error::invalid(format_args!("unable to parse logging level: {name}")));
        }
    })
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// Docker quotes a value unless every character is harmless (logrus `needsQuoting`).
fn needs_quoting(text: &str) -> bool {
    text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b))
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries (rustls, ureq) are of interest only when they complain.
        metadata.target().starts_with("multi") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let (time, level) = (Timestamp::now().fixed_nanos(), level_name(record.level()));
        let mut line = String::with_capacity(message.len() + 80);
        // Writing to a String cannot fail.
        let _ = if self.json.load(Ordering::Relaxed) {
            writeln!(
                line,
                "{{\"level\":\"{level}\",\"msg\":{},\"time\":\"{time}\"}}",
                super::json::quote(&message)
            )
        } else if needs_quoting(&message) {
            writeln!(
                line,
                "time=\"{time}\" level={level} msg={}",
                super::json::quote_plain(&message)
            )
        } else {
            writeln!(line, "time=\"{time}\" level={level} msg={message}")
        };
        // One write a line, so that lines of several threads do not mix. Nobody can be told of a failure.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}
