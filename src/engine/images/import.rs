//! `docker import`: an image of one layer from an archive of files.
//!
//! Spec: moby `daemon/images/image_import.go` (behaviour and texts).

use std::io::Read;

use super::Images;
use crate::base::cancel::Cancel;
use crate::base::digest::Digest;
use crate::base::progress::Progress;
use crate::base::{Error, Result, decompress};
use crate::build::dockerfile::apply_changes;
use crate::image::child::{Child, imported};
use crate::image::config::{Config, Platform};
use crate::image::layers::Parent;
use crate::registry::fetch;
use crate::registry::reference::Reference;

/// What is to be made.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// `-` for the given stream, or a URL.
    pub source: String,
    /// Name of the image; `None` for none.
    pub name: Option<Reference>,
    /// Why; where it came from if it is empty.
    pub comment: String,
    /// Lines of a Dockerfile that change the configuration.
    pub changes: Vec<String>,
    /// What it is for; this machine if not told.
    pub platform: Option<Platform>,
}

impl Images {
    /// Makes an image of an archive: the stream `body`, or what is found at a URL.
    ///
    /// # Errors
    /// `InvalidParameter` for a stream that is no archive, a change or a URL that cannot be; `Io`, such as a
    /// full disk. Nothing is left of an image that could not be made.
    pub fn import(
        &self,
        request: &ImportRequest,
        body: &mut (dyn Read + Send),
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Digest> {
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        if platform.os != "linux" {
            return Err(Error::invalid("operating system is not supported"));
        }
        let config = apply_changes(&Config::default(), &request.changes)?;
        let (mut source, from): (Box<dyn Read + Send>, String) = match request.source.as_str() {
            "-" => (Box::new(body), "-".into()),
            url => {
                let url =
                    if url.contains("://") { url.to_string() } else { format!("http://{url}") };
                let fetched = fetch::open(&self.registries(), &url, cancel)?;
                progress.message("", &format!("Downloading from {url}"));
                let source = Told { inner: fetched.body, total: fetched.length, read: 0, progress };
                (Box::new(source), url)
            }
        };
        let mut plain = decompress::open(&mut source)?;
        let layers = self.store.layers();
        let layer = layers.unpack(&mut plain, Parent::Bottom)?.commit(None)?;
        let comment = match request.comment.as_str() {
            "" => format!("Imported from {from}"),
            comment => comment.into(),
        };
        let child = Child { config, comment, ..Child::default() };
        let id = self.store.create(&imported(&child, &platform, &layer.diff_id))?;
        drop(layer);
        if let Some(name) = &request.name {
            self.name(&id, name)?;
        }
        self.publish(&id, "import", &id.to_string());
        Ok(id)
    }
}

/// The name of a new image; `None` for none.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn new_name(repository: &str, tag: &str) -> Result<Option<Reference>> {
    if repository.is_empty() {
        return Ok(None);
    }
    let name = Reference::parse(repository)?;
    if name.digest().is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(Some(if tag.is_empty() { name.or_latest() } else { name.name_only().with_tag(tag)? }))
}

/// A download that tells how far it is.
struct Told<'a> {
    inner: Box<dyn Read + Send>,
    total: u64,
    read: u64,
    progress: &'a dyn Progress,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        self.progress.update("", "Importing", self.read, self.total);
        Ok(n)
    }
}
