//! The house style, as far as a program can see it.
#![allow(clippy::unwrap_used)]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sources::{Source, code_only, read, root};

/// The longest a file may be.
const MAX_LINES: usize = 800;

/// Files that start outside programs, which are the feature there.
const COMMANDS: &[(&str, &str)] = &[
    ("src/config/client/credentials.rs", "docker-credential-NAME keeps the user's secrets"),
    ("src/net/firewall/iptables.rs", "the iptables back end is that program"),
    ("src/net/proxy/start.rs", "the userland proxy is this executable under another name"),
    ("src/runtime/hooks.rs", "hooks of a bundle are programs"),
    ("src/runtime/shim/external.rs", "runtimes of the user are programs"),
];

/// Why each dependency is worth its weight.
const CRATES: &[(&str, &str)] = &[
    ("argh", "command lines and their metadata"),
    ("flate2", "gzip layers, in Rust"),
    ("httparse", "heads of requests and answers"),
    ("libc", "calls that nix lacks"),
    ("log", "the facade that the libraries below speak too"),
    ("miniserde", "JSON of the API and of state files at a third of serde's size"),
    ("nix", "system calls with types"),
    ("rustls", "TLS without a C library"),
    ("serde", "for serde_json"),
    ("serde_json", "files that people edit: positions in errors, unknown keys"),
    ("sha2", "digests, with the processor's own instructions"),
    ("syscalls", "names and numbers of system calls for seccomp"),
    ("tar", "headers of layers"),
    ("ureq", "HTTP to registries"),
    ("webpki-roots", "authorities where the host has none"),
    ("zstd", "zstd layers, six times faster than in Rust"),
];

/// Crates that are in the tree in two versions, and why that cannot be helped.
const TWICE: &[(&str, &str)] = &[
    ("getrandom", "ring has the older one"),
    ("syn", "derive macros of serde and of others; not in the executable"),
];

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn all() -> Vec<Source> {
    let sources = read(&["src", "applets", "tests"]);
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

/// Lines of code (not of comments or strings) that hold `word` as a whole, with their numbers.
fn lines_with(source: &Source, word: &str) -> Vec<usize> {
    let code = code_only(&source.text);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let starts = !word.starts_with(is_word) || !before.is_some_and(is_word);
            let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
            starts && ends
        })
    };
    code.lines().enumerate().filter(|(_, l)| whole(l)).map(|(i, _)| i + 1).collect()
}

/// Whether the file holds tests only.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

/// The line where the tests inside a file begin.
fn tests_begin(source: &Source) -> usize {
    match is_test(&source.path) {
        true => 0,
        false => {
            let at = source.text.lines().position(|l| l.trim() == "#[cfg(test)]");
            at.unwrap_or(usize::MAX)
        }
    }
}

