//! Pulling an image: from a name to layers in a [`Sink`], with Docker's progress.
//!
//! ```text
//!  name -> manifest or index -> manifest -> config -> layers ------------------------> finish
//!          (Client::manifest)   (select)              several at once, each a pipeline:
//!                                                     fetch + hash -> inflate | hash -> Sink::fill
//!                                                     then Sink::commit, the lowest layer first
//! ```
//!
//! Nothing is written by the pull itself: a [`Sink`] decides what a layer becomes. A layer is committed
//! only after the digest of what was fetched and the digest of what was unpacked were found right, and
//! after all layers below it. On any failure the other downloads are cut, and what was filled but not
//! committed is given back with [`Sink::abandon`].
//!
//! Memory: a buffer of a connection, the window of the decoder and a pipe of at most 256 KiB a layer.

mod layers;
mod select;

use std::io::Read;

use super::auth::Credentials;
use super::client::Client;
use super::manifest::{ConfigSummary, Descriptor, Document, Manifest, Raw};
use super::platform::Platform;
use super::reference::Reference;
use super::settings::Settings;
use crate::base::cancel::Cancel;
use crate::base::digest::Digest;
use crate::base::progress::Progress;
use crate::base::{At, Error, Result};

/// Longest config of an image, in bytes.
const CONFIG_MAX: u64 = 8 * 1024 * 1024;
/// Indexes that may lead to an index before the image.
const DEPTH_MAX: usize = 3;

/// What is to be pulled, and as whom.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Registries' settings.
    pub settings: &'a Settings,
    /// The image; it must have a tag or a digest.
    pub reference: &'a Reference,
    /// The platform that the user asked for; this machine's if `None`.
    pub platform: Option<&'a Platform>,
    /// Who asks.
    pub credentials: &'a Credentials,
}

/// An image of which everything but the content of its layers is known.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name it was asked for by.
    pub reference: Reference,
    /// What the name led to, if that was a list of images.
    pub index: Option<Raw>,
    /// The image's manifest as it was received.
    pub raw: Raw,
    /// The same, read.
    pub manifest: Manifest,
    /// Digest of the config, which is the image's id.
    pub config_digest: Digest,
    /// The config as it was received.
    pub config: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed content.
    pub diff_id: Digest,
    /// Digest that stands for this layer and all below it.
    pub chain_id: Digest,
}

impl Image {
    /// The digest that the name led to, the one that users see and pin.
    pub fn target_digest(&self) -> Digest {
        self.index.as_ref().unwrap_or(&self.raw).digest
    }
}

/// What a sink wants of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The bytes that the registry has.
    Blob,
    /// An uncompressed tar archive.
    Tar,
}

/// Where a pulled image goes. Methods are called from several threads, but for one layer never at the
/// same time.
pub trait Sink: Sync {
    /// What [`Sink::fill`] gets.
    fn form(&self) -> Form;

    /// Whether a layer can be filled only after the ones below it were committed.
    fn in_order(&self) -> bool {
        false
    }

    /// Whether [`Sink::fill`] reads the stream to its very end and gives its digest.
    fn hashes(&self) -> bool {
        false
    }

    /// The bytes of the image's config if the image is complete, so that nothing more need be fetched.
    fn known(&self, _config: &Digest) -> Option<Vec<u8>> {
        None
    }

    /// Called before the first layer. Returns how many of the lowest layers are there already.
    ///
    /// # Errors
    /// Any; the pull ends with it.
    fn begin(&self, image: &Image) -> Result<usize>;

    /// Called before layer `index` is fetched; may wait until another pull of the same layer is done,
    /// but not after `cancel`. False if the layer is there by now.
    ///
    /// # Errors
    /// `Cancelled`, or any other; the pull ends with it.
    fn claim(&self, _image: &Image, _index: usize, _cancel: &Cancel) -> Result<bool> {
        Ok(true)
    }

    /// Takes in the content of layer `index`. Content that `stream` holds beyond what is read is read
    /// and checked by the caller. Gives the digest of the stream if the sink [hashes](Sink::hashes).
    ///
    /// # Errors
    /// Any; the pull ends with it. Nothing of the layer may be left behind then.
    fn fill(&self, image: &Image, index: usize, stream: &mut dyn Read) -> Result<Option<Digest>>;

    /// Makes layer `index` part of the store. All layers below it are.
    ///
    /// # Errors
    /// Any; the pull ends with it. Nothing of the layer may be left behind then.
    fn commit(&self, image: &Image, index: usize) -> Result<()>;

    /// Takes a filled layer back that will not be committed, and gives up every claim on it.
    fn abandon(&self, image: &Image, index: usize);

    /// Called when all layers are there. True if the name meant another image before, or none.
    ///
    /// # Errors
    /// Any.
    fn finish(&self, image: &Image) -> Result<bool>;
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub config: Digest,
    /// The digest that the name led to.
    pub digest: Digest,
    /// Whether the name means another image now.
    pub newer: bool,
}

