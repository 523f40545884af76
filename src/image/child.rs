//! The configuration of a new image: what a container or an archive became.
//!
//! It is written as Docker writes it, the members of the outermost object sorted by name, so that the same
//! input has the same bytes.
//!
//! Spec: moby `image.NewChildImage`, `image.Image.MarshalJSON`.

use super::config::{Config, History, Image, Platform, RootFs};
use crate::base::digest::Digest;
use crate::base::json;
use crate::base::time::Timestamp;
use crate::wire;

/// Digest of an archive without entries: what a container that changed nothing gives.
const EMPTY_TAR: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

wire! {
    /// As `ImageConfig`, in the order of the names.
    struct Document {
        "architecture" keep architecture: String,
        "author" omit author: String,
        "comment" omit comment: String,
        "config" omit config: Option<Config>,
        "container" omit container: String,
        "container_config" omit container_config: Option<Config>,
        "created" omit created: Option<Timestamp>,
        "docker_version" omit docker_version: String,
        "history" omit history: Vec<History>,
        "os" keep os: String,
        "os.features" omit os_features: Vec<String>,
        "os.version" omit os_version: String,
        "rootfs" omit rootfs: Option<RootFs>,
        "variant" omit variant: String,
    }
}

/// What a new image is made of.
#[derive(Clone, Debug, Default)]
pub struct Child {
    /// What its containers run.
    pub config: Config,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// The container it comes from, and that one's configuration.
    pub container: Option<(String, Config)>,
}

/// Whether the layer has nothing in it and is left out of images.
pub fn is_empty(diff_id: &Digest) -> bool {
    diff_id.hex() == EMPTY_TAR
}

/// The bytes of the configuration of `child` on top of `parent`, with the layer `diff_id`.
pub fn on_image(child: &Child, parent: Option<&Image>, diff_id: &Digest) -> Vec<u8> {
    let created = Timestamp::now();
    let empty = is_empty(diff_id);
    let (container, container_config) = child.container.clone().unwrap_or_default();
    let words = container_config.cmd.iter().flat_map(|words| words.iter());
    let mut diff_ids: Vec<String> =
        parent.iter().flat_map(|p| &p.diff_ids).map(ToString::to_string).collect();
    if !empty {
        diff_ids.push(diff_id.to_string());
    }
    let mut history = parent.map(|p| p.config.history.clone()).unwrap_or_default();
    history.push(History {
        created: Some(created),
        author: child.author.clone(),
        created_by: words.cloned().collect::<Vec<_>>().join(" "),
        comment: child.comment.clone(),
        empty_layer: empty,
    });
    let platform = parent.map_or_else(Platform::host, Image::platform);
    let document = Document {
        architecture: platform.architecture,
        author: child.author.clone(),
        config: Some(child.config.clone()),
        container,
        container_config: Some(container_config),
        created: Some(created),
        docker_version: crate::VERSION.into(),
        history,
        os: platform.os,
        os_features: parent.map(|p| p.config.os_features.clone()).unwrap_or_default(),
        os_version: parent.map(|p| p.config.os_version.clone()).unwrap_or_default(),
        rootfs: Some(RootFs { kind: "layers".into(), diff_ids }),
        variant: platform.variant,
        ..Document::default()
    };
    json::to_string(&document).into_bytes()
}

/// The bytes of the configuration of an image that is the one layer `diff_id`, for `platform`.
pub fn imported(child: &Child, platform: &Platform, diff_id: &Digest) -> Vec<u8> {
    let created = Timestamp::now();
    let document = Document {
        architecture: platform.architecture.clone(),
        comment: child.comment.clone(),
        config: Some(child.config.clone()),
        container_config: Some(Config::default()),
        created: Some(created),
        docker_version: crate::VERSION.into(),
        history: vec![History {
            created: Some(created),
            comment: child.comment.clone(),
            ..History::default()
        }],
        os: platform.os.clone(),
        rootfs: Some(RootFs { kind: "layers".into(), diff_ids: vec![diff_id.to_string()] }),
        variant: platform.variant.clone(),
        ..Document::default()
    };
    json::to_string(&document).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: &str) -> Digest {
        Digest::from_hex(&c.repeat(64)).unwrap()
    }

    #[test]
    fn a_child_has_its_parents_history_and_one_more() {
        let base = Child { comment: "base".into(), ..Child::default() };
        let parent = imported(&base, &Platform::new("linux", "arm64", "v8"), &digest("a"));
        let parent = Image::parse(&parent).unwrap();
        let config =
            Config { cmd: Some(vec!["a".into(), "b c".into()].into()), ..Config::default() };
        let child = Child {
            author: "me".into(),
            comment: "why".into(),
            container: Some(("c1".into(), config)),
            ..Child::default()
        };
        let bytes = on_image(&child, Some(&parent), &digest("b"));
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with(r#"{"architecture":"arm64","author":"me","config":{"#), "{text}");
        let image = Image::parse(&bytes).unwrap();
        assert_eq!(image.diff_ids, [digest("a"), digest("b")]);
        let history = &image.config.history;
        assert_eq!((history.len(), history[0].comment.as_str()), (2, "base"));
        assert_eq!((history[1].created_by.as_str(), history[1].author.as_str()), ("a b c", "me"));

        let empty = Digest::of(&[0; 1024]);
        let image = Image::parse(&on_image(&child, Some(&parent), &empty)).unwrap();
        assert_eq!(image.diff_ids, [digest("a")]);
        assert!(image.config.history[1].empty_layer);
    }
}
