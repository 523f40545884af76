//! Limits of a container's cgroup.
//!
//! Spec: OCI runtime-spec 1.2, `config-linux.md#control-groups`.

use std::collections::BTreeMap;

crate::wire! {
    /// All limits of a container; what is absent is left as the kernel has it.
    pub struct LinuxResources {
        "devices" omit devices: Vec<LinuxDeviceCgroup>,
        "memory" omit memory: Option<LinuxMemory>,
        "cpu" omit cpu: Option<LinuxCpu>,
        "pids" omit pids: Option<LinuxPids>,
        "blockIO" omit block_io: Option<LinuxBlockIo>,
        "hugepageLimits" omit hugepage_limits: Vec<LinuxHugepageLimit>,
        "unified" omit unified: BTreeMap<String, String>,
    }
}

crate::wire! {
    /// One rule of the device cgroup; rules apply in order.
    pub struct LinuxDeviceCgroup {
        "allow" keep allow: bool,
        "type" omit kind: String,
        "major" omit major: Option<i64>,
        "minor" omit minor: Option<i64>,
        "access" omit access: String,
    }
}

crate::wire! {
    /// Memory limits in bytes; -1 is unlimited.
    pub struct LinuxMemory {
        "limit" omit limit: Option<i64>,
        "reservation" omit reservation: Option<i64>,
        "swap" omit swap: Option<i64>,
        "kernel" omit kernel: Option<i64>,
        "kernelTCP" omit kernel_tcp: Option<i64>,
        "swappiness" omit swappiness: Option<u64>,
        "disableOOMKiller" omit disable_oom_killer: Option<bool>,
    }
}

crate::wire! {
    /// CPU time; quota and periods in microseconds.
    pub struct LinuxCpu {
        "shares" omit shares: Option<u64>,
        "quota" omit quota: Option<i64>,
        "burst" omit burst: Option<u64>,
        "period" omit period: Option<u64>,
        "realtimeRuntime" omit realtime_runtime: Option<i64>,
        "realtimePeriod" omit realtime_period: Option<u64>,
        "cpus" omit cpus: String,
        "mems" omit mems: String,
        "idle" omit idle: Option<i64>,
    }
}

crate::wire! {
    /// Number of tasks; 0 or less is unlimited.
    pub struct LinuxPids { "limit" keep limit: i64 }
}

crate::wire! {
    /// Block device weights and rates.
    pub struct LinuxBlockIo {
        "weight" omit weight: Option<u16>,
        "leafWeight" omit leaf_weight: Option<u16>,
        "weightDevice" omit weight_device: Vec<LinuxWeightDevice>,
        "throttleReadBpsDevice" omit throttle_read_bps_device: Vec<LinuxThrottleDevice>,
        "throttleWriteBpsDevice" omit throttle_write_bps_device: Vec<LinuxThrottleDevice>,
        "throttleReadIOPSDevice" omit throttle_read_iops_device: Vec<LinuxThrottleDevice>,
        "throttleWriteIOPSDevice" omit throttle_write_iops_device: Vec<LinuxThrottleDevice>,
    }
}

crate::wire! {
    /// Weight of one block device.
    pub struct LinuxWeightDevice {
        "major" keep major: i64,
        "minor" keep minor: i64,
        "weight" omit weight: Option<u16>,
        "leafWeight" omit leaf_weight: Option<u16>,
    }
}

crate::wire! {
    /// Rate of one block device, in bytes or operations per second.
    pub struct LinuxThrottleDevice {
        "major" keep major: i64,
        "minor" keep minor: i64,
        "rate" keep rate: u64,
    }
}

crate::wire! {
    /// Limit of one huge page size, in bytes.
    pub struct LinuxHugepageLimit {
        "pageSize" keep page_size: String,
        "limit" keep limit: u64,
    }
}