/// Pulls one image into `sink`.
///
/// # Errors
/// Those of the registry and of the sink, in Docker's words; `Cancelled` after `cancel`.
pub fn pull(
    request: &Request<'_>,
    sink: &dyn Sink,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Pulled> {
    cancel.check()?;
    let reference = request.reference;
    // The first failure ends the other downloads as well.
    let stop = Cancel::new();
    let stopper = stop.clone();
    let _guard = cancel.on_cancel(move || stopper.cancel());
    let client = Client::new(request.settings, reference.domain(), request.credentials, &stop)?;
    let outcome = run(request, &client, sink, progress, &stop);
    if cancel.is_cancelled() { Err(Error::cancelled()) } else { outcome }
}

fn run(
    request: &Request<'_>,
    client: &Client,
    sink: &dyn Sink,
    progress: &dyn Progress,
    stop: &Cancel,
) -> Result<Pulled> {
    let reference = request.reference;
    let shown = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_string(),
    };
    let raw = client.manifest(reference)?;
    progress.message(&shown, &format!("Pulling from {}", reference.path()));
    let mut image = choose(client, request, raw)?;
    match sink.known(&image.config_digest) {
        Some(config) => read_config(request, &mut image, config)?,
        None => {
            let config = client
                .blob_bytes(reference, &image.manifest.config, CONFIG_MAX)
                .at("error pulling image configuration")?;
            read_config(request, &mut image, config)?;
            layers::fetch(
                &layers::Work { client, sink, progress, image: &image, stop },
                request.settings.max_concurrent_downloads,
            )?;
        }
    }
    stop.check()?;
    let newer = sink.finish(&image)?;
    let digest = image.target_digest();
    progress.message("", &format!("Digest: {digest}"));
    let name = reference.familiar();
    progress.message(
        "",
        &if newer {
            format!("Status: Downloaded newer image for {name}")
        } else {
            format!("Status: Image is up to date for {name}")
        },
    );
    Ok(Pulled { config: image.config_digest, digest, newer })
}

/// Follows indexes to the manifest of the platform that is wanted.
fn choose(client: &Client, request: &Request<'_>, first: Raw) -> Result<Image> {
    let reference = request.reference;
    let host = Platform::host();
    let wanted = request.platform.unwrap_or(&host);
    let name = reference.familiar();
    let (mut index, mut raw) = (None, first);
    for _ in 0..=DEPTH_MAX {
        match raw.parse(&name)? {
            Document::Image(manifest) => {
                let config_digest = manifest.config.parsed_digest()?;
                return Ok(Image {
                    reference: reference.clone(),
                    index,
                    raw,
                    manifest: *manifest,
                    config_digest,
                    config: Vec::new(),
                    layers: Vec::new(),
                });
            }
            Document::Index(list) => {
                let chosen = select::select(&list, wanted, &name)?;
                let digest = chosen.parsed_digest()?;
                let next = client.manifest(&reference.with_digest(digest))?;
                if next.bytes.len() as u64 != chosen.length()? {
                    return Err(Error::invalid(format_args!(
                        "the manifest {digest} is {} bytes long, the list says {}",
                        next.bytes.len(),
                        chosen.size
                    )));
                }
                // Only the outermost list is what the name stands for.
                let outer = std::mem::replace(&mut raw, next);
                index.get_or_insert(outer);
            }
        }
    }
    Err(Error::invalid(format_args!("the manifest lists of {name} are nested too deeply")))
}

/// Checks the config and puts it and what it says of the layers into `image`.
fn read_config(request: &Request<'_>, image: &mut Image, config: Vec<u8>) -> Result<()> {
    let name = request.reference.familiar();
    image.config = config;
    let summary = ConfigSummary::parse(&image.config, image.manifest.layers.len(), &name)?;
    let (platform, host) = (summary.platform(), Platform::host());
    if !summary.os.is_empty() && summary.os != host.os {
        return Err(Error::unsupported(format_args!(
            "image operating system \"{}\" cannot be used on this platform: operating system is \
             not supported",
            summary.os
        )));
    }
    if let Some(wanted) = request.platform
        && !summary.architecture.is_empty()
        && wanted.rank(&platform).is_none()
    {
        return Err(Error::not_found(format_args!(
            "image with reference {name} was found but its platform ({platform}) does not match \
             the specified platform ({wanted})"
        )));
    }
    let mut chain = None;
    for (descriptor, diff_id) in image.manifest.layers.iter().zip(summary.diff_ids()?) {
        let chain_id = chain_id(chain.as_ref(), &diff_id);
        chain = Some(chain_id);
        image.layers.push(Layer {
            descriptor: descriptor.clone(),
            digest: descriptor.parsed_digest()?,
            diff_id,
            chain_id,
        });
    }
    Ok(())
}

/// The digest of a layer together with all below it (OCI image-spec config.md, "Layer ChainID").
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => *diff_id,
        Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
    }
}
