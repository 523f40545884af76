//! The layers of containers.
//!
//! ```text
//! layerdb/mounts/<container>/mount-id   the driver's id of the container's layer
//! layerdb/mounts/<container>/init-id    the driver's id of the init layer below it, <mount-id>-init
//! layerdb/mounts/<container>/parent     chain id of the image; absent for an empty one
//! ```
//!
//! The record is made before the driver's layers and removed after them, so that whatever is half there
//! after a crash belongs to a record. A container that nobody knows any more is found by
//! [`Layers::rw_list`] and removed by [`Layers::remove_rw`], which takes any mixture of leftovers.
//! Records are not synced: a container that power loss takes away was not yet reported.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Layers, digest, lock, missing};
use crate::base::digest::Digest;
use crate::base::{At, Error, Result, file};
use crate::storage::{Change, fault, remove};

/// The layer of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RwLayer {
    /// The container.
    pub container: String,
    /// The driver's id of the container's layer.
    pub mount_id: String,
    /// The driver's id of the init layer.
    pub init_id: Option<String>,
    /// The image's layers.
    pub parent: Option<Digest>,
}

impl Layers {
    fn mounts(&self) -> PathBuf {
        self.0.dir.join("mounts")
    }

    fn mount_record(&self, container: &str) -> Result<PathBuf> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        if container.is_empty() || !container.bytes().all(good) {
            return Err(Error::invalid(format_args!("invalid container id {container:?}")));
        }
        Ok(self.mounts().join(container))
    }

    /// Makes the layers of `container` on top of the image `chain`: the init layer with the places for
    /// what is mounted into every container, and its own. `options` are its `--storage-opt`.
    ///
    /// # Errors
    /// `Conflict` if it has layers already, `NotFound` if the image's layers are missing; as
    /// [`crate::storage::Driver::create_read_write`]. Nothing is left behind.
    pub fn create_rw(
        &self,
        container: &str,
        chain: Option<&Digest>,
        options: &BTreeMap<String, String>,
    ) -> Result<RwLayer> {
        let record = self.mount_record(container)?;
        // The id of a container is as random as any other, and known even if the record is damaged.
        let rw = RwLayer {
            container: container.to_string(),
            mount_id: container.to_string(),
            init_id: Some(format!("{container}-init")),
            parent: chain.copied(),
        };
        let parent = {
            let _guard = lock(&self.0.change);
            let parent = match chain {
                Some(chain) => Some(self.0.cache_id(chain)?.ok_or_else(|| missing(chain))?),
                None => None,
            };
            self.record(&record, &rw)?;
            parent
        };
        let made = self.make_rw(&rw, parent.as_deref(), options);
        if made.is_err() {
            // The first error is the one to tell.
            let _ = self.remove_rw(container);
        }
        made.map(|()| rw)
    }

    /// Makes a layer named `name` right on top of the image `chain`, without the places for a container's
    /// mounts. It is mounted, given back and removed as that of a container.
    ///
    /// # Errors
    /// As [`Layers::create_rw`].
    pub fn create_rw_plain(&self, name: &str, chain: Option<&Digest>) -> Result<()> {
        let record = self.mount_record(name)?;
        let rw = RwLayer {
            container: name.to_string(),
            mount_id: name.to_string(),
            init_id: None,
            parent: chain.copied(),
        };
        let parent = {
            let _guard = lock(&self.0.change);
            let parent = match chain {
                Some(chain) => Some(self.0.cache_id(chain)?.ok_or_else(|| missing(chain))?),
                None => None,
            };
            self.record(&record, &rw)?;
            parent
        };
        let driver = self.0.driver.as_ref();
        driver
            .create_read_write(&rw.mount_id, parent.as_deref(), &BTreeMap::new())
            .inspect_err(|_| drop(self.remove_rw(name)))
    }

    fn record(&self, record: &Path, rw: &RwLayer) -> Result<()> {
        let what = || format!("recording layer of container {}", rw.container);
        let tmp = self.0.tmp().join(format!("mount-{}", rw.container));
        let write = || -> std::io::Result<()> {
            fs::create_dir(&tmp)?;
            fault::step();
            fs::write(tmp.join("mount-id"), &rw.mount_id)?;
            fault::step();
            if let Some(init) = &rw.init_id {
                fs::write(tmp.join("init-id"), init)?;
            }
            if let Some(parent) = &rw.parent {
                fs::write(tmp.join("parent"), parent.to_string())?;
            }
            fs::rename(&tmp, record)
        };
        write().map_err(|e| {
            let _ = remove::path(&tmp);
            match e.raw_os_error() {
                Some(libc::EEXIST | libc::ENOTEMPTY) => Error::conflict(format_args!(
                    "mount already exists with name: {}",
                    rw.container
                )),
                _ => Error::from(e).at(what()),
            }
        })
    }

    fn make_rw(
        &self,
        rw: &RwLayer,
        parent: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<()> {
        let driver = self.0.driver.as_ref();
        let init = rw.init_id.as_deref().unwrap_or_default();
        fault::step();
        driver.create_read_write(init, parent, &BTreeMap::new())?;
        fault::step();
        self.0.init.fill(driver, init, rw.parent.as_ref())?;
        fault::step();
        driver.create_read_write(&rw.mount_id, Some(init), options)
    }

    /// The layers of `container`, if it has any.
    ///
    /// # Errors
    /// `Io`.
    pub fn rw(&self, container: &str) -> Result<Option<RwLayer>> {
        let record = self.mount_record(container)?;
        if !record.is_dir() {
            return Ok(None);
        }
        let text = |name: &str| -> Result<Option<String>> {
            let bytes = file::read_optional(&record.join(name))?;
            let text = bytes.map(|b| String::from_utf8_lossy(&b).trim().to_string());
            Ok(text.filter(|t| !t.is_empty()))
        };
        let mount_id = text("mount-id")?;
        // An empty record is what power loss makes of ours; then the ids are known.
        let init_id = match (&mount_id, text("init-id")?) {
            (None, None) => Some(format!("{container}-init")),
            (_, init) => init,
        };
        let parent = text("parent")?.map(|t| digest(t.as_bytes())).transpose()?;
        let mount_id = mount_id.unwrap_or_else(|| container.to_string());
        Ok(Some(RwLayer { container: container.to_string(), mount_id, init_id, parent }))
    }

    fn need_rw(&self, container: &str) -> Result<RwLayer> {
        self.rw(container)?
            .ok_or_else(|| Error::not_found(format_args!("container {container} has no layer")))
    }

    /// The driver's id alone, for what is on the way of every run.
    fn mount_id(&self, container: &str) -> Result<String> {
        match file::read_optional(&self.mount_record(container)?.join("mount-id"))? {
            Some(id) if !id.is_empty() => Ok(String::from_utf8_lossy(&id).trim().to_string()),
            _ => Ok(self.need_rw(container)?.mount_id),
        }
    }

    /// Containers that have layers, in no order.
    ///
    /// # Errors
    /// `Io`.
    pub fn rw_list(&self) -> Result<Vec<String>> {
        let dir = self.mounts();
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).at(format_args!("listing {}", dir.display()))? {
            let name = entry.at(format_args!("listing {}", dir.display()))?.file_name();
            ids.extend(name.into_string());
        }
        Ok(ids)
    }

    /// Mounts the root of `container`; `label` is an SELinux context or empty. Counted: each call needs
    /// its [`Layers::unmount_rw`]. A mount that an earlier daemon left is taken over.
    ///
    /// # Errors
    /// `NotFound`; `Io`.
    pub fn mount_rw(&self, container: &str, label: &str) -> Result<PathBuf> {
        self.0.driver.get(&self.mount_id(container)?, label)
    }

    /// Says that the layers of `container` go when its root is given back; see
    /// [`crate::storage::Driver::will_be_removed`].
    pub fn rw_will_be_removed(&self, container: &str) {
        self.0.driver.will_be_removed(container);
    }

    /// Gives the root of `container` back; the last call unmounts it.
    ///
    /// # Errors
    /// `NotFound`; `Io`.
    pub fn unmount_rw(&self, container: &str) -> Result<()> {
        self.0.driver.put(&self.mount_id(container)?)
    }

    /// Removes the layers of `container`, mounted or not, whole or in parts. No error if it has none.
    /// For a mounted one this is quicker than unmounting first: the driver does it later.
    ///
    /// # Errors
    /// `Io`; another call goes on.
    pub fn remove_rw(&self, container: &str) -> Result<()> {
        let Some(rw) = self.rw(container)? else { return Ok(()) };
        self.0.driver.remove(&rw.mount_id)?;
        fault::step();
        if let Some(init) = &rw.init_id {
            self.0.driver.remove(init)?;
            fault::step();
        }
        remove::path(&self.mount_record(container)?)
    }

    /// Bytes of the files that `container` made or changed.
    ///
    /// # Errors
    /// `NotFound`; `Io`.
    pub fn rw_size(&self, container: &str) -> Result<u64> {
        let rw = self.need_rw(container)?;
        self.0.driver.diff_size(&rw.mount_id, self.below(&rw)?.as_deref())
    }

    /// What `container` changed against its image, sorted by path: `docker diff`.
    ///
    /// # Errors
    /// `NotFound`; `Io`.
    pub fn rw_changes(&self, container: &str) -> Result<Vec<Change>> {
        let rw = self.need_rw(container)?;
        self.0.driver.changes(&rw.mount_id, self.below(&rw)?.as_deref())
    }

    /// Writes what `container` changed as the tar stream of a layer: `docker commit`.
    ///
    /// # Errors
    /// `NotFound`; `Io`; whatever `out` gives.
    pub fn rw_diff(&self, container: &str, out: &mut dyn Write) -> Result<()> {
        let rw = self.need_rw(container)?;
        self.0.driver.diff(&rw.mount_id, self.below(&rw)?.as_deref(), out)
    }

    /// `GraphDriver.Data` of `docker inspect`.
    ///
    /// # Errors
    /// `NotFound`; `Io`.
    pub fn rw_metadata(&self, container: &str) -> Result<BTreeMap<String, String>> {
        Ok(self.0.driver.metadata(&self.need_rw(container)?.mount_id))
    }

    /// The driver's id of what the container's layer stands on.
    fn below(&self, rw: &RwLayer) -> Result<Option<String>> {
        match (&rw.init_id, &rw.parent) {
            (Some(init), _) => Ok(Some(init.clone())),
            (None, Some(chain)) => self.0.cache_id(chain),
            (None, None) => Ok(None),
        }
    }
}
