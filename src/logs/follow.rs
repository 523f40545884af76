//! Reading on at the end of a log until its container has ended.
//!
//! The part being read is held open, so renaming and removing it loses nothing. When the log's name belongs to
//! another file, everything is read from the old one first (the writer is done with it before it renames
//! it), then its successors. The old part is found again among the others by its inode or, if it was
//! compressed, by the time of its last entry.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::base::cancel::Guard;
use crate::base::time::Timestamp;
use crate::base::{At, Result};

use super::parts::{self, Part};
use super::reader::{Options, Reading, Stop};
use super::records::Records;

/// How often to look where the kernel gives no events.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Wakes when the log's directory or one of the two tokens changes.
pub(super) struct Watch {
    changes: Option<Inotify>,
    wake: Option<Arc<EventFd>>,
    _guards: Vec<Guard>,
}

impl Watch {
    pub(super) fn new(path: &Path, options: &Options) -> Watch {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM;
        // The user's limit of inotify instances is small; without one the file is looked at now and then.
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|inotify| {
                inotify.add_watch(path.parent().unwrap_or(Path::new(".")), flags)?;
                Ok(inotify)
            })
            .ok();
        let wake =
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Arc::new).ok();
        let mut guards = Vec::new();
        if let Some(wake) = &wake {
            for token in [Some(&options.cancel), options.follow.as_ref()].into_iter().flatten() {
                let wake = wake.clone();
                // It can only fail when it is readable already.
                guards.push(token.on_cancel(move || {
                    let _ = wake.write(1);
                }));
            }
        }
        Watch { changes, wake, _guards: guards }
    }

    fn wait(&self, limit: Option<Duration>) -> Result<()> {
        let lacking = self.changes.is_none() || self.wake.is_none();
        let limit =
            if lacking { Some(limit.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL)) } else { limit };
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // Rounded up, so that it is not asked again and again in the last millisecond.
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let fds = [self.changes.as_ref().map(|f| f.as_fd()), self.wake.as_ref().map(|f| f.as_fd())];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).at("waiting for log entries"),
        }
        if let Some(changes) = &self.changes {
            // Only that something happened is of interest.
            while changes.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
        Ok(())
    }
}

/// Goes on after `part`, of which `records` keeps the unfinished end. `None`: there is no file yet.
pub(super) fn follow(
    reading: &mut Reading<'_>,
    watch: Watch,
    mut part: Option<Part>,
    mut records: Records,
) -> Result<(), Stop> {
    let finished = reading.options.follow.clone().unwrap_or_default();
    loop {
        // Asked before reading: what was written before the end is then read below.
        let done = finished.is_cancelled();
        reading.check()?;
        let moved_on = advance(reading, &mut part, &mut records)?;
        if moved_on {
            continue;
        }
        let left = reading.options.until.map(|until| {
            let now = Timestamp::now();
            u64::try_from(until.unix_nanos().saturating_sub(now.unix_nanos())).unwrap_or(0)
        });
        if done || left == Some(0) {
            return Ok(());
        }
        watch.wait(left.map(Duration::from_nanos))?;
    }
}

/// Reads what is new; true if it went on to a later part, which may have more.
fn advance(
    reading: &mut Reading<'_>,
    part: &mut Option<Part>,
    records: &mut Records,
) -> Result<bool, Stop> {
    let Some(old) = part else {
        *part = parts::open_all(reading.path)?.pop();
        if let Some(first) = part {
            reading.part(first, None, records)?;
        }
        return Ok(part.is_some());
    };
    let mut file = &old.file;
    if !old.gzipped {
        truncated(reading, old, records)?;
        reading.records(&mut file, records, 0, false)?;
    }
    match parts::current_inode(reading.path) {
        Some(inode) if inode != old.inode => {}
        // Still the same, or between two renames.
        _ => return Ok(false),
    }
    if !old.gzipped {
        reading.records(&mut file, records, 0, false)?;
    }
    // A line that was cut stays cut.
    records.clear();
    let mut all = parts::open_all(reading.path)?;
    let known = all.iter().position(|candidate| {
        candidate.inode == old.inode
            || (candidate.gzipped
                && candidate.last_time.is_some()
                && candidate.last_time == reading.last)
    });
    // Not found: it was removed, and all that are left are later.
    all.truncate(known.unwrap_or(all.len()));
    let mut moved = false;
    while let Some(next) = all.pop() {
        records.clear();
        reading.part(&next, None, records)?;
        *part = Some(next);
        moved = true;
    }
    Ok(moved)
}

/// Starts anew if the file has become shorter than what was read of it.
fn truncated(reading: &Reading<'_>, part: &Part, records: &mut Records) -> Result<(), Stop> {
    use std::io::{Seek, SeekFrom};
    let mut file = &part.file;
    let position = file.stream_position().at(reading.reading())?;
    let length = part.file.metadata().at(reading.reading())?.size();
    if length < position {
        records.clear();
        file.seek(SeekFrom::Start(0)).at(reading.reading())?;
    }
    Ok(())
}
