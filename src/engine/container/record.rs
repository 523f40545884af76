//! What a container's directory holds: Docker's `config.v2.json` and `hostconfig.json`.
//!
//! Both files have exactly Docker's shape, so that a data root can be adopted and handed back. The
//! record is changed in memory under the container's lock and written by [`Record::save`]; the two
//! files of a new container appear together, by the rename of its whole directory (see `create`).
//!
//! Spec: moby `daemon/container` on-disk format, as written by Docker 1.10 to 28.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::json::{self, Nothing};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result};
use crate::wire;

use crate::engine::model::config::Config;
use crate::engine::model::endpoint::EndpointSettings;
use crate::engine::model::host::{HostConfig, PortMap};
use crate::engine::model::mount::Mount;

/// Name of the file with the container's own record.
pub const CONFIG_FILE: &str = "config.v2.json";
/// Name of the file with its host configuration.
pub const HOST_CONFIG_FILE: &str = "hostconfig.json";

wire! {
    /// The life of the process, as recorded and as `inspect` shows it.
    pub struct State {
        "Running" keep running: bool,
        "Paused" keep paused: bool,
        "Restarting" keep restarting: bool,
        "OOMKilled" keep oom_killed: bool,
        "RemovalInProgress" keep removal_in_progress: bool,
        "Dead" keep dead: bool,
        "Pid" keep pid: i64,
        "ExitCode" keep exit_code: i64,
        "Error" keep error: String,
        "StartedAt" keep started_at: Timestamp,
        "FinishedAt" keep finished_at: Timestamp,
    }
}

impl State {
    /// The one word of `docker ps` filters and inspect.
    pub fn status(&self) -> &'static str {
        match self {
            State { running: true, paused: true, .. } => "paused",
            State { running: true, restarting: true, .. } => "restarting",
            State { running: true, .. } => "running",
            State { removal_in_progress: true, .. } => "removing",
            State { dead: true, .. } => "dead",
            State { started_at, .. } if started_at.is_zero() => "created",
            _ => "exited",
        }
    }
}

wire! {
    /// Where the container is on the network, as recorded.
    pub struct NetworkSettings {
        "Bridge" keep bridge: String,
        "SandboxID" keep sandbox_id: String,
        "HairpinMode" keep hairpin_mode: bool,
        "LinkLocalIPv6Address" keep link_local_ipv6_address: String,
        "LinkLocalIPv6PrefixLen" keep link_local_ipv6_prefix_len: i64,
        "Networks" keep networks: BTreeMap<String, EndpointSettings>,
        "Ports" keep ports: Option<PortMap>,
        "SandboxKey" keep sandbox_key: String,
        "IsAnonymousEndpoint" keep is_anonymous_endpoint: bool,
        "HasSwarmEndpoint" keep has_swarm_endpoint: bool,
    }
}

wire! {
    /// One mount of the container, resolved: where it comes from and where it appears.
    pub struct MountPoint {
        "Source" keep source: String,
        "Destination" keep destination: String,
        "RW" keep rw: bool,
        "Name" keep name: String,
        "Driver" keep driver: String,
        "Type" keep kind: String,
        "Relabel" omit mode: String,
        "Propagation" omit propagation: String,
        "ID" omit id: String,
        "CopyData" omit copy_data: bool,
        "Spec" keep spec: Mount,
        "SkipMountpointCreation" keep skip_mountpoint_creation: bool,
    }
}

wire! {
    /// `config.v2.json`.
    pub struct Record {
        "StreamConfig" keep stream_config: Nothing,
        "State" keep state: State,
        "ID" keep id: String,
        "Created" keep created: Timestamp,
        "Managed" keep managed: bool,
        "Path" keep path: String,
        "Args" keep args: Vec<String>,
        "Config" keep config: Config,
        "Image" keep image: String,
        "NetworkSettings" keep network: NetworkSettings,
        "LogPath" keep log_path: String,
        "Name" keep name: String,
        "Driver" keep driver: String,
        "OS" keep os: String,
        "MountLabel" keep mount_label: String,
        "ProcessLabel" keep process_label: String,
        "RestartCount" keep restart_count: i64,
        "HasBeenStartedBefore" keep has_been_started_before: bool,
        "HasBeenManuallyStopped" keep has_been_manually_stopped: bool,
        "MountPoints" keep mount_points: BTreeMap<String, MountPoint>,
        "AppArmorProfile" keep apparmor_profile: String,
        "HostnamePath" keep hostname_path: String,
        "HostsPath" keep hosts_path: String,
        "ShmPath" keep shm_path: String,
        "ResolvConfPath" keep resolv_conf_path: String,
        "SeccompProfile" keep seccomp_profile: String,
        "NoNewPrivileges" keep no_new_privileges: bool,
    }
}

impl Record {
    /// Reads both files of the container directory `dir`.
    ///
    /// # Errors
    /// `NotFound` if a file is missing, `InvalidParameter` if one is damaged; the path is named.
    pub fn load(dir: &Path) -> Result<(Record, HostConfig)> {
        let record = Record::load_alone(dir)?;
        let host: HostConfig = read_json(&dir.join(HOST_CONFIG_FILE))?;
        Ok((record, host))
    }

    /// Reads `config.v2.json` in `dir`.
    ///
    /// # Errors
    /// As [`Record::load`].
    pub fn load_alone(dir: &Path) -> Result<Record> {
        let record: Record = read_json(&dir.join(CONFIG_FILE))?;
        if !crate::base::id::is_full(&record.id) {
            return Err(Error::invalid(format_args!("{}: not a container id", dir.display())));
        }
        Ok(record)
    }

    /// Replaces `config.v2.json` in `dir`.
    ///
    /// # Errors
    /// `Io`; the old record stays.
    pub fn save(&self, dir: &Path, durable: Durable) -> Result<()> {
        write_atomic(&dir.join(CONFIG_FILE), json::to_string(self).as_bytes(), 0o600, durable)
    }

    /// The name without the leading slash.
    pub fn plain_name(&self) -> &str {
        self.name.strip_prefix('/').unwrap_or(&self.name)
    }
}

/// Replaces `hostconfig.json` in `dir`.
///
/// # Errors
/// `Io`; the old file stays.
pub fn save_host_config(host: &HostConfig, dir: &Path, durable: Durable) -> Result<()> {
    write_atomic(&dir.join(HOST_CONFIG_FILE), json::to_string(host).as_bytes(), 0o644, durable)
}

fn read_json<T: miniserde::Deserialize>(path: &Path) -> Result<T> {
    let bytes = read_optional(path)?
        .ok_or_else(|| Error::not_found(format_args!("{}: no such file", path.display())))?;
    json::parse(&bytes).at(path.display())
}
