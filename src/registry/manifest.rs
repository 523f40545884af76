//! Manifests, indexes and the part of image configs that pulling needs, with their media types.
//!
//! What was received is kept byte for byte: its digest is its name. A document that could be read both
//! as an image and as an index is refused, so that two programs cannot see two images in it.
//!
//! Spec: OCI image-spec manifest.md, image-index.md, config.md; distribution `manifest-v2-2.md`.

use std::collections::BTreeMap;

use super::platform::Platform;
use crate::base::digest::Digest;
use crate::base::json::{self, Value, ValueExt};
use crate::base::{At, Error, Result};

/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What is asked for when a manifest is fetched, best first.
pub const ACCEPTED: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];

const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker refuses images with more; overlayfs could not stack them.
const LAYERS_MAX: usize = 4096;

crate::wire! {
    /// Names a piece of content by its digest.
    pub struct Descriptor {
        "mediaType" keep media_type: String,
        "digest" keep digest: String,
        "size" keep size: i64,
        "urls" omit urls: Vec<String>,
        "annotations" omit annotations: BTreeMap<String, String>,
        "platform" omit platform: Option<Platform>,
        "artifactType" omit artifact_type: String,
    }
}

crate::wire! {
    /// An image: its config and its layers, the lowest first.
    pub struct Manifest {
        "schemaVersion" keep schema_version: i64,
        "mediaType" omit media_type: String,
        "artifactType" omit artifact_type: String,
        "config" keep config: Descriptor,
        "layers" keep layers: Vec<Descriptor>,
        "annotations" omit annotations: BTreeMap<String, String>,
    }
}

crate::wire! {
    /// Several images, usually one a platform.
    pub struct Index {
        "schemaVersion" keep schema_version: i64,
        "mediaType" omit media_type: String,
        "manifests" keep manifests: Vec<Descriptor>,
        "annotations" omit annotations: BTreeMap<String, String>,
    }
}

crate::wire! {
    /// The part of an image's config that says what its layers are once they are unpacked.
    pub struct ConfigSummary {
        "architecture" keep architecture: String,
        "os" keep os: String,
        "variant" omit variant: String,
        "rootfs" keep rootfs: RootFs,
    }
}

crate::wire! {
    /// The digests of the uncompressed layers, the lowest first.
    pub struct RootFs {
        "type" keep kind: String,
        "diff_ids" keep diff_ids: Vec<String>,
    }
}

/// A manifest as it was received.
#[derive(Clone, Debug)]
pub struct Raw {
    /// What it is, by its own word or by the header it came with.
    pub media_type: String,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The document itself.
    pub bytes: Vec<u8>,
}

/// A manifest that was read.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Image(Box<Manifest>),
    /// Several images.
    Index(Index),
}

impl Descriptor {
    /// The digest.
    ///
    /// # Errors
    /// `InvalidParameter` if it is malformed.
    pub fn parsed_digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest)
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// `InvalidParameter` if it is negative.
    pub fn length(&self) -> Result<u64> {
        u64::try_from(self.size).map_err(|_| {
            Error::invalid(format_args!("invalid size {} of {}", self.size, self.digest))
        })
    }

    /// Whether this is a statement about another image of the index (provenance, bill of materials).
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown")
    }

    /// Whether it leads to a manifest list or an index.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), DOCKER_LIST | OCI_INDEX)
    }

    /// Whether it leads to an image manifest.
    pub fn is_image(&self) -> bool {
        matches!(self.media_type.as_str(), DOCKER_MANIFEST | OCI_MANIFEST)
    }
}

