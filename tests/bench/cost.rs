//! What the engines cost: memory, bytes on disk, time to the first answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::peers::{Docker, Multi, Peer, multi};
use crate::support::daemon::Daemon;
use crate::support::{images, run};
use crate::{median, row};

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// Proportional set sizes: of the idle daemons, and of what one running container adds.
pub(crate) fn memory(ours: &Multi, theirs: &Docker) {
    let daemon = |peer: &dyn Peer| pss_of(&peer.daemon_pids()) / MIB;
    row("daemon, PSS, idle", daemon(ours), daemon(theirs), "MB");
    let per_container = |peer: &dyn Peer, word: &str, options: &[&str]| {
        let before = helpers(peer, word);
        for i in 0..10 {
            let name = format!("m{i}");
            let words = ["run", "-d", "--name", &name];
            peer.docker(&[&words[..], options, &["busybox", "sleep", "1000000"]].concat());
        }
        // A shim gives back what its start needed when nothing has happened for a while.
        std::thread::sleep(Duration::from_secs(4));
        let pids: Vec<u32> =
            helpers(peer, word).into_iter().filter(|p| !before.contains(p)).collect();
        let each = pss_of(&pids) / MIB / 10.0;
        for i in 0..10 {
            peer.docker(&["rm", "-f", &format!("m{i}")]);
        }
        each
    };
    row(
        "shim of each of 10 containers, PSS",
        per_container(ours, "shim", &[]),
        per_container(theirs, "containerd-shim", &[]),
        "MB",
    );
    // Docker has a process for each port and family of addresses.
    row(
        "proxy of each of 10 containers, PSS",
        per_container(ours, "proxy", &["-p", "80"]),
        per_container(theirs, "docker-proxy", &["-p", "80"]),
        "MB",
    );
}

/// Processes whose command line starts with a program of that name or has it as first argument.
fn helpers(_: &dyn Peer, word: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|b| *b == 0).take(2).any(|part| {
                Path::new(std::str::from_utf8(part).unwrap_or_default())
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(word))
            })
        })
        .collect()
}

/// The sum of the proportional set sizes of `pids`, in bytes.
pub(crate) fn pss_of(pids: &[u32]) -> f64 {
    pids.iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .sum::<f64>()
        * 1024.0
}

/// The executable beside everything that a Docker host needs.
pub(crate) fn size(_: &Docker) {
    let bytes = |path: &str| std::fs::metadata(path).map_or(0, |meta| meta.len()) as f64;
    let theirs: f64 = [
        "/usr/sbin/dockerd",
        "/usr/bin/docker",
        "/usr/bin/containerd",
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/sbin/runc",
        "/usr/sbin/docker-proxy",
        "/usr/bin/tini-static",
    ]
    .iter()
    .map(|path| bytes(path))
    .sum();
    let ours = std::fs::metadata(multi()).map_or(0, |meta| meta.len()) as f64;
    row("executables", ours / MIB, theirs / MIB, "MB");
}

/// Time from the start of the daemon to its first answered `_ping`, with few and with many images.
pub(crate) fn start(runs: usize) {
    for count in [0, 300] {
        let mut ours = Daemon::start_as(&multi(), &[]);
        let mut theirs = Docker::start();
        if count > 0 {
            let archive = images::many(count);
            for dir in [ours.dir().to_path_buf(), theirs.dir().to_path_buf()] {
                std::fs::write(dir.join("many.tar"), &archive).expect("the directory is ours");
            }
            let path = |dir: &Path| dir.join("many.tar").to_string_lossy().into_owned();
            ours.docker(&["load", "-q", "-i", &path(ours.dir())]);
            run(theirs.client().args(["load", "-q", "-i", &path(theirs.dir())]));
        }
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            ours.terminate();
            let start = Instant::now();
            ours.spawn_again();
            times[0].push(until_ping(start, &ours.socket()));
            theirs.end();
            let start = Instant::now();
            theirs.spawn_again();
            times[1].push(until_ping(start, &theirs.socket()));
        }
        let [a, b] = times.map(median);
        let what = format!("start to first _ping, {count} images");
        row(&what, a.as_secs_f64() * 1e3, b.as_secs_f64() * 1e3, "ms");
        ours.stop();
    }
}

/// Waits for the first answer on `socket`; the time since `start`.
pub(crate) fn until_ping(start: Instant, socket: &Path) -> Duration {
    loop {
        let answer = UnixStream::connect(socket).and_then(|mut stream| {
            stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        if answer.is_ok_and(|text| text.contains(" 200 ")) {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no answer on {}", socket.display());
        std::thread::sleep(Duration::from_micros(200));
    }
}
