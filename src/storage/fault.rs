//! Places where a test kills the process, to see what is left of the work.
//!
//! In the program this is nothing. In tests, a process that was told so by its environment kills itself
//! at the n-th step it reaches.

/// Says that a step was done that something may come after, or not.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn step() {}

/// Says that a step was done that something may come after, or not.
#[cfg(test)]
pub(crate) fn step() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static REACHED: AtomicU64 = AtomicU64::new(0);
    let at: Option<u64> = std::env::var(KILL_AT).ok().and_then(|n| n.parse().ok());
    if at.is_some_and(|at| REACHED.fetch_add(1, Ordering::SeqCst) + 1 == at) {
        let me = nix::unistd::Pid::this();
        nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

/// The variable that holds the number of the step to die at.
#[cfg(test)]
pub(crate) const KILL_AT: &str = "MULTI_TEST_KILL_AT";
