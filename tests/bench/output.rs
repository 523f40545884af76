//! What output costs: through an attached client, and while nobody listens.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::{Docker, Multi, Peer};
use crate::support::images;
use crate::{compare, row};

/// Lines a second of the detached flood, and for how long its cost is looked at.
const RATE: &str = "55000";
const PERIOD: Duration = Duration::from_secs(4);

/// Lines through `docker run`, and the share of a core that writing the log of a flood takes.
pub(crate) fn output(ours: &Multi, theirs: &Docker, runs: usize) {
    let script = "yes 'a line of a log, as long as such lines are: about eighty characters, or so' \
                  | head -n 500000";
    let words = ["run", "--rm", "busybox", "sh", "-c", script];
    compare("500,000 lines through docker run", ours, theirs, &words, runs.min(5));
    for peer in [ours as &dyn Peer, theirs] {
        peer.load(&images::probe(), "probe:latest");
    }
    // One write for each line: the worst that a program can do to who reads it.
    let share = |peer: &dyn Peer| {
        let words = ["run", "-d", "--name", "flood", "probe", "lines", RATE];
        peer.docker(&words);
        let pid = peer.docker(&["inspect", "-f", "{{.State.Pid}}", "flood"]);
        let pids = [&peer.daemon_pids()[..], &[shim(pid.trim())]].concat();
        let (before, start) = (processor_seconds(&pids), Instant::now());
        std::thread::sleep(PERIOD);
        let share = (processor_seconds(&pids) - before) / start.elapsed().as_secs_f64();
        peer.docker(&["rm", "-f", "flood"]);
        100.0 * share
    };
    let (ours, theirs) = (share(ours), share(theirs));
    row("a core's share of 55,000 lines/s, detached", ours, theirs, "% ");
}

/// The parent of the container's process.
fn shim(pid: &str) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|pid| pid.trim().parse().ok()).expect("the container runs")
}

/// Time that processes have spent on a processor, in user and in kernel mode.
fn processor_seconds(pids: &[u32]) -> f64 {
    let tick = Command::new("getconf").arg("CLK_TCK").stdin(Stdio::null()).output();
    let tick = tick.ok().and_then(|out| String::from_utf8_lossy(&out.stdout).trim().parse().ok());
    let ticks: f64 = pids
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .flat_map(|stat| {
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).to_string();
            let number = |n: usize| fields.split_ascii_whitespace().nth(n)?.parse::<f64>().ok();
            [number(11), number(12)]
        })
        .flatten()
        .sum();
    ticks / tick.unwrap_or(100.0)
}
