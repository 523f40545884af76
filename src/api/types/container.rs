//! Containers as they are shown: list rows, inspect, top, wait, changes.
//!
//! Spec: Docker Engine API 1.51, ContainerSummary, ContainerInspectResponse, ContainerState.

use std::collections::BTreeMap;

use super::config::Config;
use super::host::{HostConfig, PortMap};
use super::mount::MountPoint;
use super::network::EndpointSettings;
use super::{Descriptor, TextMap};
use crate::base::time::Timestamp;
use crate::wire;

wire! {
    /// One row of `GET /containers/json`. `Created` is in seconds since 1970.
    pub struct Summary {
        "Id" keep id: String,
        "Names" keep names: Vec<String>,
        "Image" keep image: String,
        "ImageID" keep image_id: String,
        "ImageManifestDescriptor" omit image_manifest_descriptor: Option<Descriptor>,
        "Command" keep command: String,
        "Created" keep created: i64,
        "Ports" keep ports: Vec<Port>,
        "SizeRw" omit size_rw: i64,
        "SizeRootFs" omit size_root_fs: i64,
        "Labels" keep labels: TextMap,
        "State" keep state: String,
        "Status" keep status: String,
        "HostConfig" keep host_config: SummaryHost,
        "NetworkSettings" keep network_settings: Option<SummaryNetworks>,
        "Mounts" keep mounts: Vec<MountPoint>,
    }
}

wire! {
    /// The part of the host configuration that a list row has.
    pub struct SummaryHost {
        "NetworkMode" omit network_mode: String,
        "Annotations" omit annotations: TextMap,
    }
}

wire! {
    /// The networks of a list row.
    pub struct SummaryNetworks {
        "Networks" keep networks: BTreeMap<String, EndpointSettings>,
    }
}

wire! {
    /// A port of a list row; exposed only if there is no public port.
    pub struct Port {
        "IP" omit ip: String,
        "PrivatePort" keep private_port: u16,
        "PublicPort" omit public_port: u16,
        "Type" keep kind: String,
    }
}

wire! {
    /// The answer of `GET /containers/{name}/json`.
    pub struct InspectResponse {
        "Id" keep id: String,
        "Created" keep created: Timestamp,
        "Path" keep path: String,
        "Args" keep args: Vec<String>,
        "State" keep state: Option<State>,
        "Image" keep image: String,
        "ResolvConfPath" keep resolv_conf_path: String,
        "HostnamePath" keep hostname_path: String,
        "HostsPath" keep hosts_path: String,
        "LogPath" keep log_path: String,
        "Name" keep name: String,
        "RestartCount" keep restart_count: i64,
        "Driver" keep driver: String,
        "Platform" keep platform: String,
        "MountLabel" keep mount_label: String,
        "ProcessLabel" keep process_label: String,
        "AppArmorProfile" keep app_armor_profile: String,
        "ExecIDs" keep exec_ids: Option<Vec<String>>,
        "HostConfig" keep host_config: Option<HostConfig>,
        "GraphDriver" keep graph_driver: DriverData,
        "SizeRw" omit size_rw: Option<i64>,
        "SizeRootFs" omit size_root_fs: Option<i64>,
        "Mounts" keep mounts: Vec<MountPoint>,
        "Config" keep config: Option<Config>,
        "NetworkSettings" keep network_settings: Option<NetworkSettings>,
        "ImageManifestDescriptor" omit image_manifest_descriptor: Option<Descriptor>,
    }
}

wire! {
    /// What the storage driver says of a container or an image.
    pub struct DriverData {
        "Data" keep data: Option<TextMap>,
        "Name" keep name: String,
    }
}

wire! {
    /// The state of a container. `Status` is one of created, running, paused, restarting, removing,
    /// exited, dead.
    pub struct State {
        "Status" keep status: String,
        "Running" keep running: bool,
        "Paused" keep paused: bool,
        "Restarting" keep restarting: bool,
        "OOMKilled" keep oom_killed: bool,
        "Dead" keep dead: bool,
        "Pid" keep pid: i64,
        "ExitCode" keep exit_code: i64,
        "Error" keep error: String,
        "StartedAt" keep started_at: Timestamp,
        "FinishedAt" keep finished_at: Timestamp,
        "Health" omit health: Option<Health>,
    }
}

wire! {
    /// The health of a container: starting, healthy or unhealthy.
    pub struct Health {
        "Status" keep status: String,
        "FailingStreak" keep failing_streak: i64,
        "Log" keep log: Option<Vec<HealthcheckResult>>,
    }
}

wire! {
    /// The outcome of one health check.
    pub struct HealthcheckResult {
        "Start" keep start: Timestamp,
        "End" keep end: Timestamp,
        "ExitCode" keep exit_code: i64,
        "Output" keep output: String,
    }
}

wire! {
    /// An address of the old form of network settings.
    pub struct Address {
        "Addr" keep addr: String,
        "PrefixLen" keep prefix_len: i64,
    }
}

wire! {
    /// The networks of a container; the flat addresses are those on the default bridge.
    pub struct NetworkSettings {
        "Bridge" keep bridge: String,
        "SandboxID" keep sandbox_id: String,
        "SandboxKey" keep sandbox_key: String,
        "Ports" keep ports: Option<PortMap>,
        "HairpinMode" keep hairpin_mode: bool,
        "LinkLocalIPv6Address" keep link_local_ipv6_address: String,
        "LinkLocalIPv6PrefixLen" keep link_local_ipv6_prefix_len: i64,
        "SecondaryIPAddresses" keep secondary_ip_addresses: Option<Vec<Address>>,
        "SecondaryIPv6Addresses" keep secondary_ipv6_addresses: Option<Vec<Address>>,
        "EndpointID" keep endpoint_id: String,
        "Gateway" keep gateway: String,
        "GlobalIPv6Address" keep global_ipv6_address: String,
        "GlobalIPv6PrefixLen" keep global_ipv6_prefix_len: i64,
        "IPAddress" keep ip_address: String,
        "IPPrefixLen" keep ip_prefix_len: i64,
        "IPv6Gateway" keep ipv6_gateway: String,
        "MacAddress" keep mac_address: String,
        "Networks" keep networks: BTreeMap<String, EndpointSettings>,
    }
}

wire! {
    /// The answer of `GET /containers/{name}/top`.
    pub struct TopResponse {
        "Processes" keep processes: Vec<Vec<String>>,
        "Titles" keep titles: Vec<String>,
    }
}

wire! {
    /// The answer of `POST /containers/{name}/wait`.
    pub struct WaitResponse {
        "Error" omit error: Option<WaitError>,
        "StatusCode" keep status_code: i64,
    }
}

wire! {
    /// Why a wait ended without a status.
    pub struct WaitError { "Message" omit message: String }
}

wire! {
    /// One changed path: kind 0 is modified, 1 added, 2 deleted.
    pub struct FilesystemChange {
        "Path" keep path: String,
        "Kind" keep kind: u8,
    }
}

wire! {
    /// The `X-Docker-Container-Path-Stat` header, base64 of this. `mode` is Go's file mode.
    pub struct PathStat {
        "name" keep name: String,
        "size" keep size: i64,
        "mode" keep mode: u32,
        "mtime" keep mtime: Timestamp,
        "linkTarget" keep link_target: String,
    }
}

wire! {
    /// The answer of `POST /containers/prune`.
    pub struct PruneReport {
        "ContainersDeleted" keep containers_deleted: Option<Vec<String>>,
        "SpaceReclaimed" keep space_reclaimed: u64,
    }
}
