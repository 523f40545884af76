//! The host's side of a container: limits, ports, mounts, namespaces, security.
//!
//! Everything is kept as the client sent it, so that `inspect` gives it back. `MaskedPaths` and
//! `ReadonlyPaths` mean the defaults when absent and "none" when they are empty lists.
//!
//! Spec: Docker Engine API 1.51, HostConfig and Resources.

use std::collections::BTreeMap;

use super::mount::Mount;
use crate::base::json::{TextMap, Words};
use crate::wire;

/// Ports of the container, `80/tcp`, and where each is published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// An address and port of the host; an empty port means any free one.
    pub struct PortBinding {
        "HostIp" keep host_ip: String,
        "HostPort" keep host_port: String,
    }
}

wire! {
    /// When a container is started again.
    pub struct RestartPolicy {
        "Name" keep name: String,
        "MaximumRetryCount" keep maximum_retry_count: i64,
    }
}

wire! {
    /// Where the output of a container goes.
    pub struct LogConfig {
        "Type" keep kind: String,
        "Config" keep config: TextMap,
    }
}

wire! {
    /// A device of the host inside the container.
    pub struct DeviceMapping {
        "PathOnHost" keep path_on_host: String,
        "PathInContainer" keep path_in_container: String,
        "CgroupPermissions" keep cgroup_permissions: String,
    }
}

wire! {
    /// Devices asked for by ability, `--gpus`.
    pub struct DeviceRequest {
        "Driver" keep driver: String,
        "Count" keep count: i64,
        "DeviceIDs" keep device_ids: Option<Vec<String>>,
        "Capabilities" keep capabilities: Option<Vec<Vec<String>>>,
        "Options" keep options: Option<TextMap>,
    }
}

wire! {
    /// A resource limit of processes; -1 means unlimited.
    pub struct Ulimit {
        "Name" keep name: String,
        "Hard" keep hard: i64,
        "Soft" keep soft: i64,
    }
}

wire! {
    /// The weight of one block device.
    pub struct WeightDevice {
        "Path" keep path: String,
        "Weight" keep weight: u16,
    }
}

wire! {
    /// The rate limit of one block device, in bytes or operations a second.
    pub struct ThrottleDevice {
        "Path" keep path: String,
        "Rate" keep rate: u64,
    }
}

wire! {
    /// Everything about a container that does not travel with its image. Sizes are bytes.
    pub struct HostConfig {
        "Binds" keep binds: Option<Vec<String>>,
        "ContainerIDFile" keep container_id_file: String,
        "LogConfig" keep log_config: LogConfig,
        "NetworkMode" keep network_mode: String,
        "PortBindings" keep port_bindings: Option<PortMap>,
        "RestartPolicy" keep restart_policy: RestartPolicy,
        "AutoRemove" keep auto_remove: bool,
        "VolumeDriver" keep volume_driver: String,
        "VolumesFrom" keep volumes_from: Option<Vec<String>>,
        "ConsoleSize" keep console_size: [u64; 2],
        "Annotations" omit annotations: TextMap,
        "CapAdd" keep cap_add: Option<Words>,
        "CapDrop" keep cap_drop: Option<Words>,
        "CgroupnsMode" keep cgroupns_mode: String,
        "Dns" keep dns: Option<Vec<String>>,
        "DnsOptions" keep dns_options: Option<Vec<String>>,
        "DnsSearch" keep dns_search: Option<Vec<String>>,
        "ExtraHosts" keep extra_hosts: Option<Vec<String>>,
        "GroupAdd" keep group_add: Option<Vec<String>>,
        "IpcMode" keep ipc_mode: String,
        "Cgroup" keep cgroup: String,
        "Links" keep links: Option<Vec<String>>,
        "OomScoreAdj" keep oom_score_adj: i64,
        "PidMode" keep pid_mode: String,
        "Privileged" keep privileged: bool,
        "PublishAllPorts" keep publish_all_ports: bool,
        "ReadonlyRootfs" keep readonly_rootfs: bool,
        "SecurityOpt" keep security_opt: Option<Vec<String>>,
        "StorageOpt" omit storage_opt: TextMap,
        "Tmpfs" omit tmpfs: TextMap,
        "UTSMode" keep uts_mode: String,
        "UsernsMode" keep userns_mode: String,
        "ShmSize" keep shm_size: i64,
        "Sysctls" omit sysctls: TextMap,
        "Runtime" omit runtime: String,
        "Isolation" keep isolation: String,
        "CpuShares" keep cpu_shares: i64,
        "Memory" keep memory: i64,
        "NanoCpus" keep nano_cpus: i64,
        "CgroupParent" keep cgroup_parent: String,
        "BlkioWeight" keep blkio_weight: u16,
        "BlkioWeightDevice" keep blkio_weight_device: Option<Vec<WeightDevice>>,
        "BlkioDeviceReadBps" keep blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        "BlkioDeviceWriteBps" keep blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        "BlkioDeviceReadIOps" keep blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        "BlkioDeviceWriteIOps" keep blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        "CpuPeriod" keep cpu_period: i64,
        "CpuQuota" keep cpu_quota: i64,
        "CpuRealtimePeriod" keep cpu_realtime_period: i64,
        "CpuRealtimeRuntime" keep cpu_realtime_runtime: i64,
        "CpusetCpus" keep cpuset_cpus: String,
        "CpusetMems" keep cpuset_mems: String,
        "Devices" keep devices: Option<Vec<DeviceMapping>>,
        "DeviceCgroupRules" keep device_cgroup_rules: Option<Vec<String>>,
        "DeviceRequests" keep device_requests: Option<Vec<DeviceRequest>>,
        "KernelMemory" omit kernel_memory: i64,
        "KernelMemoryTCP" omit kernel_memory_tcp: i64,
        "MemoryReservation" keep memory_reservation: i64,
        "MemorySwap" keep memory_swap: i64,
        "MemorySwappiness" keep memory_swappiness: Option<i64>,
        "OomKillDisable" keep oom_kill_disable: Option<bool>,
        "PidsLimit" keep pids_limit: Option<i64>,
        "Ulimits" keep ulimits: Option<Vec<Ulimit>>,
        "CpuCount" keep cpu_count: i64,
        "CpuPercent" keep cpu_percent: i64,
        "IOMaximumIOps" keep io_maximum_iops: u64,
        "IOMaximumBandwidth" keep io_maximum_bandwidth: u64,
        "Mounts" omit mounts: Vec<Mount>,
        "MaskedPaths" keep masked_paths: Option<Vec<String>>,
        "ReadonlyPaths" keep readonly_paths: Option<Vec<String>>,
        "Init" omit init: Option<bool>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::{parse, to_string};

    #[test]
    fn port_maps_take_null_lists() {
        let host: HostConfig = parse(
            br#"{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}],"53/udp":null},"ConsoleSize":[24,80]}"#,
        )
        .unwrap();
        let ports = host.port_bindings.as_ref().unwrap();
        assert_eq!(ports["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
        assert!(ports["53/udp"].is_none());
        assert_eq!(host.console_size, [24, 80]);
        assert!(to_string(&host).contains(r#""53/udp":null"#));
    }

    #[test]
    fn absent_and_empty_masked_paths_differ() {
        assert_eq!(parse::<HostConfig>(b"{}").unwrap().masked_paths, None);
        let unmasked: HostConfig = parse(br#"{"MaskedPaths":[]}"#).unwrap();
        assert_eq!(unmasked.masked_paths, Some(vec![]));
    }
}
