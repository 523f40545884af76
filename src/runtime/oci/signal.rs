//! Signals, and the end of a container.

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::state::{NO_CONTAINER, Status};
use super::{Container, Runtime};
use crate::base::{At, Error, Kind, Result};
use crate::runtime::hooks;
use crate::runtime::spec::Spec;
use crate::sys::pidfd;

/// What callers match to learn that the process has ended.
const NOT_RUNNING: &str = "container not running";
/// How long a killed process may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Sends `signal` to the first process, or to `all`.
///
/// # Errors
/// `Conflict` if it has ended, with a text that callers match.
pub fn kill(container: &Container, signal: i32, all: bool) -> Result<()> {
    if all {
        let pids = container.pids()?;
        if pids.is_empty() && container.status() == Status::Stopped {
            return Err(Error::conflict(NOT_RUNNING));
        }
        for pid in pids {
            // Those that end meanwhile are as good as hit.
            let _ = pidfd::kill(pid, signal);
        }
    } else {
        // The descriptor first and the check second: then it is the checked process that gets the signal.
        let process = pidfd::open(container.record.pid);
        if !container.is_alive() {
            return Err(Error::conflict(NOT_RUNNING));
        }
        let sent = match &process {
            Ok(process) => pidfd::send_signal(process, signal),
            Err(_) => pidfd::kill(container.record.pid, signal),
        };
        sent.map_err(|e| match e.errno() {
            Some(libc::ESRCH) => Error::conflict(NOT_RUNNING),
            Some(libc::EINVAL) => Error::invalid(format_args!("unknown signal {signal}")),
            _ => e.at("sending the signal"),
        })?;
        if signal == libc::SIGKILL && !container.record.own_pids {
            // Nobody else ends what the first process leaves.
            kill_group(container)?;
        }
    }
    if signal == libc::SIGKILL
        && let Some(cgroup) = container.cgroup()
        && cgroup.is_frozen().unwrap_or(false)
    {
        // A frozen process of version 1 does not die.
        cgroup.thaw()?;
    }
    Ok(())
}

fn kill_group(container: &Container) -> Result<()> {
    match container.cgroup() {
        Some(cgroup) if cgroup.exists() => cgroup.kill_all(),
        _ => Ok(()),
    }
}

/// Kills all processes and waits until the first one has ended.
pub(super) fn kill_and_wait(container: &Container) -> Result<()> {
    let process = pidfd::open(container.record.pid);
    if container.is_alive() {
        let _ = kill(container, libc::SIGKILL, false);
    }
    kill_group(container)?;
    let end = Instant::now() + KILL_PATIENCE;
    while container.is_alive() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = "container init still running after SIGKILL";
            return Err(Error::new(Kind::Unavailable, text));
        }
        match &process {
            Ok(process) => {
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout);
            }
            // Before Linux 5.3 there is nothing to wait on: it is not our child.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(())
}

/// Removes the container `id`; with `force` also one that runs, and one that does not exist is no error.
///
/// # Errors
/// `NotFound`; `Conflict` if it runs.
pub fn delete(runtime: &Runtime, id: &str, force: bool) -> Result<()> {
    let container = match runtime.load(id) {
        Err(e) if force && e.kind() == Kind::NotFound && e.message() == NO_CONTAINER => {
            return Ok(());
        }
        found => found?,
    };
    let _lock = container.lock()?;
    match container.status() {
        Status::Stopped => {}
        // Nobody makes it any more: the lock is ours.
        Status::Created | Status::Creating => kill_and_wait(&container)?,
        _ if force => kill_and_wait(&container)?,
        status => {
            return Err(Error::conflict(format_args!(
                "cannot delete container {id} that is not stopped: {}",
                status.word()
            )));
        }
    }
    let spec = container.spec().unwrap_or_default();
    destroy(&container, &spec)
}

/// Removes what is left of a container whose first process has ended. Failing hooks are told and do not
/// keep it.
pub(super) fn destroy(container: &Container, spec: &Spec) -> Result<()> {
    if let Some(cgroup) = container.cgroup() {
        if !container.record.own_pids && cgroup.exists() {
            cgroup.kill_all()?;
        }
        cgroup.delete()?;
    }
    fs::remove_dir_all(&container.dir).at(format_args!("removing {}", container.dir.display()))?;
    if let Some(hooks) = &spec.hooks
        && let Err(e) = hooks::run("poststop", &hooks.poststop, &container.state(Status::Stopped))
    {
        log::warn!("{e}");
    }
    Ok(())
}
