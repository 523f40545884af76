//! Version and information about the engine and its host.
//!
//! Spec: Docker Engine API 1.51, SystemVersion, SystemInfo.

use std::collections::BTreeMap;

use super::TextMap;
use crate::wire;

wire! {
    /// The answer of `GET /version`.
    pub struct Version {
        "Platform" keep platform: PlatformName,
        "Components" omit components: Vec<Component>,
        "Version" keep version: String,
        "ApiVersion" keep api_version: String,
        "MinAPIVersion" omit min_api_version: String,
        "GitCommit" keep git_commit: String,
        "GoVersion" keep go_version: String,
        "Os" keep os: String,
        "Arch" keep arch: String,
        "KernelVersion" omit kernel_version: String,
        "Experimental" omit experimental: bool,
        "BuildTime" omit build_time: String,
    }
}

wire! {
    /// The name of the product.
    pub struct PlatformName { "Name" keep name: String }
}

wire! {
    /// One part of the engine.
    pub struct Component {
        "Name" keep name: String,
        "Version" keep version: String,
        "Details" omit details: TextMap,
    }
}

wire! {
    /// The answer of `GET /info`.
    pub struct Info {
        "ID" keep id: String,
        "Containers" keep containers: i64,
        "ContainersRunning" keep containers_running: i64,
        "ContainersPaused" keep containers_paused: i64,
        "ContainersStopped" keep containers_stopped: i64,
        "Images" keep images: i64,
        "Driver" keep driver: String,
        "DriverStatus" keep driver_status: Vec<(String, String)>,
        "SystemStatus" omit system_status: Vec<(String, String)>,
        "Plugins" keep plugins: Plugins,
        "MemoryLimit" keep memory_limit: bool,
        "SwapLimit" keep swap_limit: bool,
        "KernelMemory" omit kernel_memory: bool,
        "KernelMemoryTCP" omit kernel_memory_tcp: bool,
        "CpuCfsPeriod" keep cpu_cfs_period: bool,
        "CpuCfsQuota" keep cpu_cfs_quota: bool,
        "CPUShares" keep cpu_shares: bool,
        "CPUSet" keep cpu_set: bool,
        "PidsLimit" keep pids_limit: bool,
        "IPv4Forwarding" keep ipv4_forwarding: bool,
        "Debug" keep debug: bool,
        "NFd" keep n_fd: i64,
        "OomKillDisable" keep oom_kill_disable: bool,
        "NGoroutines" keep n_goroutines: i64,
        "SystemTime" keep system_time: String,
        "LoggingDriver" keep logging_driver: String,
        "CgroupDriver" keep cgroup_driver: String,
        "CgroupVersion" omit cgroup_version: String,
        "NEventsListener" keep n_events_listener: i64,
        "KernelVersion" keep kernel_version: String,
        "OperatingSystem" keep operating_system: String,
        "OSVersion" keep os_version: String,
        "OSType" keep os_type: String,
        "Architecture" keep architecture: String,
        "IndexServerAddress" keep index_server_address: String,
        "RegistryConfig" keep registry_config: Option<RegistryConfig>,
        "NCPU" keep ncpu: i64,
        "MemTotal" keep mem_total: i64,
        "GenericResources" keep generic_resources: Option<Vec<String>>,
        "DockerRootDir" keep docker_root_dir: String,
        "HttpProxy" keep http_proxy: String,
        "HttpsProxy" keep https_proxy: String,
        "NoProxy" keep no_proxy: String,
        "Name" keep name: String,
        "Labels" keep labels: Vec<String>,
        "ExperimentalBuild" keep experimental_build: bool,
        "ServerVersion" keep server_version: String,
        "Runtimes" keep runtimes: BTreeMap<String, Runtime>,
        "DefaultRuntime" keep default_runtime: String,
        "Swarm" keep swarm: Swarm,
        "LiveRestoreEnabled" keep live_restore_enabled: bool,
        "Isolation" keep isolation: String,
        "InitBinary" keep init_binary: String,
        "ContainerdCommit" keep containerd_commit: Commit,
        "RuncCommit" keep runc_commit: Commit,
        "InitCommit" keep init_commit: Commit,
        "SecurityOptions" keep security_options: Vec<String>,
        "ProductLicense" omit product_license: String,
        "DefaultAddressPools" omit default_address_pools: Vec<AddressPool>,
        "FirewallBackend" omit firewall_backend: Option<FirewallInfo>,
        "CDISpecDirs" keep cdi_spec_dirs: Vec<String>,
        "Warnings" keep warnings: Option<Vec<String>>,
    }
}

wire! {
    /// Names of the drivers, built in and plugged in.
    pub struct Plugins {
        "Volume" keep volume: Vec<String>,
        "Network" keep network: Vec<String>,
        "Authorization" keep authorization: Option<Vec<String>>,
        "Log" keep log: Vec<String>,
    }
}

wire! {
    /// What the daemon was told about registries.
    pub struct RegistryConfig {
        "InsecureRegistryCIDRs" keep insecure_registry_cidrs: Vec<String>,
        "IndexConfigs" keep index_configs: BTreeMap<String, IndexInfo>,
        "Mirrors" keep mirrors: Option<Vec<String>>,
    }
}

wire! {
    /// One registry.
    pub struct IndexInfo {
        "Name" keep name: String,
        "Mirrors" keep mirrors: Vec<String>,
        "Secure" keep secure: bool,
        "Official" keep official: bool,
    }
}

wire! {
    /// An OCI runtime that containers may ask for.
    pub struct Runtime {
        "path" omit path: String,
        "runtimeArgs" omit runtime_args: Vec<String>,
        "runtimeType" omit runtime_type: String,
        "status" omit status: TextMap,
    }
}

wire! {
    /// The revision of a part.
    pub struct Commit {
        "ID" keep id: String,
        "Expected" omit expected: String,
    }
}

wire! {
    /// Where the subnets of new networks come from.
    pub struct AddressPool {
        "Base" keep base: String,
        "Size" keep size: i64,
    }
}

wire! {
    /// The firewall in use.
    pub struct FirewallInfo {
        "Driver" keep driver: String,
        "Info" omit info: Vec<(String, String)>,
    }
}

wire! {
    /// The swarm's view of this engine; it is in none.
    pub struct Swarm {
        "NodeID" keep node_id: String,
        "NodeAddr" keep node_addr: String,
        "LocalNodeState" keep local_node_state: String,
        "ControlAvailable" keep control_available: bool,
        "Error" keep error: String,
        "RemoteManagers" keep remote_managers: Option<Vec<String>>,
    }
}
