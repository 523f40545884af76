//! The containers whose numbers are shown, in the order in which they came, behind one lock.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use multi_core::cli::template::Object;

use super::numbers::Numbers;

/// See the module.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Nothing more will come.
    over: bool,
}

struct Entry {
    /// As the user named it, or the id.
    container: String,
    /// The last numbers, and when they came.
    last: Option<(Numbers, Instant)>,
    error: Option<String>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a container in; false if it is there.
    pub(super) fn add(&self, container: &str) -> bool {
        let mut state = self.lock();
        if state.entries.iter().any(|e| e.container == container) {
            return false;
        }
        state.entries.push(Entry { container: container.into(), last: None, error: None });
        true
    }

    /// Takes a container out.
    pub(super) fn remove(&self, container: &str) {
        self.lock().entries.retain(|e| e.container != container);
        self.changed.notify_all();
    }

    /// New numbers of a container.
    pub(super) fn put(&self, container: &str, numbers: Numbers) {
        let mut state = self.lock();
        if let Some(entry) = state.entries.iter_mut().find(|e| e.container == container) {
            entry.last = Some((numbers, Instant::now()));
        }
        self.changed.notify_all();
    }

    /// No more numbers of a container will come. `keep` leaves the last ones on the board.
    pub(super) fn end(&self, container: &str, error: Option<String>, keep: bool) {
        let mut state = self.lock();
        match state.entries.iter_mut().find(|e| e.container == container) {
            Some(entry) if error.is_some() => entry.error = error,
            Some(_) if !keep => state.entries.retain(|e| e.container != container),
            _ => {}
        }
        self.changed.notify_all();
    }

    /// Waits until every container has told something, at most until `deadline`.
    pub(super) fn wait_for_all(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.entries.iter().any(|e| e.last.is_none() && e.error.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Why containers cannot be shown.
    pub(super) fn errors(&self) -> Vec<String> {
        self.lock().entries.iter().filter_map(|e| e.error.clone()).collect()
    }

    /// The rows now. Numbers older than `silent_after` are not shown.
    pub(super) fn rows(&self, trunc: bool, silent_after: Option<Duration>) -> Vec<Object> {
        let silent = Numbers::default();
        let state = self.lock();
        let rows = state.entries.iter().filter(|e| e.error.is_none()).map(|entry| {
            let fresh = |(_, when): &&(Numbers, Instant)| {
                silent_after.is_none_or(|limit| when.elapsed() <= limit)
            };
            match entry.last.as_ref().filter(fresh) {
                Some((numbers, _)) => numbers.row(&entry.container, trunc, true),
                None => entry.last.as_ref().map_or(&silent, |(numbers, _)| numbers).row(
                    &entry.container,
                    trunc,
                    false,
                ),
            }
        });
        rows.collect()
    }

    /// Nothing more will come.
    pub(super) fn set_over(&self) {
        self.lock().over = true;
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_come_and_go() {
        let board = Board::default();
        assert!(board.add("a") && board.add("b") && !board.add("a"));
        board.put("a", Numbers::default());
        board.end("b", Some("gone".into()), false);
        board.wait_for_all(Instant::now() + Duration::from_secs(3600));
        assert_eq!(board.errors(), ["gone"]);
        assert_eq!(board.rows(true, None).len(), 1);
        board.end("a", None, true);
        assert_eq!(board.rows(true, None).len(), 1);
        board.end("a", None, false);
        assert!(board.rows(true, None).is_empty());
    }
}
