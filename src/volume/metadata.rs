//! What people said about a volume: its labels, and the options it was made with.
//!
//! `metadata.json` has the form of the value that Docker keeps in its database for the volume. It is
//! written with the volume and never changed. A volume without labels and options has none.

use std::path::Path;

use super::LOCAL;
use super::options::Options;
use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::json::{self, TextMap};
use crate::base::{At, Result};
use crate::wire;

const FILE: &str = "metadata.json";

wire! {
    /// Labels and options of one volume.
    pub struct Metadata {
        "Name" keep name: String,
        "Driver" keep driver: String,
        "Labels" keep labels: Option<TextMap>,
        "Options" keep options: Option<TextMap>,
    }
}

impl Metadata {
    /// Of a new volume.
    pub fn new(name: &str, labels: &TextMap, options: &TextMap) -> Metadata {
        let given = |map: &TextMap| (!map.is_empty()).then(|| map.clone());
        Metadata {
            name: name.into(),
            driver: LOCAL.into(),
            labels: given(labels),
            options: given(options),
        }
    }

    /// Whether there is anything to record.
    pub fn is_empty(&self) -> bool {
        let none = |map: &Option<TextMap>| map.as_ref().is_none_or(TextMap::is_empty);
        none(&self.labels) && none(&self.options)
    }

    /// Reads the record of the volume in `dir`. One that is damaged is logged, and what the mount options
    /// tell is shown.
    pub(super) fn load(dir: &Path) -> Metadata {
        let path = dir.join(FILE);
        let read = || -> Result<Option<Metadata>> {
            read_optional(&path)?
                .map(|bytes| json::parse(&bytes).at(format_args!("reading {}", path.display())))
                .transpose()
        };
        match read() {
            Ok(Some(metadata)) => return metadata,
            Ok(None) => {}
            Err(e) => log::warn!("{e}"),
        }
        let options = Options::load(dir).map(|options| options.as_given()).unwrap_or_default();
        Metadata::new("", &TextMap::new(), &options)
    }

    /// Whether `dir` has a record.
    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Writes the record into `dir`, unless there is nothing to record.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn save(&self, dir: &Path, durable: Durable) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        write_atomic(&dir.join(FILE), json::to_string(self).as_bytes(), 0o600, durable)
    }
}