impl Raw {
    /// Reads the document. `name` is what was asked for, for error texts.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no manifest or an ambiguous one, `Unsupported` for the formats
    /// that are not read.
    pub fn parse(&self, name: &str) -> Result<Document> {
        let whole: Value =
            json::parse(&self.bytes).at(format_args!("reading the manifest of {name}"))?;
        let has = |key: &str| member(&whole, key).is_some();
        let version = member(&whole, "schemaVersion").and_then(Value::as_i64).unwrap_or_default();
        let is_index = match self.media_type.as_str() {
            DOCKER_MANIFEST | OCI_MANIFEST => false,
            DOCKER_LIST | OCI_INDEX => true,
            SCHEMA1 | SCHEMA1_SIGNED => return Err(schema1(name)),
            _ if version == 1 || has("fsLayers") => {
                return Err(schema1(name));
            }
            other => {
                return Err(Error::unsupported(format_args!(
                    "the manifest of {name} has the unsupported media type {other:?}"
                )));
            }
        };
        let (image, index) = (has("config") || has("layers"), has("manifests"));
        if is_index && image || !is_index && index {
            return Err(Error::invalid(format_args!(
                "the manifest of {name} is ambiguous: it has the members of an image and of an index"
            )));
        }
        if version != 2 {
            return Err(Error::invalid(format_args!(
                "the manifest of {name} has the unknown schema version {version}"
            )));
        }
        if is_index {
            return json::parse(&self.bytes)
                .map(Document::Index)
                .at(format_args!("reading the manifest list of {name}"));
        }
        let manifest: Manifest =
            json::parse(&self.bytes).at(format_args!("reading the manifest of {name}"))?;
        manifest.check(name)?;
        Ok(Document::Image(Box::new(manifest)))
    }
}

impl Manifest {
    /// # Errors
    /// `Unsupported` for artifacts that are no images, `InvalidParameter` for malformed descriptors.
    fn check(&self, name: &str) -> Result<()> {
        let config = self.config.media_type.as_str();
        if !self.artifact_type.is_empty() || !matches!(config, DOCKER_CONFIG | OCI_CONFIG | "") {
            let kind = if self.artifact_type.is_empty() { config } else { &self.artifact_type };
            return Err(Error::unsupported(format_args!(
                "{name} is not a container image but an artifact of type {kind:?}"
            )));
        }
        if self.layers.len() > LAYERS_MAX {
            return Err(Error::invalid(format_args!(
                "the manifest of {name} has {} layers, more than {LAYERS_MAX}",
                self.layers.len()
            )));
        }
        for descriptor in std::iter::once(&self.config).chain(&self.layers) {
            descriptor
                .parsed_digest()
                .and_then(|_| descriptor.length())
                .at(format_args!("reading the manifest of {name}"))?;
        }
        Ok(())
    }
}

impl ConfigSummary {
    /// Reads an image's config and checks that it tells as much as is needed.
    ///
    /// # Errors
    /// `InvalidParameter` if it is no image config or does not have `layers` layers.
    pub fn parse(bytes: &[u8], layers: usize, name: &str) -> Result<ConfigSummary> {
        let summary: ConfigSummary =
            json::parse(bytes).at(format_args!("reading the image config of {name}"))?;
        let count = summary.rootfs.diff_ids.len();
        if count != layers {
            return Err(Error::invalid(format_args!(
                "invalid rootfs in the image config of {name}: {count} diff ids for {layers} layers"
            )));
        }
        summary.diff_ids().at(format_args!("reading the image config of {name}"))?;
        Ok(summary)
    }

