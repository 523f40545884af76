//! Many containers: starting and removing them one after another and several at a time, and what the
//! daemon answers and weighs while they run.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::peers::{Docker, Multi, Peer};
use crate::{compare, cost, row};

/// Containers of the comparison.
const COUNT: usize = 50;
/// Clients at work at the same time.
const CLIENTS: usize = 8;
/// Containers under which our daemon is weighed; Docker would take minutes to start as many.
const CROWD: usize = 200;

pub(crate) fn containers(ours: &Multi, theirs: &Docker, runs: usize) {
    for clients in [1, CLIENTS] {
        let times = [ours as &(dyn Peer + Sync), theirs].map(|peer| {
            let started = each(peer, clients, COUNT, |name| {
                let run = ["run", "-d", "--name", name, "busybox", "sleep", "1000000"];
                run.map(String::from).to_vec()
            });
            (started, peer)
        });
        let [(ours_started, _), (theirs_started, _)] = times;
        let way =
            if clients == 1 { "one after another".into() } else { format!("{clients} at a time") };
        ms(&format!("{COUNT} x docker run -d, {way}"), ours_started, theirs_started);
        if clients == 1 {
            compare(&format!("docker ps, {COUNT} containers"), ours, theirs, &["ps"], runs);
        }
        let removed = times.map(|(_, peer)| {
            each(peer, clients, COUNT, |name| ["rm", "-f", name].map(String::from).to_vec())
        });
        ms(&format!("{COUNT} x docker rm -f, {way}"), removed[0], removed[1]);
    }
    each(ours, CLIENTS, CROWD, |name| {
        ["run", "-d", "--name", name, "busybox", "sleep", "1000000"].map(String::from).to_vec()
    });
    let weight = cost::pss_of(&ours.daemon_pids()) / cost::MIB;
    println!("{:<44} {weight:>7.1} MB", format!("daemon, PSS, {CROWD} containers running"));
    each(ours, CLIENTS, CROWD, |name| ["rm", "-f", name].map(String::from).to_vec());
}

/// Runs a command of the client for each of `count` names, by so many clients; the time of all.
fn each(
    peer: &(dyn Peer + Sync),
    clients: usize,
    count: usize,
    command: impl Fn(&str) -> Vec<String> + Sync,
) -> Duration {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let args = command(&format!("many{number}"));
                    let status = peer
                        .client()
                        .args(&args)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .status()
                        .unwrap_or_else(|e| panic!("{args:?}: {e}"));
                    assert!(status.success(), "{args:?}: {status}");
                }
            });
        }
    });
    start.elapsed()
}

fn ms(what: &str, ours: Duration, theirs: Duration) {
    row(what, ours.as_secs_f64() * 1e3, theirs.as_secs_f64() * 1e3, "ms");
}