/// `path:line: what` for each of `words` outside tests, unless `allowed` says otherwise.
fn forbidden(words: &[&str], allowed: &dyn Fn(&str) -> bool, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in read(&["src", "applets"]).iter().filter(|s| !allowed(&s.path)) {
        let tests = tests_begin(source);
        for word in words {
            for line in lines_with(source, word).into_iter().filter(|l| *l <= tests) {
                found.push(format!("{}:{line}: {what}: {word}", source.path));
            }
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    report(
        all()
            .iter()
            .filter(|s| !s.text.starts_with("//!"))
            .map(|s| format!("{}: no header", s.path))
            .collect(),
    );
}

#[test]
fn no_file_is_too_long() {
    let lines = |s: &Source| s.text.lines().count();
    report(
        all()
            .iter()
            .filter(|s| lines(s) > MAX_LINES)
            .map(|s| format!("{}: {} lines", s.path, lines(s)))
            .collect(),
    );
}

#[test]
fn names_of_files_say_something() {
    let vague = ["utils", "util", "helpers", "helper", "misc", "common", "manager"];
    let name = |s: &Source| s.path.rsplit('/').next().unwrap().trim_end_matches(".rs").to_string();
    report(
        all()
            .iter()
            .filter(|s| vague.contains(&name(s).as_str()))
            .map(|s| format!("{}: a name that says nothing", s.path))
            .collect(),
    );
}

#[test]
fn unsafe_code_stays_in_its_home() {
    let home = |path: &str| {
        path.starts_with("src/sys/") || path.starts_with("src/runtime/stages") || is_test(path)
    };
    report(forbidden(
        &["unsafe", "unsafe_code"],
        &|p| home(p) || p == "src/lib.rs" || p == "applets/main.rs",
        "unsafe code",
    ));
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = forbidden(
        &[concat!("to", "do!"), concat!("unimple", "mented!"), "dbg!"],
        &|_| false,
        "unfinished",
    );
    for source in all() {
        for mark in [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")] {
            let lines = source.text.lines().enumerate().filter(|(_, l)| l.contains(mark));
            found.extend(lines.map(|(i, _)| format!("{}:{}: {mark}", source.path, i + 1)));
        }
        for line in lines_with(&source, concat!("#[ig", "nore")) {
            found.push(format!("{}:{line}: a test that does not run", source.path));
        }
    }
    report(found);
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    let paths = [
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/tgt"),
        concat!("/home/", "us"),
        concat!("/root/", ".cargo"),
    ];
    let mut found = Vec::new();
    for source in all() {
        for path in paths {
            let lines = source.text.lines().enumerate().filter(|(_, l)| l.contains(path));
            found.extend(lines.map(|(i, _)| format!("{}:{}: {path}", source.path, i + 1)));
        }
    }
    report(found);
}

#[test]
fn printing_goes_through_one_place() {
    report(forbidden(
        &["println!", "print!", "eprintln!", "eprint!"],
        &|path| path == "src/cli/print.rs",
        "panics when the reader is gone; use cli::print or the log",
    ));
}

#[test]
fn outside_programs_are_started_only_where_they_are_the_feature() {
    let listed = |path: &str| COMMANDS.iter().any(|(p, _)| *p == path) || is_test(path);
    report(forbidden(&["Command::new"], &listed, "starts a program"));
}

#[test]
fn no_name_service_function_is_called() {
    // A static glibc loads the host's modules for these, of whatever version they are.
    let words = [
        "getpwnam",
        "getpwnam_r",
        "getpwuid",
        "getpwuid_r",
        "getgrnam",
        "getgrnam_r",
        "getgrgid",
        "getgrgid_r",
        "getgrouplist",
        "initgroups",
        "getaddrinfo",
        "gethostbyname",
        "getnameinfo",
        "ToSocketAddrs",
        "to_socket_addrs",
        "User::from_name",
        "User::from_uid",
        "Group::from_name",
        "Group::from_gid",
        "lookup_host",
    ];
    report(forbidden(&words, &|_| false, "name service"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest.split("[dependencies]").nth(1).unwrap();
    let table = table.split("\n[").next().unwrap();
    let declared: BTreeSet<&str> = table
        .lines()
        .filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|l| l.split([' ', '=']).next())
        .collect();
    let reasons: BTreeSet<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, reasons);
}

#[test]
fn no_crate_is_in_the_tree_twice_without_need() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ") {
            *versions.entry(name.trim_matches('"')).or_default() += 1;
        }
    }
    let twice: BTreeSet<&str> =
        versions.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name).collect();
    let known: BTreeSet<&str> = TWICE.iter().map(|(name, _)| *name).collect();
    assert_eq!(twice, known);
}

#[test]
fn the_gate_reads_code_and_not_words_about_it() {
    let source = |text: &str| Source { path: "src/x.rs".into(), text: text.into() };
    let lines = |text: &str| lines_with(&source(text), "unsafe");
    assert_eq!(lines("fn f() {\n    unsafe { g() }\n}"), [2]);
    for text in [
        "// unsafe",
        "\"unsafe\"",
        "/* a\nunsafe */",
        "r#\"unsafe\"#",
        "not_unsafe",
        "'\"' // unsafe",
    ] {
        assert!(lines(text).is_empty(), "{text}");
    }
    assert_eq!(lines("let q = '\"'; unsafe {}"), [1]);
    assert_eq!(lines("let s = \"a \\\n b\";\nunsafe {}"), [3]);
    assert_eq!(lines("let s = \"a\\\"\"; unsafe {}"), [1]);
    assert_eq!(tests_begin(&source("a\n#[cfg(test)]\nmod tests;")), 1);
}
