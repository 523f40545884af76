//! Text to standard output and standard error, where a reader that went away is not an error.
//!
//! `docker ps | head -1` ends quietly with success: std ignores SIGPIPE, and a broken pipe is
//! dropped here. Any other failure (a full disk behind `>`) is told and gives exit code 1.

use std::io::{self, Write};

/// Writes `text` to standard output; the exit code is 0, or 1 when the text could not be written.
pub fn out(text: &str) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            err(&format!("writing to standard output: {}\n", crate::base::Error::from(e)));
            1
        }
        _ => 0,
    }
}

/// Writes `text` to standard error; nobody could be told of a failure.
pub fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
