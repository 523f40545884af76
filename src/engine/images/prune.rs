//! Removing images that nobody uses: `docker image prune`.
//!
//! Each image goes the way of `docker rmi` without force, so what a container uses, or another image is made
//! from, stays; so do images whose removal fails for another reason, which is logged.
//!
//! Spec: moby `daemon/images/image_prune.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, TryLockError};

use super::{Images, RemoveOptions, Removed, Use};
use crate::base::digest::Digest;
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::image::config::Image;

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What went, in this order.
    pub removed: Vec<Removed>,
    /// Bytes of the layers that went.
    pub reclaimed: u64,
}

impl Images {
    /// Removes the images without a name and without descendants, or with the filter `dangling=false` all
    /// that no container was made from. `until`, `label` and `label!` select among them.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for filters; `Conflict` if another pruning is under way.
    pub fn prune(
        &self,
        filters: &BTreeMap<String, Vec<String>>,
        uses: &dyn Fn() -> Result<Vec<Use>>,
    ) -> Result<Pruned> {
        let wanted = Wanted::new(filters)?;
        let Ok(_only_one) = self.pruning.try_lock().or_else(|e| match e {
            TryLockError::Poisoned(e) => Ok(PoisonError::into_inner(e)),
            TryLockError::WouldBlock => Err(()),
        }) else {
            return Err(Error::conflict("a prune operation is already running"));
        };
        let mut sizes = HashMap::new();
        for chain in self.store.layers().list()? {
            // A layer that goes meanwhile is not ours to count.
            if let Ok(size) = self.layer_size(&chain) {
                sizes.insert(chain.to_string(), size);
            }
        }
        let mut pruned = Pruned::default();
        for id in self.store.images().list()? {
            let Ok(image) = self.store.images().read(&id) else { continue };
            if !wanted.fits(&image) {
                continue;
            }
            let names = self.store.refs().of(&id)?;
            if names.is_empty() && !self.store.images().children(&id)?.is_empty() {
                continue;
            }
            let tagged = names.iter().any(|name| name.digest().is_none());
            if wanted.dangling && tagged {
                continue;
            }
            let mut handles: Vec<String> = names.iter().map(|name| name.familiar()).collect();
            if handles.is_empty() {
                handles.push(id.hex());
            }
            for handle in handles {
                let options = RemoveOptions { force: false, prune: true };
                match self.remove(&handle, options, uses) {
                    Ok(removed) => pruned.removed.extend(removed),
                    Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
                    Err(e) => log::warn!("failed to prune image {handle}: {e}"),
                }
            }
        }
        let gone = pruned.removed.iter().filter_map(|removed| match removed {
            Removed::Content(id) => sizes.get(id),
            Removed::Name(_) => None,
        });
        pruned.reclaimed = gone.sum();
        let attributes = BTreeMap::from([("reclaimed".into(), pruned.reclaimed.to_string())]);
        self.events.publish("image", "prune", "", attributes);
        Ok(pruned)
    }

    /// Bytes of all layers of all images, each counted once.
    ///
    /// # Errors
    /// `Io`.
    pub fn layers_size(&self) -> Result<u64> {
        let chains: Vec<Digest> = self.store.layers().list()?;
        Ok(chains.iter().filter_map(|chain| self.layer_size(chain).ok()).sum())
    }
}

/// The filters, read.
struct Wanted<'a> {
    dangling: bool,
    until: Option<Timestamp>,
    filters: &'a BTreeMap<String, Vec<String>>,
}

impl Wanted<'_> {
    fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Wanted<'_>> {
        const KNOWN: [&str; 4] = ["dangling", "label", "label!", "until"];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::invalid(format_args!("invalid filter '{name}'")));
        }
        let dangling = match filters.get("dangling").map(Vec::as_slice) {
            None | Some([]) => true,
            Some([one]) if matches!(one.as_str(), "1" | "true") => true,
            Some([one]) if matches!(one.as_str(), "0" | "false") => false,
            Some(values) => {
                let shown = values.join(" ");
                return Err(Error::invalid(format_args!("invalid filter 'dangling=[{shown}]'")));
            }
        };
        let until = match filters.get("until").map(Vec::as_slice) {
            None | Some([]) => None,
            Some([one]) => Some(Timestamp::parse_relative(one, Timestamp::now())?),
            Some(_) => return Err(Error::invalid("more than one until filter specified")),
        };
        Ok(Wanted { dangling, until, filters })
    }

    fn fits(&self, image: &Image) -> bool {
        if let Some(until) = self.until
            && image.config.created.is_none_or(|created| created > until)
        {
            return false;
        }
        let labels = image.config.config.as_ref().and_then(|config| config.labels.as_ref());
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.and_then(|l| l.get(key)).is_some_and(|have| have == value),
            None => labels.is_some_and(|l| l.contains_key(wanted)),
        };
        let all = |name: &str| self.filters.get(name).map(|wanted| wanted.iter().all(has));
        all("label").unwrap_or(true) && !all("label!").unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            filters.entry((*name).into()).or_default().push((*value).into());
        }
        filters
    }

    #[test]
    fn filters_select_by_label_and_age() {
        let text = r#"{"created":"2020-01-01T00:00:00Z","config":{"Labels":{"a":"1"}},"rootfs":{"type":"layers"}}"#;
        let image = Image::parse(text.as_bytes()).unwrap();
        for (pairs, fits) in [
            (&[][..], true),
            (&[("label", "a")], true),
            (&[("label", "a=2")], false),
            (&[("label!", "a")], false),
            (&[("label!", "b")], true),
            (&[("until", "2019-01-01T00:00:00Z")], false),
            (&[("until", "1h")], true),
        ] {
            let filters = wanted(pairs);
            assert_eq!(Wanted::new(&filters).unwrap().fits(&image), fits, "{pairs:?}");
        }
        for (pairs, told) in [
            (&[("foo", "x")][..], "invalid filter 'foo'"),
            (&[("dangling", "x")], "invalid filter 'dangling=[x]'"),
            (&[("until", "1h"), ("until", "2h")], "more than one until filter specified"),
        ] {
            let filters = wanted(pairs);
            assert_eq!(Wanted::new(&filters).map(drop).unwrap_err().message(), told);
        }
    }
}
