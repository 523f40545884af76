//! Layers: what a driver keeps, under the name of its content.
//!
//! ```text
//! layerdb/sha256/<chain id>/cache-id           the driver's id of the layer
//! layerdb/sha256/<chain id>/diff               digest of its tar stream, sha256:...
//! layerdb/sha256/<chain id>/parent             chain id of the layer below; absent at the bottom
//! layerdb/sha256/<chain id>/size               bytes it unpacks to, decimal
//! layerdb/sha256/<chain id>/tar-split.json.gz  what gives the stream back byte for byte
//! layerdb/mounts/<container>/...               see [`rw`]
//! layerdb/tmp/...                              work that is not done; swept by [`Layers::open`]
//! ```
//!
//! # Life of a read-only layer
//!
//! ```text
//!   unpack: tmp/write-set-X with cache-id, synced -> driver.create -> driver.apply_diff     (Staged)
//!   commit: the other files -> driver.sync -> rename to sha256/<chain> -> sync of sha256/   (Layer)
//!   release: rename to tmp/removing-X -> sync -> driver.remove -> tmp/removing-X removed
//! ```
//!
//! The record is there exactly while the layer is whole and on disk: a kill or power loss at any step
//! leaves something in `tmp`, which names the driver's layer, and nothing else. Opening reads `tmp` and
//! nothing else, whatever the number of layers.
//!
//! # Who keeps a layer
//!
//! An image whose configuration names it, a layer on top of it, a container's layer on top of it, and
//! every [`Layer`] value in this process. [`Layers::release`] is told of the first by its caller and
//! checks the others.
//!
//! Spec: moby `layer/filestore.go`, `layer/layer_store.go`.

mod commit;
mod init;
pub mod rw;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::bufread::GzDecoder;

use crate::base::digest::Digest;
use crate::base::file;
use crate::base::{At, Error, Result};
use crate::storage::archive::split;
use crate::storage::{Driver, fault, remove};

pub use commit::{Parent, Staged};
pub use rw::RwLayer;

/// The layer store. Clones share it.
#[derive(Clone)]
pub struct Layers(Arc<Inner>);

struct Inner {
    /// `layerdb`.
    dir: PathBuf,
    driver: Arc<dyn Driver>,
    /// How many [`Layer`] values there are of each layer.
    holds: Mutex<HashMap<Digest, usize>>,
    /// Held while records come and go, so that what was checked still holds.
    change: Mutex<()>,
    init: init::Templates,
}

/// A read-only layer. While the value lives, the layer is not removed.
pub struct Layer {
    store: Arc<Inner>,
    /// Name of this layer and all below it.
    pub chain_id: Digest,
    /// Digest of the layer's own tar stream.
    pub diff_id: Digest,
    /// Bytes that it unpacks to.
    pub size: u64,
    /// The chain below.
    pub parent: Option<Digest>,
    /// The driver's id.
    pub cache_id: String,
}

