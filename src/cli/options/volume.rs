//! `--volume`, `--tmpfs` and `--storage-opt`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::api::types::{Nothing, Set};

/// What `--volume` values ask for.
#[derive(Debug, Default, PartialEq)]
pub struct Volumes {
    /// `source:target[:options]` as the daemon takes it.
    pub binds: Vec<String>,
    /// Paths of anonymous volumes.
    pub anonymous: Set,
}

/// Reads all `--volume` values; a source that starts with `.` is below `current_dir`.
///
/// # Errors
/// `invalid spec: x: empty section between colons` and the like.
pub fn parse(volumes: &[String], current_dir: &Path) -> Result<Volumes, String> {
    let mut out = Volumes::default();
    for spec in volumes {
        let source = source(spec)?;
        if source.is_empty() {
            out.anonymous.insert(spec.clone(), Nothing);
            continue;
        }
        let bind = match spec.split_once(':') {
            Some((host, rest)) if host.starts_with('.') => {
                format!("{}:{rest}", absolute(host, current_dir))
            }
            _ => spec.clone(),
        };
        if !out.binds.contains(&bind) {
            out.binds.push(bind);
        }
    }
    Ok(out)
}

/// The part before the first colon, empty for an anonymous volume.
fn source(spec: &str) -> Result<&str, String> {
    if spec.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if spec.len() <= 2 {
        return Ok("");
    }
    let bad = |why: &str| Err(format!("invalid spec: {spec}: {why}"));
    let sections: Vec<&str> = sections(spec);
    if sections.iter().take(3).any(|s| s.is_empty()) {
        return bad("empty section between colons");
    }
    match sections[..] {
        [_] => Ok(""),
        [source, _] | [source, _, _] => Ok(source),
        [.., ""] => bad("empty section between colons"),
        _ => bad("too many colons"),
    }
}

/// Splits at colons, but not after a single letter, which is a Windows drive.
fn sections(spec: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    for (i, _) in spec.match_indices(':') {
        let section = &spec[start..i];
        if section.chars().count() == 1 && section.chars().all(char::is_alphabetic) {
            continue;
        }
        out.push(section);
        start = i + 1;
    }
    out.push(&spec[start..]);
    out
}

/// `path` below `current_dir`, with `.` and `..` resolved in the text.
pub fn absolute(path: &str, current_dir: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = current_dir.to_string_lossy();
    let base = if path.starts_with('/') { "" } else { &*base };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `--tmpfs path[:options]`.
pub fn tmpfs(values: &[String]) -> BTreeMap<String, String> {
    let pair = |value: &String| {
        let (path, options) = value.split_once(':').unwrap_or((value, ""));
        (path.to_string(), options.to_string())
    };
    values.iter().map(pair).collect()
}

/// `--storage-opt key=value`.
///
/// # Errors
/// `invalid storage option`.
pub fn storage_options(values: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |value: &String| {
        let (key, value) =
            value.split_once('=').ok_or_else(|| "invalid storage option".to_string())?;
        Ok((key.to_string(), value.to_string()))
    };
    values.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(spec: &str) -> Result<Volumes, String> {
        parse(&[spec.to_string()], Path::new("/home/me"))
    }

    #[test]
    fn sources_decide_between_bind_and_anonymous() {
        for (spec, bind) in [
            ("/a:/b", "/a:/b"),
            ("./x:/b:ro", "/home/me/x:/b:ro"),
            ("../x:/b", "/home/x:/b"),
            ("name:/b", "name:/b"),
        ] {
            assert_eq!(one(spec).unwrap().binds, [bind], "{spec}");
        }
        for spec in ["/data", "/d", "d"] {
            let volumes = one(spec).unwrap();
            assert!(volumes.binds.is_empty());
            assert!(volumes.anonymous.contains_key(spec));
        }
    }

    #[test]
    fn wrong_volumes_are_refused_in_dockers_words() {
        for (spec, want) in [
            ("", "invalid empty volume spec"),
            ("/a::ro", "invalid spec: /a::ro: empty section between colons"),
            (":/aa", "invalid spec: :/aa: empty section between colons"),
            ("/a:/b:ro:rw", "invalid spec: /a:/b:ro:rw: too many colons"),
        ] {
            assert_eq!(one(spec).unwrap_err(), want, "{spec}");
        }
    }

    #[test]
    fn tmpfs_and_storage_options_are_pairs() {
        assert_eq!(tmpfs(&["/t:size=1m".into()])["/t"], "size=1m");
        assert_eq!(storage_options(&["size=1g".into()]).unwrap()["size"], "1g");
        assert_eq!(storage_options(&["size".into()]).unwrap_err(), "invalid storage option");
    }
}
