//! Pausing: all processes of a container stand still in its cgroup until they are let go.
//!
//! The kernel's freezer is the truth: a daemon that comes anew asks it ([`is_frozen`]). The shim is not
//! in that cgroup, so it answers as before; only programs of the container stand still.
//!
//! Spec: moby `daemon/pause.go`, `daemon/unpause.go`, `daemon/kill.go` (behaviour and texts).

use std::sync::Arc;

use super::{Container, health};
use crate::base::{Error, Kind, Result};
use crate::cgroup::Cgroup;
use crate::engine::Engine;
use crate::runtime::shim;

/// The cgroup of the present run.
///
/// # Errors
/// `Conflict` if the container does not run; `Unsupported` if the run has no cgroup of its own; `Io`.
pub(in crate::engine) fn cgroup(engine: &Engine, container: &Container) -> Result<Cgroup> {
    match shim::cgroup(&engine.bundle_dir(&container.id))? {
        Some(cgroup) => Ok(cgroup),
        None if container.data().record.state.running => {
            Err(Error::unsupported(format_args!("container {} has no cgroup", container.id)))
        }
        None => Err(container.not_running()),
    }
}

/// Makes every process of `container` stand still.
///
/// # Errors
/// `Conflict` with Docker's texts if it does not run, restarts or is paused already; `Internal` if the
/// kernel cannot do it, and the container runs on then.
pub fn pause(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let operation = container.begin();
    {
        let data = container.data();
        let state = &data.record.state;
        let id = &container.id;
        if !state.running {
            return Err(container.not_running());
        }
        if state.paused {
            return Err(Error::conflict(format_args!("container {id} is already paused")));
        }
        if state.restarting {
            return Err(Error::conflict(format_args!(
                "container {id} is restarting, wait until the container is running"
            )));
        }
    }
    cgroup(engine, container)
        .and_then(|cgroup| cgroup.freeze())
        .map_err(|e| failed("pause", container, &e))?;
    container.data().record.state.paused = true;
    health::update(engine, container);
    container.notify();
    engine.container_event(container, "pause", &[]);
    drop(operation);
    save(container);
    Ok(())
}

/// Lets the processes of `container` go on.
///
/// # Errors
/// `Internal` with Docker's text if it is not paused or the kernel refuses.
pub fn unpause(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let operation = container.begin();
    if !container.data().record.state.paused {
        return Err(Error::internal(format_args!("Container {} is not paused", container.id)));
    }
    thaw(engine, container).map_err(|e| failed("unpause", container, &e))?;
    drop(operation);
    save(container);
    Ok(())
}

/// Lets a paused container go on so that it can take a signal that ends it; waits for a pause that is
/// under way. Failure is logged: the signal was sent.
pub(super) fn thaw_for_signal(engine: &Engine, container: &Arc<Container>) {
    let _operation = container.begin();
    if container.data().record.state.paused
        && let Err(e) = thaw(engine, container)
    {
        log::warn!("Cannot unpause container {}: {e}", container.id);
    }
}

/// Whether the kernel holds the processes of `container`. A pause that an earlier daemon did not bring to
/// its end is taken back.
pub(in crate::engine) fn is_frozen(engine: &Engine, container: &Container) -> bool {
    let Ok(cgroup) = cgroup(engine, container) else { return false };
    match cgroup.is_frozen() {
        Ok(true) => true,
        Ok(false) => {
            // Half frozen, or not at all: where there is no freezer nothing can be stuck either.
            let _ = cgroup.thaw();
            false
        }
        Err(_) => false,
    }
}

/// The caller holds the operation lock.
fn thaw(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    cgroup(engine, container)?.thaw()?;
    container.data().record.state.paused = false;
    health::update(engine, container);
    container.notify();
    engine.container_event(container, "unpause", &[]);
    Ok(())
}

fn failed(verb: &str, container: &Container, e: &Error) -> Error {
    Error::new(Kind::Internal, format_args!("Cannot {verb} container {}: {e}", container.id))
}

/// The kernel has done it; a full disk does not undo it, and a new daemon asks the kernel.
fn save(container: &Container) {
    if let Err(e) = container.save() {
        log::warn!("recording the state of container {}: {e}", container.id);
    }
}
