//! The accounting of a container in the shape that runc prints, which containerd and others read.
//!
//! Spec: runc `types/events.go`.

use std::collections::BTreeMap;

use crate::base::json::TextMap;
use crate::cgroup::stats::{BlockIoEntry, Stats};

crate::wire! {
    /// One line of `events`.
    pub struct Event { "type" keep kind: String, "id" keep id: String, "data" omit data: Option<Data> }
}

crate::wire! {
    /// All of it.
    pub struct Data {
        "cpu" keep cpu: Cpu,
        "memory" keep memory: Memory,
        "pids" keep pids: Pids,
        "blkio" keep blkio: BlockIo,
        "hugetlb" keep hugetlb: BTreeMap<String, Hugetlb>,
        "intel_rdt" keep intel_rdt: TextMap,
        "network_interfaces" keep network_interfaces: Vec<String>,
    }
}

crate::wire! {
    /// Processor time.
    pub struct Cpu { "usage" keep usage: CpuUsage, "throttling" keep throttling: Throttling }
}

crate::wire! {
    /// Nanoseconds.
    pub struct CpuUsage {
        "total" keep total: u64,
        "percpu" keep percpu: Vec<u64>,
        "kernel" keep kernel: u64,
        "user" keep user: u64,
    }
}

crate::wire! {
    /// Periods, and nanoseconds held back.
    pub struct Throttling {
        "periods" omit periods: u64,
        "throttledPeriods" omit throttled_periods: u64,
        "throttledTime" omit throttled_time: u64,
    }
}

crate::wire! {
    /// Bytes.
    pub struct Memory {
        "cache" omit cache: u64,
        "usage" omit usage: MemoryEntry,
        "swap" omit swap: MemoryEntry,
        "kernel" omit kernel: MemoryEntry,
        "kernelTCP" omit kernel_tcp: MemoryEntry,
        "raw" omit raw: BTreeMap<String, u64>,
    }
}

crate::wire! {
    /// One counter of memory.
    pub struct MemoryEntry {
        "limit" keep limit: u64,
        "usage" omit usage: u64,
        "max" omit max: u64,
        "failcnt" keep failcnt: u64,
    }
}

impl crate::base::json::Empty for MemoryEntry {
    // runc writes them though they are empty.
    fn is_zero(&self) -> bool {
        false
    }
}

crate::wire! {
    /// Tasks.
    pub struct Pids { "current" omit current: u64, "limit" omit limit: u64 }
}

crate::wire! {
    /// Block devices.
    pub struct BlockIo {
        "ioServiceBytesRecursive" omit service_bytes: Vec<BlockEntry>,
        "ioServicedRecursive" omit serviced: Vec<BlockEntry>,
        "ioQueueRecursive" omit queued: Vec<BlockEntry>,
        "ioServiceTimeRecursive" omit service_time: Vec<BlockEntry>,
        "ioWaitTimeRecursive" omit wait_time: Vec<BlockEntry>,
        "ioMergedRecursive" omit merged: Vec<BlockEntry>,
        "ioTimeRecursive" omit time: Vec<BlockEntry>,
        "sectorsRecursive" omit sectors: Vec<BlockEntry>,
    }
}

crate::wire! {
    /// One counter of one device.
    pub struct BlockEntry {
        "major" omit major: u64,
        "minor" omit minor: u64,
        "op" omit op: String,
        "value" omit value: u64,
    }
}

crate::wire! {
    /// Huge pages in bytes.
    pub struct Hugetlb { "usage" omit usage: u64, "max" omit max: u64, "failcnt" keep failcnt: u64 }
}

/// The line that tells the accounting of container `id`.
pub fn stats(id: &str, stats: &Stats) -> Event {
    let cpu = stats.cpu.clone().unwrap_or_default();
    let memory = stats.memory.clone().unwrap_or_default();
    let pids = stats.pids.unwrap_or_default();
    // No limit is 0 here.
    let limit = if pids.limit == u64::MAX { 0 } else { pids.limit };
    let entries = |list: &[BlockIoEntry]| -> Vec<BlockEntry> {
        list.iter()
            .map(|e| BlockEntry {
                major: e.major,
                minor: e.minor,
                op: e.op.clone(),
                value: e.value,
            })
            .collect()
    };
    let io = &stats.block_io;
    let data = Data {
        cpu: Cpu {
            usage: CpuUsage {
                total: cpu.total_ns,
                percpu: cpu.per_cpu_ns,
                kernel: cpu.kernel_ns,
                user: cpu.user_ns,
            },
            throttling: Throttling {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_ns,
            },
        },
        memory: Memory {
            cache: memory.stat.get("cache").or(memory.stat.get("file")).copied().unwrap_or(0),
            usage: MemoryEntry {
                limit: memory.limit,
                usage: memory.usage,
                max: memory.max_usage,
                failcnt: memory.failures,
            },
            raw: memory.stat,
            ..Memory::default()
        },
        pids: Pids { current: pids.current, limit },
        blkio: BlockIo {
            service_bytes: entries(&io.service_bytes),
            serviced: entries(&io.serviced),
            queued: entries(&io.queued),
            service_time: entries(&io.service_time),
            wait_time: entries(&io.wait_time),
            merged: entries(&io.merged),
            time: entries(&io.time),
            sectors: entries(&io.sectors),
        },
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|(size, h)| {
                let one = Hugetlb { usage: h.usage, max: h.max_usage, failcnt: h.failures };
                (size.clone(), one)
            })
            .collect(),
        ..Data::default()
    };
    Event { kind: "stats".into(), id: id.into(), data: Some(data) }
}

/// The line that tells that container `id` ran out of memory.
pub fn oom(id: &str) -> Event {
    Event { kind: "oom".into(), id: id.into(), data: None }
}
