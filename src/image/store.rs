//! The image store: names, configurations and layers together.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::config::{Image, chain_ids};
use super::distribution::Distribution;
use super::images::{Images, MAX_CONFIG_BYTES, NO_SUCH_IMAGE};
use super::layers::{Layer, Layers};
use super::refs::Refs;
use crate::base::digest::Digest;
use crate::base::{At, Error, Result, file};
use crate::registry::reference::{self, AnyReference, Reference};
use crate::storage::{Driver, fault, remove};

/// Prefix of the directories of archives that are being loaded.
pub(super) const SPOOL_PREFIX: &str = "load-";

/// The images of a data root under one driver.
pub struct Store {
    dir: PathBuf,
    layers: Layers,
    images: Images,
    refs: Refs,
    distribution: Distribution,
    /// Held while an image comes or goes, so that layers are not released under one that is being made.
    change: Mutex<()>,
    /// Where archives are unpacked while they are loaded.
    spool: PathBuf,
}

impl Store {
    /// Opens the store of `driver` below `data_root`, making what is missing and removing what a crash
    /// left. Takes the same time however many images there are.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(data_root: &Path, driver: Arc<dyn Driver>) -> Result<Store> {
        let dir = data_root.join("image").join(driver.name());
        file::sweep(&dir);
        let open = || -> Result<Store> {
            Ok(Store {
                layers: Layers::open(&dir.join("layerdb"), driver)?,
                images: Images::open(&dir.join("imagedb"))?,
                refs: Refs::open(&dir.join("repositories.json")),
                distribution: Distribution::open(&dir.join("distribution")),
                change: Mutex::default(),
                dir: dir.clone(),
                spool: dir.join("layerdb/tmp"),
            })
        };
        open().at("opening image store")
    }

    /// Keeps the files of archives that are being loaded in `dir` instead of beside the layers, and
    /// removes what a killed process left there.
    ///
    /// # Errors
    /// `Io` that names the path.
    pub fn spool_in(mut self, dir: &Path) -> Result<Store> {
        let what = || format!("preparing temporary directory {}", dir.display());
        fs::create_dir_all(dir).at(what())?;
        for entry in fs::read_dir(dir).at(what())?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(SPOOL_PREFIX.as_bytes()) {
                remove::path(&entry.path())?;
            }
        }
        self.spool = dir.to_path_buf();
        Ok(self)
    }

    /// Where archives are unpacked while they are loaded.
    pub(super) fn spool(&self) -> &Path {
        &self.spool
    }

    /// The store's directory, `<data root>/image/<driver>`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The layers.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The configurations.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The names.
    pub fn refs(&self) -> &Refs {
        &self.refs
    }

    /// What is known of blobs in registries.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Records an image by the bytes of its configuration, whose digest is its id. Its layers must be
    /// here; the caller keeps them by a [`Layer`] of the topmost until this returns.
    ///
    /// # Errors
    /// `InvalidParameter` for bytes that are no configuration, `NotFound` if a layer is missing, `Io`.
    pub fn create(&self, config: &[u8]) -> Result<Digest> {
        if config.len() > MAX_CONFIG_BYTES {
            return Err(Error::invalid("image configuration is too long"));
        }
        let image = Image::parse(config)?;
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chain) = image.chain_id()
            && !self.layers.exists(&chain)
        {
            return Err(Error::not_found(format_args!("failed to get layer {chain}")));
        }
        self.images.put(config)
    }

    /// The image that a user means by `name`: a whole id, a name with tag or digest, or a part of an id
    /// that only one image has.
    ///
    /// # Errors
    /// `InvalidParameter` if it cannot be a name, `NotFound` with Docker's text.
    pub fn resolve(&self, name: &str) -> Result<Digest> {
        let named = match reference::parse_any(name)? {
            AnyReference::Id(id) if self.images.exists(&id) => return Ok(id),
            AnyReference::Id(id) => return Err(no_such(&id.to_string())),
            AnyReference::Named(named) => named,
        };
        if let Some(id) = self.refs.get(&named)?
            && self.images.exists(&id)
        {
            return Ok(id);
        }
        // As in Docker, a part that several images share finds none.
        self.images.search(name).map_err(|_| no_such(&named.or_latest().familiar()))
    }

    /// As [`Store::resolve`], with the image.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub fn find(&self, name: &str) -> Result<Arc<Image>> {
        self.images.get(&self.resolve(name)?)
    }

    /// The topmost layer of an image, kept until the value is dropped; `None` for an image without
    /// layers.
    ///
    /// # Errors
    /// `NotFound` if it is missing.
    pub fn top_layer(&self, image: &Image) -> Result<Option<Layer>> {
        let Some(chain) = image.chain_id() else { return Ok(None) };
        match self.layers.get(&chain)? {
            Some(layer) => Ok(Some(layer)),
            None => Err(Error::not_found(format_args!("failed to get layer {chain}"))),
        }
    }

    /// Bytes that an image's layers unpack to.
    ///
    /// # Errors
    /// `NotFound` if a layer is missing.
    pub fn size(&self, image: &Image) -> Result<u64> {
        image.chain_id().map_or(Ok(0), |chain| self.layers.chain_size(&chain))
    }

    /// Removes the image `id` and every layer that nothing else keeps, and returns the chain ids of
    /// these, the topmost first. Names are the caller's to remove first.
    ///
    /// # Errors
    /// `NotFound`; `Io`, when some layers may remain without an image, which does no harm.
    pub fn delete(&self, id: &Digest) -> Result<Vec<Digest>> {
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = match self.images.read(id) {
            Ok(image) => chain_ids(&image.diff_ids),
            // A damaged image can be removed; its layers stay until a sweep over all.
            Err(e) if e.kind() == crate::base::Kind::NotFound => return Err(e),
            Err(_) => Vec::new(),
        };
        self.images.delete(id)?;
        fault::step();
        self.release(&mine)
    }

    /// Removes every layer that no image, container or work in progress keeps, and what interrupted writes
    /// of records left.
    ///
    /// # Errors
    /// `Io`.
    pub fn collect(&self) -> Result<Vec<Digest>> {
        for records in [
            "imagedb/content/sha256",
            "distribution/diffid-by-digest/sha256",
            "distribution/v2metadata-by-diffid/sha256",
        ] {
            file::sweep(&self.dir.join(records));
        }
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.release(&self.layers.list()?)
    }

    fn release(&self, chains: &[Digest]) -> Result<Vec<Digest>> {
        let mut named = HashSet::new();
        for id in self.images.list()? {
            // An image that cannot be read keeps all layers: better too much than too little.
            named.extend(chain_ids(&self.images.read(&id)?.diff_ids));
        }
        self.layers.release(chains, &named)
    }

    /// Every name of an image: tags, and digests that name content of a registry.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self, id: &Digest) -> Result<(Vec<Reference>, Vec<Reference>)> {
        Ok(self.refs.of(id)?.into_iter().partition(|name| name.digest().is_none()))
    }
}

fn no_such(name: &str) -> Error {
    Error::not_found(format_args!("{NO_SUCH_IMAGE}: {name}"))
}
