//! `docker commit`: an image of what a container changed.
//!
//! The container stands still while its files are read, unless the client says otherwise. The layer goes
//! the way of a pulled one: staged, synced, recorded; the image is there when its configuration is. A
//! daemon that is killed in between leaves nothing but a mark beside the container's run state, by which
//! the next one lets the container go on ([`recover`]).
//!
//! Spec: moby `daemon/commit.go`, `daemon/images/image_commit.go` (behaviour and texts).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Container, create, pause};
use crate::base::digest::Digest;
use crate::base::{At, Error, Result, pipe, worker};
use crate::build::dockerfile::apply_changes;
use crate::engine::Engine;
use crate::engine::images::new_name;
use crate::engine::model::config::Config;
use crate::image::child::{self, Child};
use crate::image::layers::{Parent, Staged};

/// The mark of a container that stands still for a commit.
const MARK: &str = "committing";

/// What is to be made.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name of the image; none if it is empty.
    pub repository: String,
    /// Tag of the image.
    pub tag: String,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Lines of a Dockerfile that change the configuration.
    pub changes: Vec<String>,
    /// The configuration to start from instead of the container's.
    pub config: Option<Config>,
}

/// Makes an image of `container` and returns its id.
///
/// # Errors
/// `Conflict` if the container is being removed; `InvalidParameter` for a name or a change that cannot be;
/// `Io`, such as a full disk. Nothing is left of an image that could not be made.
pub fn commit(engine: &Engine, container: &Arc<Container>, request: &Request) -> Result<Digest> {
    let (id, own, image) = {
        let data = container.data();
        let state = &data.record.state;
        if state.dead {
            return Err(Error::conflict(format_args!(
                "You cannot commit container {} which is Dead",
                container.id
            )));
        }
        if state.removal_in_progress || data.removed {
            return Err(Error::conflict(format_args!(
                "You cannot commit container {} which is being removed",
                container.id
            )));
        }
        (container.id.clone(), data.record.config.clone(), data.record.image.clone())
    };
    let name = new_name(&request.repository, &request.tag)?;
    let mut config = apply_changes(request.config.as_ref().unwrap_or(&own), &request.changes)?;
    create::complete(&mut config, &own);

    let parent = match image.as_str() {
        "" => None,
        image => Some(engine.store.images().get(&Digest::parse(image)?)?),
    };
    let below = parent.as_ref().map(|image| engine.store.top_layer(image)).transpose()?.flatten();
    let staged = {
        let _still = request.pause.then(|| Still::hold(engine, container)).flatten();
        let on = below.as_ref().map_or(Parent::Bottom, Parent::On);
        stage(engine, &id, on)?
    };
    let diff_id = staged.diff_id();
    // Held until the image names it.
    let layer = match child::is_empty(&diff_id) {
        true => None,
        false => Some(staged.commit(below.as_ref())?),
    };
    let made = Child {
        config,
        author: request.author.clone(),
        comment: request.comment.clone(),
        container: Some((id, own)),
    };
    let bytes = child::on_image(&made, parent.as_deref(), &diff_id);
    let image = engine.store.create(&bytes)?;
    drop(layer);
    if let Some(parent) = &parent {
        engine.store.images().set_parent(&image, &parent.id)?;
    }
    let shown = match &name {
        Some(name) => {
            engine.images.name(&image, name)?;
            name.familiar()
        }
        None => String::new(),
    };
    let extra = [
        ("comment", request.comment.as_str()),
        ("imageID", &image.to_string()),
        ("imageRef", &shown),
    ];
    engine.container_event(container, "commit", &extra);
    Ok(image)
}

/// Reads what the container changed into a layer that is not recorded yet.
fn stage(engine: &Engine, container: &str, on: Parent<'_>) -> Result<Staged> {
    let layers = engine.store.layers();
    std::thread::scope(|scope| {
        let (mut writer, mut reader) = pipe::pipe();
        let read = move || match layers.rw_diff(container, &mut writer) {
            // A reader that is gone has an error of its own.
            Ok(()) => drop(writer.finish()),
            Err(e) => writer.fail(e.into()),
        };
        worker::builder("commit").spawn_scoped(scope, read).at("starting the commit thread")?;
        let staged = layers.unpack(&mut reader, on);
        // Ends the thread if it still writes.
        drop(reader);
        staged
    })
}

/// A container that stands still until this is dropped.
struct Still<'a> {
    engine: &'a Engine,
    container: &'a Arc<Container>,
}

impl<'a> Still<'a> {
    /// `None` if it does not run, stands still already, or cannot be held: then it is read as it is, as
    /// Docker does.
    fn hold(engine: &'a Engine, container: &'a Arc<Container>) -> Option<Still<'a>> {
        {
            let data = container.data();
            if !data.record.state.running || data.record.state.paused {
                return None;
            }
        }
        if let Err(e) = fs::write(mark(engine, container), "") {
            log::warn!("marking container {} before its commit: {e}", container.id);
        }
        match pause::pause(engine, container) {
            Ok(()) => Some(Still { engine, container }),
            Err(e) => {
                log::warn!("committing container {} while it runs: {e}", container.id);
                unmark(engine, container);
                None
            }
        }
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        // It may have ended, or have been let go by a client.
        if let Err(e) = pause::unpause(self.engine, self.container) {
            log::debug!("after the commit of container {}: {e}", self.container.id);
        }
        unmark(self.engine, self.container);
    }
}

fn mark(engine: &Engine, container: &Container) -> PathBuf {
    engine.bundle_dir(&container.id).join(MARK)
}

fn unmark(engine: &Engine, container: &Container) {
    // A mark that stays makes the next daemon let a container go on that does so anyway.
    let _ = fs::remove_file(mark(engine, container));
}

/// Lets a container go on that a daemon held for a commit it did not end; true if there was one.
pub(in crate::engine) fn recover(engine: &Engine, container: &Container) -> bool {
    let mark = mark(engine, container);
    if !mark.exists() {
        return false;
    }
    if let Err(e) = pause::cgroup(engine, container).and_then(|cgroup| cgroup.thaw()) {
        log::warn!("letting container {} go on after a commit: {e}", container.id);
    }
    let _ = fs::remove_file(mark);
    true
}
