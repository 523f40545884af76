//! Removing a container, so that nothing of it is left whenever power goes.
//!
//! The rename of its directory is the moment it is gone: what remains after that (its layer, the
//! renamed directory) belongs to nobody and is swept by the next start if we do not get to it.

use std::fs;
use std::sync::Arc;

use super::{Container, mounts, stop};
use crate::base::{At, Error, Result, file};
use crate::engine::Engine;

/// Prefix of the directories of removed containers that still wait for their deletion.
pub const TRASH_PREFIX: &str = ".removed-";
/// The same for containers whose anonymous volumes go with them.
pub const TRASH_WITH_VOLUMES_PREFIX: &str = ".removed-with-volumes-";

/// What the caller may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Kill it first if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// Removes `container`.
///
/// # Errors
/// `Conflict` if it runs and `force` is not set, or if another removal is under way; `Io` if its layer
/// or directory cannot be removed: it then stays, marked dead.
pub fn remove(engine: &Engine, container: &Arc<Container>, options: Options) -> Result<()> {
    loop {
        end(engine, container, options)?;
        let operation = container.begin();
        // Started again between the end and now.
        let runs = container.data().record.state.running;
        if !(runs && options.force) {
            return remove_locked(engine, container, options);
        }
        drop(operation);
    }
}

/// Sees to it that `container` does not run.
fn end(engine: &Engine, container: &Arc<Container>, options: Options) -> Result<()> {
    let (running, paused, name) = {
        let data = container.data();
        if data.record.state.removal_in_progress || data.removed {
            return Err(Error::conflict(format_args!(
                "removal of container {} is already in progress",
                container.id
            )));
        }
        let state = &data.record.state;
        (state.running, state.paused, data.record.plain_name().to_string())
    };
    if running {
        if !options.force {
            let what = if paused { "paused: unpause and then" } else { "running:" };
            return Err(Error::conflict(format_args!(
                "cannot remove container \"{name}\": container is {what} stop the container before \
                 removing or force remove"
            )));
        }
        container.data().doomed = true;
        if stop::mark(engine, container) {
            stop::kill_and_wait(engine, container)
                .inspect_err(|_| spare(container))
                .at(format_args!("cannot remove container \"{name}\": could not kill"))?;
        }
    }
    Ok(())
}

/// Writes what a removal that failed kept back.
fn spare(container: &Container) {
    let kept_back = std::mem::take(&mut container.data().doomed);
    if kept_back && let Err(e) = container.save() {
        log::warn!("recording that container {} was not removed: {e}", container.id);
    }
}

/// Removes a container that does not run; the caller holds its operation lock. A container that
/// somebody else removed in the meantime is no error.
///
/// # Errors
/// `Conflict` if it was started again, `Io` as for [`remove`].
pub(super) fn remove_locked(
    engine: &Engine,
    container: &Arc<Container>,
    options: Options,
) -> Result<()> {
    {
        let mut data = container.data();
        if data.removed {
            return Ok(());
        }
        if data.record.state.running {
            return Err(Error::conflict(format_args!(
                "cannot remove container \"{}\": container is running: stop the container before \
                 removing or force remove",
                data.record.plain_name()
            )));
        }
        data.record.state.removal_in_progress = true;
    }
    if let Err(e) = discard(engine, container, options) {
        spare(container);
        {
            let mut data = container.data();
            data.record.state.removal_in_progress = false;
            data.record.state.dead = true;
            data.record.state.error = e.to_string();
        }
        container.notify();
        return Err(e);
    }
    let closing = std::mem::take(&mut container.data().waiting_attaches);
    drop(closing);
    engine.containers()?.remove(&container.id);
    engine.container_event(container, "destroy", &[]);
    container.data().removed = true;
    container.notify();
    Ok(())
}

fn discard(engine: &Engine, container: &Container, options: Options) -> Result<()> {
    let parent = container.dir.parent().unwrap_or(&container.dir);
    let prefix = if options.volumes { TRASH_WITH_VOLUMES_PREFIX } else { TRASH_PREFIX };
    let trash = parent.join(format!("{prefix}{}", container.id));
    match fs::rename(&container.dir, &trash) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).at(format_args!("removing {}", container.dir.display())),
    }
    if super::durability(&container.data().host) == file::Durable::Yes {
        file::sync_dir(parent)?;
    }
    engine.store.layers().remove_rw(&container.id)?;
    let record = container.data().record.clone();
    mounts::detach(engine, &record, options.volumes);
    match fs::remove_dir_all(&trash) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            log::warn!("{} stays until the next start: {e}", trash.display());
        }
        _ => {}
    }
    Ok(())
}
