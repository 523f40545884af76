//! The configurations of images and what Docker notes beside them.
//!
//! ```text
//! imagedb/content/sha256/<id>             the configuration, byte for byte
//! imagedb/metadata/sha256/<id>/parent     id of the image it was made from (commit, build)
//! imagedb/metadata/sha256/<id>/lastUpdated   RFC 3339
//! ```
//!
//! Nothing is read at start: names in the directory are the list, a file is read when its image is
//! asked for. The few images asked for last stay in memory, since every `docker run` asks for one.
//!
//! Spec: moby `image/fs.go`, `image/store.go`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::Image;
use crate::base::digest::Digest;
use crate::base::file::{self, Durable};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result, hex};

/// How many images stay in memory after they were read.
const KEPT: usize = 8;
/// Longest configuration that is taken, in bytes; registries serve no longer ones either.
pub const MAX_CONFIG_BYTES: usize = 8 << 20;

/// Docker's text for an image that does not exist.
pub const NO_SUCH_IMAGE: &str = "No such image";

/// The image database.
pub struct Images {
    content: PathBuf,
    metadata: PathBuf,
    recent: Mutex<Vec<Arc<Image>>>,
}

impl Images {
    /// Opens the database below `dir` (`imagedb`), making what is missing.
    pub(super) fn open(dir: &Path) -> Result<Images> {
        let (content, metadata) = (dir.join("content/sha256"), dir.join("metadata/sha256"));
        for path in [&content, &metadata] {
            fs::create_dir_all(path).at(format_args!("creating {}", path.display()))?;
        }
        Ok(Images { content, metadata, recent: Mutex::default() })
    }

