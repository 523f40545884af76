//! Cgroups that could not be removed at the end of their container: something was still in them, a process
//! that cannot die now or one that somebody put there.
//!
//! The shim marks its bundle; the bundle then moves to `<exec root>/left/<container id>`, so that the next
//! daemon knows too, and is looked at now and then until its cgroup is gone or is used by a new run.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::base::{At, Result};
use crate::runtime::shim;

/// When to look first and at most how seldom.
const FIRST: Duration = Duration::from_secs(2);
const LAST: Duration = Duration::from_secs(60);

impl Engine {
    fn left_dir(&self) -> std::path::PathBuf {
        self.settings.exec_root.join("left")
    }

    /// Keeps the bundle `dir` of the container `id`, whose cgroup is still there, and sees to that later.
    ///
    /// # Errors
    /// `Io`; the bundle stays.
    pub(super) fn keep_left(&self, dir: &Path, id: &str) -> Result<()> {
        let all = self.left_dir();
        fs::create_dir_all(&all).at(format_args!("creating {}", all.display()))?;
        let place = all.join(id);
        // One of an earlier run tells of the same cgroup.
        let _ = fs::remove_dir_all(&place);
        fs::rename(dir, &place).at(format_args!("keeping {}", place.display()))?;
        self.supervisor.after(FIRST, Box::new(|engine| sweep(engine, FIRST)));
        Ok(())
    }

    /// Goes on with what an earlier daemon kept.
    pub(super) fn sweep_left(self: &Arc<Engine>) {
        sweep(self, FIRST);
    }
}

/// Removes the cgroups that can be removed now; comes back later for the others. Never waits.
fn sweep(engine: &Arc<Engine>, pause: Duration) {
    let mut waits = false;
    for entry in fs::read_dir(engine.left_dir()).into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let container = engine.containers_now().find(&id).ok();
        // One that starts just now is about to use its cgroup.
        let operation = container.as_ref().map(|container| container.try_begin());
        if matches!(operation, Some(None)) {
            waits = true;
            continue;
        }
        let runs = container.as_ref().is_some_and(|c| c.data().record.state.running);
        let gone = match shim::cgroup(&entry.path()) {
            Ok(Some(cgroup)) if !runs => cgroup.delete_now().is_ok(),
            _ => true,
        };
        if !gone {
            waits = true;
        } else if let Err(e) = fs::remove_dir_all(entry.path()) {
            log::warn!("removing {}: {e}", entry.path().display());
        }
    }
    if waits {
        let pause = (pause * 2).min(LAST);
        engine.supervisor.after(pause, Box::new(move |engine| sweep(engine, pause)));
    }
}
