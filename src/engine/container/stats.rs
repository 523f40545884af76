//! What a running container uses: its cgroup's accounting and its interfaces' counters.
//!
//! Nothing is collected unless somebody looks, and then by the thread of who looks. The counters of the
//! network are read through `/proc/PID/net/dev`, which shows the namespace of that process: no thread has
//! to enter it.
//!
//! Spec: moby `daemon/stats` (behaviour); proc(5), `/proc/stat` and `/proc/PID/net/dev`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Container, pause};
use crate::base::Result;
use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;
use crate::cgroup::Cgroup;
use crate::cgroup::stats::Stats;
use crate::engine::Engine;

/// Time between two samples of a stream.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Clock ticks a second of `/proc/stat`: a constant of the kernel's interface to programs.
const TICKS: u64 = 100;
/// Interfaces that the kernel puts into every network namespace by itself.
const OF_THE_KERNEL: [&str; 10] = [
    "lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0",
    "ip6gre0",
];

/// One look at a running container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Timestamp,
    /// The cgroup's accounting. No memory limit beyond the machine's memory.
    pub group: Stats,
    /// Whether it is of cgroup version 2.
    pub unified: bool,
    /// CPU time of the whole machine, idle time included, in nanoseconds.
    pub system_cpu_ns: u64,
    /// CPUs of the machine that are switched on.
    pub online_cpus: u32,
    /// Counters by interface; empty in the host's network namespace.
    pub networks: BTreeMap<String, Counters>,
}

/// The counters of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received.
    pub rx: Traffic,
    /// Sent.
    pub tx: Traffic,
}

/// One direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets thrown away.
    pub dropped: u64,
}

/// Looks at one container again and again.
pub struct Sampler {
    container: Arc<Container>,
    /// The cgroup of the run whose first process this is.
    known: Option<(i64, Cgroup)>,
}

impl Sampler {
    /// A sampler of `container`; looks at nothing yet.
    pub fn new(container: Arc<Container>) -> Sampler {
        Sampler { container, known: None }
    }

    /// What the container uses now; `None` if it does not run.
    ///
    /// # Errors
    /// `Io` if the record of the run cannot be read.
    pub fn sample(&mut self, engine: &Engine) -> Result<Option<Sample>> {
        let (pid, host_network) = {
            let data = self.container.data();
            let state = &data.record.state;
            if !state.running || state.restarting {
                return Ok(None);
            }
            (state.pid, data.host.network_mode == "host")
        };
        if self.known.as_ref().is_none_or(|(known, _)| *known != pid) {
            match pause::cgroup(engine, &self.container) {
                Ok(cgroup) => self.known = Some((pid, cgroup)),
                // It ended at this moment.
                Err(_) if !self.container.data().record.state.running => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        let Some((_, cgroup)) = &self.known else { return Ok(None) };
        let mut group = cgroup.stats();
        let memory = memory_bytes();
        if let Some(used) = &mut group.memory
            && memory > 0
        {
            used.limit = used.limit.min(memory);
        }
        let (system_cpu_ns, online_cpus) = system_cpu();
        let networks = match host_network {
            true => BTreeMap::new(),
            false => fs::read_to_string(format!("/proc/{pid}/net/dev"))
                .map(|text| interfaces(&text))
                .unwrap_or_default(),
        };
        let unified = cgroup.is_unified();
        let time = Timestamp::now();
        Ok(Some(Sample { time, group, unified, system_cpu_ns, online_cpus, networks }))
    }

    /// Waits until the next sample is due. False: the container is gone, or `cancel` was called.
    pub fn wait(&self, cancel: &Cancel) -> bool {
        let end = Instant::now() + INTERVAL;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !self.container.data().removed;
            }
            // A removal is noticed within this time.
            if cancel.wait(left.min(Duration::from_millis(250))) || self.container.data().removed {
                return false;
            }
        }
    }
}

/// CPU time of the machine in nanoseconds, and how many CPUs it has.
fn system_cpu() -> (u64, u32) {
    parse_cpu(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn parse_cpu(text: &str) -> (u64, u32) {
    let (mut ticks, mut cpus) = (0, 0);
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { break };
        if rest.starts_with(' ') {
            // User, nice, system, idle, iowait, irq and softirq: what Docker counts.
            let numbers = rest.split_ascii_whitespace().take(7);
            ticks = numbers.filter_map(|n| n.parse::<u64>().ok()).sum();
        } else {
            cpus += 1;
        }
    }
    (ticks.saturating_mul(1_000_000_000 / TICKS), cpus)
}

/// The machine's memory; 0 if it cannot be read.
fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The lines of `/proc/net/dev` but those of interfaces that every namespace has.
fn interfaces(text: &str) -> BTreeMap<String, Counters> {
    let parse = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim();
        let numbers: Vec<u64> =
            rest.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let traffic = |at: usize| {
            Some(Traffic {
                bytes: *numbers.get(at)?,
                packets: *numbers.get(at + 1)?,
                errors: *numbers.get(at + 2)?,
                dropped: *numbers.get(at + 3)?,
            })
        };
        let counters = Counters { rx: traffic(0)?, tx: traffic(8)? };
        (!OF_THE_KERNEL.contains(&name)).then(|| (name.to_string(), counters))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_time_is_the_sum_that_docker_makes() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\ncpu1 1 1\nintr 5\ncpufreq 1\n";
        assert_eq!(parse_cpu(text), (28 * 10_000_000, 2));
        assert_eq!(parse_cpu(""), (0, 0));
        let (now, cpus) = system_cpu();
        assert!(now > 0 && cpus >= 1);
        assert!(memory_bytes() > 1 << 20);
    }

    #[test]
    fn interfaces_of_the_container_are_counted() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
 tunl0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0:12345678      90    1    2    0     0          0         0      557       7    3    4    0     0       0          0
";
        let found = interfaces(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = found["eth0"];
        assert_eq!(eth0.rx, Traffic { bytes: 12_345_678, packets: 90, errors: 1, dropped: 2 });
        assert_eq!(eth0.tx, Traffic { bytes: 557, packets: 7, errors: 3, dropped: 4 });
    }
}