    fn recent(&self) -> MutexGuard<'_, Vec<Arc<Image>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids of all images, in no order.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let what = || format!("listing {}", self.content.display());
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.content).map_err(|e| Error::from(e).at(what()))? {
            let entry = entry.map_err(|e| Error::from(e).at(what()))?;
            ids.extend(entry.file_name().to_str().and_then(Digest::from_hex));
        }
        Ok(ids)
    }

    /// The image `id`.
    ///
    /// # Errors
    /// `NotFound`; `Internal` if the file's content does not have that digest.
    pub fn get(&self, id: &Digest) -> Result<Arc<Image>> {
        let mut recent = self.recent();
        if let Some(i) = recent.iter().position(|image| image.id == *id) {
            let image = recent.remove(i);
            recent.push(image.clone());
            return Ok(image);
        }
        drop(recent);
        let image = Arc::new(Image::parse(&self.raw(id)?)?);
        let mut recent = self.recent();
        if recent.len() == KEPT {
            recent.remove(0);
        }
        recent.push(image.clone());
        Ok(image)
    }

    /// The image `id` without keeping it in memory, for walks over all images.
    ///
    /// # Errors
    /// As [`Images::get`].
    pub fn read(&self, id: &Digest) -> Result<Image> {
        Image::parse(&self.raw(id)?)
    }

    /// The bytes of the configuration of `id`.
    ///
    /// # Errors
    /// As [`Images::get`].
    pub fn raw(&self, id: &Digest) -> Result<Vec<u8>> {
        let path = self.content.join(id.hex());
        let bytes = file::read_optional(&path)?
            .ok_or_else(|| Error::not_found(format_args!("{NO_SUCH_IMAGE}: {id}")))?;
        let actual = Digest::of(&bytes);
        if actual != *id {
            return Err(Error::internal(format_args!(
                "failed to verify image: {id}: content has digest {actual}"
            )));
        }
        Ok(bytes)
    }

    /// Whether there is an image `id`.
    pub fn exists(&self, id: &Digest) -> bool {
        self.content.join(id.hex()).exists()
    }

    /// Records a configuration. The caller has seen to it that its layers are there and stay.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let id = Digest::of(bytes);
        let path = self.content.join(id.hex());
        if !path.exists() {
            file::write_atomic(&path, bytes, 0o600, Durable::Yes)?;
        }
        Ok(id)
    }

    /// Removes the record of `id` and its notes; `NotFound` if there is none.
    pub(super) fn delete(&self, id: &Digest) -> Result<()> {
        self.recent().retain(|image| image.id != *id);
        // The content first: notes without an image are never read.
        match fs::remove_file(self.content.join(id.hex())) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found(format_args!("{NO_SUCH_IMAGE}: {id}")));
            }
            done => done.at(format_args!("removing image {id}"))?,
        }
        file::sync_dir(&self.content)?;
        match fs::remove_dir_all(self.metadata.join(id.hex())) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.at(format_args!("removing notes of image {id}")),
        }
    }

    /// The id whose digits start with `prefix` (a whole id, a part of one, either with `sha256:`), if
    /// there is exactly one.
    ///
    /// # Errors
    /// `NotFound` if there is none, `InvalidParameter` if there are several.
    pub fn search(&self, prefix: &str) -> Result<Digest> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        let missing = || Error::not_found(format_args!("{NO_SUCH_IMAGE}: {prefix}"));
        if let Some(id) = Digest::from_hex(digits) {
            return if self.exists(&id) { Ok(id) } else { Err(missing()) };
        }
        if digits.is_empty() || digits.len() > 64 || !hex::is_hex(digits, digits.len()) {
            return Err(missing());
        }
        let mut found = None;
        for id in self.list()? {
            if id.hex().starts_with(digits) && found.replace(id).is_some() {
                return Err(Error::invalid(format_args!("image id prefix {prefix} is ambiguous")));
            }
        }
        found.ok_or_else(missing)
    }

    fn note(&self, id: &Digest, name: &str) -> Result<Option<String>> {
        let bytes = file::read_optional(&self.metadata.join(id.hex()).join(name))?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    }

    fn set_note(&self, id: &Digest, name: &str, text: &str) -> Result<()> {
        let dir = self.metadata.join(id.hex());
        fs::create_dir_all(&dir).at(format_args!("creating {}", dir.display()))?;
        file::write_atomic(&dir.join(name), text.as_bytes(), 0o600, Durable::Yes)
    }

    /// The image that `id` was made from on this machine.
    ///
    /// # Errors
    /// `Io`.
    pub fn parent(&self, id: &Digest) -> Result<Option<Digest>> {
        Ok(self.note(id, "parent")?.and_then(|text| Digest::parse(text.trim()).ok()))
    }

    /// Notes that `id` was made from `parent`.
    ///
    /// # Errors
    /// `NotFound` if the parent does not exist; `Io`.
    pub fn set_parent(&self, id: &Digest, parent: &Digest) -> Result<()> {
        if !self.exists(parent) {
            return Err(Error::not_found(format_args!("unknown parent image ID {parent}")));
        }
        self.set_note(id, "parent", &parent.to_string())
    }

    /// The images that were made from `id` on this machine.
    ///
    /// # Errors
    /// `Io`.
    pub fn children(&self, id: &Digest) -> Result<Vec<Digest>> {
        let mut children = Vec::new();
        for entry in fs::read_dir(&self.metadata).at("listing image notes")? {
            let name = entry.at("listing image notes")?.file_name();
            let Some(child) = name.to_str().and_then(Digest::from_hex) else { continue };
            if self.parent(&child)?.as_ref() == Some(id) && self.exists(&child) {
                children.push(child);
            }
        }
        children.sort_unstable();
        Ok(children)
    }

    /// When `id` got its last tag here; zero time if never noted.
    ///
    /// # Errors
    /// `Io`.
    pub fn last_updated(&self, id: &Digest) -> Result<Timestamp> {
        let note = self.note(id, "lastUpdated")?;
        Ok(note.and_then(|text| Timestamp::parse(text.trim()).ok()).unwrap_or_default())
    }

    /// Notes that `id` got a tag now.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn set_last_updated(&self, id: &Digest) -> Result<()> {
        if !self.exists(id) {
            return Err(Error::new(Kind::NotFound, format_args!("{NO_SUCH_IMAGE}: {id}")));
        }
        self.set_note(id, "lastUpdated", &Timestamp::now().to_string())
    }
}
