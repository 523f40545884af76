//! Places for a pulled image that need no store: an OCI layout directory, an archive file.

mod archive;
mod layout;

pub use archive::Archive;
pub use layout::LayoutDir;

use super::pull::Image;
use crate::base::json;
use crate::registry::manifest::{Descriptor, Index};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";
/// The content of `oci-layout`.
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The entry of `index.json` for an image, with the names that it was asked for by.
fn entry(image: &Image) -> Descriptor {
    let mut entry = Descriptor {
        media_type: image.raw.media_type.clone(),
        digest: image.raw.digest.to_string(),
        size: i64::try_from(image.raw.bytes.len()).unwrap_or(i64::MAX),
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
