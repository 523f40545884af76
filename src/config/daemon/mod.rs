//! The daemon's configuration: defaults, then `daemon.json`, then flags; the same option in both is an
//! error.
//!
//! [`options::OPTIONS`] is the one table behind flags, keys of the file, help, manual page and reload.
//! To add an option: a field in [`DaemonConfig`] with its default, and one row in the table.
//!
//! Spec: `dockerd` reference 1.12 and 28; rows S001-S030, S049-S057, S225-S285.

mod checks;
mod file;
mod load;
pub mod options;
mod reload;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use load::{Loaded, SPEC, load};
pub use options::{DaemonOption, Field, OPTIONS};
pub use reload::{attributes, reload};

use super::paths;
use crate::base::{Result, log};
use crate::engine::container::runtime::BUILT_IN;
use crate::engine::model::host::Ulimit;
use crate::engine::settings::Runtime;
use crate::net::config as net;

/// The configuration file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

/// Everything that can be configured, checked and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonConfig {
    /// Addresses to listen on, in the full form that [`Address`](crate::http::address::Address) shows;
    /// never empty.
    pub hosts: Vec<String>,
    /// Whether tcp listeners speak TLS.
    pub tls: bool,
    /// Whether tcp listeners ask for a client certificate; implies `tls`.
    pub tls_verify: bool,
    /// File of the authorities that client certificates are checked against.
    pub tls_ca: String,
    /// File of the server's certificate.
    pub tls_cert: String,
    /// File of the server's key.
    pub tls_key: String,
    /// Whether debug lines are logged, whatever `log_level` says.
    pub debug: bool,
    /// trace, debug, info, warn, error or fatal.
    pub log_level: String,
    /// `text` or `json`.
    pub log_format: String,
    /// File that holds the daemon's pid.
    pub pidfile: String,
    /// Root of images, containers and volumes.
    pub data_root: String,
    /// Root of what does not outlive a boot.
    pub exec_root: String,
    /// Group of unix sockets.
    pub group: String,
    /// `key=value` labels of the daemon.
    pub labels: Vec<String>,
    /// Whether containers outlive a clean stop of the daemon.
    pub live_restore: bool,
    /// Whether containers are started with the daemon as their restart policy asks.
    pub restart: bool,
    /// Seconds to wait for containers when the daemon stops.
    pub shutdown_timeout: i64,
    /// Value of the Access-Control-Allow-Origin header; empty sends none.
    pub api_cors_header: String,
    /// Name of the storage driver; empty chooses.
    pub storage_driver: String,
    /// `key=value` options of the storage driver.
    pub storage_opts: Vec<String>,
    /// Registries that may be spoken to without TLS or with any certificate: `host[:port]` or CIDR.
    pub insecure_registries: Vec<String>,
    /// Mirrors of the default registry, as URLs that end in a slash.
    pub registry_mirrors: Vec<String>,
    /// How many layers of one pull are fetched at once.
    pub max_concurrent_downloads: i64,
    /// How often a download is tried.
    pub max_download_attempts: i64,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Options of that driver.
    pub log_opts: BTreeMap<String, String>,
    /// Resource limits of containers that do not set them, by name.
    pub default_ulimits: BTreeMap<String, Ulimit>,
    /// IPC mode of containers that name none: `private` or `shareable`.
    pub default_ipc_mode: String,
    /// Cgroup namespace mode of containers that name none; empty depends on the host.
    pub default_cgroupns_mode: String,
    /// Filter of system calls: `builtin`, `unconfined` or a file.
    pub seccomp_profile: String,
    /// Whether containers get the no_new_privs bit unless they say otherwise.
    pub no_new_privileges: bool,
    /// Whether SELinux labels are used.
    pub selinux_enabled: bool,
    /// Whether containers get a reaper as their first process.
    pub init: bool,
    /// A program for that; empty is the built-in one.
    pub init_path: String,
    /// OCI runtimes besides the built-in one, by name.
    pub runtimes: BTreeMap<String, Runtime>,
    /// Name of the runtime of containers that name none.
    pub default_runtime: String,
    /// Cgroup that the cgroups of containers are made in; empty is Docker's default.
    pub cgroup_parent: String,
    /// Size of /dev/shm of containers that name none, in bytes.
    pub default_shm_size: i64,
    /// Real-time period of the parents of containers' cgroups, in microseconds; 0 leaves it.
    pub cpu_rt_period: i64,
    /// The same for the runtime.
    pub cpu_rt_runtime: i64,
    /// Directories where vendors describe devices; none are Docker's two.
    pub cdi_spec_dirs: Vec<String>,
    /// What `host-gateway` stands for in `--add-host`; empty is the address of the default bridge.
    pub host_gateway_ips: Vec<String>,
    /// Name servers of containers.
    pub dns: Vec<String>,
    /// Resolver options of containers.
    pub dns_opts: Vec<String>,
    /// Search domains of containers.
    pub dns_search: Vec<String>,
    /// Name of the default bridge; empty is `docker0`, `none` is no default network.
    pub bridge: String,
    /// Address of the default bridge, in CIDR notation.
    pub bip: String,
    /// Part of the bridge's subnet that containers get their addresses from.
    pub fixed_cidr: String,
    /// Gateway of containers instead of the bridge.
    pub default_gateway: String,
    /// MTU of container interfaces; 0 is the default.
    pub mtu: i64,
    /// Whether containers of the default bridge reach each other.
    pub icc: bool,
    /// Host address of published ports that name none.
    pub ip: String,
    /// Whether `net.ipv4.ip_forward` is switched on.
    pub ip_forward: bool,
    /// Whether the forwarding policy of the host stays as it is.
    pub ip_forward_no_drop: bool,
    /// Whether traffic that leaves the bridge is masqueraded.
    pub ip_masq: bool,
    /// Whether packet filter rules are written at all.
    pub iptables: bool,
    /// Whether published ports get a proxy process for traffic of the host itself.
    pub userland_proxy: bool,
    /// `nftables`, `iptables`, or empty to choose.
    pub firewall_backend: String,
    /// Lines to log as warnings once the log works: deprecated and ignored options that were used.
    pub warnings: Vec<String>,
    /// What a reload starts from.
    pub source: Source,
}

