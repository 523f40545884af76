//! Being told when a cgroup runs out of memory.
//!
//! v1: an eventfd that is registered in `cgroup.event_control`; it also fires when the cgroup is removed.
//! v2: inotify on `memory.events`. Either way the truth is the counter, which [`OomWatch::take`] reads.
//!
//! Spec: Documentation/admin-guide/cgroup-v1/memory.rst section 10; cgroup-v2.rst "memory.events".

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::control;
use crate::base::{At, Result};

/// A watch for lack of memory; see [`super::Cgroup::watch_oom`].
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    file: PathBuf,
    seen: u64,
}

#[derive(Debug)]
enum Source {
    Event(EventFd),
    Changes(Inotify),
}

impl OomWatch {
    pub(super) fn open(dir: &Path, v2: bool) -> Result<OomWatch> {
        let (source, file) = if v2 {
            let file = dir.join("memory.events");
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
                .at("making an inotify descriptor")?;
            inotify
                .add_watch(&file, AddWatchFlags::IN_MODIFY)
                .at(format_args!("watching {}", file.display()))?;
            (Source::Changes(inotify), file)
        } else {
            let file = dir.join("memory.oom_control");
            let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .at("making an eventfd")?;
            let control_file = File::open(&file).at(format_args!("opening {}", file.display()))?;
            let line = format!("{} {}", event.as_fd().as_raw_fd(), control_file.as_raw_fd());
            control::write(dir, "cgroup.event_control", &line)?;
            (Source::Event(event), file)
        };
        let mut watch = OomWatch { source, file, seen: 0 };
        watch.seen = watch.count();
        Ok(watch)
    }

    /// Becomes readable when there may be something to [`take`](OomWatch::take).
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Event(event) => event.as_fd(),
            Source::Changes(inotify) => inotify.as_fd(),
        }
    }

    /// How many processes were killed since the last call. Empties the descriptor; never blocks.
    pub fn take(&mut self) -> u64 {
        match &self.source {
            // EAGAIN: somebody asked without being woken.
            Source::Event(event) => drop(event.read()),
            Source::Changes(inotify) => while inotify.read_events().is_ok_and(|e| !e.is_empty()) {},
        }
        let count = self.count();
        let new = count.saturating_sub(self.seen);
        self.seen = self.seen.max(count);
        new
    }

    fn count(&self) -> u64 {
        let (dir, name) = (self.file.parent(), self.file.file_name().and_then(|n| n.to_str()));
        dir.zip(name)
            .and_then(|(dir, name)| control::read_optional(dir, name))
            .and_then(|text| control::keyed_value(&text, "oom_kill"))
            .unwrap_or(0)
    }
}
