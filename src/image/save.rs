//! `docker save`: images as one archive that is both Docker's and an OCI layout.
//!
//! ```text
//! blobs/sha256/<digest>   configurations, OCI manifests, layers (not compressed)
//! index.json, oci-layout  the OCI layout
//! manifest.json           Docker's list of images, their names and the paths of their blobs
//! repositories            names as the oldest versions read them; only if there are any
//! ```
//!
//! The archive is a function of the images and the names alone: entries are sorted, times are zero. It
//! is written as it is made, nothing is spooled. Layers come out with the digests they came in with.
//!
//! Spec: moby `image/tarexport/save.go` (28); OCI image-spec image-layout.md.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Store;
use super::config::Image;
use super::layers::Layer;
use crate::base::digest::{Digest, Hasher};
use crate::base::json;
use crate::base::{Error, Kind, Result};
use crate::registry::manifest::{Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::registry::reference::{self, AnyReference, Reference};
use crate::storage::archive::header;
use crate::storage::archive::write::{Meta, Writer};
use crate::wire;

/// Media type of an uncompressed layer.
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

wire! {
    /// An image in `manifest.json`.
    pub(super) struct Item {
        "Config" keep config: String,
        "RepoTags" keep repo_tags: Option<Vec<String>>,
        "Layers" keep layers: Vec<String>,
        "Parent" omit parent: String,
        "LayerSources" omit sources: BTreeMap<String, Descriptor>,
    }
}

/// An image that is asked for, and the names it is asked for by.
struct Wanted {
    image: Image,
    names: Vec<Reference>,
}

/// What is in a blob.
enum Blob {
    Bytes(Vec<u8>),
    Layer(Layer, u64),
}

/// Writes the images that `names` mean (a name without tag means all tags of that repository) to `out`,
/// and returns their ids.
///
/// # Errors
/// `NotFound` with Docker's text, `InvalidParameter`; `Internal` if a layer is damaged; `Io`.
pub fn save(store: &Store, names: &[String], out: &mut dyn Write) -> Result<Vec<Digest>> {
    let wanted = collect(store, names)?;
    let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
    let mut items = Vec::new();
    let mut index = Index {
        schema_version: 2,
        media_type: OCI_INDEX.to_string(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    };
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let ids: Vec<Digest> = wanted.iter().map(|w| w.image.id).collect();
    for Wanted { image, names } in &wanted {
        let layers = layers(store, image, &mut blobs)?;
        let config = store.images().raw(&image.id)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_string(),
            config: descriptor(OCI_CONFIG, &image.id, config.len() as u64),
            layers: layers.clone(),
            ..Manifest::default()
        };
        let manifest = json::to_string(&manifest).into_bytes();
        let digest = Digest::of(&manifest);
        let untagged = descriptor(OCI_MANIFEST, &digest, manifest.len() as u64);
        blobs.insert(image.id, Blob::Bytes(config));
        blobs.insert(digest, Blob::Bytes(manifest));
        for name in names {
            let tag = name.tag().unwrap_or_default().to_string();
            let mut entry = untagged.clone();
            entry.annotations.insert("io.containerd.image.name".into(), name.to_string());
            entry.annotations.insert("org.opencontainers.image.ref.name".into(), tag.clone());
            index.manifests.push(entry);
            if let Some(top) = image.diff_ids.last() {
                repositories.entry(name.familiar_name()).or_default().insert(tag, top.hex());
            }
        }
        if names.is_empty() {
            index.manifests.push(untagged);
        }
        let parent = store.images().parent(&image.id)?.filter(|p| ids.contains(p));
        items.push(Item {
            config: path(&image.id),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(|n| n.familiar()).collect()),
            layers: image.diff_ids.iter().map(path).collect(),
            parent: parent.map(|p| p.to_string()).unwrap_or_default(),
            sources: layers.into_iter().map(|l| (l.digest.clone(), l)).collect(),
        });
    }
    write(store, blobs, &items, &index, &repositories, out)?;
    Ok(ids)
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_string(),
        digest: digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

/// The images that the names mean, in the order in which they are first named.
fn collect(store: &Store, names: &[String]) -> Result<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |id: Digest, name: Option<Reference>| -> Result<()> {
        let i = match wanted.iter().position(|w| w.image.id == id) {
            Some(i) => i,
            None => {
                wanted.push(Wanted { image: store.images().read(&id)?, names: Vec::new() });
                wanted.len() - 1
            }
        };
        let tagged = name.filter(|n| n.digest().is_none()).map(Reference::or_latest);
        if let Some(name) = tagged.filter(|n| !wanted[i].names.contains(n)) {
            wanted[i].names.push(name);
        }
        Ok(())
    };
    for name in names {
        let named = match reference::parse_any(name)? {
            AnyReference::Named(named) => named,
            AnyReference::Id(_) => {
                add(store.resolve(name)?, None)?;
                continue;
            }
        };
        let all = match named.is_name_only() {
            true => store.refs().in_repository(&named)?,
            false => store.refs().get(&named)?.map(|id| (named.clone(), id)).into_iter().collect(),
        };
        if all.is_empty() {
            add(store.resolve(name)?, None)?;
        }
        for (name, id) in all {
            add(id, Some(name))?;
        }
    }
    if wanted.is_empty() {
        return Err(Error::new(Kind::InvalidParameter, "no images to save"));
    }
    Ok(wanted)
}

