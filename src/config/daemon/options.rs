//! The one table of daemon options.

use std::collections::BTreeMap;

use argh::{FlagInfo, FlagInfoKind, Optionality};

use super::DaemonConfig;
use super::checks;
use crate::engine::model::host::Ulimit;
use crate::engine::settings::Runtime;

/// One option of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct DaemonOption {
    /// The flag with its dashes: `--label`.
    pub flag: &'static str,
    /// Its one-letter form.
    pub short: Option<char>,
    /// Key in the configuration file, the plural where the flag repeats; empty if only a flag.
    pub key: &'static str,
    /// Older name of the flag and of the key, without dashes.
    pub old: &'static str,
    /// Type word in help.
    pub word: &'static str,
    /// What it does, for help.
    pub help: &'static str,
    /// Whether SIGHUP applies a change.
    pub reloadable: bool,
    /// Whether help shows it.
    pub listed: bool,
    /// Where its value is kept.
    pub field: Field,
    /// Checks one value and gives the form to keep.
    pub check: fn(&str) -> Result<String, String>,
}

/// The kind of an option's value, with the place of the value.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// A switch.
    Bool(fn(&mut DaemonConfig) -> &mut bool),
    /// A whole number.
    Int(fn(&mut DaemonConfig) -> &mut i64),
    /// A text.
    Text(fn(&mut DaemonConfig) -> &mut String),
    /// A flag that may be repeated.
    List(fn(&mut DaemonConfig) -> &mut Vec<String>),
    /// `key=value`, may be repeated.
    Map(fn(&mut DaemonConfig) -> &mut BTreeMap<String, String>),
    /// `name=soft[:hard]`, may be repeated.
    Ulimits(fn(&mut DaemonConfig) -> &mut BTreeMap<String, Ulimit>),
    /// `name=path`, may be repeated.
    Runtimes(fn(&mut DaemonConfig) -> &mut BTreeMap<String, Runtime>),
    /// Keeps no value: a request such as `--help`, or an option that only has to be right.
    Special,
}

