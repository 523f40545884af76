//! No option of the daemon is accepted and ignored: every field of its configuration is read by
//! something outside the configuration itself.
#![allow(clippy::unwrap_used)]

#[path = "support/sources.rs"]
mod sources;

use sources::{code_only, read};

/// The names of the public fields of `struct DaemonConfig`.
fn fields() -> Vec<String> {
    let all = read(&["src/config/daemon"]);
    let module = all.iter().find(|s| s.path.ends_with("daemon/mod.rs")).unwrap();
    let body = module.text.split("pub struct DaemonConfig {").nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    let field = |line: &str| line.trim().strip_prefix("pub ")?.split(':').next().map(String::from);
    body.lines().filter_map(field).collect()
}

/// Whether `code` reads a field of that name.
fn reads(code: &str, field: &str) -> bool {
    code.match_indices(&format!(".{field}")).any(|(at, found)| {
        let after = code[at + found.len()..].chars().next();
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '(')
    })
}

#[test]
fn every_option_of_the_daemon_has_an_effect() {
    let fields = fields();
    assert!(fields.len() > 20, "the fields were not found");
    let mut users = String::new();
    for source in read(&["src", "applets"]) {
        // What log() and network() hand on is read there, by its own name.
        let start = match source.path.as_str() {
            "src/config/daemon/mod.rs" => source.text.find("\nimpl DaemonConfig").unwrap(),
            "src/config/daemon/checks.rs" => source.text.find("fn network(").unwrap(),
            path if path.starts_with("src/config/") => continue,
            _ => 0,
        };
        users.push_str(&code_only(&source.text[start..]));
    }
    let unread: Vec<&String> = fields.iter().filter(|f| !reads(&users, f)).collect();
    assert!(unread.is_empty(), "accepted and ignored: {unread:?}");
}

#[test]
fn a_field_is_read_by_its_whole_name() {
    assert!(reads("config.mtu,", "mtu"));
    assert!(!reads("config.mtu_bytes", "mtu") && !reads("x.mtu()", "mtu"));
}
