//! Removing images.
//!
//! A name is taken away first; the image goes with its last name, unless something still needs it. What
//! needs it is a hard conflict (a running container, an image made from it) or a soft one, which force
//! overrides (a stopped container, other names).

use super::{Images, Use};
use crate::base::digest::Digest;
use crate::base::{Error, Result, id};
use crate::image::config::Image;
use crate::registry::reference::Reference;

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Over soft conflicts.
    pub force: bool,
    /// Also the nameless images that it was made from.
    pub prune: bool,
}

/// One thing that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name, in its familiar form.
    Name(String),
    /// The id of an image or the chain id of a layer.
    Content(String),
}

/// What stands against a removal.
struct Obstacle {
    hard: bool,
    /// A container uses the image.
    used: bool,
    text: String,
}

/// Which obstacles count.
#[derive(Clone, Copy)]
struct Check {
    names: bool,
    stopped: bool,
}

impl Images {
    /// Removes what `name` means. `uses` tells which containers there are; it is asked again for each
    /// image that is to go.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with Docker's texts.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        uses: &dyn Fn() -> Result<Vec<Use>>,
    ) -> Result<Vec<Removed>> {
        let image = self.find(name)?;
        let mut removed = Vec::new();
        let names = self.store.refs().of(&image.id)?;
        let mut quiet = false;
        if is_id_prefix(&image.id, name) {
            if is_single(&names) {
                let check = Check { names: false, stopped: !options.force };
                if let Some(obstacle) = self.obstacle(&image.id, check, uses)? {
                    return Err(obstacle.into_error(&image.id));
                }
                self.untag(&image, &names, &mut removed)?;
            }
        } else {
            if !options.force && is_single(&names) {
                let uses = uses()?;
                if let Some(user) = uses.iter().find(|u| u.image == image.id) {
                    return Err(Error::conflict(format_args!(
                        "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
                        id::short(&user.container),
                        id::short(&image.id.to_string())
                    )));
                }
            }
            let wanted = Reference::parse(name)?.or_latest();
            self.untag(&image, std::slice::from_ref(&wanted), &mut removed)?;
            let mut rest = self.store.refs().of(&image.id)?;
            let same = |r: &Reference| r.name() == wanted.name();
            if wanted.digest().is_none() && !rest.iter().any(|r| same(r) && r.digest().is_none()) {
                // Digests of a repository go with its last tag.
                let (digests, others) = rest.into_iter().partition(same);
                let digests: Vec<Reference> = digests;
                for digest in &digests {
                    self.store.refs().remove(digest)?;
                    removed.push(Removed::Name(digest.familiar()));
                }
                rest = others;
            }
            if !rest.is_empty() {
                return Ok(removed);
            }
            quiet = true;
        }
        self.delete(&image.id, options, quiet, uses, &mut removed)?;
        Ok(removed)
    }

    fn untag(&self, image: &Image, names: &[Reference], removed: &mut Vec<Removed>) -> Result<()> {
        for name in names {
            // A name that is gone already is as good as removed.
            self.store.refs().remove(name)?;
            self.publish(&image.id, "untag", &image.id.to_string());
            removed.push(Removed::Name(name.familiar()));
        }
        Ok(())
    }

    /// Deletes an image, and with `prune` those that it was made from and nothing needs. When `quiet`,
    /// obstacles of images that have names or users are no errors.
    fn delete(
        &self,
        id: &Digest,
        options: RemoveOptions,
        quiet: bool,
        uses: &dyn Fn() -> Result<Vec<Use>>,
        removed: &mut Vec<Removed>,
    ) -> Result<()> {
        let (mut id, mut force, mut quiet) = (*id, options.force, quiet);
        loop {
            let check = Check { names: !force, stopped: !force };
            if let Some(obstacle) = self.obstacle(&id, check, uses)? {
                let names = self.store.refs().of(&id)?;
                let dangling = names.is_empty() && self.store.images().children(&id)?.is_empty();
                if quiet && (!dangling || obstacle.used) {
                    return Ok(());
                }
                return Err(obstacle.into_error(&id));
            }
            let parent = self.store.images().parent(&id)?;
            let image = self.store.images().get(&id)?;
            self.untag(&image, &self.store.refs().of(&id)?, removed)?;
            let layers = self.store.delete(&id)?;
            self.publish(&id, "delete", &id.to_string());
            removed.push(Removed::Content(id.to_string()));
            removed.extend(layers.iter().map(|layer| Removed::Content(layer.to_string())));
            match parent {
                Some(parent) if options.prune && self.store.images().exists(&parent) => id = parent,
                _ => return Ok(()),
            }
            (force, quiet) = (false, true);
        }
    }

    fn obstacle(
        &self,
        id: &Digest,
        check: Check,
        uses: &dyn Fn() -> Result<Vec<Use>>,
    ) -> Result<Option<Obstacle>> {
        if !self.store.images().children(id)?.is_empty() {
            let text = "image has dependent child images".into();
            return Ok(Some(Obstacle { hard: true, used: false, text }));
        }
        let uses = uses()?;
        let user = |running: bool| uses.iter().find(|u| u.image == *id && u.running == running);
        let used = |state: &str, user: &Use| {
            format!("image is being used by {state} container {}", id::short(&user.container))
        };
        if let Some(user) = user(true) {
            let text = used("running", user);
            return Ok(Some(Obstacle { hard: true, used: true, text }));
        }
        if check.names && !self.store.refs().of(id)?.is_empty() {
            let text = "image is referenced in multiple repositories".into();
            return Ok(Some(Obstacle { hard: false, used: false, text }));
        }
        if check.stopped
            && let Some(user) = user(false)
        {
            let text = used("stopped", user);
            return Ok(Some(Obstacle { hard: false, used: true, text }));
        }
        Ok(None)
    }
}

impl Obstacle {
    fn into_error(self, image: &Digest) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::conflict(format_args!(
            "conflict: unable to delete {} ({force}) - {}",
            id::short(&image.to_string()),
            self.text
        ))
    }
}

/// Whether `text` is the beginning of the id, with or without the algorithm.
fn is_id_prefix(image: &Digest, text: &str) -> bool {
    image.to_string().starts_with(text) || image.hex().starts_with(text)
}

/// Whether all names are of one repository and at most one is a tag; false for none.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|r| r.digest().is_none()).count();
    let Some(first) = names.first() else { return false };
    tags <= 1 && names.iter().all(|r| r.name() == first.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Reference> {
        list.iter().map(|n| Reference::parse(n).unwrap()).collect()
    }

    #[test]
    fn one_repository_with_one_tag_is_single() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let other = format!("b@sha256:{}", "0".repeat(64));
        assert!(!is_single(&[]));
        assert!(is_single(&names(&["a:1"])) && is_single(&names(&[&digest])));
        assert!(is_single(&names(&["a:1", &digest])));
        assert!(!is_single(&names(&["a:1", "a:2"])));
        assert!(!is_single(&names(&["a:1", &other])));
    }

    #[test]
    fn id_prefixes_are_told_from_names() {
        let id = Digest::of(b"x");
        assert!(is_id_prefix(&id, &id.hex()[..5]) && is_id_prefix(&id, &id.to_string()[..12]));
        assert!(!is_id_prefix(&id, "debian"));
    }
}
