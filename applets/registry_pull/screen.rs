//! Progress on standard error: lines that are rewritten on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use multi_core::api::types::progress::{Detail, Message};
use multi_core::base::progress::{Progress, Silent};
use multi_core::base::{Result, json, pipe};
use multi_core::cli::progress::{Screen, show};

/// Runs `work` and shows what it reports, unless `quiet`.
pub(super) fn with_progress<T: Send>(
    quiet: bool,
    work: impl FnOnce(&dyn Progress) -> Result<T> + Send,
) -> Result<T> {
    if quiet {
        return work(&Silent);
    }
    let (writer, reader) = pipe::pipe();
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let screen = Screen { terminal: io::stderr().is_terminal(), columns };
    std::thread::scope(|scope| {
        // A terminal that went away does not end the work.
        scope.spawn(move || drop(show(reader, &mut io::stderr(), screen)));
        let stream = Stream(Mutex::new(writer));
        let outcome = work(&stream);
        let writer = stream.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The reader may be gone with the terminal.
        let _ = writer.finish();
        outcome
    })
}

/// Reports as Docker's JSON messages.
struct Stream(Mutex<pipe::Writer>);

impl Stream {
    fn send(&self, message: &Message) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody looks on any more.
        let _ = json::write_to(&mut *writer, message);
    }
}

impl Progress for Stream {
    fn message(&self, id: &str, text: &str) {
        let detail = (!id.is_empty() && !text.starts_with("Pulling from")).then(Detail::default);
        self.send(&Message {
            id: id.into(),
            status: text.into(),
            progress_detail: detail,
            ..Message::default()
        });
    }

    fn update(&self, id: &str, action: &str, current: u64, total: u64) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let detail = Detail { current: number(current), total: number(total), ..Detail::default() };
        self.send(&Message {
            id: id.into(),
            status: action.into(),
            progress_detail: Some(detail),
            ..Message::default()
        });
    }
}
