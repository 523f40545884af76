//! What a cgroup accounts for, in one shape for both versions.

use std::collections::BTreeMap;

/// A snapshot of a container's cgroup. Parts whose controller is missing are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// CPU time and throttling.
    pub cpu: Option<CpuStats>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Tasks.
    pub pids: Option<PidsStats>,
    /// Block devices.
    pub block_io: BlockIoStats,
    /// Huge pages by size, `2MB` for example.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

/// CPU time in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStats {
    /// All of it.
    pub total_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
    /// By CPU; empty on v2.
    pub per_cpu_ns: Vec<u64>,
    /// Periods with a quota.
    pub periods: u64,
    /// Of these, periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent throttled.
    pub throttled_ns: u64,
}

/// Memory in bytes; `u64::MAX` or the kernel's huge v1 value is no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// Most ever used; 0 where the kernel does not tell.
    pub max_usage: u64,
    /// The limit.
    pub limit: u64,
    /// How often the limit was hit; on v2 only the times when nothing could be freed.
    pub failures: u64,
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
    /// The lines of `memory.stat`.
    pub stat: BTreeMap<String, u64>,
}

/// Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// At most; `u64::MAX` is no limit.
    pub limit: u64,
}

/// One line of a block device's statistics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIoEntry {
    /// Major number of the device.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `Read`, `Write`, ... as v1 names them; `read` and `write` on v2, as Docker reports them there.
    pub op: String,
    /// Bytes, operations, or whatever the list counts.
    pub value: u64,
}

/// Block device statistics under the names of Docker's API; v2 fills the first two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIoStats {
    /// Bytes.
    pub service_bytes: Vec<BlockIoEntry>,
    /// Operations.
    pub serviced: Vec<BlockIoEntry>,
    /// Requests queued.
    pub queued: Vec<BlockIoEntry>,
    /// Time in service.
    pub service_time: Vec<BlockIoEntry>,
    /// Time waiting.
    pub wait_time: Vec<BlockIoEntry>,
    /// Requests merged.
    pub merged: Vec<BlockIoEntry>,
    /// Disk time.
    pub time: Vec<BlockIoEntry>,
    /// Sectors.
    pub sectors: Vec<BlockIoEntry>,
}

/// Huge pages in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HugetlbStats {
    /// In use.
    pub usage: u64,
    /// Most ever used; 0 where the kernel does not tell.
    pub max_usage: u64,
    /// How often the limit was hit.
    pub failures: u64,
}
