//! Which image of an index is the one for a platform.

use crate::base::{Error, Result};
use crate::registry::manifest::{Descriptor, Index};
use crate::registry::platform::Platform;

/// More entries than any real index has.
const ENTRIES_MAX: usize = 10_000;

/// The best entry for `wanted`. Entries without a platform come last, statements about other images
/// (attestations) never.
///
/// # Errors
/// `NotFound` with Docker's text if there is none.
pub(super) fn select<'a>(
    index: &'a Index,
    wanted: &Platform,
    name: &str,
) -> Result<&'a Descriptor> {
    if index.manifests.len() > ENTRIES_MAX {
        return Err(Error::invalid(format_args!(
            "the manifest list of {name} has {} entries, more than {ENTRIES_MAX}",
            index.manifests.len()
        )));
    }
    let usable =
        index.manifests.iter().filter(|d| (d.is_image() || d.is_index()) && !d.is_attestation());
    let ranked = usable.filter_map(|d| {
        let platform = d.platform.as_ref().filter(|p| !p.architecture.is_empty());
        match platform {
            Some(platform) => wanted.rank(platform).map(|rank| (rank, d)),
            None => Some((usize::MAX, d)),
        }
    });
    // The first of equals wins: that is the order its maker chose.
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, d)| d).ok_or_else(|| {
        Error::not_found(format_args!(
            "no matching manifest for {wanted} in the manifest list entries of {name}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::manifest::OCI_MANIFEST;

    fn entry(digest: &str, platform: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: digest.into(),
            platform: platform.map(|p| Platform::parse(p).unwrap()),
            ..Descriptor::default()
        }
    }

    fn selected(entries: Vec<Descriptor>, wanted: &str) -> Result<String> {
        let index = Index { manifests: entries, ..Index::default() };
        select(&index, &Platform::parse(wanted).unwrap(), "x").map(|d| d.digest.clone())
    }

    #[test]
    fn the_best_platform_wins_and_attestations_never() {
        let mut attestation = entry("att", Some("linux/amd64"));
        attestation.annotations.insert("vnd.docker.reference.type".into(), "x".into());
        let list = || {
            vec![
                attestation.clone(),
                entry("none", None),
                entry("386", Some("linux/386")),
                entry("arm", Some("linux/arm64/v8")),
                entry("amd", Some("linux/amd64")),
                entry("amd2", Some("linux/amd64")),
            ]
        };
        assert_eq!(selected(list(), "linux/amd64").unwrap(), "amd");
        assert_eq!(selected(list(), "linux/arm64").unwrap(), "arm");
        assert_eq!(selected(list(), "linux/s390x").unwrap(), "none");
        assert_eq!(selected(list()[..3].to_vec(), "linux/amd64").unwrap(), "386");
        let e = selected(list()[3..].to_vec(), "linux/s390x").unwrap_err();
        assert_eq!(
            e.to_string(),
            "no matching manifest for linux/s390x in the manifest list entries of x"
        );
        assert!(selected(vec![attestation.clone()], "linux/amd64").is_err());
    }
}
