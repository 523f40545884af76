//! Volumes by themselves: made, listed, removed and pruned, told in events.
//!
//! Who uses a volume is known when the containers of the last run are: what depends on it waits for that.
//!
//! Spec: Docker Engine API 1.51, volumes; moby `volume/service`.

use std::collections::BTreeMap;

use super::Engine;
use super::container::list::Names;
use crate::base::file::Durable;
use crate::base::json::TextMap;
use crate::base::{Error, Kind, Result};
use crate::volume::{ANONYMOUS_LABEL, Create, Created, LOCAL, Volume};

/// Values by the name of the filter.
pub type Filters = BTreeMap<String, Vec<String>>;

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of the volumes that are gone.
    pub names: Vec<String>,
    /// Bytes that their files had.
    pub reclaimed: u64,
}

/// How much a volume is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The volume.
    pub volume: Volume,
    /// Containers that refer to it.
    pub containers: usize,
    /// Bytes of its files; `None` if they cannot be read.
    pub size_bytes: Option<u64>,
}

impl Engine {
    /// Makes a volume for a client. One that exists is left as it is.
    ///
    /// # Errors
    /// As [`crate::volume::Store::create`].
    pub fn volume_create(
        &self,
        name: &str,
        driver: &str,
        options: &TextMap,
        labels: &TextMap,
    ) -> Result<Volume> {
        let asked = Create { name, driver, options, labels, durable: Durable::Yes };
        let made = self.make_volume(&asked, None)?;
        self.volumes.get(&made.name)
    }

    /// Makes a volume, and tells of it if it is new.
    pub(in crate::engine) fn make_volume(
        &self,
        asked: &Create<'_>,
        holder: Option<&str>,
    ) -> Result<Created> {
        let made = self.volumes.create(asked, holder)?;
        if made.is_new {
            self.volume_event("create", &made.name, &[]);
        }
        Ok(made)
    }

