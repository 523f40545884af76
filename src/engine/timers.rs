//! What is to be done at a later instant: the timers of the supervisor's one thread.
//!
//! Instants are of the monotonic clock, so that a clock that is set forth or back moves no timer.
//! A job runs on the supervisor's thread and must be quick; work goes to a thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Engine;

/// What a timer does.
pub type Job = Box<dyn FnOnce(&Arc<Engine>) + Send>;

/// Names one timer, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Instant, u64);

/// Jobs in the order of their instants.
#[derive(Default)]
pub struct Timers(Mutex<(BTreeMap<Key, Job>, u64)>);

impl Timers {
    fn lock(&self) -> MutexGuard<'_, (BTreeMap<Key, Job>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job; true if it is the next one now, so that whoever sleeps has to sleep less.
    pub fn add(&self, at: Instant, job: Job) -> (Key, bool) {
        let mut timers = self.lock();
        timers.1 += 1;
        let key = Key(at, timers.1);
        timers.0.insert(key, job);
        let is_next = timers.0.first_key_value().is_some_and(|(first, _)| *first == key);
        (key, is_next)
    }

    /// Takes a job back; nothing if it ran already.
    pub fn cancel(&self, key: Key) {
        let job = self.lock().0.remove(&key);
        // What it holds may be the last of its kind; that end is not for this lock.
        drop(job);
    }

    /// When the next job is due.
    pub fn next(&self) -> Option<Instant> {
        self.lock().0.first_key_value().map(|(key, _)| key.0)
    }

    /// Takes the next job that is due at `now`.
    pub fn take_due(&self, now: Instant) -> Option<Job> {
        let mut timers = self.lock();
        let first = timers.0.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn jobs_come_in_the_order_of_their_instants_and_not_before() {
        let timers = Timers::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let (_, is_next) = timers.add(later, Box::new(|_| ()));
        assert!(is_next);
        let (early, is_next) = timers.add(now, Box::new(|_| ()));
        assert!(is_next);
        assert!(!timers.add(later, Box::new(|_| ())).1);
        assert_eq!(timers.next(), Some(now));
        assert!(timers.take_due(now).is_some());
        assert!(timers.take_due(now).is_none());
        timers.cancel(early);
        assert_eq!(timers.next(), Some(later));
    }

    #[test]
    fn a_job_that_was_taken_back_is_never_due() {
        let timers = Timers::default();
        let now = Instant::now();
        let (key, _) = timers.add(now, Box::new(|_| ()));
        timers.cancel(key);
        assert!(timers.take_due(now).is_none() && timers.next().is_none());
    }
}
