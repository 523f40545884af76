//! What a container uses, as `GET /containers/{name}/stats` tells it.
//!
//! Times are nanoseconds, memory is bytes. Lists of block devices are `null` where the cgroup version has
//! no such accounting, and for containers that do not run.
//!
//! Spec: Docker Engine API 1.51, ContainerStatsResponse.

use std::collections::BTreeMap;

use crate::base::json::Nothing;
use crate::base::time::Timestamp;
use crate::wire;

wire! {
    /// One sample; without the numbers for a container that does not run.
    pub struct Stats {
        "read" keep read: Timestamp,
        "preread" keep preread: Timestamp,
        "pids_stats" keep pids_stats: PidsStats,
        "blkio_stats" keep blkio_stats: BlkioStats,
        "num_procs" keep num_procs: u32,
        "storage_stats" keep storage_stats: Nothing,
        "cpu_stats" keep cpu_stats: CpuStats,
        "precpu_stats" keep precpu_stats: CpuStats,
        "memory_stats" keep memory_stats: MemoryStats,
        "name" omit name: String,
        "id" omit id: String,
        "networks" omit networks: BTreeMap<String, NetworkStats>,
    }
}

wire! {
    /// Tasks.
    pub struct PidsStats {
        "current" omit current: u64,
        "limit" omit limit: u64,
    }
}

wire! {
    /// Block devices.
    pub struct BlkioStats {
        "io_service_bytes_recursive" keep service_bytes: Option<Vec<BlkioEntry>>,
        "io_serviced_recursive" keep serviced: Option<Vec<BlkioEntry>>,
        "io_queue_recursive" keep queued: Option<Vec<BlkioEntry>>,
        "io_service_time_recursive" keep service_time: Option<Vec<BlkioEntry>>,
        "io_wait_time_recursive" keep wait_time: Option<Vec<BlkioEntry>>,
        "io_merged_recursive" keep merged: Option<Vec<BlkioEntry>>,
        "io_time_recursive" keep time: Option<Vec<BlkioEntry>>,
        "sectors_recursive" keep sectors: Option<Vec<BlkioEntry>>,
    }
}

wire! {
    /// One number of one block device.
    pub struct BlkioEntry {
        "major" keep major: u64,
        "minor" keep minor: u64,
        "op" keep op: String,
        "value" keep value: u64,
    }
}

wire! {
    /// CPU time of the container and of the machine.
    pub struct CpuStats {
        "cpu_usage" keep cpu_usage: CpuUsage,
        "system_cpu_usage" omit system_cpu_usage: u64,
        "online_cpus" omit online_cpus: u32,
        "throttling_data" keep throttling_data: Throttling,
    }
}

wire! {
    /// CPU time of the container.
    pub struct CpuUsage {
        "total_usage" keep total_usage: u64,
        "percpu_usage" omit percpu_usage: Vec<u64>,
        "usage_in_kernelmode" keep usage_in_kernelmode: u64,
        "usage_in_usermode" keep usage_in_usermode: u64,
    }
}

wire! {
    /// What a CPU quota took away.
    pub struct Throttling {
        "periods" keep periods: u64,
        "throttled_periods" keep throttled_periods: u64,
        "throttled_time" keep throttled_time: u64,
    }
}

wire! {
    /// Memory.
    pub struct MemoryStats {
        "usage" omit usage: u64,
        "max_usage" omit max_usage: u64,
        "stats" omit stats: BTreeMap<String, u64>,
        "failcnt" omit failcnt: u64,
        "limit" omit limit: u64,
    }
}

wire! {
    /// One interface.
    pub struct NetworkStats {
        "rx_bytes" keep rx_bytes: u64,
        "rx_packets" keep rx_packets: u64,
        "rx_errors" keep rx_errors: u64,
        "rx_dropped" keep rx_dropped: u64,
        "tx_bytes" keep tx_bytes: u64,
        "tx_packets" keep tx_packets: u64,
        "tx_errors" keep tx_errors: u64,
        "tx_dropped" keep tx_dropped: u64,
    }
}