impl Clone for Layer {
    fn clone(&self) -> Layer {
        self.store.hold(self.chain_id);
        Layer {
            store: self.store.clone(),
            cache_id: self.cache_id.clone(),
            chain_id: self.chain_id,
            diff_id: self.diff_id,
            size: self.size,
            parent: self.parent,
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let mut holds = self.store.holds();
        if let Some(count) = holds.get_mut(&self.chain_id) {
            *count -= 1;
            if *count == 0 {
                holds.remove(&self.chain_id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn holds(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        lock(&self.holds)
    }

    fn hold(&self, chain: Digest) {
        *self.holds().entry(chain).or_default() += 1;
    }

    fn record(&self, chain: &Digest) -> PathBuf {
        self.dir.join("sha256").join(chain.hex())
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn parent(&self, chain: &Digest) -> Result<Option<Digest>> {
        match file::read_optional(&self.record(chain).join("parent"))? {
            Some(text) => {
                digest(&text).at(format_args!("reading parent of layer {chain}")).map(Some)
            }
            None => Ok(None),
        }
    }

    fn cache_id(&self, chain: &Digest) -> Result<Option<String>> {
        let bytes = file::read_optional(&self.record(chain).join("cache-id"))?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).trim().to_string()))
    }
}

fn digest(text: &[u8]) -> Result<Digest> {
    Digest::parse(String::from_utf8_lossy(text).trim())
}

impl Layers {
    /// Opens the layers below `dir` (`layerdb`), making what is missing and removing what a crash left.
    pub(super) fn open(dir: &Path, driver: Arc<dyn Driver>) -> Result<Layers> {
        for name in ["sha256", "mounts", "tmp"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).at(format_args!("creating {}", path.display()))?;
        }
        let inner = Inner {
            dir: dir.to_path_buf(),
            driver,
            holds: Mutex::default(),
            change: Mutex::default(),
            init: init::Templates::default(),
        };
        sweep(&inner)?;
        Ok(Layers(Arc::new(inner)))
    }

    /// The driver below.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.0.driver
    }

    /// The layer `chain`, if it is here.
    ///
    /// # Errors
    /// `Internal` for a damaged record, `Io`.
    pub fn get(&self, chain: &Digest) -> Result<Option<Layer>> {
        // Held first, so that it stays between the check and the return.
        let store = &self.0;
        store.hold(*chain);
        let mut layer = Layer {
            store: store.clone(),
            chain_id: *chain,
            diff_id: *chain,
            size: 0,
            parent: None,
            cache_id: String::new(),
        };
        let record = store.record(chain);
        let Some(cache_id) = store.cache_id(chain)? else { return Ok(None) };
        layer.cache_id = cache_id;
        let damaged = |what| Error::internal(format_args!("layer {chain} is damaged: {what}"));
        let read = |name| file::read_optional(&record.join(name));
        layer.diff_id =
            read("diff")?.and_then(|t| digest(&t).ok()).ok_or_else(|| damaged("diff"))?;
        layer.size = read("size")?
            .and_then(|t| String::from_utf8_lossy(&t).trim().parse().ok())
            .ok_or_else(|| damaged("size"))?;
        layer.parent = store.parent(chain)?;
        Ok(Some(layer))
    }

    /// Whether the layer `chain` is here.
    pub fn exists(&self, chain: &Digest) -> bool {
        self.0.record(chain).join("cache-id").exists()
    }

    /// Chain ids of all layers, in no order.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let dir = self.0.dir.join("sha256");
        let mut chains = Vec::new();
        for entry in fs::read_dir(&dir).at(format_args!("listing {}", dir.display()))? {
            let name = entry.at(format_args!("listing {}", dir.display()))?.file_name();
            chains.extend(name.to_str().and_then(Digest::from_hex));
        }
        Ok(chains)
    }

