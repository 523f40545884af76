//! Ending a container: stop, kill and restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Container;
use super::{pause, start};
use crate::base::{Error, Kind, Result};
use crate::engine::Engine;
use crate::runtime::shim::ENDED;
use crate::sys::signal;

/// How long stop waits for the process when neither the caller nor the container says, in seconds.
pub const DEFAULT_TIMEOUT_SECONDS: i64 = 10;
/// How long a killed process may take to disappear before we give up waiting for it, in seconds.
const KILL_PATIENCE_SECONDS: u64 = 10;

/// What the caller of stop or restart may choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Signal name or number; the container's stop signal if `None`.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; negative waits for ever; the container's stop timeout if `None`.
    pub timeout_seconds: Option<i64>,
}

/// Asks the process to end, and kills it if it does not within the timeout.
///
/// # Errors
/// `NotModified` if it does not run; `InvalidParameter` for an unknown signal.
pub fn stop(engine: &Engine, container: &Arc<Container>, options: &Options) -> Result<()> {
    let (signal, timeout) = {
        let data = container.data();
        let config = &data.record.config;
        let name = options.signal.clone().unwrap_or_else(|| config.stop_signal.clone());
        let signal = if name.is_empty() { libc::SIGTERM } else { signal::parse(&name)? };
        let default = config.stop_timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        (signal, options.timeout_seconds.unwrap_or(default))
    };
    if !mark(engine, container) {
        return Err(Error::new(Kind::NotModified, "container is already stopped"));
    }
    deliver(engine, container, signal)?;
    let limit = u64::try_from(timeout).ok().map(Duration::from_secs);
    if !wait_not_running(container, limit) {
        log::info!(
            "Container failed to exit within {timeout}s of signal {signal} - using the force (container={})",
            container.id
        );
        kill_and_wait(engine, container)?;
    }
    // The end is complete, network and mounts included, when its handler lets go of the lock.
    drop(container.begin());
    engine.container_event(container, "stop", &[]);
    Ok(())
}

/// Sends `name` (a signal name or number, SIGKILL if empty) to the process.
///
/// # Errors
/// `Conflict` if the container does not run; `InvalidParameter` for an unknown signal.
pub fn kill(engine: &Engine, container: &Arc<Container>, name: &str) -> Result<()> {
    let signal = if name.is_empty() { libc::SIGKILL } else { signal::parse(name)? };
    let stop_signal = {
        let data = container.data();
        signal::parse(&data.record.config.stop_signal).unwrap_or(libc::SIGTERM)
    };
    let ends = signal == libc::SIGKILL || signal == stop_signal;
    let runs = if ends { mark(engine, container) } else { container.data().record.state.running };
    if !runs {
        return Err(Error::conflict(format_args!(
            "cannot kill container: {}: container {} is not running",
            container.data().record.plain_name(),
            container.id
        )));
    }
    if signal == libc::SIGKILL {
        kill_and_wait(engine, container)
    } else {
        deliver(engine, container, signal)
    }
}

/// Stops the container if it runs, then starts it.
///
/// # Errors
/// Those of stop and start.
pub fn restart(engine: &Engine, container: &Arc<Container>, options: &Options) -> Result<()> {
    container.data().keep_once = true;
    let stopped = stop(engine, container, options);
    container.data().keep_once = false;
    match stopped {
        Err(e) if e.kind() != Kind::NotModified => return Err(e),
        _ => {}
    }
    start::start(engine, container)?;
    engine.container_event(container, "restart", &[]);
    Ok(())
}

/// Notes that the end of the present run is wanted, so that no restart policy undoes it; false if the
/// container does not run. A start that is under way is over when this returns.
///
/// The end that a shutdown of the daemon brings is not the user's: a policy applies at the next start.
pub(super) fn mark(engine: &Engine, container: &Container) -> bool {
    let _operation = container.begin();
    let changed = {
        let mut data = container.data();
        if !data.record.state.running {
            return false;
        }
        data.stop_requested = true;
        let by_user = !engine.is_ending();
        by_user && !std::mem::replace(&mut data.record.has_been_manually_stopped, true)
    };
    // The next daemon must know it, should this one not live to see the end.
    if changed && let Err(e) = container.save() {
        log::warn!("recording that container {} is to stop: {e}", container.id);
    }
    true
}

/// Kills the process and waits until its end was handled.
///
/// # Errors
/// `Io` if the process does not go away.
pub(super) fn kill_and_wait(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    deliver(engine, container, libc::SIGKILL)?;
    for _ in 0..KILL_PATIENCE_SECONDS {
        if wait_not_running(container, Some(Duration::from_secs(1))) {
            return Ok(());
        }
        // Paused again between the signal and its effect.
        pause::thaw_for_signal(engine, container);
    }
    Err(Error::new(
        Kind::Io,
        format_args!("tried to kill container {}, but did not receive an exit event", container.id),
    ))
}

/// Sends `signal` to the container's first process. One that ended in the meantime is no error.
fn deliver(engine: &Engine, container: &Arc<Container>, signal: i32) -> Result<()> {
    let Some(shim) = container.data().shim.clone() else {
        // It waits for its restart: the mark that stop and kill set is what ends the wait.
        container.notify();
        return Ok(());
    };
    // Before the signal: what it does, the end first of all, may be told at once by another thread.
    engine.container_event(container, "kill", &[("signal", &signal.to_string())]);
    match shim.signal("", signal) {
        // The shim has seen an end that is not handled here yet.
        Err(e) if e.message() == ENDED => {}
        Err(e) if container.data().record.state.running => {
            return Err(e.at(format_args!("sending signal {signal} to container {}", container.id)));
        }
        _ => {}
    }
    // As Docker: other signals wait in a paused container, unless it names no signal that ends it.
    let ends = {
        let data = container.data();
        let stop_signal = data.record.config.stop_signal.as_str();
        signal == libc::SIGKILL
            || stop_signal.is_empty()
            || signal::parse(stop_signal).is_ok_and(|stop| stop == signal)
    };
    if ends {
        pause::thaw_for_signal(engine, container);
    }
    Ok(())
}

/// Waits until the container does not run; false if `limit` passed first.
fn wait_not_running(container: &Container, limit: Option<Duration>) -> bool {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut data = container.data();
    while data.record.state.running {
        data = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return false,
            Some(left) => container.sleep(data, left),
            None => container.sleep(data, Duration::from_secs(3600)),
        };
    }
    true
}
