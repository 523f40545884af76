//! Places for a pulled image that need no store: an OCI layout directory, an archive file.

mod archive;
mod layout;

pub use archive::Archive;
pub use layout::LayoutDir;

use super::pull::Image;
use crate::base::digest::Digest;
use crate::base::json;
use crate::registry::manifest::{self, Descriptor, Index, Raw};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";
/// The content of `oci-layout`.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The image's manifest as a layout may hold it: one of Docker's is rewritten with OCI's media types,
/// which changes its digest but none of its blobs.
fn oci(image: &Image) -> Raw {
    if image.raw.media_type == manifest::OCI_MANIFEST {
        return image.raw.clone();
    }
    let mut converted = image.manifest.clone();
    converted.media_type = manifest::OCI_MANIFEST.into();
    converted.config.media_type = manifest::OCI_CONFIG.into();
    for layer in &mut converted.layers {
        layer.media_type = oci_layer(&layer.media_type).into();
    }
    let bytes = json::to_string_plain(&converted).into_bytes();
    Raw { media_type: converted.media_type, digest: Digest::of(&bytes), bytes }
}

fn oci_layer(docker: &str) -> &str {
    match docker {
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        }
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        }
        other => other,
    }
}

/// The entry of `index.json` for a manifest, with the names that the image was asked for by.
fn entry(image: &Image, raw: &Raw) -> Descriptor {
    let mut entry = Descriptor {
        media_type: raw.media_type.clone(),
        digest: raw.digest.to_string(),
        size: i64::try_from(raw.bytes.len()).unwrap_or(i64::MAX),
        ..Descriptor::default()
    };
    if let Some(tag) = image.reference.tag() {
        entry.annotations.insert(REF_NAME.into(), tag.into());
        let name = image.reference.name_only();
        entry.annotations.insert(FULL_NAME.into(), format!("{name}:{tag}"));
    }
    entry
}

fn index_json(manifests: Vec<Descriptor>) -> String {
    json::to_string_plain(&Index { schema_version: 2, manifests, ..Index::default() })
}
