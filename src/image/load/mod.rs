//! `docker load`: images from an archive of Docker (any version since 1.8) or from an OCI layout.
//!
//! The archive is unpacked to a directory first, since what says how to read it may come last. Links in
//! it are followed inside that directory only; old versions write a layer that occurs twice as a link.
//! Layers are then unpacked from there, each checked against the image's configuration; an image is
//! recorded when all its layers are.
//!
//! Spec: moby `image/tarexport/load.go`; Docker image-spec v1 and v1.2; OCI image-spec image-layout.md.

mod legacy;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::Store;
use super::config::{Image, chain_id};
use super::layers::{Layer, Parent};
use super::save::Item;
use super::store::SPOOL_PREFIX;
use crate::base::digest::Digest;
use crate::base::progress::Progress;
use crate::base::{At, Error, Result, decompress, id, json};
use crate::registry::manifest::{Index, Manifest};
use crate::registry::platform::Platform;
use crate::registry::reference::Reference;
use crate::storage::archive::apply::{Whiteouts, apply};
use crate::storage::remove;
use crate::sys::random;
use crate::sys::rootfd::Root;

/// Longest JSON file of an archive that is read, in bytes.
const MAX_JSON: u64 = 8 << 20;
/// How deep indexes may be nested.
const MAX_NESTING: usize = 4;

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
    /// Names that another image had before, and that image.
    pub moved: Vec<(Reference, Digest)>,
}

impl Loaded {
    /// What `docker load` prints about it, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for name in &self.names {
            if let Some((_, old)) = self.moved.iter().find(|(n, _)| n == name) {
                lines.push(format!(
                    "The image {} already exists, renaming the old one with ID {old} to empty string",
                    name.familiar()
                ));
            }
            lines.push(format!("Loaded image: {}", name.familiar()));
        }
        if self.names.is_empty() {
            lines.push(format!("Loaded image ID: {}", self.id));
        }
        lines
    }
}

/// Loads every image of the archive `input`, compressed or not, that is for `platform` (`None`: all of
/// Docker's archives, those for this machine of an OCI index).
///
/// # Errors
/// `InvalidParameter` for an archive that holds no images or whose layers are not what it says;
/// `Io`. Images before the one that failed stay.
pub fn load(
    store: &Store,
    input: &mut (dyn Read + Send),
    platform: Option<&Platform>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let dir = Spool::new(store.spool())?;
    let root = Root::open(&dir.0)?;
    let mut archive = decompress::open(input)?;
    apply(&root, &mut archive, Whiteouts::Literal).at("reading archive")?;
    let load = Load { store, root: &root, platform, progress };
    if let Some(items) = load.json::<Option<Vec<Item>>>("manifest.json")? {
        return load.docker(items);
    }
    if let Some(index) = load.json::<Index>("index.json")? {
        let mut loaded = Vec::new();
        load.index(&index, 0, &mut loaded)?;
        return Ok(loaded);
    }
    if root.lstat(Path::new("repositories")).is_ok() {
        return legacy::load(&load);
    }
    Err(Error::invalid("invalid archive: does not contain a manifest.json"))
}

/// A directory for the archive's files, gone when dropped; after a kill the store sweeps it.
struct Spool(PathBuf);

impl Spool {
    fn new(tmp: &Path) -> Result<Spool> {
        let dir = tmp.join(format!("{SPOOL_PREFIX}{:016x}", random::u64()));
        fs::create_dir(&dir).at(format_args!("creating {}", dir.display()))?;
        Ok(Spool(dir))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(e) = remove::path(&self.0) {
            log::warn!("{e}");
        }
    }
}

struct Load<'a> {
    store: &'a Store,
    root: &'a Root,
    platform: Option<&'a Platform>,
    progress: &'a dyn Progress,
}

