//! Which compressed blob of a registry holds which layer, so that a layer that is here is not fetched
//! again, and so that a push can name blobs that the registry has.
//!
//! ```text
//! distribution/diffid-by-digest/sha256/<blob>     sha256:<diff id>
//! distribution/v2metadata-by-diffid/sha256/<diff id>   [{"Digest","SourceRepository","HMAC"}], newest last
//! ```
//!
//! These notes are hints: a lost or wrong one costs a download, so they are not synced.
//!
//! Spec: moby `distribution/metadata`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::digest::Digest;
use crate::base::file::{self, Durable};
use crate::base::{At, Result, json};
use crate::wire;

/// How many blobs are remembered for one layer.
const MAX_BLOBS: usize = 50;

wire! {
    /// A blob that holds a layer.
    pub struct Blob {
        "Digest" keep digest: String,
        "SourceRepository" keep repository: String,
        "HMAC" keep hmac: String,
    }
}

/// The notes about blobs and layers.
pub struct Distribution {
    by_blob: PathBuf,
    by_layer: PathBuf,
    change: Mutex<()>,
}

impl Distribution {
    /// The notes below `dir`, which need not exist.
    pub(super) fn open(dir: &Path) -> Distribution {
        Distribution {
            by_blob: dir.join("diffid-by-digest/sha256"),
            by_layer: dir.join("v2metadata-by-diffid/sha256"),
            change: Mutex::default(),
        }
    }

    /// The layer that `blob` unpacks to, if it was seen.
    ///
    /// # Errors
    /// `Io`.
    pub fn diff_id(&self, blob: &Digest) -> Result<Option<Digest>> {
        let bytes = file::read_optional(&self.by_blob.join(blob.hex()))?;
        Ok(bytes.and_then(|b| Digest::parse(String::from_utf8_lossy(&b).trim()).ok()))
    }

    /// The blobs known to hold the layer `diff_id`, the one noted last at the end.
    ///
    /// # Errors
    /// `Io`.
    pub fn blobs(&self, diff_id: &Digest) -> Result<Vec<Blob>> {
        let bytes = file::read_optional(&self.by_layer.join(diff_id.hex()))?;
        Ok(bytes.and_then(|b| json::parse(&b).ok()).unwrap_or_default())
    }

    /// Notes that `blob`, seen in `repository` (normalised, without a tag), holds the layer `diff_id`.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&self, diff_id: &Digest, blob: &Digest, repository: &str) -> Result<()> {
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blobs = self.blobs(diff_id)?;
        let digest = blob.to_string();
        blobs.retain(|b| b.digest != digest || b.repository != repository);
        blobs.push(Blob { digest, repository: repository.into(), hmac: String::new() });
        let excess = blobs.len().saturating_sub(MAX_BLOBS);
        blobs.drain(..excess);
        self.write(&self.by_layer, diff_id, &json::to_string(&blobs))?;
        self.write(&self.by_blob, blob, &diff_id.to_string())
    }

    /// Forgets what was noted about the layer `diff_id`.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, diff_id: &Digest) -> Result<()> {
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in self.blobs(diff_id)? {
            if let Ok(digest) = Digest::parse(&blob.digest) {
                gone(fs::remove_file(self.by_blob.join(digest.hex())))?;
            }
        }
        gone(fs::remove_file(self.by_layer.join(diff_id.hex())))
    }

    fn write(&self, dir: &Path, name: &Digest, text: &str) -> Result<()> {
        fs::create_dir_all(dir).at(format_args!("creating {}", dir.display()))?;
        file::write_atomic(&dir.join(name.hex()), text.as_bytes(), 0o644, Durable::No)
    }
}

fn gone(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("removing blob note"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_blobs_are_remembered() {
        let dir = std::env::temp_dir().join(format!("distribution-{}", crate::sys::random::u64()));
        let notes = Distribution::open(&dir);
        let layer = Digest::of(b"layer");
        for i in 0..60u8 {
            notes.add(&layer, &Digest::of(&[i]), "docker.io/library/x").unwrap();
        }
        notes.add(&layer, &Digest::of(&[30]), "docker.io/library/x").unwrap();
        let blobs = notes.blobs(&layer).unwrap();
        assert_eq!(blobs.len(), MAX_BLOBS);
        assert_eq!(blobs.last().unwrap().digest, Digest::of(&[30]).to_string());
        assert_eq!(notes.diff_id(&Digest::of(&[59])).unwrap(), Some(layer));
        notes.remove(&layer).unwrap();
        assert_eq!(notes.diff_id(&Digest::of(&[59])).unwrap(), None);
        assert!(notes.blobs(&layer).unwrap().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