    /// The digests of the uncompressed layers, the lowest first.
    ///
    /// # Errors
    /// `InvalidParameter` if one is malformed.
    pub fn diff_ids(&self) -> Result<Vec<Digest>> {
        self.rootfs.diff_ids.iter().map(|id| Digest::parse(id)).collect()
    }

    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

/// The media type of a document: its header's, unless that is no manifest type and it names its own.
///
/// # Errors
/// `InvalidParameter` if header and document contradict each other.
pub fn media_type(header: &str, bytes: &[u8], name: &str) -> Result<String> {
    let header = header.split(';').next().unwrap_or_default().trim();
    // What cannot be read here is reported by `Raw::parse`, which knows more about it.
    let whole = json::parse::<Value>(bytes).unwrap_or(Value::Null);
    let own = member(&whole, "mediaType").and_then(Value::as_str).unwrap_or_default();
    let known = |t: &str| ACCEPTED.contains(&t) || t == SCHEMA1 || t == SCHEMA1_SIGNED;
    match (known(header), own.is_empty()) {
        (true, false) if own != header => Err(Error::invalid(format_args!(
            "the manifest of {name} was sent as {header:?} but calls itself {own:?}"
        ))),
        (true, _) => Ok(header.to_string()),
        (false, false) => Ok(own.to_string()),
        (false, true) => Ok(header.to_string()),
    }
}

/// The member `key` of an object, found as `wire!` finds it: without regard to case, unless null.
fn member<'a>(whole: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Object(object) = whole else { return None };
    let exact = object.iter().find(|(k, _)| *k == key);
    let found = exact.or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)))?;
    (!matches!(found.1, Value::Null)).then_some(found.1)
}

fn schema1(name: &str) -> Error {
    Error::unsupported(format_args!(
        "the manifest of {name} is in Docker's image manifest version 2, schema 1, which is not \
         supported; push the image again with a current version of Docker"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(media_type: &str, text: &str) -> Raw {
        Raw {
            media_type: media_type.into(),
            digest: Digest::of(text.as_bytes()),
            bytes: text.into(),
        }
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn images_and_indexes_are_told_apart() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{OCI_CONFIG}","digest":"sha256:{HEX}","size":3}},"layers":[]}}"#
        );
        assert!(matches!(raw(OCI_MANIFEST, &text).parse("x").unwrap(), Document::Image(_)));
        let e = raw(OCI_INDEX, &text).parse("x").unwrap_err();
        assert!(e.to_string().contains("ambiguous"), "{e}");
        let both = text.replace("\"layers\"", "\"manifests\":[],\"layers\"");
        assert!(raw(OCI_MANIFEST, &both).parse("x").is_err());
        let list = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(raw(DOCKER_LIST, list).parse("x").unwrap(), Document::Index(_)));
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let chart = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:{HEX}","size":3}},"layers":[]}}"#
        );
        let e = raw(OCI_MANIFEST, &chart).parse("x").unwrap_err();
        assert_eq!(
            e.to_string(),
            "x is not a container image but an artifact of type \
             \"application/vnd.cncf.helm.config.v1+json\""
        );
        let e = raw(SCHEMA1_SIGNED, r#"{"schemaVersion":1}"#).parse("x").unwrap_err();
        assert!(e.to_string().contains("schema 1"), "{e}");
        let e = raw("text/html", "{}").parse("x").unwrap_err();
        assert!(e.to_string().contains("text/html"), "{e}");
        let negative = chart
            .replace("application/vnd.cncf.helm.config.v1+json", OCI_CONFIG)
            .replace(":3}", ":-3}");
        assert!(raw(OCI_MANIFEST, &negative).parse("x").is_err());
    }

    #[test]
    fn header_and_document_must_agree() {
        let own = format!(r#"{{"mediaType":"{OCI_MANIFEST}"}}"#);
        let kind = |header: &str, body: &str| media_type(header, body.as_bytes(), "x");
        assert_eq!(kind("application/json", &own).unwrap(), OCI_MANIFEST);
        assert_eq!(kind(&format!("{OCI_MANIFEST}; charset=utf-8"), &own).unwrap(), OCI_MANIFEST);
        assert_eq!(kind(OCI_INDEX, "{}").unwrap(), OCI_INDEX);
        assert!(kind(OCI_INDEX, &own).is_err());
    }

    #[test]
    fn a_config_must_name_every_layer() {
        let text = format!(r#"{{"os":"linux","rootfs":{{"diff_ids":["sha256:{HEX}"]}}}}"#);
        assert!(ConfigSummary::parse(text.as_bytes(), 1, "x").is_ok());
        assert!(ConfigSummary::parse(text.as_bytes(), 2, "x").is_err());
        assert!(ConfigSummary::parse(b"{}", 0, "x").is_ok());
    }
}
