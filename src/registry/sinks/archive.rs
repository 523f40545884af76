//! An image in one tar file that `docker load`, `podman load` and `skopeo` read: an OCI layout with
//! Docker's `manifest.json` beside it, as `docker save` has written it since version 25.
//!
//! The length of every blob is known from the manifest before it is fetched, so each has its place in
//! the file from the start and all are written at the same time, each once. The file appears under its
//! name when it is complete. Its bytes depend on the image alone.
//!
//! Spec: OCI image-spec image-layout.md; moby `image/spec/v1.2.md` (`manifest.json`).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{LAYOUT, entry, index_json, oci};
use crate::base::digest::Digest;
use crate::base::file::{self, TEMPORARY_PREFIX};
use crate::base::{At, Error, Result, json};
use crate::registry::pull::{Form, Image, Sink};

const BLOCK: u64 = 512;
const COPY_BYTES: usize = 64 * 1024;

crate::wire! {
    struct DockerEntry {
        "Config" keep config: String,
        "RepoTags" keep repo_tags: Option<Vec<String>>,
        "Layers" keep layers: Vec<String>,
    }
}

/// A sink that writes one file.
pub struct Archive {
    path: PathBuf,
    temporary: PathBuf,
    plan: Mutex<Option<Plan>>,
}

struct Plan {
    file: File,
    /// Where the content of each layer goes; `None` for one that is the same as a lower one.
    places: Vec<Option<u64>>,
    end: u64,
}

impl Archive {
    /// A sink for the file `path`, which is replaced if it exists.
    pub fn new(path: &Path) -> Archive {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary =
            path.with_file_name(format!("{TEMPORARY_PREFIX}{name}-{}", std::process::id()));
        Archive { path: path.to_path_buf(), temporary, plan: Mutex::new(None) }
    }

    /// Takes away what was written. For a pull that failed.
    pub fn undo(&self) {
        if self.plan().take().is_some() {
            // It is gone already if finishing it got so far.
            let _ = fs::remove_file(&self.temporary);
        }
    }

    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Result<File> {
        match &*self.plan() {
            Some(plan) => plan.file.try_clone().at("writing the archive"),
            None => Err(Error::internal("the archive was not begun")),
        }
    }
}

impl Sink for Archive {
    fn form(&self) -> Form {
        Form::Blob
    }

    fn begin(&self, image: &Image) -> Result<usize> {
        let file = File::create(&self.temporary)
            .at(format_args!("creating {}", self.temporary.display()))?;
        let mut plan = Plan { file, places: Vec::new(), end: 0 };
        let written = plan.lay_out(image);
        *self.plan() = Some(plan);
        written.at(format_args!("writing {}", self.temporary.display()))?;
        Ok(0)
    }

    fn claim(
        &self,
        _image: &Image,
        index: usize,
        _cancel: &crate::base::cancel::Cancel,
    ) -> Result<bool> {
        Ok(self.plan().as_ref().is_some_and(|plan| plan.places[index].is_some()))
    }

    fn fill(&self, _image: &Image, index: usize, stream: &mut dyn Read) -> Result<Option<Digest>> {
        let file = self.handle()?;
        let place = self.plan().as_ref().and_then(|plan| plan.places[index]);
        let mut place = place.ok_or_else(|| Error::internal("the layer has no place"))?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(None);
            }
            file.write_all_at(&buffer[..n], place)
                .at(format_args!("writing {}", self.temporary.display()))?;
            place += n as u64;
        }
    }

    fn commit(&self, _image: &Image, _index: usize) -> Result<()> {
        Ok(())
    }

    fn abandon(&self, _image: &Image, _index: usize) {}

    fn finish(&self, _image: &Image) -> Result<bool> {
        let finish = || -> Result<()> {
            self.handle()?.sync_all()?;
            fs::rename(&self.temporary, &self.path)?;
            file::sync_dir(match self.path.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => dir,
                _ => Path::new("."),
            })
        };
        finish().at(format_args!("writing {}", self.path.display()))?;
        *self.plan() = None;
        Ok(true)
    }
}

impl Plan {
    /// Writes all headers and all small files, and gives the layers their places.
    fn lay_out(&mut self, image: &Image) -> Result<()> {
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        self.directory("blobs/")?;
        self.directory("blobs/sha256/")?;
        self.small("oci-layout", LAYOUT.as_bytes())?;
        let raw = oci(image);
        self.small("index.json", index_json(vec![entry(image, &raw)]).as_bytes())?;
        let docker = vec![DockerEntry {
            config: blob(&image.config_digest),
            repo_tags: image
                .reference
                .tag()
                .map(|tag| vec![format!("{}:{tag}", image.reference.name_only().familiar_name())]),
            layers: image.layers.iter().map(|layer| blob(&layer.digest)).collect(),
        }];
        self.small("manifest.json", json::to_string_plain(&docker).as_bytes())?;
        self.small(&blob(&raw.digest), &raw.bytes)?;
        self.small(&blob(&image.config_digest), &image.config)?;
        for (i, layer) in image.layers.iter().enumerate() {
            if image.layers[..i].iter().any(|lower| lower.digest == layer.digest) {
                self.places.push(None);
                continue;
            }
            let length = layer.descriptor.length()?;
            self.header(&blob(&layer.digest), tar::EntryType::Regular, length)?;
            self.places.push(Some(self.end));
            self.end = (self.end + length).next_multiple_of(BLOCK);
        }
        // Two blocks of zeros end the archive; what was skipped reads as zeros.
        self.file.set_len(self.end + 2 * BLOCK)?;
        Ok(())
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.header(name, tar::EntryType::Directory, 0)
    }

    fn small(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.header(name, tar::EntryType::Regular, bytes.len() as u64)?;
        self.file.write_all_at(bytes, self.end)?;
        self.end = (self.end + bytes.len() as u64).next_multiple_of(BLOCK);
        Ok(())
    }

    fn header(&mut self, name: &str, kind: tar::EntryType, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.file.write_all_at(header.as_bytes(), self.end)?;
        self.end += BLOCK;
        Ok(())
    }
}
