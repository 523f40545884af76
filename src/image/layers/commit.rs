//! From a tar stream to a layer: unpacked first, recorded when it is whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Inner, Layer, Layers, lock, missing};
use crate::base::digest::{Digest, Hasher};
use crate::base::file::{self, Durable};
use crate::base::{At, Error, Result};
use crate::image::config::chain_id;
use crate::storage::archive::split::Recorder;
use crate::storage::{fault, remove};
use crate::sys::{mount, random};

/// What a layer is put on.
#[derive(Clone, Copy)]
pub enum Parent<'a> {
    /// Nothing.
    Bottom,
    /// This layer.
    On(&'a Layer),
    /// Told at [`Staged::commit`]. Only where [`Layers::independent`] is true.
    Later,
}

/// A layer that is unpacked and not recorded. Dropping it removes it.
pub struct Staged {
    store: Arc<Inner>,
    dir: PathBuf,
    cache_id: String,
    diff_id: Digest,
    size: u64,
    /// The chain it was unpacked on; outer None if that was left open.
    parent: Option<Option<Digest>>,
    done: bool,
}

impl Layers {
    /// Whether layers can be unpacked before the layers below them: [`Parent::Later`].
    pub fn independent(&self) -> bool {
        self.0.driver.independent_layers()
    }

    /// Unpacks the uncompressed tar stream of a layer, to its very end. Nothing shows before
    /// [`Staged::commit`].
    ///
    /// # Errors
    /// `InvalidParameter` for a stream that is no layer; `Io` of the host, such as a full disk, and of
    /// the stream. Nothing is left behind.
    pub fn unpack(&self, tar: &mut dyn Read, parent: Parent<'_>) -> Result<Staged> {
        let store = &self.0;
        let dir = store.tmp().join(format!("write-set-{:016x}", random::u64()));
        let below = match parent {
            Parent::On(layer) => Some(Some(layer.chain_id)),
            Parent::Bottom => Some(None),
            Parent::Later if self.independent() => None,
            Parent::Later => {
                return Err(Error::unsupported(format_args!(
                    "{} layers need their parent first",
                    store.driver.name()
                )));
            }
        };
        fs::DirBuilder::new().mode(0o755).create(&dir).at("preparing layer")?;
        fault::step();
        let mut staged = Staged {
            store: store.clone(),
            dir,
            cache_id: random::id(),
            diff_id: Digest::of(b""),
            size: 0,
            parent: below,
            done: false,
        };
        // From here on a crash leaves a name by which the driver's layer is found.
        let id = staged.cache_id.as_bytes();
        file::write_atomic(&staged.dir.join("cache-id"), id, 0o644, Durable::Yes)?;
        file::sync_dir(&store.tmp())?;
        fault::step();
        let on = match parent {
            Parent::On(layer) => Some(layer.cache_id.as_str()),
            _ => None,
        };
        store.driver.create(&staged.cache_id, on)?;
        fault::step();
        let path = staged.dir.join("tar-split.json.gz");
        let split = File::create(&path).at(format_args!("creating {}", path.display()))?;
        let split = io::BufWriter::with_capacity(32 * 1024, split);
        let mut stream = Stream {
            tar,
            hasher: Hasher::new(),
            recorder: Recorder::new(GzEncoder::new(split, Compression::fast())),
        };
        staged.size = store.driver.apply_diff(&staged.cache_id, on, &mut stream)?;
        // What follows the end mark belongs to the digest.
        io::copy(&mut stream, &mut io::sink()).at("reading layer")?;
        let Stream { hasher, recorder, .. } = stream;
        staged.diff_id = hasher.finish();
        let split = recorder.finish()?.finish().at("writing tar-split record")?;
        split.into_inner().map_err(|e| e.into_error()).at("writing tar-split record")?;
        fault::step();
        Ok(staged)
    }
}

/// The layer's stream on its way to the driver: hashed and recorded.
struct Stream<'a> {
    tar: &'a mut dyn Read,
    hasher: Hasher,
    recorder: Recorder<GzEncoder<io::BufWriter<File>>>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.tar.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.recorder.record(&buffer[..n])?;
        Ok(n)
    }
}

impl Staged {
    /// Digest of the stream that was unpacked.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Bytes that it unpacked to.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Records the layer on top of `parent`; it is on disk when this returns. If the same layer came in
    /// the meantime, that one is returned.
    ///
    /// # Errors
    /// `InvalidParameter` if it was unpacked on another layer; `Io`. Nothing is left behind.
    pub fn commit(mut self, parent: Option<&Layer>) -> Result<Layer> {
        let store = self.store.clone();
        let layers = Layers(store.clone());
        let on = parent.map(|p| p.chain_id);
        let chain = chain_id(on.as_ref(), &self.diff_id);
        if self.parent.is_some_and(|p| p != on) {
            return Err(Error::invalid("layer was unpacked on another parent"));
        }
        if let Some(there) = layers.get(&chain)? {
            return Ok(there);
        }
        if let (None, Some(parent)) = (self.parent, parent) {
            store.driver.set_parent(&self.cache_id, &parent.cache_id)?;
        }
        let write = |name: &str, text: String| {
            let path = self.dir.join(name);
            fs::write(&path, text).at(format_args!("writing {}", path.display()))
        };
        fault::step();
        write("diff", self.diff_id.to_string())?;
        write("size", self.size.to_string())?;
        if let Some(on) = &on {
            write("parent", on.to_string())?;
        }
        fault::step();
        self.sync()?;
        fault::step();
        let _guard = lock(&store.change);
        if on.is_some_and(|on| !layers.exists(&on)) {
            return Err(missing(&on.unwrap_or(chain)));
        }
        if !layers.exists(&chain) {
            let record = store.record(&chain);
            fs::rename(&self.dir, &record).at(format_args!("recording layer {chain}"))?;
            self.done = true;
            fault::step();
            file::sync_dir(&store.dir.join("sha256"))?;
        }
        layers.get(&chain)?.ok_or_else(|| missing(&chain))
    }

    /// Data and record on disk. One syncfs does both where they share a filesystem, as they nearly
    /// always do.
    fn sync(&self) -> Result<()> {
        self.store.driver.sync(&self.cache_id)?;
        let device = |path: PathBuf| fs::metadata(path).map(|m| m.dev()).ok();
        let data = self.store.driver.own_dir(&self.cache_id).and_then(device);
        if data.is_none() || data != device(self.dir.clone()) {
            let dir = File::open(&self.dir).at("opening layer record")?;
            mount::sync_filesystem(dir.as_fd())?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let gone = self.store.driver.remove(&self.cache_id).and_then(|()| {
            fault::step();
            remove::path(&self.dir)
        });
        if let Err(e) = gone {
            log::warn!("dropping an unfinished layer: {e}");
        }
    }
}