/// Descriptors of the image's layers, whose blobs are added to `blobs`.
fn layers(
    store: &Store,
    image: &Image,
    blobs: &mut BTreeMap<Digest, Blob>,
) -> Result<Vec<Descriptor>> {
    let mut list = Vec::new();
    for chain in super::config::chain_ids(&image.diff_ids) {
        let layer = store.layers().get(&chain)?.ok_or_else(|| {
            Error::not_found(format_args!("failed to get layer {chain} of image {}", image.id))
        })?;
        let length = match blobs.get(&layer.diff_id) {
            Some(Blob::Layer(_, length)) => *length,
            _ => store.layers().tar_length(&layer)?,
        };
        list.push(descriptor(OCI_LAYER, &layer.diff_id, length));
        blobs.insert(layer.diff_id, Blob::Layer(layer, length));
    }
    Ok(list)
}

fn write(
    store: &Store,
    blobs: BTreeMap<Digest, Blob>,
    items: &[Item],
    index: &Index,
    repositories: &BTreeMap<String, BTreeMap<String, String>>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut writer = Writer::new(out);
    for dir in ["blobs/", "blobs/sha256/"] {
        let meta = Meta::file(dir.as_bytes(), 0);
        writer.start(&Meta { kind: header::Kind::Dir, mode: 0o755, ..meta })?.finish()?;
    }
    for (digest, blob) in blobs {
        let name = path(&digest);
        match blob {
            Blob::Bytes(bytes) => file(&mut writer, &name, &bytes)?,
            Blob::Layer(layer, length) => {
                let content = writer.start(&Meta::file(name.as_bytes(), length))?;
                let mut content = Hashed { inner: content, hasher: Hasher::new() };
                store.layers().write_tar(&layer, &mut content)?;
                let actual = content.hasher.finish();
                if actual != digest {
                    return Err(Error::internal(format_args!(
                        "layer {digest} is damaged: its files give {actual}"
                    )));
                }
                content.inner.finish()?;
            }
        }
    }
    file(&mut writer, "index.json", json::to_string(index).as_bytes())?;
    file(&mut writer, "manifest.json", (json::to_string(items) + "\n").as_bytes())?;
    file(&mut writer, "oci-layout", b"{\"imageLayoutVersion\": \"1.0.0\"}")?;
    if !repositories.is_empty() {
        let text = json::to_string(repositories) + "\n";
        file(&mut writer, "repositories", text.as_bytes())?;
    }
    writer.finish().map(drop)
}

fn file<W: Write>(writer: &mut Writer<W>, name: &str, bytes: &[u8]) -> Result<()> {
    writer.entry(&Meta::file(name.as_bytes(), bytes.len() as u64), &mut &bytes[..])
}

/// Hashes what passes.
struct Hashed<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
