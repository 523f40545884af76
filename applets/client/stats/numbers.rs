//! From a sample of the daemon to the columns of `docker stats`.
//!
//! Spec: docker/cli `stats_helpers.go` (how CPU and memory are computed).

use multi_core::api::types::stats::{MemoryStats, Stats};
use multi_core::base::{bytesize, id};
use multi_core::cli::table::Headings;
use multi_core::cli::template::Object;

pub(super) const HEADINGS: Headings = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const TABLE: &str = "table {{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t{{.PIDs}}";
/// What stands where there is no number.
const NONE: &str = "--";

/// The template for a `--format` value.
pub(super) fn layout(format: &str) -> &str {
    if format == "table" { TABLE } else { format }
}

/// What is shown of one sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    name: String,
    id: String,
    cpu_percent: f64,
    memory: f64,
    memory_limit: f64,
    memory_percent: f64,
    received: f64,
    sent: f64,
    blocks_read: f64,
    blocks_written: f64,
    pids: u64,
}

impl Numbers {
    pub(super) fn of(stats: &Stats) -> Numbers {
        let memory = memory(&stats.memory_stats);
        let limit = stats.memory_stats.limit as f64;
        let blocks = |letter: &[char]| -> f64 {
            let entries = stats.blkio_stats.service_bytes.iter().flatten();
            entries.filter(|e| e.op.starts_with(letter)).map(|e| e.value as f64).sum()
        };
        let networks = || stats.networks.values();
        Numbers {
            name: stats.name.clone(),
            id: stats.id.clone(),
            cpu_percent: cpu_percent(stats),
            memory,
            memory_limit: limit,
            // A container that does not run has no limit.
            memory_percent: if limit == 0.0 { 0.0 } else { memory / limit * 100.0 },
            received: networks().map(|n| n.rx_bytes as f64).sum(),
            sent: networks().map(|n| n.tx_bytes as f64).sum(),
            blocks_read: blocks(&['r', 'R']),
            blocks_written: blocks(&['w', 'W']),
            pids: stats.pids_stats.current,
        }
    }

    /// The row of `container`; without numbers unless they are `fresh`.
    pub(super) fn row(&self, container: &str, trunc: bool, fresh: bool) -> Object {
        let number = |text: String| if fresh { text } else { NONE.into() };
        let pair = |a: String, b: String| format!("{a} / {b}");
        let size = |bytes: f64| bytesize::human_precise(bytes, 3);
        let mut row = Object::row("*container.statsContext");
        row.push("BlockIO", number(pair(size(self.blocks_read), size(self.blocks_written))));
        row.push("CPUPerc", number(format!("{:.2}%", self.cpu_percent)));
        row.push("Container", container);
        row.push("ID", if trunc { id::short(&self.id) } else { self.id.as_str() });
        row.push("MemPerc", number(format!("{:.2}%", self.memory_percent)));
        row.push(
            "MemUsage",
            match fresh {
                true => pair(bytesize::binary(self.memory), bytesize::binary(self.memory_limit)),
                false => pair(NONE.into(), NONE.into()),
            },
        );
        row.push("Name", self.name.strip_prefix('/').unwrap_or(NONE));
        row.push("NetIO", number(pair(size(self.received), size(self.sent))));
        row.push("PIDs", number(self.pids.to_string()));
        row
    }
}

/// CPU time between the two looks, in hundredths of one CPU.
fn cpu_percent(stats: &Stats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        cpus => f64::from(cpus),
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

/// Memory without the part of the page cache that would be given up first.
fn memory(stats: &MemoryStats) -> f64 {
    // Version 1 has the first of these, version 2 only the second.
    ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|key| stats.stats.get(*key).filter(|cache| **cache < stats.usage))
        .map_or(stats.usage, |cache| stats.usage - cache) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use multi_core::base::json;
    use multi_core::cli::table;

    const SAMPLE: &str = r#"{"name":"/web","id":"0123456789abcdef","pids_stats":{"current":3},
        "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":3000,"online_cpus":2},
        "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
        "memory_stats":{"usage":2097152,"limit":8388608,"stats":{"total_inactive_file":1048576,"inactive_file":5}},
        "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":5},"eth1":{"rx_bytes":500}},
        "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"write","value":8192},{"op":"Total","value":9}]}}"#;

    fn show(format: &str, fresh: bool) -> String {
        let stats: Stats = json::parse(SAMPLE.as_bytes()).unwrap();
        let row = Numbers::of(&stats).row("web", true, fresh);
        table::render(layout(format), HEADINGS, vec![row]).unwrap()
    }

    #[test]
    fn a_sample_becomes_dockers_row() {
        let told = show("table", true);
        let mut lines = told.lines();
        assert_eq!(
            lines.next().unwrap(),
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O      BLOCK I/O        PIDS"
        );
        assert_eq!(
            lines.next().unwrap(),
            "0123456789ab   web       20.00%    1MiB / 8MiB         12.50%    1.5kB / 5B   4.1kB / 8.19kB   3"
        );
    }

    #[test]
    fn a_silent_container_has_no_numbers() {
        assert_eq!(
            show("json", false),
            "{\"BlockIO\":\"--\",\"CPUPerc\":\"--\",\"Container\":\"web\",\"ID\":\"0123456789ab\",\
             \"MemPerc\":\"--\",\"MemUsage\":\"-- / --\",\"Name\":\"web\",\"NetIO\":\"--\",\"PIDs\":\"--\"}\n"
        );
        assert_eq!(Numbers::default().row("x", true, false).fields.len(), 9);
    }

    #[test]
    fn the_cache_counts_where_it_cannot_be_taken_off() {
        let stats = |text: &str| memory(&json::parse::<MemoryStats>(text.as_bytes()).unwrap());
        assert_eq!(stats(r#"{"usage":10,"stats":{"inactive_file":4}}"#), 6.0);
        assert_eq!(stats(r#"{"usage":10,"stats":{"inactive_file":40}}"#), 10.0);
        assert_eq!(stats("{}"), 0.0);
    }
}
