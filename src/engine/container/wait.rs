//! Waiting for a container to end or to be gone.

use std::sync::{Arc, PoisonError};

use super::Container;
use crate::base::cancel::Cancel;
use crate::base::{Error, Result};

/// What a waiter waits for; the words of the API's `condition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Returns at once for a container that does not run.
    NotRunning,
    /// The next end, even of a container that has not been started.
    NextExit,
    /// The container is gone.
    Removed,
}

impl Condition {
    /// From the API's word; empty is `not-running`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(word: &str) -> Result<Condition> {
        Ok(match word {
            "" | "not-running" => Condition::NotRunning,
            "next-exit" => Condition::NextExit,
            "removed" => Condition::Removed,
            _ => return Err(Error::invalid(format_args!("invalid condition: {word:?}"))),
        })
    }
}

/// How the awaited run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, 128 plus the signal for a killed process.
    pub exit_code: i64,
    /// Why it could not be started, if so.
    pub error: String,
}

/// A wait that has begun: ends that happen after `begin` are not missed, so that a client may be told
/// to go on and start the container.
pub struct Wait {
    container: Arc<Container>,
    condition: Condition,
    exits_before: u64,
}

impl Wait {
    /// Takes note of the container's present state.
    pub fn begin(container: Arc<Container>, condition: Condition) -> Wait {
        let exits_before = container.data().exits;
        Wait { container, condition, exits_before }
    }

    /// Blocks until the condition holds.
    ///
    /// # Errors
    /// `Cancelled` when `cancel` is; its owner must call `cancel` from another thread.
    pub fn finish(self, cancel: &Cancel) -> Result<Ended> {
        let container = self.container.clone();
        let waker = container.clone();
        let _guard = cancel.on_cancel(move || {
            // Under the lock, so that a waiter between its check and its sleep is not missed.
            drop(waker.data());
            waker.notify();
        });
        let mut data = container.data();
        loop {
            let ended = match self.condition {
                Condition::NotRunning => !data.record.state.running || data.removed,
                Condition::NextExit => data.exits > self.exits_before || data.removed,
                // One that could not be removed stays, dead: nothing more is to come.
                Condition::Removed => data.removed || data.record.state.dead,
            };
            if ended {
                let state = &data.record.state;
                // Once it is gone, what kept it from starting matters to nobody.
                let error = if data.removed { String::new() } else { state.error.clone() };
                return Ok(Ended { exit_code: state.exit_code, error });
            }
            cancel.check()?;
            data = container.changed.wait(data).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::container::record::Record;
    use crate::engine::model::host::HostConfig;

    fn waited(condition: Condition, change: impl FnOnce(&Container)) -> Ended {
        let container = Container::new("/x".into(), Record::default(), HostConfig::default());
        container.data().record.state.error = "no space left on device".into();
        let container = Arc::new(container);
        let wait = Wait::begin(container.clone(), condition);
        change(&container);
        wait.finish(&Cancel::new()).unwrap()
    }

    #[test]
    fn a_removal_that_failed_ends_the_wait_with_its_reason() {
        let ended = waited(Condition::Removed, |c| c.data().record.state.dead = true);
        assert_eq!(ended.error, "no space left on device");
    }

    #[test]
    fn a_container_that_is_gone_is_no_error() {
        let ended = waited(Condition::Removed, |c| c.data().removed = true);
        assert_eq!(ended, Ended::default());
    }
}
