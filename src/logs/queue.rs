//! A bounded queue between two threads, that never makes its filler wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Messages on their way.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    limit: u64,
}

struct State<T> {
    items: VecDeque<(T, u64)>,
    size: u64,
    closed: bool,
}

impl<T> Queue<T> {
    /// A queue for items whose sizes are together at most `limit`; one item fits always.
    pub(super) fn new(limit: u64) -> Queue<T> {
        let state = State { items: VecDeque::new(), size: 0, closed: false };
        Queue { state: Mutex::new(state), filled: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `item` if there is room for it. As in Docker it is the new one that is lost.
    pub(super) fn push(&self, item: T, size: u64) -> bool {
        let mut state = self.lock();
        if state.closed || (state.size + size > self.limit && !state.items.is_empty()) {
            return false;
        }
        state.items.push_back((item, size));
        state.size += size;
        drop(state);
        self.filled.notify_one();
        true
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some((item, size)) = state.items.pop_front() {
                state.size -= size;
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether nothing more will come.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_lost_and_one_item_always_fits() {
        let queue = Queue::new(10);
        assert!(queue.push("much", 50));
        assert!(!queue.push("more", 1));
        assert_eq!(queue.pop(), Some("much"));
        assert!(queue.push("a", 6) && queue.push("b", 4) && !queue.push("c", 1));
        queue.close();
        assert!(!queue.push("late", 1));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some("a"), Some("b"), None));
    }
}