    /// Bytes that `chain` and all below it unpack to.
    ///
    /// # Errors
    /// `NotFound` if a layer is missing; as [`Layers::get`].
    pub fn chain_size(&self, chain: &Digest) -> Result<u64> {
        let mut total = 0;
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let layer = self.get(&chain)?.ok_or_else(|| missing(&chain))?;
            total += layer.size;
            next = layer.parent;
        }
        Ok(total)
    }

    /// The layer's tar-split record, uncompressed; `None` for a layer that Docker brought along from
    /// before it kept these.
    fn split(&self, layer: &Layer) -> Result<Option<impl Read>> {
        let path = self.0.record(&layer.chain_id).join("tar-split.json.gz");
        match fs::File::open(&path) {
            Ok(file) => Ok(Some(GzDecoder::new(BufReader::new(file)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at(format_args!("opening {}", path.display())),
        }
    }

    /// Writes the layer's own tar stream, whose digest is the layer's `diff_id`.
    ///
    /// # Errors
    /// `Internal` if files of the layer were changed; `Io`; whatever `out` gives.
    pub fn write_tar(&self, layer: &Layer, out: &mut dyn Write) -> Result<()> {
        let Some(record) = self.split(layer)? else {
            let parent = layer.parent.map(|p| self.0.cache_id(&p)).transpose()?.flatten();
            return self.0.driver.diff(&layer.cache_id, parent.as_deref(), out);
        };
        let files = self.0.driver.files(&layer.cache_id)?;
        split::assemble(record, &files.root, out)
            .at(format_args!("reassembling layer {}", layer.diff_id))
    }

    /// Length in bytes of what [`Layers::write_tar`] writes, without looking at the files.
    ///
    /// # Errors
    /// `Internal` for a damaged record; `Io`.
    pub fn tar_length(&self, layer: &Layer) -> Result<u64> {
        if let Some(record) = self.split(layer)? {
            return split::length(record).at(format_args!("measuring layer {}", layer.diff_id));
        }
        let mut count = Count(0);
        self.write_tar(layer, &mut count)?;
        Ok(count.0)
    }

    /// Removes of `chains` (each before what is on top of it or after, in any order) every layer that
    /// nothing keeps, from the top down, and returns their chain ids. `named_by_images` are the chains of
    /// the images that stay.
    ///
    /// # Errors
    /// `Io`; layers before the one that failed are gone.
    pub fn release(
        &self,
        chains: &[Digest],
        named_by_images: &HashSet<Digest>,
    ) -> Result<Vec<Digest>> {
        let _guard = lock(&self.0.change);
        let mut kept: HashSet<Digest> = self.0.holds().keys().copied().collect();
        for id in self.rw_list()? {
            kept.extend(self.rw(&id)?.and_then(|rw| rw.parent));
        }
        // What a kept layer stands on is kept.
        for mut chain in kept.clone() {
            while let Some(parent) = self.0.parent(&chain)? {
                if !kept.insert(parent) {
                    break;
                }
                chain = parent;
            }
        }
        let mut todo: Vec<Digest> = chains
            .iter()
            .filter(|c| !kept.contains(*c) && !named_by_images.contains(*c))
            .filter(|c| self.exists(c))
            .copied()
            .collect();
        // Layers on top of these: all there are, less those that go.
        let mut parents = HashMap::new();
        for chain in self.list()? {
            parents.insert(chain, self.0.parent(&chain)?);
        }
        let mut removed = Vec::new();
        loop {
            let has_child = |c: &Digest| parents.values().any(|p| p.as_ref() == Some(c));
            let Some(i) = todo.iter().position(|c| !has_child(c)) else { return Ok(removed) };
            let chain = todo.swap_remove(i);
            self.remove(&chain)?;
            parents.remove(&chain);
            removed.push(chain);
        }
    }

    fn remove(&self, chain: &Digest) -> Result<()> {
        let cache_id = self.0.cache_id(chain)?;
        let place = self.0.tmp().join(format!("removing-{}", chain.hex()));
        remove::path(&place)?;
        let what = || format!("removing layer {chain}");
        fs::rename(self.0.record(chain), &place).map_err(|e| Error::from(e).at(what()))?;
        fault::step();
        // The record must not come back after the layer went.
        file::sync_dir(&self.0.dir.join("sha256"))?;
        if let Some(id) = cache_id {
            self.0.driver.remove(&id).map_err(|e| e.at(what()))?;
            fault::step();
        }
        remove::path(&place)
    }
}

/// Counts what is written to it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn missing(chain: &Digest) -> Error {
    Error::not_found(format_args!("layer {chain} does not exist"))
}

/// Removes what unfinished work left: each directory in `tmp` names the driver's layer it was about.
fn sweep(inner: &Inner) -> Result<()> {
    let tmp = inner.tmp();
    for entry in fs::read_dir(&tmp).at(format_args!("listing {}", tmp.display()))? {
        let path = entry.at(format_args!("listing {}", tmp.display()))?.path();
        let cache_id = file::read_optional(&path.join("cache-id")).unwrap_or_default();
        let cache_id = cache_id.map(|b| String::from_utf8_lossy(&b).trim().to_string());
        if let Some(id) = cache_id.filter(|id| !id.is_empty()) {
            inner.driver.remove(&id).at(format_args!("sweeping {}", path.display()))?;
        }
        remove::path(&path)?;
    }
    Ok(())
}
