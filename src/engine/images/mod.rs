//! What the engine does with images: finding, listing, showing, naming, removing, moving them.
//!
//! The store knows nothing of containers; who uses an image is asked of the caller, by [`Use`].
//!
//! Spec: Docker Engine API 1.51, section Image; moby `daemon/images` (behaviour and texts).

mod import;
mod list;
mod pattern;
mod prune;
mod remove;
mod show;
mod transfer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use import::{ImportRequest, new_name};
pub use list::{ListOptions, Row};
pub use prune::Pruned;
pub use remove::{RemoveOptions, Removed};
pub use show::{HistoryRow, Shown};
pub use transfer::PullRequest;

use super::events::Bus;
use crate::base::digest::Digest;
use crate::base::{Error, Result};
use crate::image;
use crate::image::config::{Image, Platform};
use crate::registry::reference::{self, Reference};
use crate::registry::settings::Settings;

/// The images of one engine.
pub struct Images {
    store: Arc<image::Store>,
    puller: image::pull::Puller,
    events: Arc<Bus>,
    registries: RwLock<Settings>,
    /// Held by the one pruning that may be under way.
    pruning: Mutex<()>,
}

/// A container that was made from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The container's id.
    pub container: String,
    /// The image's id.
    pub image: Digest,
    /// Whether the container runs.
    pub running: bool,
}

impl Images {
    /// The images in `store`, pulled as `registries` says.
    pub fn new(store: Arc<image::Store>, events: Arc<Bus>, registries: Settings) -> Images {
        let puller = image::pull::Puller::new(store.clone());
        Images {
            store,
            puller,
            events,
            registries: RwLock::new(registries),
            pruning: Mutex::new(()),
        }
    }

    /// Replaces what is known of registries; pulls that have begun are not affected.
    pub fn set_registries(&self, registries: Settings) {
        *self.registries.write().unwrap_or_else(PoisonError::into_inner) = registries;
    }

    /// What is known of registries.
    pub fn registries(&self) -> Settings {
        self.registries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many there are.
    ///
    /// # Errors
    /// `Io`.
    pub fn count(&self) -> Result<usize> {
        Ok(self.store.images().list()?.len())
    }

    /// The image that `name` means: a reference, an id, or the beginning of one.
    ///
    /// # Errors
    /// `NotFound` with Docker's text; `InvalidParameter` for what cannot be a name.
    pub fn find(&self, name: &str) -> Result<Arc<Image>> {
        self.store.find(name)
    }

    /// The image that `name` means, if it is one for `platform`.
    ///
    /// # Errors
    /// Those of [`Images::find`]; `NotFound` with Docker's text for another platform.
    pub fn find_for(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>> {
        let image = self.find(name)?;
        let Some(wanted) = platform else { return Ok(image) };
        let own = image.platform();
        // The configuration often leaves the variant out.
        let bare = own.variant.is_empty()
            && (&own.os, &own.architecture) == (&wanted.os, &wanted.architecture);
        if bare || wanted.rank(&own).is_some() {
            return Ok(image);
        }
        Err(Error::not_found(format_args!(
            "image with reference {} was found but its platform ({own}) does not match the specified platform ({wanted})",
            reference::familiar(name)
        )))
    }

    /// Checks that the image `name`, if it is here, is one for the platform that `platform` spells.
    ///
    /// # Errors
    /// Those of [`Images::find_for`]; `InvalidParameter` for a text that is no platform.
    pub fn check_platform(&self, name: &str, platform: &str) -> Result<()> {
        self.find_for(name, Some(&Platform::parse(platform)?)).map(drop)
    }

    /// Gives the image `name` another name.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` for a name that cannot be.
    pub fn tag(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let new = Reference::parse(repository)?;
        if new.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let new = if tag.is_empty() { new.or_latest() } else { new.name_only().with_tag(tag)? };
        let image = self.find(name)?;
        self.name(&image.id, &new)
    }

    /// Gives the image `id` the name `name`, which has a tag.
    ///
    /// # Errors
    /// As `Refs::set`.
    pub fn name(&self, id: &Digest, name: &Reference) -> Result<()> {
        self.store.refs().set(name, id)?;
        self.store.images().set_last_updated(id)?;
        self.publish(id, "tag", &name.familiar());
        Ok(())
    }

    /// Publishes `action` on the image `id` with its labels and `name`.
    fn publish(&self, id: &Digest, action: &str, name: &str) {
        let mut attributes = self.labels(id);
        attributes.insert("name".into(), name.into());
        self.events.publish("image", action, &id.to_string(), attributes);
    }

    /// The labels of `id`; none if it is gone.
    fn labels(&self, id: &Digest) -> BTreeMap<String, String> {
        let image = self.store.images().get(id).ok();
        image.and_then(|image| image.config.config.as_ref()?.labels.clone()).unwrap_or_default()
    }

    /// The names of `id`: tags and digests, each in their familiar form.
    fn names(&self, id: &Digest) -> Result<(Vec<String>, Vec<String>)> {
        let (tags, digests) = self.store.names(id)?;
        let shown = |list: Vec<Reference>| list.iter().map(Reference::familiar).collect();
        Ok((shown(tags), shown(digests)))
    }

    /// Bytes of the layer `chain` alone.
    fn layer_size(&self, chain: &Digest) -> Result<u64> {
        let layer = self.store.layers().get(chain)?;
        layer
            .map(|layer| layer.size)
            .ok_or_else(|| Error::not_found(format_args!("failed to get layer {chain}")))
    }
}

#[cfg(test)]
mod tests;
