//! Telling work that nobody waits for it any more.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Error, Result};

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    cancelled: bool,
    callbacks: Vec<(u64, Callback)>,
    next: u64,
}

/// A flag that many threads may wait on; clones share it.
#[derive(Clone, Default)]
pub struct Cancel(Arc<(Mutex<State>, Condvar)>);

impl Cancel {
    /// A token that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancels; runs the callbacks on this thread. Later calls do nothing.
    pub fn cancel(&self) {
        let callbacks = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.callbacks)
        };
        self.0.1.notify_all();
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// An error of kind `Cancelled` if it was cancelled.
    ///
    /// # Errors
    /// `Cancelled`, nothing else.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Sleeps until cancelled or until `limit` has passed; true if cancelled.
    pub fn wait(&self, limit: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(state, limit, |s| !s.cancelled)
            .unwrap_or_else(PoisonError::into_inner);
        state.cancelled
    }

    /// Runs `callback` when cancelled (at once if it was); dropping the guard takes it back.
    /// A callback that shuts a socket down is how blocking reads are ended.
    #[must_use = "dropping the guard removes the callback"]
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> Guard {
        let mut state = self.lock();
        if state.cancelled {
            drop(state);
            callback();
            return Guard { cancel: self.clone(), id: u64::MAX };
        }
        let id = state.next;
        state.next += 1;
        state.callbacks.push((id, Box::new(callback)));
        drop(state);
        Guard { cancel: self.clone(), id }
    }
}

/// Removes its callback when dropped.
pub struct Guard {
    cancel: Cancel,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.cancel.lock().callbacks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn callbacks_run_once_and_guards_remove_them() {
        let (kept, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let cancel = Cancel::new();
        let (k, d) = (kept.clone(), dropped.clone());
        let _guard = cancel.on_cancel(move || k.store(true, Ordering::SeqCst));
        drop(cancel.on_cancel(move || d.store(true, Ordering::SeqCst)));
        assert!(cancel.check().is_ok());
        cancel.cancel();
        assert!(kept.load(Ordering::SeqCst));
        assert!(!dropped.load(Ordering::SeqCst));
        assert!(cancel.wait(Duration::from_secs(60)));
    }
}