/// Every option, in the order of the manual page.
#[rustfmt::skip]
pub const OPTIONS: &[DaemonOption] = &[
    DaemonOption { field: Field::Runtimes(|c| &mut c.runtimes), ..list("--add-runtime", "runtimes", "register an additional OCI compatible runtime", |c| &mut c.labels) }.word("runtime").reload().checked(checks::runtime_text),
    text("--api-cors-header", "set CORS headers in the Engine API", |c| &mut c.api_cors_header),
    text("--bip", "IPv4 address for the default bridge", |c| &mut c.bip),
    text("--bridge", "attach containers to a network bridge", |c| &mut c.bridge).short('b'),
    list("--cdi-spec-dir", "cdi-spec-dirs", "CDI specification directories to use", |c| &mut c.cdi_spec_dirs).checked(checks::path),
    text("--cgroup-parent", "set parent cgroup for all containers", |c| &mut c.cgroup_parent),
    special("--config-file", "string", "daemon configuration file (default \"/etc/docker/daemon.json\")"),
    special("--containerd", "string", "containerd grpc address (ignored: containers are run by this executable itself)").checked(checks::text),
    int("--cpu-rt-period", "limit the CPU real-time period in microseconds for the parent cgroup for all containers (not supported with cgroups v2)", |c| &mut c.cpu_rt_period),
    int("--cpu-rt-runtime", "limit the CPU real-time runtime in microseconds for the parent cgroup for all containers (not supported with cgroups v2)", |c| &mut c.cpu_rt_runtime),
    text("--data-root", "root directory of persistent Docker state", |c| &mut c.data_root).short('g').old("graph").checked(checks::path),
    switch("--debug", "enable debug mode", |c| &mut c.debug).short('D').reload(),
    text("--default-cgroupns-mode", "default mode for containers cgroup namespace (\"host\" | \"private\"); private where the host has cgroup v2 only", |c| &mut c.default_cgroupns_mode).checked(checks::cgroupns_mode),
    text("--default-gateway", "default gateway IPv4 address for the default bridge network", |c| &mut c.default_gateway).word("ip").checked(checks::ip),
    text("--default-ipc-mode", "default mode for containers ipc (\"shareable\" | \"private\")", |c| &mut c.default_ipc_mode).checked(checks::ipc_mode),
    text("--default-runtime", "default OCI runtime for containers", |c| &mut c.default_runtime).reload(),
    int("--default-shm-size", "default shm size for containers", |c| &mut c.default_shm_size).word("bytes").checked(checks::bytes),
    DaemonOption { field: Field::Ulimits(|c| &mut c.default_ulimits), ..list("--default-ulimit", "default-ulimits", "default ulimits for containers", |c| &mut c.labels) }.word("ulimit").checked(checks::ulimit_text),
    list("--dns", "dns", "DNS server to use", |c| &mut c.dns).checked(checks::ip),
    list("--dns-opt", "dns-opts", "DNS options to use", |c| &mut c.dns_opts),
    list("--dns-search", "dns-search", "DNS search domains to use", |c| &mut c.dns_search).checked(checks::domain),
    special("--exec-driver", "string", "container execution driver; only \"native\" is left").short('e').hide().checked(checks::exec_driver),
    special("--exec-opt", "list", "runtime execution options").key("exec-opts").checked(checks::exec_opt),
    text("--exec-root", "root directory for execution state files", |c| &mut c.exec_root).checked(checks::path),
    text("--firewall-backend", "firewall backend to use, \"iptables\" or \"nftables\"", |c| &mut c.firewall_backend).checked(checks::firewall),
    text("--fixed-cidr", "IPv4 subnet for the default bridge network", |c| &mut c.fixed_cidr),
    text("--group", "group for the unix socket", |c| &mut c.group).short('G'),
    special("--help", "bool", "print usage"),
    list("--host", "hosts", "daemon socket(s) to connect to", |c| &mut c.hosts).short('H').checked(checks::host),
    list("--host-gateway-ip", "host-gateway-ips", "IP addresses that the special 'host-gateway' string in --add-host resolves to; defaults to the IP addresses of the default bridge", |c| &mut c.host_gateway_ips).checked(checks::ip),
    switch("--icc", "enable inter-container communication for the default bridge network", |c| &mut c.icc),
    switch("--init", "run an init in the container to forward signals and reap processes", |c| &mut c.init),
    text("--init-path", "path to a docker-init binary to use instead of the built-in one", |c| &mut c.init_path).checked(checks::path),
    list("--insecure-registry", "insecure-registries", "enable insecure registry communication", |c| &mut c.insecure_registries).reload().checked(checks::insecure_registry),
    text("--ip", "host IP for port publishing from the default bridge network", |c| &mut c.ip).word("ip").checked(checks::ip),
    switch("--ip-forward", "enable IP forwarding in system configuration", |c| &mut c.ip_forward),
    switch("--ip-forward-no-drop", "do not set the filter-FORWARD policy to DROP when enabling IP forwarding", |c| &mut c.ip_forward_no_drop),
    switch("--ip-masq", "enable IP masquerading for the default bridge network", |c| &mut c.ip_masq),
    switch("--iptables", "enable addition of packet filter rules", |c| &mut c.iptables),
    list("--label", "labels", "set key=value labels to the daemon", |c| &mut c.labels).reload().checked(checks::label),
    switch("--live-restore", "enable live restore of docker when containers are still running", |c| &mut c.live_restore).reload(),
    text("--log-driver", "default driver for container logs", |c| &mut c.log_driver),
    text("--log-format", "set the logging format (\"text\"|\"json\")", |c| &mut c.log_format).checked(checks::log_format),
    text("--log-level", "set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\")", |c| &mut c.log_level).short('l'),
    DaemonOption { field: Field::Map(|c| &mut c.log_opts), ..list("--log-opt", "log-opts", "default log driver options for containers", |c| &mut c.labels) }.word("map"),
    int("--max-concurrent-downloads", "set the max concurrent downloads", |c| &mut c.max_concurrent_downloads).reload(),
    int("--max-download-attempts", "set the max download attempts for each pull", |c| &mut c.max_download_attempts).reload(),
    int("--mtu", "set the MTU for the default bridge network", |c| &mut c.mtu),
    switch("--no-new-privileges", "set no-new-privileges by default for new containers", |c| &mut c.no_new_privileges),
    text("--pidfile", "path to use for daemon PID file", |c| &mut c.pidfile).short('p'),
    special("--raw-logs", "bool", "full timestamps without ANSI coloring (the log is always so)").key("raw-logs"),
    list("--registry-mirror", "registry-mirrors", "preferred registry mirror", |c| &mut c.registry_mirrors).reload().checked(checks::mirror),
    switch("--restart", "start containers as their restart policies ask", |c| &mut c.restart).short('r').key("").hide(),
    text("--seccomp-profile", "path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile", |c| &mut c.seccomp_profile),
    switch("--selinux-enabled", "enable selinux support", |c| &mut c.selinux_enabled),
    int("--shutdown-timeout", "set the default shutdown timeout", |c| &mut c.shutdown_timeout).reload(),
    text("--storage-driver", "storage driver to use", |c| &mut c.storage_driver).short('s'),
    list("--storage-opt", "storage-opts", "storage driver options", |c| &mut c.storage_opts),
    switch("--tls", "use TLS; implied by --tlsverify", |c| &mut c.tls),
    text("--tlscacert", "trust certs signed only by this CA", |c| &mut c.tls_ca),
    text("--tlscert", "path to TLS certificate file", |c| &mut c.tls_cert),
    text("--tlskey", "path to TLS key file", |c| &mut c.tls_key),
    switch("--tlsverify", "use TLS and verify the remote", |c| &mut c.tls_verify),
    switch("--userland-proxy", "use userland proxy for loopback traffic", |c| &mut c.userland_proxy),
    special("--validate", "bool", "validate daemon configuration and exit"),
    special("--version", "bool", "print version information and quit").short('v'),
];

