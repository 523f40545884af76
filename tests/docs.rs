//! Manual pages and help texts that are committed equal what the executable prints.
//!
//! `BLESS=1 cargo test --test docs` writes them anew.
#![allow(clippy::unwrap_used)]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the executable prints for these arguments.
fn print(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_multi"))
        .args(words)
        .env_clear()
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{told}", output.status);
    assert_eq!(told, "", "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the pages' files.
fn pages() -> Vec<String> {
    print(&["help", "--man"]).lines().map(String::from).collect()
}

/// Holds the files of `dir` against `texts`, or writes them.
fn compare(dir: &Path, texts: &BTreeMap<String, String>) {
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in texts {
            fs::write(dir.join(name), text).unwrap();
        }
    }
    let mut wrong = Vec::new();
    let listed = fs::read_dir(dir).into_iter().flatten();
    let present: BTreeSet<String> =
        listed.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for name in present.iter().filter(|n| !texts.contains_key(*n)) {
        wrong.push(format!("{name}: nothing prints it; remove it"));
    }
    for (name, text) in texts {
        let committed = fs::read_to_string(dir.join(name)).unwrap_or_default();
        let differs = committed.lines().zip(text.lines()).position(|(a, b)| a != b);
        match differs {
            _ if committed == *text => {}
            Some(line) => wrong.push(format!(
                "{name}:{}: committed {:?}, printed {:?}",
                line + 1,
                committed.lines().nth(line).unwrap_or_default(),
                text.lines().nth(line).unwrap_or_default()
            )),
            None => wrong.push(format!("{name}: one is the beginning of the other")),
        }
    }
    assert!(wrong.is_empty(), "{} (BLESS=1 writes anew)\n{}", dir.display(), wrong.join("\n"));
}

#[test]
fn manual_pages_are_up_to_date() {
    let pages = pages();
    assert!(pages.contains(&"multi.1".to_string()));
    let texts = pages.iter().map(|name| (name.clone(), print(&["help", "--man", name]))).collect();
    compare(&sources::root().join("man"), &texts);
}

#[test]
fn help_texts_are_up_to_date() {
    let texts = pages()
        .iter()
        .map(|file| {
            // `docker-run.1` documents `docker run`.
            let name = file.rsplit_once('.').unwrap().0;
            let mut words: Vec<&str> = name.split('-').collect();
            if words[0] == "multi" {
                words = name.strip_prefix("multi-").into_iter().collect();
            }
            if !words.is_empty() {
                words.push("--help");
            }
            (format!("{name}.txt"), print(&words))
        })
        .collect();
    compare(&sources::root().join("tests/golden/help"), &texts);
}

#[test]
fn manual_pages_are_well_formed() {
    for page in pages() {
        let text = print(&["help", "--man", &page]);
        assert!(text.starts_with(".TH \""), "{page}");
        let (name, _) = page.rsplit_once('.').unwrap();
        let line = text.lines().nth(2).unwrap().replace("\\-", "-");
        assert!(line.starts_with(&format!("{name} - ")), "{page}: {line}");
        assert!(text.is_ascii(), "{page} holds what old roff cannot print");
    }
}
