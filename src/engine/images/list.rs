//! Listing images.

use std::collections::BTreeMap;

use super::{Images, Use, pattern};
use crate::base::digest::Digest;
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::image::config::{Image, chain_ids};
use crate::registry::reference::Reference;

/// Names of filters that listing understands.
const KNOWN: [&str; 6] = ["dangling", "label", "before", "since", "reference", "until"];

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also images that are only there for others that were made from them.
    pub all: bool,
    /// Count how many bytes each shares with others.
    pub shared_size: bool,
    /// Values of each filter; of labels all must match, of the others any.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// One image of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The id of the image it was made from here; empty if none.
    pub parent: String,
    /// When it was made; zero if it does not say.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Bytes of all its layers.
    pub size: u64,
    /// Bytes of the layers that other images have too, if asked for.
    pub shared_size: Option<u64>,
    /// Containers made from it.
    pub containers: usize,
}

/// The filters, read.
struct Wanted<'a> {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    dangling: Option<bool>,
    labels: &'a [String],
    references: &'a [String],
}

impl Images {
    /// The images that `options` asks for, the newest first.
    ///
    /// # Errors
    /// `InvalidParameter` for unknown filters and values; `NotFound` for an image named by `before` or
    /// `since`; `Io`.
    pub fn list(&self, options: &ListOptions, uses: &[Use]) -> Result<Vec<Row>> {
        let wanted = self.wanted(options)?;
        let parents = self.parents()?;
        let has_children = |id: &Digest| parents.values().any(|p| p == id);
        let mut rows = Vec::new();
        for id in self.store.images().list()? {
            // One that is removed meanwhile is not listed.
            let Ok(image) = self.store.images().read(&id) else { continue };
            if !wanted.fits(&image) || (wanted.dangling == Some(true) && has_children(&id)) {
                continue;
            }
            let size = match self.store.size(&image) {
                Err(e) if e.kind() == Kind::NotFound => continue,
                size => size?,
            };
            let (mut tags, mut digests) = (Vec::new(), Vec::new());
            for name in self.store.refs().of(&id)? {
                if !wanted.fits_name(&name)? {
                    continue;
                }
                let list = if name.digest().is_some() { &mut digests } else { &mut tags };
                list.push(name.familiar());
            }
            let nameless = tags.is_empty() && digests.is_empty();
            let hidden = if nameless {
                (!options.all && has_children(&id))
                    || wanted.dangling == Some(false)
                    || !wanted.references.is_empty()
            } else {
                wanted.dangling == Some(true) && !tags.is_empty()
            };
            if hidden {
                continue;
            }
            rows.push(Row {
                id: id.to_string(),
                parent: parents.get(&id).map(Digest::to_string).unwrap_or_default(),
                created: image.config.created,
                labels: image.config.config.as_ref().and_then(|c| c.labels.clone()),
                tags,
                digests,
                size,
                shared_size: None,
                containers: uses.iter().filter(|u| u.image == id).count(),
            });
        }
        if options.shared_size {
            self.add_shared_sizes(&mut rows)?;
        }
        rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(rows)
    }

    fn wanted<'a>(&self, options: &'a ListOptions) -> Result<Wanted<'a>> {
        let filters = &options.filters;
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::invalid(format_args!("invalid filter '{name}'")));
        }
        let values = |name: &str| filters.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut wanted = Wanted {
            before: None,
            since: None,
            dangling: None,
            labels: values("label"),
            references: values("reference"),
        };
        let now = Timestamp::now();
        // Several values mean the narrowest of them.
        for name in values("before") {
            let created = self.find(name)?.config.created;
            wanted.before = [wanted.before, created].into_iter().flatten().min();
        }
        for text in values("until") {
            let until = Timestamp::parse_relative(text, now)?;
            wanted.before = [wanted.before, Some(until)].into_iter().flatten().min();
        }
        for name in values("since") {
            wanted.since = wanted.since.max(self.find(name)?.config.created);
        }
        if let Some(list) = filters.get("dangling") {
            let has = |texts: [&str; 2]| list.iter().any(|v| texts.contains(&v.as_str()));
            wanted.dangling = match (has(["1", "true"]), has(["0", "false"])) {
                (true, false) => Some(true),
                (false, true) => Some(false),
                _ => {
                    let shown = list.join(" ");
                    return Err(Error::invalid(format_args!(
                        "invalid filter 'dangling=[{shown}]'"
                    )));
                }
            };
        }
        Ok(wanted)
    }

    /// Which image each one was made from here.
    fn parents(&self) -> Result<BTreeMap<Digest, Digest>> {
        let mut parents = BTreeMap::new();
        for id in self.store.images().list()? {
            if let Some(parent) = self.store.images().parent(&id)? {
                parents.insert(id, parent);
            }
        }
        Ok(parents)
    }

    fn add_shared_sizes(&self, rows: &mut [Row]) -> Result<()> {
        let mut chains: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
        for id in self.store.images().list()? {
            let Ok(image) = self.store.images().read(&id) else { continue };
            let list = chain_ids(&image.diff_ids);
            for chain in &list {
                *counts.entry(*chain).or_default() += 1;
            }
            chains.insert(id.to_string(), list);
        }
        for row in rows {
            let mut shared = 0;
            for chain in chains.get(&row.id).into_iter().flatten() {
                if counts.get(chain).is_some_and(|n| *n > 1) {
                    shared += self.layer_size(chain)?;
                }
            }
            row.shared_size = Some(shared);
        }
        Ok(())
    }
}

impl Wanted<'_> {
    fn fits(&self, image: &Image) -> bool {
        let created = image.config.created;
        let labels = image.config.config.as_ref().and_then(|c| c.labels.as_ref());
        self.before.is_none_or(|t| created.is_some_and(|c| c < t))
            && self.since.is_none_or(|t| created.is_some_and(|c| c > t))
            && self.labels.iter().all(|label| {
                let (key, value) =
                    label.split_once('=').map_or((label.as_str(), None), |(k, v)| (k, Some(v)));
                let found = labels.and_then(|l| l.get(key));
                found.is_some_and(|found| value.is_none_or(|value| value == found))
            })
    }

    fn fits_name(&self, name: &Reference) -> Result<bool> {
        if self.references.is_empty() {
            return Ok(true);
        }
        for pattern in self.references {
            if pattern::matches(pattern, &name.familiar())?
                || pattern::matches(pattern, &name.familiar_name())?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