    /// The volumes that `filters` select, by name: `dangling`, `driver`, `label`, `name`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for unknown filters and values; `Io`.
    pub fn volume_list(&self, filters: &Filters) -> Result<Vec<Volume>> {
        check_filters(filters, &["dangling", "driver", "label", "name"])?;
        let dangling = match filters.get("dangling") {
            Some(values) => {
                let has = |words: [&str; 2]| values.iter().any(|v| words.contains(&v.as_str()));
                match (has(["1", "true"]), has(["0", "false"])) {
                    (true, false) => Some(true),
                    (false, true) => Some(false),
                    _ => {
                        let values = values.join(" ");
                        let text = format_args!("invalid filter 'dangling=[{values}]'");
                        return Err(Error::invalid(text));
                    }
                }
            }
            None => None,
        };
        // Who refers to what is known from here on.
        self.containers()?;
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            filters.get(name).is_none_or(|all| all.is_empty() || all.iter().any(|v| fits(v)))
        };
        let names = filters.get("name").filter(|all| !all.is_empty()).map(|all| Names::new(all));
        let mut volumes = self.volumes.list()?;
        volumes.retain(|volume| {
            any("driver", &|driver| driver == LOCAL)
                && names.as_ref().is_none_or(|names| names.fit(&volume.name))
                && labels_fit(&volume.labels, filters)
                && dangling.is_none_or(|d| d == self.volumes.holders(&volume.name).is_empty())
        });
        Ok(volumes)
    }

    /// Removes the volume `name`; with `force`, one that is not there counts as removed.
    ///
    /// # Errors
    /// As [`crate::volume::Store::remove`].
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        self.containers()?;
        match self.volumes.remove(name) {
            Err(e) if force && e.kind() == Kind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => {
                self.volume_event("destroy", name, &[]);
                Ok(())
            }
        }
    }

    /// Removes the volumes that no container refers to and that have no mount options, which free no
    /// space: the anonymous ones, or all with the filter `all`; `label` and `label!` select among them.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for filters; `Conflict` if another pruning is under way.
    pub fn volume_prune(&self, filters: &Filters) -> Result<Pruned> {
        check_filters(filters, &["label", "label!", "all"])?;
        let all = match filters.get("all").map(Vec::as_slice) {
            None | Some([]) => false,
            Some([one]) => truth(one).ok_or_else(|| {
                Error::invalid(format_args!(
                    "invalid filter 'all': strconv.ParseBool: parsing \"{one}\": invalid syntax"
                ))
            })?,
            Some(many) => {
                return Err(Error::invalid(format_args!(
                    "invalid filter 'all=[{}]': only one value is expected",
                    many.join(" ")
                )));
            }
        };
        self.containers()?;
        let _only_one = self.begin_pruning()?;
        let mut pruned = Pruned::default();
        for volume in self.volumes.list()? {
            let wanted = (all || volume.labels.contains_key(ANONYMOUS_LABEL))
                && volume.options.is_empty()
                && labels_fit(&volume.labels, filters)
                && self.volumes.holders(&volume.name).is_empty();
            if !wanted {
                continue;
            }
            let size = self.volumes.size(&volume).unwrap_or_else(|e| {
                log::warn!("could not determine size of volume {}: {e}", volume.name);
                0
            });
            match self.volume_remove(&volume.name, true) {
                Ok(()) => {
                    pruned.reclaimed += size;
                    pruned.names.push(volume.name);
                }
                Err(e) => log::warn!("pruning volumes: {e}"),
            }
        }
        self.volume_event("prune", "", &[("reclaimed", &pruned.reclaimed.to_string())]);
        Ok(pruned)
    }

    /// How much each volume is used, for `docker system df`. Those with mount options are left out: what
    /// they hold is elsewhere. Reads every directory.
    ///
    /// # Errors
    /// `Unavailable` while the daemon ends; `Io`.
    pub fn volume_usage(&self) -> Result<Vec<Usage>> {
        self.containers()?;
        let mut volumes = self.volumes.list()?;
        volumes.retain(|volume| volume.options.is_empty());
        let usage = |volume: Volume| {
            let size_bytes = self
                .volumes
                .size(&volume)
                .inspect_err(|e| log::warn!("measuring volume {}: {e}", volume.name))
                .ok();
            Usage { containers: self.volumes.holders(&volume.name).len(), volume, size_bytes }
        };
        Ok(volumes.into_iter().map(usage).collect())
    }

    /// Publishes an event of a volume; all but that of pruning name the driver.
    pub(in crate::engine) fn volume_event(
        &self,
        action: &str,
        name: &str,
        attributes: &[(&str, &str)],
    ) {
        let mut all: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        if action != "prune" {
            all.insert("driver".into(), LOCAL.into());
        }
        self.events.publish("volume", action, name, all);
    }
}

pub(in crate::engine) fn check_filters(filters: &Filters, known: &[&str]) -> Result<()> {
    match filters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Error::invalid(format_args!("invalid filter '{name}'"))),
        None => Ok(()),
    }
}

/// What Go reads as a boolean.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// All of `label` must fit; `label!` must not all fit.
pub(in crate::engine) fn labels_fit(labels: &TextMap, filters: &Filters) -> bool {
    let fits = |wanted: &String| match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    };
    let all = |name: &str| filters.get(name).map(|wanted| wanted.iter().all(fits));
    all("label").unwrap_or(true) && !all("label!").unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> Filters {
        let mut filters = Filters::new();
        for (name, value) in pairs {
            filters.entry((*name).into()).or_default().push((*value).into());
        }
        filters
    }

    #[test]
    fn labels_are_wanted_and_not_wanted() {
        let labels = TextMap::from([("a".into(), "1".into()), ("b".into(), String::new())]);
        for (pairs, fits) in [
            (&[][..], true),
            (&[("label", "a")], true),
            (&[("label", "a=1"), ("label", "b")], true),
            (&[("label", "a=2")], false),
            (&[("label", "a"), ("label", "c")], false),
            (&[("label!", "a")], false),
            (&[("label!", "c")], true),
            (&[("label!", "a"), ("label!", "c")], true),
        ] {
            assert_eq!(labels_fit(&labels, &filters(pairs)), fits, "{pairs:?}");
        }
    }
}
