//! `docker create`, and the half of `docker run` that makes the container.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use multi_core::api::types::config::{Config, CreateRequest, CreateResponse, HealthConfig};
use multi_core::api::types::host::{DeviceRequest, HostConfig, LogConfig, PortMap};
use multi_core::api::types::network::{EndpointIpam, EndpointSettings, NetworkingConfig};
use multi_core::api::types::{Set, Words};
use multi_core::base::{At, Error};
use multi_core::cli::options::network::{self, Attachment};
use multi_core::cli::options::{device, keyvalue, limit, port, security, volume};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::registry::platform::Platform;
use multi_core::registry::reference::{AnyReference, parse_any};

use super::container_flags::{CreateFlags, RunFlags};
use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{pull, stream};

pub(crate) const SPEC: Spec = Spec {
    usage: "IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    aliases: &["docker container create", "docker create"],
    arity: Arity::AtLeast(1),
    interspersed: false,
    renamed: RENAMED,
    lists_help: true,
};

/// Older names of flags.
pub(crate) const RENAMED: &[(&str, &str, bool)] = &[
    ("dns-opt", "dns-option", false),
    ("net", "network", false),
    ("net-alias", "network-alias", false),
];

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: CreateFlags = pflag::parse(&SPEC, called, argv)?;
    check_windows_only(&flags.0)?;
    let Asked(request, way) = asked(&flags.0).map_err(|e| with_help("create", &e))?;
    let id = create(session, request, &way)?;
    Ok(print::out(&format!("{id}\n")))
}

/// How the image is found and the result is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) pull: String,
    pub(crate) quiet: bool,
    pub(crate) platform: Option<String>,
}

/// A create body and the way to it.
pub(crate) struct Asked(pub(crate) CreateRequest, pub(crate) Way);

/// Docker's frame around what is wrong with a command line.
pub(crate) fn with_help(command: &str, message: &str) -> Failure {
    Failure::new(format_args!(
        "docker: {message}\n\nRun 'docker {command} --help' for more information"
    ))
    .with_code(125)
}

/// Checks the flags and turns them into a create body.
///
/// # Errors
/// Docker's texts.
pub(crate) fn asked(f: &RunFlags) -> Result<Asked, String> {
    if !matches!(f.pull.as_str(), "always" | "missing" | "never" | "") {
        return Err(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            f.pull
        ));
    }
    if !f.disable_content_trust {
        return Err("content trust is not supported".into());
    }
    let default_platform = || std::env::var("DOCKER_DEFAULT_PLATFORM").ok();
    let way = Way {
        name: f.name.clone(),
        pull: f.pull.clone(),
        quiet: f.quiet,
        platform: f.platform.clone().or_else(default_platform).filter(|p| !p.is_empty()),
    };
    if !f.mac_address.is_empty() && !network::is_mac(&f.mac_address) {
        return Err(format!("{} is not a valid mac address", f.mac_address));
    }
    if f.memory_swappiness != -1 && !(0..=100).contains(&f.memory_swappiness) {
        return Err(format!(
            "invalid value: {}. Valid memory swappiness range is 0-100",
            f.memory_swappiness
        ));
    }
    let volumes = volume::parse(&f.volume, &std::env::current_dir().unwrap_or_default())?;
    let ports = port::parse(&f.publish, &f.expose)?;
    let mut config = config(f, volumes.anonymous, ports.exposed)?;
    let host = host_config(f, volumes.binds, ports.bindings)?;
    let endpoints = endpoints(f)?;
    // Daemons before API 1.44 read the address here.
    if let Some(main) = endpoints.get(&host.network_mode) {
        config.mac_address = main.mac_address.clone();
    }
    let request = CreateRequest {
        config: Some(config),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config: endpoints }),
    };
    Ok(Asked(request, way))
}

