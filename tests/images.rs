//! The images that other tests are made with are what they say, and a registry takes them.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::images::{self, Layout};
use support::registry::Registry;
use support::run;

/// The files of an image's layers, as `tar` lists them.
fn files(layout: &Layout) -> String {
    let registry = Registry::plain();
    registry.push(layout, "x:1");
    let name = format!("docker://{}", registry.name("x:1"));
    let digest = run(Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--format={{range .Layers}}{{.}}{{end}}",
        &name,
    ]));
    run(Command::new("tar").arg("-tf").arg(registry.blob_path(digest.trim())))
}

#[test]
fn busybox_has_a_shell() {
    let files = files(&images::busybox());
    for name in ["bin/busybox", "bin/sh", "etc/passwd", "tmp/"] {
        assert!(files.lines().any(|line| line == name), "{name}");
    }
}

#[test]
fn probe_is_one_static_program() {
    let files = files(&images::probe());
    assert!(files.lines().any(|line| line == "probe"), "{files}");
    let program = images::probe_program();
    let said = run(Command::new(&program).args(["echo", "a", "b"]));
    assert_eq!(said, "a b\n");
    let elf = multi_core::base::hex::encode(&std::fs::read(&program).unwrap()[..4]);
    assert_eq!(elf, "7f454c46");
}

#[test]
fn debian_has_apt() {
    let files = files(&images::debian());
    for name in ["./etc/os-release", "./usr/bin/apt-get", "./bin/bash"] {
        let merged = name.replace("./bin/", "./usr/bin/");
        assert!(files.lines().any(|line| line == name || line == merged), "{name}");
    }
}