impl Load<'_> {
    fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        self.root.read(Path::new(path), MAX_JSON).at("invalid archive")
    }

    fn json<T: json::Deserialize>(&self, path: &str) -> Result<Option<T>> {
        match self.root.read(Path::new(path), MAX_JSON) {
            Ok(bytes) => json::parse(&bytes)
                .at(format_args!("invalid archive: failed to decode {path}"))
                .map(Some),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e.at("invalid archive")),
        }
    }

    /// Docker's `manifest.json`.
    fn docker(&self, items: Option<Vec<Item>>) -> Result<Vec<Loaded>> {
        let items = items.ok_or_else(|| {
            Error::invalid("invalid manifest, manifest cannot be null (but can be [])")
        })?;
        let mut loaded = Vec::new();
        let mut links = Vec::new();
        for item in items {
            let config = self.bytes(&item.config)?;
            let image = Image::parse(&config)?;
            check_os(&image)?;
            if self.platform.is_some_and(|p| p.rank(&image.platform()).is_none()) {
                continue;
            }
            let names = item.repo_tags.unwrap_or_default();
            let names = names.iter().map(|n| tagged(n)).collect::<Result<Vec<_>>>()?;
            let top = self.layers(&image, &item.layers)?;
            loaded.push(self.record(&config, names)?);
            drop(top);
            links.extend(Digest::parse(&item.parent).ok().map(|parent| (image.id, parent)));
        }
        for (id, parent) in links {
            if loaded.iter().any(|l| l.id == parent) && id != parent {
                self.store.images().set_parent(&id, &parent)?;
            }
        }
        Ok(loaded)
    }

    /// An OCI layout: every manifest of the index that is for the platform.
    fn index(&self, index: &Index, depth: usize, loaded: &mut Vec<Loaded>) -> Result<()> {
        if depth == MAX_NESTING {
            return Err(Error::invalid("invalid archive: indexes are nested too deep"));
        }
        for entry in &index.manifests {
            let digest = entry.parsed_digest()?;
            let path = format!("blobs/sha256/{}", digest.hex());
            if entry.is_attestation() || self.root.lstat(Path::new(&path)).is_err() {
                // Layouts of one platform keep the index of all.
                continue;
            }
            let bytes = self.bytes(&path)?;
            if Digest::of(&bytes) != digest {
                return Err(Error::invalid(format_args!(
                    "invalid archive: {path} does not have the digest of its name"
                )));
            }
            if entry.is_index() {
                let below: Index = json::parse(&bytes).at(format_args!("reading {path}"))?;
                self.index(&below, depth + 1, loaded)?;
                continue;
            }
            let manifest: Manifest = json::parse(&bytes).at(format_args!("reading {path}"))?;
            let blob = |d: Digest| format!("blobs/sha256/{}", d.hex());
            let config = self.bytes(&blob(manifest.config.parsed_digest()?))?;
            if manifest.config.digest != Digest::of(&config).to_string() {
                return Err(Error::invalid("invalid archive: wrong digest of configuration"));
            }
            let image = Image::parse(&config)?;
            let host = Platform::host();
            if self.platform.unwrap_or(&host).rank(&image.platform()).is_none() {
                continue;
            }
            let paths = manifest.layers.iter().map(|l| l.parsed_digest().map(blob));
            let top = self.layers(&image, &paths.collect::<Result<Vec<_>>>()?)?;
            let annotated = |key: &str| entry.annotations.get(key).map(String::as_str);
            let name = annotated("io.containerd.image.name")
                .or_else(|| annotated("org.opencontainers.image.ref.name"))
                // A bare tag names no repository.
                .filter(|name| name.contains([':', '/']))
                .map(tagged)
                .transpose()?;
            loaded.push(self.record(&config, name.into_iter().collect())?);
            drop(top);
        }
        Ok(())
    }

    /// Sees to it that the image's layers are in the store, and keeps the topmost.
    fn layers(&self, image: &Image, paths: &[String]) -> Result<Option<Layer>> {
        let (expected, actual) = (paths.len(), image.diff_ids.len());
        if expected != actual {
            return Err(Error::invalid(format_args!(
                "invalid manifest, layers length mismatch: expected {expected}, got {actual}"
            )));
        }
        let mut below: Option<Layer> = None;
        for (i, (diff_id, path)) in image.diff_ids.iter().zip(paths).enumerate() {
            let chain = chain_id(below.as_ref().map(|l| &l.chain_id), diff_id);
            let layer = match self.store.layers().get(&chain)? {
                Some(layer) => layer,
                None => self.layer(path, below.as_ref(), diff_id, |actual| {
                    Err(Error::invalid(format_args!(
                        "invalid diffID for layer {i}: expected \"{diff_id}\", got \"{actual}\""
                    )))
                })?,
            };
            below = Some(layer);
        }
        Ok(below)
    }

    fn layer(
        &self,
        path: &str,
        below: Option<&Layer>,
        shown: &Digest,
        differs: impl Fn(Digest) -> Result<()>,
    ) -> Result<Layer> {
        let fd = self.root.open_at(Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let file = File::from(fd);
        let meta = file.metadata().at(format_args!("reading {path}"))?;
        if !meta.is_file() {
            return Err(Error::invalid(format_args!("invalid archive: {path} is not a file")));
        }
        let hex = shown.hex();
        let (name, total) = (id::short(&hex), meta.len());
        let report = |current| self.progress.update(name, "Loading layer", current, total);
        let mut stream =
            decompress::open(Counted { file, count: 0, reported: 0, report: &report })?;
        let on = below.map_or(Parent::Bottom, Parent::On);
        let staged = self.store.layers().unpack(&mut stream, on)?;
        if staged.diff_id() != *shown {
            differs(staged.diff_id())?;
        }
        staged.commit(below)
    }

    fn record(&self, config: &[u8], names: Vec<Reference>) -> Result<Loaded> {
        let id = self.store.create(config)?;
        let mut moved = Vec::new();
        for name in &names {
            let old = self.store.refs().set(name, &id)?;
            moved.extend(old.map(|old| (name.clone(), old)));
        }
        Ok(Loaded { id, names, moved })
    }
}

fn check_os(image: &Image) -> Result<()> {
    match image.platform().os.as_str() {
        "linux" => Ok(()),
        os => Err(Error::invalid(format_args!("cannot load {os} image on linux"))),
    }
}

fn tagged(name: &str) -> Result<Reference> {
    let reference = Reference::parse(name)?;
    match reference.tag() {
        Some(_) => Ok(reference),
        None => Err(Error::invalid(format_args!("invalid tag {name:?}"))),
    }
}

/// Reports how much was read, about every half a megabyte.
struct Counted<'a> {
    file: File,
    count: u64,
    reported: u64,
    report: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.count += n as u64;
        if self.count - self.reported >= 512 * 1024 || n == 0 {
            self.reported = self.count;
            (self.report)(self.count);
        }
        Ok(n)
    }
}
