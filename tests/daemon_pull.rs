//! Pulls through the daemon, asked by our client and by Docker's.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::daemon::Daemon;
use support::{images, output, text};

/// Runs a client and returns what it said on both streams, and its exit code.
fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = output(command);
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

#[test]
fn both_clients_pull_and_see_the_image() {
    let daemon = Daemon::start();
    let registry = daemon.registry();
    registry.push(&images::busybox(), "busybox:1");
    let name = registry.name("busybox:1");
    for mut client in [daemon.client(), daemon.official_client()] {
        let (text, code) = said(client.args(["pull", &name]));
        assert_eq!(code, Some(0), "{text}\n{}", daemon.log());
        assert!(text.contains("1: Pulling from busybox\n"), "{text}");
        assert!(text.ends_with(&format!("{name}\n")), "{text}");
    }
    let (text, _) = said(daemon.official_client().args(["pull", &name]));
    assert!(text.contains(&format!("Status: Image is up to date for {name}\n")), "{text}");
    let (text, _) = said(daemon.official_client().args(["images", "-q", "--no-trunc"]));
    assert_eq!(text.trim().len(), "sha256:".len() + 64, "{text}");
    daemon.stop();
}

#[test]
fn what_the_registry_does_not_have_is_said_in_dockers_words() {
    let daemon = Daemon::start();
    let registry = daemon.registry();
    registry.push(&images::busybox(), "busybox:1");
    for mut client in [daemon.client(), daemon.official_client()] {
        let name = registry.name("busybox:nosuch");
        let (text, code) = said(client.args(["pull", &name]));
        assert_eq!(code, Some(1), "{text}");
        assert_eq!(
            text,
            format!(
                "Error response from daemon: manifest for {name} not found: manifest unknown: \
                 manifest unknown\n"
            )
        );
    }
    daemon.stop();
}
