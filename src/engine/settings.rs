//! What the engine is told at its start, and what may be changed later.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::model::host::Ulimit;

/// Fixed for the life of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Images, layers, containers: `/var/lib/docker`.
    pub data_root: PathBuf,
    /// Run state: `/var/run/docker`.
    pub exec_root: PathBuf,
    /// `--cgroup-parent` of the daemon; empty is `/docker`.
    pub cgroup_parent: String,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_opts: BTreeMap<String, String>,
    /// `--host-gateway-ip`; empty is the address of the default bridge.
    pub host_gateway_ips: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-opt`.
    pub dns_opts: Vec<String>,
    /// `--default-ulimit`, for containers that do not set them.
    pub default_ulimits: Vec<Ulimit>,
    /// `--default-ipc-mode`; empty is `private`.
    pub ipc_mode: String,
    /// `--default-cgroupns-mode`; empty is what the layout of the cgroups suggests.
    pub cgroupns_mode: String,
    /// `--seccomp-profile`: empty or `builtin`, `unconfined`, or the text of a profile.
    pub seccomp: String,
    /// The same as it was given.
    pub seccomp_profile: String,
    /// `--no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--selinux-enabled`, on a host that has SELinux.
    pub selinux: bool,
    /// `--init`.
    pub init: bool,
    /// `--init-path`: a program to reap processes with; empty is our own.
    pub init_path: String,
    /// Size of /dev/shm of containers that name none, in bytes.
    pub default_shm_bytes: i64,
    /// Real-time period and runtime of the parents of containers' cgroups, in microseconds; 0 leaves them.
    pub cpu_realtime: (i64, i64),
    /// Where vendors describe their devices; the later ones win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether restart policies apply at the start of the daemon; not with `--restart=false`.
    pub auto_restart: bool,
    /// The random id of this data root, from `<data root>/engine-id`.
    pub id: String,
}

/// May change by a reload.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// OCI runtimes besides the built-in one, by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// Name of the runtime of containers that name none; empty is the built-in one.
    pub default_runtime: String,
    /// Leave containers running when the daemon ends.
    pub live_restore: bool,
    /// `--label` of the daemon.
    pub labels: Vec<String>,
    /// Debug mode, as `info` shows it.
    pub debug: bool,
    /// How long a clean end waits for containers, in seconds.
    pub shutdown_timeout_seconds: i64,
}

/// An OCI runtime that is another program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// The program; a name without a slash is looked for along `PATH`.
    pub path: String,
    /// Arguments before those of every call.
    pub args: Vec<String>,
}
