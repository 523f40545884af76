//! Accounting of version 2, in the shape and with the names that Docker reports.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cgroup::control::{keyed, keyed_value, read_number_optional, read_optional};
use crate::cgroup::stats::*;

pub(in crate::cgroup) fn stats(dir: &Path) -> Stats {
    Stats {
        cpu: read_optional(dir, "cpu.stat").map(|text| cpu(&text)),
        memory: memory(dir),
        pids: read_number_optional(dir, "pids.current").map(|current| PidsStats {
            current,
            limit: read_number_optional(dir, "pids.max").unwrap_or(u64::MAX),
        }),
        block_io: read_optional(dir, "io.stat").map(|text| block_io(&text)).unwrap_or_default(),
        hugetlb: hugetlb(dir),
    }
}

fn cpu(text: &str) -> CpuStats {
    let value = |key| keyed_value(text, key).unwrap_or(0);
    let micros = |key| value(key).saturating_mul(1000);
    CpuStats {
        total_ns: micros("usage_usec"),
        user_ns: micros("user_usec"),
        kernel_ns: micros("system_usec"),
        per_cpu_ns: Vec::new(),
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_ns: micros("throttled_usec"),
    }
}

fn memory(dir: &Path) -> Option<MemoryStats> {
    let stat = read_optional(dir, "memory.stat")?;
    let events = read_optional(dir, "memory.events").unwrap_or_default();
    Some(MemoryStats {
        usage: read_number_optional(dir, "memory.current")?,
        // Since 5.19.
        max_usage: read_number_optional(dir, "memory.peak").unwrap_or(0),
        limit: read_number_optional(dir, "memory.max").unwrap_or(u64::MAX),
        // What Docker tells here: how often the limit could not be kept by freeing something.
        failures: keyed_value(&events, "oom").unwrap_or(0),
        oom_kills: keyed_value(&events, "oom_kill").unwrap_or(0),
        stat: keyed(&stat).map(|(key, value)| (key.to_string(), value)).collect(),
    })
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn block_io(text: &str) -> BlockIoStats {
    let mut stats = BlockIoStats::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some((Ok(major), Ok(minor))) =
            fields.next().and_then(|d| d.split_once(':')).map(|(a, b)| (a.parse(), b.parse()))
        else {
            continue;
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "read"),
                "wbytes" => (&mut stats.service_bytes, "write"),
                "rios" => (&mut stats.serviced, "read"),
                "wios" => (&mut stats.serviced, "write"),
                _ => continue,
            };
            list.push(BlockIoEntry { major, minor, op: op.into(), value });
        }
    }
    stats
}

fn hugetlb(dir: &Path) -> BTreeMap<String, HugetlbStats> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(size) = name
            .to_str()
            .and_then(|n| n.strip_prefix("hugetlb."))
            .and_then(|n| n.strip_suffix(".current"))
            .filter(|size| !size.ends_with(".rsvd"))
        else {
            continue;
        };
        let usage = read_number_optional(dir, &format!("hugetlb.{size}.current")).unwrap_or(0);
        let events = read_optional(dir, &format!("hugetlb.{size}.events")).unwrap_or_default();
        let failures = keyed_value(&events, "max").unwrap_or(0);
        out.insert(size.to_string(), HugetlbStats { usage, max_usage: 0, failures });
    }
    out
}