const fn row(
    flag: &'static str,
    word: &'static str,
    help: &'static str,
    field: Field,
) -> DaemonOption {
    DaemonOption {
        flag,
        short: None,
        key: flag.split_at(2).1,
        old: "",
        word,
        help,
        reloadable: false,
        listed: true,
        field,
        check: checks::text,
    }
}

const fn switch(
    flag: &'static str,
    help: &'static str,
    field: fn(&mut DaemonConfig) -> &mut bool,
) -> DaemonOption {
    row(flag, "bool", help, Field::Bool(field))
}

const fn int(
    flag: &'static str,
    help: &'static str,
    field: fn(&mut DaemonConfig) -> &mut i64,
) -> DaemonOption {
    row(flag, "int", help, Field::Int(field))
}

const fn text(
    flag: &'static str,
    help: &'static str,
    field: fn(&mut DaemonConfig) -> &mut String,
) -> DaemonOption {
    row(flag, "string", help, Field::Text(field))
}

const fn list(
    flag: &'static str,
    key: &'static str,
    help: &'static str,
    field: fn(&mut DaemonConfig) -> &mut Vec<String>,
) -> DaemonOption {
    row(flag, "list", help, Field::List(field)).key(key)
}

const fn special(flag: &'static str, word: &'static str, help: &'static str) -> DaemonOption {
    row(flag, word, help, Field::Special).key("")
}

impl DaemonOption {
    const fn short(self, letter: char) -> DaemonOption {
        DaemonOption { short: Some(letter), ..self }
    }
    const fn key(self, key: &'static str) -> DaemonOption {
        DaemonOption { key, ..self }
    }
    const fn old(self, old: &'static str) -> DaemonOption {
        DaemonOption { old, ..self }
    }
    const fn word(self, word: &'static str) -> DaemonOption {
        DaemonOption { word, ..self }
    }
    const fn reload(self) -> DaemonOption {
        DaemonOption { reloadable: true, ..self }
    }
    const fn hide(self) -> DaemonOption {
        DaemonOption { listed: false, ..self }
    }
    const fn checked(self, check: fn(&str) -> Result<String, String>) -> DaemonOption {
        DaemonOption { check, ..self }
    }
}

/// What argh would know of the flags: the metadata that the dialect and help work on.
pub struct Flags {
    descriptions: Vec<String>,
}

impl Flags {
    /// Descriptions with the defaults that `defaults` holds.
    pub fn new(defaults: &DaemonConfig) -> Flags {
        let mut defaults = defaults.clone();
        let describe = |o: &DaemonOption| match o.default_text(&mut defaults) {
            Some(default) => format!("{} (default {default})", o.help),
            None => o.help.to_string(),
        };
        Flags { descriptions: OPTIONS.iter().map(describe).collect() }
    }

