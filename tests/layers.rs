//! Holds every path of the sources against the picture of the layers: each may use those below it.
//!
//! `applets -> cli, api, config -> engine -> build, image, net, volume, logs, plugin, discovery,
//! runtime -> registry, storage, cgroup -> http -> sys -> base`. Within a group nobody knows his
//! neighbour, but for the pairs in `NEIGHBOURS`.

#[path = "support/sources.rs"]
mod sources;

use sources::{Source, code_only};

/// The groups, from the bottom.
const GROUPS: &[&[&str]] = &[
    &["base"],
    &["sys"],
    &["http"],
    &["registry", "storage", "cgroup"],
    &["build", "image", "net", "volume", "logs", "plugin", "discovery", "runtime"],
    &["engine"],
    &["cli", "api", "config"],
    &["applets"],
];

/// User, used, why.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("build", "image", "instructions change an image's configuration"),
    ("cli", "api", "the client shows the wire types"),
    ("config", "cli", "options are read from a command line"),
    ("runtime", "logs", "the shim writes its container's log"),
];

/// What lies at the root of the library without being a layer.
const ROOT: &[&str] = &["VERSION", "REVISION", "BUILD_TIME", "wire"];

fn rank(layer: &str) -> Option<usize> {
    GROUPS.iter().position(|group| group.contains(&layer))
}

/// `src/net/bridge/mod.rs` is `net`, `applets/...` is `applets`; `lib.rs` is no layer.
fn layer_of(path: &str) -> Option<&str> {
    match path.strip_prefix("src/") {
        Some("lib.rs") => None,
        Some(rest) => rest.split(['/', '.']).next(),
        None => path.starts_with("applets/").then_some("applets"),
    }
}

/// How many modules a file is below the root of the library: `src/net/mod.rs` 1, `src/net/a.rs` 2.
fn depth_of(path: &str) -> usize {
    let names = path.trim_start_matches("src/").trim_end_matches(".rs").split('/');
    names.filter(|name| *name != "mod").count()
}

/// The first names of every path in `code` that starts at the root of the library.
fn roots(source: &Source, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "multi_core::"] {
        // In an executable `crate` is the executable itself.
        if start == "crate::" && source.path.starts_with("applets/") {
            continue;
        }
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "_$".contains(c)) {
                found.extend(first_names(&code[at + start.len()..]));
            }
        }
    }
    // A chain of `super::` that climbs out of the layer.
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = code[at..].trim_start_matches("super::");
        let climbs = (code.len() - at - rest.len()) / "super::".len();
        if source.path.starts_with("src/") && climbs >= depth_of(&source.path) {
            let own = layer_of(&source.path);
            found.extend(
                first_names(rest)
                    .into_iter()
                    .filter(|n| rank(n).is_some() && Some(n.as_str()) != own),
            );
        }
    }
    found
}

/// `a` of `a::b`, and `a`, `c` of `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&group[start..i]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..i]));
                start = i + 1;
            }
            _ => {}
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(layer) = layer_of(&source.path) else { continue };
        let Some(rank_of_layer) = rank(layer) else {
            found.push(format!("{}: {layer} has no place in the picture", source.path));
            continue;
        };
        for used in roots(source, &code_only(&source.text)) {
            if used == layer || ROOT.contains(&used.as_str()) {
                continue;
            }
            let below = match rank(&used) {
                Some(rank) => rank < rank_of_layer,
                None => {
                    found.push(format!("{}: unknown crate::{used}", source.path));
                    continue;
                }
            };
            let neighbour = NEIGHBOURS.iter().any(|(a, b, _)| (*a, *b) == (layer, used.as_str()));
            if !below && !neighbour {
                found.push(format!("{}: {layer} must not use {used}", source.path));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_layer_uses_only_what_is_below_it() {
    let sources = sources::read(&["src", "applets"]);
    assert!(sources.len() > 50, "the sources were not found");
    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_gate_sees_each_way_to_break_the_picture() {
    let find = |path: &str, text: &str| {
        violations(&[Source { path: path.into(), text: text.into() }]).join("; ")
    };
    assert_eq!(find("src/net/a.rs", "use crate::base::{Error, At};\ncrate::sys::x();"), "");
    assert_eq!(find("src/net/a.rs", "// use crate::engine::x;\n/* crate::api::y */"), "");
    assert_eq!(find("src/net/a.rs", "\"crate::engine\""), "");
    for text in [
        "use crate::engine::x;",
        "use crate::{base::{a, b}, engine::x};",
        "fn f() { crate::engine::x() }",
        "use super::super::engine::x;",
    ] {
        assert_eq!(find("src/net/a.rs", text), "src/net/a.rs: net must not use engine", "{text}");
    }
    assert_eq!(
        find("src/base/mod.rs", "use super::storage::x;"),
        "src/base/mod.rs: base must not use storage"
    );
    assert_eq!(find("src/net/a/b.rs", "use super::super::runtime::x;"), "");
    assert_eq!(
        find("src/runtime/mod.rs", "use crate::net::x;"),
        "src/runtime/mod.rs: runtime must not use net"
    );
    assert_eq!(find("src/new/mod.rs", ""), "src/new/mod.rs: new has no place in the picture");
    assert_eq!(find("applets/a.rs", "use crate::table; use multi_core::engine::x;"), "");
    assert_eq!(find("src/base/a.rs", "use crate::nosuch;"), "src/base/a.rs: unknown crate::nosuch");
}
