//! Containers of a real daemon from their beginning to their end, each scenario once with our client
//! and once with Docker's own.
#![allow(clippy::unwrap_used)]

mod commit;
mod copy;
mod failures;
mod files;
mod full_disk;
mod health;
mod killed;
mod life;
mod links;
mod logs;
mod mounts;
mod namespaces;
mod network;
mod pausing;
mod privileges;
mod resources;
mod restore;
mod runtimes;
mod settings;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod updating;
mod volumes;
mod watching;

mod pruning;
mod streams;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use support::daemon::Daemon;
use support::{eventually, images, output, run, text};

/// One of the two clients, with the daemon that it speaks to.
struct Cli<'a> {
    daemon: &'a Daemon,
    official: bool,
}

impl Cli<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command =
            if self.official { self.daemon.official_client() } else { self.daemon.client() };
        command.args(args);
        command
    }

    /// Standard output of a command that must succeed.
    fn run(&self, args: &[&str]) -> String {
        run(&mut self.command(args))
    }

    /// Exit code and standard error of a command.
    fn code(&self, args: &[&str]) -> (i32, String) {
        let output = output(&mut self.command(args));
        (output.status.code().unwrap(), text(&output.stderr))
    }

    /// What a template makes of a container.
    fn inspect(&self, container: &str, format: &str) -> String {
        self.run(&["inspect", "-f", format, container]).trim_end().to_string()
    }

    /// The container's events so far, in their order.
    fn events(&self, container: &str) -> Vec<String> {
        self.events_of("container", container)
    }

    /// The events so far of an object of this type.
    fn events_of(&self, kind: &str, name: &str) -> Vec<String> {
        let (kind, filter) = (format!("type={kind}"), format!("{kind}={name}"));
        let until = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let until = format!("{}.{:09}", until.as_secs(), until.subsec_nanos());
        let period = ["events", "--since", "1", "--until", &until];
        let shown = ["--filter", &kind, "--filter", &filter, "--format", "{{.Action}}"];
        self.run(&[&period[..], &shown].concat()).lines().map(ToString::to_string).collect()
    }

    /// Waits until the daemon, which goes on, has nothing of any container.
    fn nothing_left(&self) {
        assert_eq!(self.run(&["ps", "-aq"]), "");
        // Interfaces and namespaces are removed when nobody waits for it.
        eventually("removal of everything", || self.leftovers().is_empty().then_some(()));
    }

    fn leftovers(&self) -> Vec<String> {
        let links = run(self.daemon.namespace().command("ip").args(["-o", "link"]));
        let links = links.lines().filter(|l| l.contains("veth")).map(ToString::to_string);
        let mounts = self.daemon.namespace().mounts();
        let ours = |l: &&str| l.contains("/merged ") || l.contains("/exec/netns/");
        let mounts = mounts.lines().filter(ours).map(ToString::to_string);
        let dirs = [
            self.daemon.data_root().join("containers"),
            self.daemon.exec_root().join("shim"),
            self.daemon.exec_root().join("netns"),
        ];
        let entries = dirs.into_iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
        let files = entries.flatten().map(|entry| entry.path().display().to_string());
        links.chain(mounts).chain(files).collect()
    }
}

/// A daemon that has the image `busybox`.
fn daemon(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(options);
    daemon.load(&images::busybox(), "busybox:latest");
    daemon
}

/// Runs a scenario with each client. It has to remove its containers.
fn with_both(scenario: impl Fn(&Cli)) {
    let daemon = daemon(&[]);
    for official in [false, true] {
        let cli = Cli { daemon: &daemon, official };
        scenario(&cli);
        cli.nothing_left();
    }
    daemon.stop();
}
