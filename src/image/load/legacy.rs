//! Archives from before Docker 1.10: a directory a layer, each with the image it made, chained by parent.
//!
//! ```text
//! repositories        {"name":{"tag":"<id of the topmost>"}}
//! <id>/json           configuration, with "id" and "parent"
//! <id>/layer.tar      the layer; an empty archive if it changed nothing
//! ```
//!
//! Such an image becomes one of today by Docker's own rule, so that its id is the one Docker gives it:
//! the topmost configuration without its v1 keys, byte for byte otherwise, with `history` and `rootfs`
//! added, keys sorted.
//!
//! Spec: Docker image-spec v1; moby `image/v1/imagev1.go` `MakeConfigFromV1Config` and
//! `image/tarexport/load.go` `legacyLoad` (23.0).

use std::collections::BTreeMap;

use super::{Load, Loaded};
use crate::base::digest::Digest;
use crate::base::json::{self, Value};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result, hex};
use crate::image::config::{History, RootFs};
use crate::image::layers::Layer;
use crate::registry::reference::Reference;
use crate::wire;

/// Longest chain of parents that is followed.
const MAX_CHAIN: usize = 128;
/// Keys of the old configuration that the new one does not have.
const V1_KEYS: &[&str] = &["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

wire! {
    /// What is read of an old configuration.
    struct V1 {
        "id" keep id: String,
        "parent" omit parent: String,
        "created" omit created: Option<Timestamp>,
        "author" omit author: String,
        "comment" omit comment: String,
        "os" omit os: String,
        "container_config" omit container_config: Option<Cmd>,
    }
}

wire! {
    /// The command that made a layer.
    struct Cmd { "Cmd" omit cmd: Option<json::Words> }
}

/// An image under way: its layers so far, their digests and history.
#[derive(Default)]
struct Chain {
    top: Option<Layer>,
    diff_ids: Vec<String>,
    history: Vec<History>,
    config: Vec<u8>,
}

pub(super) fn load(load: &Load<'_>) -> Result<Vec<Loaded>> {
    let repositories: BTreeMap<String, BTreeMap<String, String>> =
        load.json("repositories")?.unwrap_or_default();
    let mut by_id: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for (name, tags) in repositories {
        for (tag, id) in tags {
            let name = Reference::parse(&name)?.with_tag(&tag)?;
            by_id.entry(id).or_default().push(name);
        }
    }
    let mut loaded = Vec::new();
    for (id, names) in by_id {
        let chain = image(load, &id)?;
        let rootfs = RootFs { kind: "layers".into(), diff_ids: chain.diff_ids };
        let config = convert(&chain.config, &rootfs, &chain.history)?;
        loaded.push(load.record(&config, names)?);
    }
    Ok(loaded)
}

/// Unpacks the layers of the image `id`, the lowest first.
fn image(load: &Load<'_>, id: &str) -> Result<Chain> {
    let mut ids = Vec::new();
    let mut next = id.to_string();
    while !next.is_empty() {
        if !hex::is_hex(&next, 64)
            || ids.len() == MAX_CHAIN
            || ids.iter().any(|(i, _, _)| *i == next)
        {
            return Err(Error::invalid(format_args!("invalid archive: parents of image {id:?}")));
        }
        let config = load.bytes(&format!("{next}/json"))?;
        let v1: V1 = json::parse(&config).at(format_args!("reading {next}/json"))?;
        let parent = v1.parent.clone();
        ids.push((std::mem::replace(&mut next, parent), v1, config));
    }
    let mut chain = Chain::default();
    for (id, v1, config) in ids.into_iter().rev() {
        if !matches!(v1.os.as_str(), "" | "linux") {
            return Err(Error::invalid(format_args!("cannot load {} image on linux", v1.os)));
        }
        let unknown = Digest::of(id.as_bytes());
        let path = format!("{id}/layer.tar");
        let layer = load.layer(&path, chain.top.as_ref(), &unknown, |_| Ok(()))?;
        let words = v1.container_config.and_then(|c| c.cmd).map(|w| words(&w)).unwrap_or_default();
        chain.history.push(History {
            created: v1.created,
            author: v1.author,
            created_by: words,
            comment: v1.comment,
            empty_layer: false,
        });
        chain.diff_ids.push(layer.diff_id.to_string());
        chain.top = Some(layer);
        chain.config = config;
    }
    Ok(chain)
}

fn words(words: &json::Words) -> String {
    let text = json::to_string_plain(words);
    match json::parse::<Vec<String>>(text.as_bytes()) {
        Ok(list) => list.join(" "),
        Err(_) => String::new(),
    }
}

/// The configuration of today: members of the old one as they are written, less the v1 keys.
fn convert(old: &[u8], rootfs: &RootFs, history: &[History]) -> Result<Vec<u8>> {
    let mut members = members(old)?;
    members.retain(|key, _| !V1_KEYS.contains(&key.as_str()));
    members.insert("rootfs".into(), json::to_string(rootfs));
    members.insert("history".into(), json::to_string(history));
    let list: Vec<String> =
        members.iter().map(|(key, value)| format!("{}:{value}", json::quote(key))).collect();
    Ok(format!("{{{}}}", list.join(",")).into_bytes())
}

/// The members of a JSON object with their values as they are written, without space between tokens and
/// with Go's escapes.
fn members(text: &[u8]) -> Result<BTreeMap<String, String>> {
    // Well-formed for sure, so that the scan below need not check.
    let _: Value = json::parse(text)?;
    let text = String::from_utf8_lossy(text);
    let mut compact = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let (mut depth, mut starts) = (0usize, Vec::new());
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            c if c.is_ascii_whitespace() => continue,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 1 => starts.push(compact.len()),
            _ => {}
        }
        match c {
            '<' | '>' | '&' => compact.push_str(&format!("\\u{:04x}", c as u32)),
            '\u{2028}' | '\u{2029}' => compact.push_str(&format!("\\u{:04x}", c as u32)),
            c => compact.push(c),
        }
    }
    let inner = compact.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let inner = inner.ok_or_else(|| Error::invalid("image configuration is not an object"))?;
    let mut members = BTreeMap::new();
    let mut from = 0;
    // Offsets are those of the text with its brace.
    for end in starts.into_iter().map(|s| s - 1).chain([inner.len()]) {
        let member = &inner[from..end.max(from)];
        from = end + 1;
        if let Some((key, value)) = split_member(member) {
            members.insert(key, value.to_string());
        }
    }
    Ok(members)
}

/// Key and value of `"key":value`.
fn split_member(member: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    let end = member.char_indices().skip(1).find_map(|(i, c)| match c {
        _ if escaped => {
            escaped = false;
            None
        }
        '\\' => {
            escaped = true;
            None
        }
        '"' => Some(i),
        _ => None,
    })?;
    let key: String = json::parse(&member.as_bytes()[..=end]).ok()?;
    Some((key, member[end + 1..].strip_prefix(':')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_as_they_are_written() {
        let text = br#" { "b" : {"z":1.50, "a":"x , } \" <"} ,"id":"x", "a":[1, 2] } "#;
        let rootfs = RootFs { kind: "layers".into(), diff_ids: Vec::new() };
        let made = String::from_utf8(convert(text, &rootfs, &[]).unwrap()).unwrap();
        assert_eq!(
            made,
            r#"{"a":[1,2],"b":{"z":1.50,"a":"x , } \" \u003c"},"history":[],"rootfs":{"type":"layers"}}"#
        );
        assert!(members(b"[]").is_err());
        assert!(members(b"{}").unwrap().is_empty());
    }
}
