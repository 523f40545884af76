//! The clean end of the daemon.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::container::stop;
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
        if let Err(e) = self.store.layers().driver().cleanup() {
            log::warn!("closing the image store: {e}");
        }
    }

    fn stop_all(self: &Arc<Engine>, limit: i64) {
        let running: Vec<_> = self
            .containers_now()
            .all()
            .into_iter()
            .filter(|container| container.data().record.state.running)
            .collect();
        let threads: Vec<_> = running
            .into_iter()
            .filter_map(|container| {
                let engine = self.clone();
                let stop_one = move || {
                    let own = container.data().record.config.stop_timeout;
                    let timeout = own.unwrap_or(stop::DEFAULT_TIMEOUT_SECONDS);
                    let timeout = if limit > 0 { timeout.min(limit) } else { timeout };
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
