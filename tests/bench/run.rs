//! How long the everyday commands take and what the daemon costs, beside Debian's `docker.io` in the same
//! run: `cargo bench --bench peers` (as root). `MULTI_BINARY` names another executable than the one built
//! for the bench, such as the musl release file; `BENCH_RUNS` sets the number of timed runs. Words after
//! `--` choose groups of figures: `cargo bench --bench peers -- commands many`.
//!
//! Both engines run in namespaces of their own, on the same disk, with the same image. Commands alternate,
//! one of each in turn, so that a machine whose speed drifts slows both. Medians are printed, and ratios.

#[path = "../support/mod.rs"]
mod support;

mod cost;
mod many;
mod oci;
mod output;
mod peers;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use peers::{Docker, Multi, Peer};

/// Prints its figures of both engines; the number is that of timed runs.
type Group = fn(&Multi, &Docker, usize);

/// Groups of figures, in the order in which they are printed. Each gets both engines with an image
/// `busybox` and leaves no container.
const GROUPS: &[(&str, Group)] = &[
    ("commands", commands),
    ("many", many::containers),
    ("oci", oci::runs),
    ("output", output::output),
    ("memory", |ours, theirs, _| cost::memory(ours, theirs)),
    ("size", |_, theirs, _| cost::size(theirs)),
    ("start", |_, _, runs| cost::start(runs.min(10))),
];

fn main() {
    // `cargo test` builds and starts benches too; it has no business measuring.
    let (flags, words): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    if !flags.iter().any(|flag| flag == "--bench") {
        return;
    }
    if let Some(word) = words.iter().find(|word| !GROUPS.iter().any(|(name, _)| name == word)) {
        eprintln!(
            "no group {word:?}; there are {}",
            GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        );
        std::process::exit(2);
    }
    let runs = std::env::var("BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let (ours, theirs) = (Multi::start(), Docker::start());
    for peer in [&ours as &dyn Peer, &theirs] {
        peer.load(&support::images::busybox(), "busybox:latest");
    }
    println!("{:<44} {:>10} {:>10} {:>8}", "", "multi", "docker", "ratio");
    for (name, group) in GROUPS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            group(&ours, &theirs, runs);
        }
    }
    ours.stop();
    theirs.stop();
}

/// The commands that users wait for.
fn commands(ours: &Multi, theirs: &Docker, runs: usize) {
    let run = |network: &'static str| vec!["run", "--rm", "--net", network, "busybox", "true"];
    compare("docker run --rm busybox true", ours, theirs, &run("bridge"), runs);
    compare("docker run --rm --net none busybox true", ours, theirs, &run("none"), runs);
    for peer in [ours as &dyn Peer, theirs] {
        peer.docker(&["run", "-d", "--name", "sleeper", "busybox", "sleep", "1000000"]);
    }
    compare("docker exec sleeper true", ours, theirs, &["exec", "sleeper", "true"], runs);
    compare("docker ps", ours, theirs, &["ps"], runs);
    for peer in [ours as &dyn Peer, theirs] {
        peer.docker(&["rm", "-f", "sleeper"]);
    }
}

fn compare(what: &str, ours: &dyn Peer, theirs: &dyn Peer, args: &[&str], runs: usize) {
    let mut times = [Vec::new(), Vec::new()];
    // The first round warms caches up and is not counted.
    for round in 0..=runs {
        for (peer, times) in [ours, theirs].into_iter().zip(&mut times) {
            let time = time(peer.client().args(args));
            if round > 0 {
                times.push(time);
            }
        }
    }
    let [ours, theirs] = times.map(median);
    row(what, ours.as_secs_f64() * 1e3, theirs.as_secs_f64() * 1e3, "ms");
}

fn time(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let time = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn row(what: &str, ours: f64, theirs: f64, unit: &str) {
    let ratio = theirs / ours;
    println!("{what:<44} {ours:>7.1} {unit} {theirs:>7.1} {unit} {ratio:>7.1}x");
}
