//! The clean end of the daemon.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::container::{Container, stop};
use super::{Engine, Restored};
use crate::base::worker;

impl Engine {
    /// Ends the engine. Without live-restore the containers are stopped first, all at the same time, and
    /// killed after their own timeouts; with it they go on and the next daemon finds them.
    pub fn shut_down(self: &Arc<Engine>) {
        self.ending.store(true, Ordering::Relaxed);
        self.set_restored_unless_done();
        let (keep, limit) = {
            let live = self.live();
            (live.live_restore, live.shutdown_timeout_seconds)
        };
        if !keep {
            self.stop_all(limit);
        }
        self.supervisor.stop();
        // What is left to the background must not be lost with the process.
        self.net.close();
        self.volumes.close();
        let is_running = |container: &Arc<Container>| container.data().record.state.running;
        // The mounts of containers that go on are in use.
        if !self.containers_now().all().iter().any(is_running)
            && let Err(e) = self.store.layers().driver().cleanup()
        {
            log::warn!("closing the image store: {e}");
        }
    }

    fn stop_all(self: &Arc<Engine>, limit: i64) {
        let all = self.containers_now().all();
        // Starts that were under way are over then, and no new ones come.
        all.iter().for_each(|container| drop(container.begin()));
        let running: Vec<_> =
            all.into_iter().filter(|container| container.data().record.state.running).collect();
        let threads: Vec<_> = running
            .into_iter()
            .filter_map(|container| {
                let engine = self.clone();
                let stop_one = move || {
                    let own = container.data().record.config.stop_timeout;
                    let timeout = own.unwrap_or(stop::DEFAULT_TIMEOUT_SECONDS);
                    // A container that may take for ever does not keep the daemon for ever.
                    let timeout = match limit {
                        limit if limit > 0 && timeout < 0 => limit,
                        limit if limit > 0 => timeout.min(limit),
                        _ => timeout,
                    };
                    let options = stop::Options { signal: None, timeout_seconds: Some(timeout) };
                    if let Err(e) = stop::stop(&engine, &container, &options) {
                        log::warn!("stopping container {}: {e}", container.id);
                    }
                };
                worker::builder("stop").spawn(stop_one).ok()
            })
            .collect();
        threads.into_iter().map(thread::JoinHandle::join).for_each(drop);
    }

    fn set_restored_unless_done(&self) {
        let mut state = self.restored.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *state == Restored::No {
            *state = Restored::Never;
        }
        drop(state);
        self.restored.1.notify_all();
    }
}