    /// The metadata.
    pub fn infos(&self) -> Vec<FlagInfo<'_>> {
        OPTIONS.iter().zip(&self.descriptions).map(|(option, text)| option.info(text)).collect()
    }
}

impl DaemonOption {
    /// Whether the flag may be given several times.
    pub fn repeats(&self) -> bool {
        matches!(
            self.field,
            Field::List(_) | Field::Map(_) | Field::Ulimits(_) | Field::Runtimes(_)
        ) || self.word == "list"
    }

    fn info<'a>(&self, description: &'a str) -> FlagInfo<'a> {
        FlagInfo {
            kind: FlagInfoKind::Option { arg_name: self.word },
            optionality: if self.repeats() {
                Optionality::Repeating
            } else {
                Optionality::Optional
            },
            long: self.flag,
            short: self.short,
            description,
            hidden: !self.listed,
        }
    }

    /// The default as help shows it; `None` for what is empty, zero or off.
    pub fn default_text(&self, defaults: &mut DaemonConfig) -> Option<String> {
        match self.field {
            Field::Bool(get) => get(defaults).then(|| "true".into()),
            Field::Int(get) => (*get(defaults) != 0).then(|| match self.word {
                "bytes" => crate::base::bytesize::binary(*get(defaults) as f64),
                _ => get(defaults).to_string(),
            }),
            Field::Text(get) => {
                let value = get(defaults);
                let text = if self.word == "string" { format!("{value:?}") } else { value.clone() };
                (!value.is_empty()).then_some(text)
            }
            _ => None,
        }
    }

    /// The value in `config`, as Go prints it.
    pub fn show(&self, config: &mut DaemonConfig) -> String {
        match self.field {
            Field::Bool(get) => get(config).to_string(),
            Field::Int(get) => get(config).to_string(),
            Field::Text(get) => get(config).clone(),
            Field::List(get) => format!("[{}]", get(config).join(" ")),
            Field::Map(get) => {
                let pairs: Vec<String> =
                    get(config).iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Field::Ulimits(get) => {
                let limits: Vec<String> = get(config)
                    .values()
                    .map(|u| format!("{}={}:{}", u.name, u.soft, u.hard))
                    .collect();
                format!("[{}]", limits.join(" "))
            }
            Field::Runtimes(get) => {
                let pairs: Vec<String> = get(config)
                    .iter()
                    .map(|(name, r)| format!("{name}:{{{} [{}]}}", r.path, r.args.join(" ")))
                    .collect();
                format!("map[{}]", pairs.join(" "))
            }
            Field::Special => String::new(),
        }
    }

    /// Copies the value from one configuration into another.
    pub fn copy(&self, from: &mut DaemonConfig, to: &mut DaemonConfig) {
        match self.field {
            Field::Bool(get) => *get(to) = *get(from),
            Field::Int(get) => *get(to) = *get(from),
            Field::Text(get) => *get(to) = get(from).clone(),
            Field::List(get) => *get(to) = get(from).clone(),
            Field::Map(get) => *get(to) = get(from).clone(),
            Field::Ulimits(get) => *get(to) = get(from).clone(),
            Field::Runtimes(get) => *get(to) = get(from).clone(),
            Field::Special => {}
        }
    }

    /// Sets or adds one value as a flag gives it.
    ///
    /// # Errors
    /// The reason, without the option's name.
    pub fn set(&self, config: &mut DaemonConfig, value: &str) -> Result<(), String> {
        let value = (self.check)(value)?;
        match self.field {
            Field::Bool(get) => *get(config) = crate::cli::pflag::go_bool(&value)?,
            Field::Int(get) => *get(config) = crate::cli::values::go_int(&value, 64)?,
            Field::Text(get) => *get(config) = value,
            Field::List(get) => get(config).push(value),
            Field::Map(get) => {
                let (key, value) = value.split_once('=').unwrap_or((&value, ""));
                get(config).insert(key.to_string(), value.to_string());
            }
            Field::Ulimits(get) => {
                let limit = checks::ulimit(&value)?;
                get(config).insert(limit.name.clone(), limit);
            }
            Field::Runtimes(get) => {
                let (name, runtime) = checks::runtime(&value)?;
                if get(config).insert(name.clone(), runtime).is_some() {
                    return Err(format!("runtime '{name}' was already registered"));
                }
            }
            Field::Special => {}
        }
        Ok(())
    }
}
