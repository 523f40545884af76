//! What the stages of a new process and the shim tell each other.
//!
//! ```text
//! stages                                   shim
//!   |  <------------------- "c"             the process is in its cgroup
//!   |  pid (number) ----------------------> another process goes on (user namespaces)
//!   |  hooks -----------------------------> everything is mounted (with hooks)
//!   |  <------------------- "h"             the host's hooks were run
//!   |  ready (terminal, filter) ----------> it stands before execve
//!   |  <------------------- "g"             execute
//!   |  end of file -----------------------> executed
//!   `  failed (kind, text) at any time ---> and the process exits
//! ```
//!
//! Errors travel as data: what the user reads is what the stage said.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::base::{Error, Result, json};
use crate::sys::scm;

/// Longest report; error texts are cut to fit.
const REPORT_MAX: usize = 8 * 1024;
/// The process was put into its cgroup.
pub(super) const IN_CGROUP: u8 = b'c';
/// The hooks of the runtime's namespaces were run.
pub(super) const HOOKS_DONE: u8 = b'h';
/// Execute the program.
pub(super) const GO: u8 = b'g';

crate::wire! {
    /// Stages to shim.
    pub(super) struct Report {
        /// `pid`, `hooks`, `ready` or `failed`.
        "type" keep kind: String,
        /// The first descriptor is the master of the process's terminal.
        "terminal" omit terminal: bool,
        /// The last descriptor is a memfd with the compiled seccomp filter.
        "filter" omit filter: bool,
        /// The process that goes on in place of the first.
        "pid" omit pid: i32,
        "errorKind" omit error_kind: String,
        "message" omit message: String,
    }
}

/// Sends a report.
pub(super) fn report(channel: impl AsFd, report: &Report, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut text = json::to_string_plain(report);
    if text.len() > REPORT_MAX {
        let message: String = report.message.chars().take(1000).collect();
        text = json::to_string_plain(&Report { message, ..report.clone() });
    }
    scm::send(channel, text.as_bytes(), fds)
}

/// The next report; `None` when the other side has executed its program or has died.
pub(super) fn receive(channel: impl AsFd, wait: bool) -> Result<Option<(Report, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; REPORT_MAX];
    let (length, fds) = scm::receive(channel, &mut buffer, wait)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((json::parse(&buffer[..length])?, fds)))
}

/// Tells the stages something.
pub(super) fn tell(channel: impl AsFd, word: u8) -> Result<()> {
    scm::send(channel, &[word], &[])
}

/// Waits in a stage for `word`.
///
/// # Errors
/// `Cancelled` when the shim is gone.
pub(super) fn await_word(channel: impl AsFd, word: u8) -> Result<()> {
    let mut buffer = [0; 1];
    match scm::receive(channel, &mut buffer, true) {
        Ok((1, _)) if buffer[0] == word => Ok(()),
        Ok((1, _)) => Err(Error::internal("stages and shim are out of step")),
        _ => Err(Error::cancelled()),
    }
}
