//! An image in an OCI layout directory, beside the images that are there already.
//!
//! Blobs are written under a temporary name and renamed once they were found right, `index.json` is
//! replaced last: a directory that was a layout stays one whatever happens.
//!
//! Spec: OCI image-spec image-layout.md.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{LAYOUT, REF_NAME, entry, index_json, oci};
use crate::base::digest::Digest;
use crate::base::file::{self, Durable, TEMPORARY_PREFIX};
use crate::base::{At, Result, json};
use crate::registry::manifest::{Descriptor, Index};
use crate::registry::pull::{Form, Image, Sink};

/// Permission bits of files.
const MODE: u32 = 0o644;

/// A sink that writes into a layout directory.
pub struct LayoutDir {
    dir: PathBuf,
    /// What was made here, oldest first.
    made: Mutex<Vec<PathBuf>>,
}

impl LayoutDir {
    /// A sink for the directory `dir`, which is made if it does not exist.
    pub fn new(dir: &Path) -> LayoutDir {
        LayoutDir { dir: dir.to_path_buf(), made: Mutex::default() }
    }

    /// Takes away everything that was made here. For a pull that failed.
    pub fn undo(&self) {
        for path in self.made().drain(..).rev() {
            // A directory that holds somebody else's files stays.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }

    fn made(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let path = self.blob(&descriptor.parsed_digest()?);
        let length = descriptor.length()?;
        Ok(fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == length))
    }

    fn temporary(&self, image: &Image, index: usize) -> PathBuf {
        let hex = image.layers[index].digest.hex();
        self.blob(&image.layers[index].digest)
            .with_file_name(format!("{TEMPORARY_PREFIX}{hex}-{}-{index}", std::process::id()))
    }

    /// Makes `dir` and what is missing above it.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            self.make_dir(parent)?;
        }
        match fs::create_dir(dir) {
            Ok(()) => self.made().push(dir.to_path_buf()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).at(format_args!("creating {}", dir.display())),
        }
        Ok(())
    }

    fn write_new(&self, path: PathBuf, bytes: &[u8]) -> Result<()> {
        if !path.exists() {
            file::write_atomic(&path, bytes, MODE, Durable::No)?;
            self.made().push(path);
        }
        Ok(())
    }

    /// The index that is there, or an empty one.
    fn index(&self) -> Result<Index> {
        let path = self.dir.join("index.json");
        match file::read_optional(&path)? {
            Some(bytes) => json::parse(&bytes).at(format_args!("reading {}", path.display())),
            None => Ok(Index::default()),
        }
    }
}

impl Sink for LayoutDir {
    fn form(&self) -> Form {
        Form::Blob
    }

    fn begin(&self, image: &Image) -> Result<usize> {
        self.make_dir(&self.dir.join("blobs/sha256"))?;
        // Whatever else is wrong with the directory is found before anything is fetched.
        self.index()?;
        let there = image.layers.iter().map(|layer| self.has(&layer.descriptor));
        let mut count = 0;
        for is_there in there {
            if !is_there? {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    fn claim(
        &self,
        image: &Image,
        index: usize,
        _cancel: &crate::base::cancel::Cancel,
    ) -> Result<bool> {
        Ok(!self.has(&image.layers[index].descriptor)?)
    }

    fn fill(&self, image: &Image, index: usize, stream: &mut dyn Read) -> Result<Option<Digest>> {
        let path = self.temporary(image, index);
        let mut write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            io::copy(stream, &mut file)?;
            Ok(())
        };
        write().map(|()| None).map_err(|e| {
            self.abandon(image, index);
            // An error of the stream names what it was about itself.
            match e.raw_os_error() {
                Some(_) => {
                    crate::base::Error::from(e).at(format_args!("writing {}", path.display()))
                }
                None => e.into(),
            }
        })
    }

    fn commit(&self, image: &Image, index: usize) -> Result<()> {
        let path = self.blob(&image.layers[index].digest);
        let existed = path.exists();
        fs::rename(self.temporary(image, index), &path)
            .at(format_args!("writing {}", path.display()))?;
        if !existed {
            self.made().push(path);
        }
        Ok(())
    }

    fn abandon(&self, image: &Image, index: usize) {
        // It is gone already if it was never made.
        let _ = fs::remove_file(self.temporary(image, index));
    }

    fn finish(&self, image: &Image) -> Result<bool> {
        self.write_new(self.blob(&image.config_digest), &image.config)?;
        let raw = oci(image);
        self.write_new(self.blob(&raw.digest), &raw.bytes)?;
        self.write_new(self.dir.join("oci-layout"), LAYOUT.as_bytes())?;
        let entry = entry(image, &raw);
        let mut index = self.index()?;
        let newer = !index.manifests.contains(&entry);
        // The name moves from the image that had it; an entry without a name is this image's only.
        index.manifests.retain(|other| match entry.annotations.get(REF_NAME) {
            Some(name) => other.annotations.get(REF_NAME) != Some(name),
            None => other.digest != entry.digest || other.annotations.contains_key(REF_NAME),
        });
        index.manifests.push(entry);
        let path = self.dir.join("index.json");
        file::write_atomic(&path, index_json(index.manifests).as_bytes(), MODE, Durable::Yes)?;
        self.made().clear();
        Ok(newer)
    }
}