fn config(f: &RunFlags, volumes: Set, exposed_ports: Set) -> Result<Config, String> {
    let given = |stream: &str| f.attach.iter().any(|a| a == stream);
    let all = f.attach.is_empty();
    let stdin = f.interactive || given("stdin");
    let (image, command) = match f.arguments.split_first() {
        Some((image, command)) => (image.clone(), command),
        None => (String::new(), &[][..]),
    };
    let labels = keyvalue::with_files(&f.label_file, &f.label, &|_| None)?;
    Ok(Config {
        hostname: f.hostname.clone(),
        domainname: f.domainname.clone(),
        user: f.user.clone(),
        attach_stdin: stdin,
        attach_stdout: all || given("stdout"),
        attach_stderr: all || given("stderr"),
        exposed_ports,
        tty: f.tty,
        open_stdin: f.interactive,
        stdin_once: f.interactive && stdin,
        env: list(&keyvalue::with_files(&f.env_file, &f.env, &keyvalue::own_env)?),
        cmd: (!command.is_empty()).then(|| Words(command.to_vec())),
        healthcheck: health(f)?,
        image,
        volumes: Some(volumes),
        working_dir: f.workdir.clone(),
        entrypoint: f.entrypoint.clone().map(|e| Words(vec![e])),
        labels: Some(keyvalue::map(&labels)),
        stop_signal: f.stop_signal.clone(),
        stop_timeout: f.stop_timeout,
        ..Config::default()
    })
}

fn host_config(
    f: &RunFlags,
    binds: Vec<String>,
    port_bindings: PortMap,
) -> Result<HostConfig, String> {
    let (cdi, plain): (Vec<&String>, Vec<&String>) =
        f.device.iter().partition(|d| device::is_cdi_name(d));
    let devices: Vec<_> =
        plain.into_iter().map(|d| device::mapping(d)).collect::<Result<_, _>>()?;
    let mut requests = f.gpus.clone();
    if !cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(cdi.into_iter().cloned().collect()),
            ..DeviceRequest::default()
        });
    }
    network::check_modes(&f.pid, &f.uts, &f.userns, &f.cgroupns)?;
    let restart_policy = limit::restart_policy(&f.restart)?;
    if f.log_driver == "none" && !f.log_opt.is_empty() {
        return Err(format!("invalid logging opts for driver {}", f.log_driver));
    }
    let security = security::parse(&f.security_opt)?;
    let storage_opt = volume::storage_options(&f.storage_opt)?;
    if f.rm && !matches!(restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    // The last value of a limit wins, and they are sent by name.
    let ulimits: BTreeMap<_, _> = f.ulimit.iter().map(|u| (u.name.clone(), u.clone())).collect();
    let bare = security.bare_system_paths.then(Vec::new);
    Ok(HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        container_id_file: f.cidfile.clone(),
        log_config: LogConfig { kind: f.log_driver.clone(), config: keyvalue::map(&f.log_opt) },
        network_mode: f.network.first().map_or("default".into(), |n| n.target.clone()),
        port_bindings: Some(port_bindings),
        restart_policy,
        auto_remove: f.rm,
        volume_driver: f.volume_driver.clone(),
        volumes_from: list(&f.volumes_from),
        annotations: keyvalue::map(&f.annotation),
        cap_add: list(&capabilities(&f.cap_add)).map(Words),
        cap_drop: list(&capabilities(&f.cap_drop)).map(Words),
        cgroupns_mode: f.cgroupns.clone(),
        dns: Some(f.dns.clone()),
        dns_options: Some(f.dns_option.clone()),
        dns_search: Some(f.dns_search.clone()),
        extra_hosts: list(&f.add_host),
        group_add: list(&f.group_add),
        ipc_mode: f.ipc.clone(),
        links: list(&f.link),
        oom_score_adj: f.oom_score_adj,
        pid_mode: f.pid.clone(),
        privileged: f.privileged,
        publish_all_ports: f.publish_all,
        readonly_rootfs: f.read_only,
        security_opt: list(&security.options),
        storage_opt,
        tmpfs: volume::tmpfs(&f.tmpfs),
        uts_mode: f.uts.clone(),
        userns_mode: f.userns.clone(),
        shm_size: f.shm_size,
        sysctls: keyvalue::map(&f.sysctl),
        runtime: f.runtime.clone(),
        isolation: f.isolation.clone(),
        cpu_shares: f.cpu_shares,
        memory: f.memory,
        nano_cpus: f.cpus,
        cgroup_parent: f.cgroup_parent.clone(),
        blkio_weight: f.blkio_weight,
        blkio_weight_device: Some(f.blkio_weight_device.clone()),
        blkio_device_read_bps: Some(f.device_read_bps.clone()),
        blkio_device_write_bps: Some(f.device_write_bps.clone()),
        blkio_device_read_iops: Some(f.device_read_iops.clone()),
        blkio_device_write_iops: Some(f.device_write_iops.clone()),
        cpu_period: f.cpu_period,
        cpu_quota: f.cpu_quota,
        cpu_realtime_period: f.cpu_rt_period,
        cpu_realtime_runtime: f.cpu_rt_runtime,
        cpuset_cpus: f.cpuset_cpus.clone(),
        cpuset_mems: f.cpuset_mems.clone(),
        devices: Some(devices),
        device_cgroup_rules: list(&f.device_cgroup_rule),
        device_requests: (!requests.is_empty()).then_some(requests),
        kernel_memory: f.kernel_memory,
        memory_reservation: f.memory_reservation,
        memory_swap: f.memory_swap,
        memory_swappiness: Some(f.memory_swappiness),
        oom_kill_disable: Some(f.oom_kill_disable),
        pids_limit: Some(f.pids_limit),
        ulimits: Some(ulimits.into_values().collect()),
        cpu_count: f.cpu_count,
        cpu_percent: f.cpu_percent,
        io_maximum_iops: f.io_maxiops,
        io_maximum_bandwidth: u64::try_from(f.io_maxbandwidth).unwrap_or(0),
        mounts: f.mount.clone(),
        masked_paths: bare.clone(),
        readonly_paths: bare,
        init: f.init,
        ..HostConfig::default()
    })
}