/// Where the configuration came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The configuration file.
    pub file: PathBuf,
    /// Whether the file was named and therefore must exist.
    pub explicit: bool,
    /// Flags of the command line: canonical long name and value.
    pub flags: Vec<(String, String)>,
}

impl Default for DaemonConfig {
    fn default() -> DaemonConfig {
        let [ca, cert, key] =
            paths::tls_files(&paths::cert_dir()).map(|p| p.to_string_lossy().into_owned());
        DaemonConfig {
            hosts: vec![],
            tls: false,
            tls_verify: false,
            tls_ca: ca,
            tls_cert: cert,
            tls_key: key,
            debug: false,
            log_level: "info".into(),
            log_format: "text".into(),
            pidfile: "/var/run/docker.pid".into(),
            data_root: "/var/lib/docker".into(),
            exec_root: "/var/run/docker".into(),
            group: "docker".into(),
            labels: vec![],
            live_restore: false,
            restart: true,
            shutdown_timeout: 15,
            api_cors_header: String::new(),
            storage_driver: std::env::var("DOCKER_DRIVER").unwrap_or_default(),
            storage_opts: vec![],
            insecure_registries: vec![],
            registry_mirrors: vec![],
            max_concurrent_downloads: 3,
            max_download_attempts: 5,
            log_driver: "json-file".into(),
            log_opts: BTreeMap::new(),
            default_ulimits: BTreeMap::new(),
            default_ipc_mode: "private".into(),
            default_cgroupns_mode: String::new(),
            seccomp_profile: "builtin".into(),
            no_new_privileges: false,
            selinux_enabled: false,
            init: false,
            init_path: String::new(),
            runtimes: BTreeMap::new(),
            default_runtime: BUILT_IN.into(),
            cgroup_parent: String::new(),
            default_shm_size: 64 << 20,
            cpu_rt_period: 0,
            cpu_rt_runtime: 0,
            cdi_spec_dirs: vec![],
            dns: vec![],
            dns_opts: vec![],
            host_gateway_ips: vec![],
            dns_search: vec![],
            bridge: String::new(),
            bip: String::new(),
            fixed_cidr: String::new(),
            default_gateway: String::new(),
            mtu: 0,
            icc: true,
            ip: "0.0.0.0".into(),
            ip_forward: true,
            ip_forward_no_drop: false,
            ip_masq: true,
            iptables: true,
            userland_proxy: true,
            firewall_backend: String::new(),
            warnings: vec![],
            source: Source::default(),
        }
    }
}

impl DaemonConfig {
    /// The level and the format of the log.
    ///
    /// # Errors
    /// None once the configuration was loaded.
    pub fn log(&self) -> Result<(::log::LevelFilter, log::Format)> {
        let level = if self.debug { "debug" } else { &self.log_level };
        let format = if self.log_format == "json" { log::Format::Json } else { log::Format::Text };
        Ok((log::parse_level(level)?, format))
    }

    /// What the network layer is configured with. Its `executable` is the caller's to set.
    ///
    /// # Errors
    /// `InvalidParameter` that names the option.
    pub fn network(&self) -> Result<net::Config> {
        checks::network(self)
    }
}

#[cfg(test)]
mod tests;
