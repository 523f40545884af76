//! Accounting of version 1.

use std::collections::BTreeMap;
use std::path::Path;

use super::Group;
use crate::cgroup::control::{keyed, keyed_value, read_number_optional, read_optional};
use crate::cgroup::stats::*;

pub(in crate::cgroup) fn stats(group: &Group) -> Stats {
    Stats {
        cpu: cpu(group),
        memory: group.dir("memory").and_then(memory),
        pids: group.dir("pids").and_then(|dir| {
            Some(PidsStats {
                current: read_number_optional(dir, "pids.current")?,
                limit: read_number_optional(dir, "pids.max").unwrap_or(u64::MAX),
            })
        }),
        block_io: group.dir("blkio").map(block_io).unwrap_or_default(),
        hugetlb: group.dir("hugetlb").map(hugetlb).unwrap_or_default(),
    }
}

fn cpu(group: &Group) -> Option<CpuStats> {
    let dir = group.dir("cpuacct")?;
    let mut cpu =
        CpuStats { total_ns: read_number_optional(dir, "cpuacct.usage")?, ..CpuStats::default() };
    if let Some(text) = read_optional(dir, "cpuacct.usage_percpu") {
        cpu.per_cpu_ns = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    if let Some(text) = read_optional(dir, "cpuacct.stat") {
        // In ticks of USER_HZ, which is 100 on every architecture built for here.
        const TICK_NS: u64 = 10_000_000;
        cpu.user_ns = keyed_value(&text, "user").unwrap_or(0).saturating_mul(TICK_NS);
        cpu.kernel_ns = keyed_value(&text, "system").unwrap_or(0).saturating_mul(TICK_NS);
    }
    if let Some(text) = group.dir("cpu").and_then(|dir| read_optional(dir, "cpu.stat")) {
        cpu.periods = keyed_value(&text, "nr_periods").unwrap_or(0);
        cpu.throttled_periods = keyed_value(&text, "nr_throttled").unwrap_or(0);
        cpu.throttled_ns = keyed_value(&text, "throttled_time").unwrap_or(0);
    }
    Some(cpu)
}

fn memory(dir: &Path) -> Option<MemoryStats> {
    let stat = read_optional(dir, "memory.stat")?;
    let oom = read_optional(dir, "memory.oom_control").unwrap_or_default();
    Some(MemoryStats {
        usage: read_number_optional(dir, "memory.usage_in_bytes")?,
        max_usage: read_number_optional(dir, "memory.max_usage_in_bytes").unwrap_or(0),
        limit: read_number_optional(dir, "memory.limit_in_bytes").unwrap_or(u64::MAX),
        failures: read_number_optional(dir, "memory.failcnt").unwrap_or(0),
        oom_kills: keyed_value(&oom, "oom_kill").unwrap_or(0),
        stat: keyed(&stat).map(|(key, value)| (key.to_string(), value)).collect(),
    })
}

fn block_io(dir: &Path) -> BlockIoStats {
    // The scheduler's own accounting where there is one (CFQ, then BFQ), else the throttler's.
    let first = |names: &[&str]| {
        let found = names.iter().find_map(|name| {
            let entries = entries(&read_optional(dir, name)?);
            (!entries.is_empty()).then_some(entries)
        });
        found.unwrap_or_default()
    };
    let one = |name: &str| {
        first(&[&format!("blkio.{name}_recursive"), &format!("blkio.bfq.{name}_recursive")])
    };
    BlockIoStats {
        service_bytes: first(&[
            "blkio.io_service_bytes_recursive",
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ]),
        serviced: first(&[
            "blkio.io_serviced_recursive",
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_serviced_recursive",
            "blkio.throttle.io_serviced",
        ]),
        queued: one("io_queued"),
        service_time: one("io_service_time"),
        wait_time: one("io_wait_time"),
        merged: one("io_merged"),
        time: one("time"),
        sectors: one("sectors"),
    }
}

/// Lines of `8:0 Read 4096` or `8:0 4096`; the total at the end has no device and is left out.
fn entries(text: &str) -> Vec<BlockIoEntry> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let (second, third) = (fields.next()?, fields.next());
        let (op, value) = third.map_or(("", second), |value| (second, value));
        Some(BlockIoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_string(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(parse).collect()
}

fn hugetlb(dir: &Path) -> BTreeMap<String, HugetlbStats> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(size) = name
            .to_str()
            .and_then(|n| n.strip_prefix("hugetlb."))
            .and_then(|n| n.strip_suffix(".usage_in_bytes"))
            .filter(|size| !size.ends_with(".max") && !size.ends_with(".rsvd"))
        else {
            continue;
        };
        let number =
            |what: &str| read_number_optional(dir, &format!("hugetlb.{size}.{what}")).unwrap_or(0);
        out.insert(
            size.to_string(),
            HugetlbStats {
                usage: number("usage_in_bytes"),
                max_usage: number("max_usage_in_bytes"),
                failures: number("failcnt"),
            },
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_device_lines_are_read_in_both_forms() {
        let read = entries("8:0 Read 4096\n8:0 Write 5\n253:1 77\nTotal 4101\n");
        let flat: Vec<_> =
            read.iter().map(|e| (e.major, e.minor, e.op.as_str(), e.value)).collect();
        assert_eq!(flat, [(8, 0, "Read", 4096), (8, 0, "Write", 5), (253, 1, "", 77)]);
    }
}