/// Capabilities by their whole names, each once, in order.
fn capabilities(given: &[String]) -> Vec<String> {
    let whole = |name: &String| {
        let upper = name.trim().to_uppercase();
        match upper.as_str() {
            "ALL" | "RESET" => upper,
            name if name.starts_with("CAP_") => upper,
            name => format!("CAP_{name}"),
        }
    };
    given.iter().map(whole).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Refuses what no Linux daemon has.
pub(crate) fn check_windows_only(f: &RunFlags) -> Result<(), Failure> {
    let given = [
        ("cpu-count", f.cpu_count != 0),
        ("cpu-percent", f.cpu_percent != 0),
        ("io-maxbandwidth", f.io_maxbandwidth != 0),
        ("io-maxiops", f.io_maxiops != 0),
    ];
    let lines: Vec<String> = given
        .iter()
        .filter(|(_, given)| *given)
        .map(|(flag, _)| {
            format!(
                "\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker \
                 daemon is running on linux"
            )
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::new(lines.join("\n"))) }
}

fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn health(f: &RunFlags) -> Result<Option<HealthConfig>, String> {
    let checks = [
        ("--health-interval", f.health_interval),
        ("--health-timeout", f.health_timeout),
        ("--health-retries", f.health_retries),
        ("--health-start-period", f.health_start_period),
        ("--health-start-interval", f.health_start_interval),
    ];
    let set = !f.health_cmd.is_empty() || checks.iter().any(|(_, value)| *value != 0);
    if f.no_healthcheck {
        if set {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        let none = HealthConfig { test: vec!["NONE".into()], ..HealthConfig::default() };
        return Ok(Some(none));
    }
    if let Some((flag, _)) = checks.iter().find(|(_, value)| *value < 0) {
        return Err(format!("{flag} cannot be negative"));
    }
    let test = match f.health_cmd.as_str() {
        "" => Vec::new(),
        command => vec!["CMD-SHELL".into(), command.into()],
    };
    Ok(set.then_some(HealthConfig {
        test,
        interval: f.health_interval,
        timeout: f.health_timeout,
        start_period: f.health_start_period,
        start_interval: f.health_start_interval,
        retries: f.health_retries,
    }))
}

/// The endpoints of all `--network` values; flags about "the" network belong to the first.
fn endpoints(f: &RunFlags) -> Result<BTreeMap<String, EndpointSettings>, String> {
    let mut out = BTreeMap::new();
    let mut networks = f.network.clone();
    if networks.is_empty() {
        networks.push(Attachment { target: "default".into(), ..Attachment::default() });
    }
    let user_defined = networks.iter().filter(|n| network::is_user_defined(&n.target)).count();
    let alone = networks.len() == 1;
    let all = networks.len();
    for (i, mut attachment) in networks.into_iter().enumerate() {
        let mut links = Vec::new();
        if i == 0 {
            links = merge(&mut attachment, f)?;
        }
        let target = attachment.target.clone();
        let endpoint = endpoint(attachment, links)?;
        if out.contains_key(&target) {
            return Err(format!("network {target:?} is specified multiple times"));
        }
        // One network without any option needs no endpoint; the daemon makes it.
        if alone && !f.network.is_empty() && endpoint == EndpointSettings::default() {
            continue;
        }
        out.insert(target, endpoint);
    }
    if user_defined > 0 && user_defined < all {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .into(),
        );
    }
    Ok(out)
}

/// Puts the flags about "the" network into its attachment; gives its links.
fn merge(attachment: &mut Attachment, f: &RunFlags) -> Result<Vec<String>, String> {
    let conflict = |flag: &str, own: &str| {
        Err(format!("conflicting options: cannot specify both {flag} and per-network {own}"))
    };
    let text = |own: &mut String, flag: &str| {
        let both = !own.is_empty() && !flag.is_empty();
        if !flag.is_empty() {
            *own = flag.to_string();
        }
        both
    };
    if !attachment.aliases.is_empty() && !f.network_alias.is_empty() {
        return conflict("--network-alias", "alias");
    }
    if text(&mut attachment.ipv4, &f.ip) {
        return conflict("--ip", "IPv4 address");
    }
    if text(&mut attachment.ipv6, &f.ip6) {
        return conflict("--ip6", "IPv6 address");
    }
    if text(&mut attachment.mac, &f.mac_address) {
        return conflict("--mac-address", "MAC address");
    }
    if !attachment.link_local.is_empty() && !f.link_local_ip.is_empty() {
        return conflict("--link-local-ip", "link-local IP addresses");
    }
    attachment.aliases.extend(f.network_alias.iter().cloned());
    attachment.link_local.extend(f.link_local_ip.iter().cloned());
    // On the default bridge links are the host configuration's.
    Ok(match network::is_user_defined(&attachment.target) {
        true => f.link.clone(),
        false => Vec::new(),
    })
}

fn endpoint(a: Attachment, links: Vec<String>) -> Result<EndpointSettings, String> {
    if a.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !network::is_user_defined(&a.target) && !a.aliases.is_empty() {
        return Err("network-scoped aliases are only supported for user-defined networks".into());
    }
    if !a.mac.is_empty() && !network::is_mac(&a.mac) {
        return Err(format!("{} is not a valid mac address", a.mac));
    }
    let addresses = !a.ipv4.is_empty() || !a.ipv6.is_empty() || !a.link_local.is_empty();
    Ok(EndpointSettings {
        ipam_config: addresses.then_some(EndpointIpam {
            ipv4_address: a.ipv4,
            ipv6_address: a.ipv6,
            link_local_ips: a.link_local,
        }),
        links: list(&links),
        aliases: list(&a.aliases),
        mac_address: a.mac,
        driver_opts: (!a.driver_options.is_empty()).then_some(a.driver_options),
        gw_priority: a.gateway_priority,
        ..EndpointSettings::default()
    })
}

/// Adds the proxy variables of `config.json` to those of the command line.
fn add_proxies(session: &Session, config: &mut Config) -> Result<(), Failure> {
    for (name, value) in session.config().proxies(&session.host()?) {
        let env = config.env.get_or_insert_default();
        if !env.iter().any(|e| e.split('=').next() == Some(name.as_str())) {
            env.push(format!("{name}={value}"));
        }
    }
    Ok(())
}

/// Makes the container; pulls the image if it is wanted or missing. Gives its id.
///
/// # Errors
/// The daemon's, and those of the file for the id.
pub(crate) fn create(
    session: &Session,
    mut request: CreateRequest,
    way: &Way,
) -> Result<String, Failure> {
    let host = request.host_config.get_or_insert_default();
    let id_file = IdFile::create(&host.container_id_file)?;
    let (rows, columns) = stream::terminal_size();
    host.console_size = [rows.into(), columns.into()];
    let local_dns = host
        .dns
        .iter()
        .flatten()
        .find_map(|server| server.parse::<IpAddr>().ok().filter(IpAddr::is_loopback));
    let config = request.config.get_or_insert_default();
    if session.api_at_least("1.44")? {
        config.mac_address.clear();
    }
    add_proxies(session, config)?;
    let named = match parse_any(&config.image)? {
        AnyReference::Named(reference) => Some(reference.or_latest()),
        AnyReference::Id(_) => None,
    };
    let platform = way.platform.as_deref();
    let image = config.image.clone();
    let pull = || pull::for_create(session, &image, platform, way.quiet);
    if way.pull == "always" {
        pull()?;
    }
    let mut query = Vec::new();
    if !way.name.is_empty() {
        query.push(("name", way.name.as_str()));
    }
    if let Some(platform) = platform
        && session.api_at_least("1.41")?
    {
        Platform::parse(platform).at("error parsing specified platform")?;
        query.push(("platform", platform));
    }
    let post = || session.post_json("/containers/create", &query, &request);
    let answer = match post() {
        Err(e) if e.is_not_found() && way.pull == "missing" && named.is_some() => {
            if let Some(named) = named.as_ref().filter(|_| !way.quiet) {
                print::err(&format!("Unable to find image '{}' locally\n", named.familiar()));
            }
            pull()?;
            post()?
        }
        result => result?,
    };
    let mut response: CreateResponse = answer.json()?;
    if let Some(address) = local_dns {
        let warning = format!("Localhost DNS ({address}) may fail in containers.");
        response.warnings.push(warning);
    }
    for warning in &response.warnings {
        print::err(&format!("WARNING: {warning}\n"));
    }
    id_file.write(&response.id)?;
    Ok(response.id)
}

/// The file of `--cidfile`: made before the container, removed if there will be none.
struct IdFile {
    path: String,
    file: Option<File>,
}

impl IdFile {
    fn create(path: &str) -> Result<IdFile, Failure> {
        if path.is_empty() {
            return Ok(IdFile { path: String::new(), file: None });
        }
        if Path::new(path).exists() {
            return Err(Failure::new(format_args!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )));
        }
        let file = File::create(path).map_err(|e| {
            Failure::new(format_args!(
                "failed to create the container ID file: open {path}: {}",
                Error::from(e)
            ))
        })?;
        Ok(IdFile { path: path.to_string(), file: Some(file) })
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|e| {
            Failure::new(format_args!(
                "failed to write the container ID to the file: {}",
                Error::from(e)
            ))
        })
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nothing is owed for a container that was not made.
            let _ = fs::remove_file(&self.path);
        }
    }
}
