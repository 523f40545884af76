//! Restart policies: whether a container that ended is started again, when, and what at daemon start.
//!
//! The pause between runs doubles from 100 ms to one minute and starts anew after a run of ten seconds.
//! While a container waits for its next run it counts as running and restarting, as in Docker, and the
//! operation lock is free, so that `stop` and `rm -f` find it.
//!
//! Spec: Docker Engine API 1.51, RestartPolicy; moby `daemon/restartmanager`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Container, start};
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::model::host::{HostConfig, RestartPolicy};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length, in seconds, makes the next pause the first one again.
const GOOD_RUN_SECONDS: i64 = 10;

/// Checks a policy.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check(host: &HostConfig) -> Result<()> {
    let RestartPolicy { name, maximum_retry_count: most } = &host.restart_policy;
    match name.as_str() {
        "always" | "unless-stopped" | "no" | "" if *most != 0 => Err(Error::invalid(format_args!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{}",
            if *most < 0 { " and cannot be negative" } else { "" }
        ))),
        "always" | "unless-stopped" | "no" | "" => Ok(()),
        "on-failure" if *most < 0 => {
            Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"))
        }
        "on-failure" => Ok(()),
        other => Err(Error::invalid(format_args!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', \
             or 'unless-stopped'"
        ))),
    }
}

/// Whether a run that ended with `exit_code`, the `restarts`th after a start, is followed by another.
pub fn applies(policy: &RestartPolicy, exit_code: i64, restarts: i64) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => {
            let most = policy.maximum_retry_count;
            exit_code != 0 && (most == 0 || restarts < most)
        }
        _ => false,
    }
}

/// Whether a container that does not run is started with the daemon.
pub fn applies_at_start(container: &Container) -> bool {
    let data = container.data();
    let policy = &data.host.restart_policy;
    if !data.record.has_been_started_before {
        return false;
    }
    match policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !data.record.has_been_manually_stopped,
        _ => {
            !data.record.has_been_manually_stopped
                && applies(policy, data.record.state.exit_code, data.record.restart_count)
        }
    }
}

/// The pause before the next run, given the one before the last and how long the last run took.
pub fn pause(before: Option<Duration>, run_seconds: i64) -> Duration {
    match before {
        Some(before) if run_seconds < GOOD_RUN_SECONDS => (before * 2).min(LONGEST_PAUSE),
        _ => FIRST_PAUSE,
    }
}

/// Waits `pause` and starts the container again, unless somebody stops or removes it meanwhile. Runs on
/// the thread that handled the end.
pub(super) fn run_again(engine: &Arc<Engine>, container: &Arc<Container>, pause: Duration) {
    let deadline = Instant::now() + pause;
    let mut data = container.data();
    loop {
        if data.stop_requested || data.removed || engine.is_ending() {
            data.record.state.running = false;
            data.record.state.restarting = false;
            drop(data);
            container.notify();
            let _operation = container.begin();
            if container.data().removed {
                return;
            }
            if let Err(e) = container.save() {
                log::error!("recording the end of container {}: {e}", container.id);
            }
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        data = container.sleep(data, left);
    }
    data.record.restart_count += 1;
    drop(data);
    if let Err(e) = start::start_again(engine, container) {
        log::error!("restarting container {}: {e}", container.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, most: i64) -> RestartPolicy {
        RestartPolicy { name: name.into(), maximum_retry_count: most }
    }

    #[test]
    fn policies_decide_as_dockers() {
        assert!(applies(&policy("always", 0), 0, 99));
        assert!(!applies(&policy("no", 0), 1, 0));
        assert!(!applies(&policy("on-failure", 0), 0, 0));
        assert!(applies(&policy("on-failure", 2), 1, 1));
        assert!(!applies(&policy("on-failure", 2), 1, 2));
    }

    #[test]
    fn pauses_double_until_a_good_run() {
        let second = pause(Some(pause(None, 0)), 1);
        assert_eq!(second, Duration::from_millis(200));
        assert_eq!(pause(Some(LONGEST_PAUSE), 1), LONGEST_PAUSE);
        assert_eq!(pause(Some(LONGEST_PAUSE), 10), FIRST_PAUSE);
    }

    #[test]
    fn policies_that_cannot_be_meant_are_refused() {
        for bad in [policy("sometimes", 0), policy("always", 3), policy("on-failure", -1)] {
            let host = HostConfig { restart_policy: bad, ..HostConfig::default() };
            assert!(check(&host).is_err());
        }
    }
}
