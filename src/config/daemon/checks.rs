//! Checks of single values, and of what several options say together.
//!
//! A check of one value gives the form that is kept. The texts are Docker's where it has one.

use std::net::{IpAddr, Ipv4Addr};

use super::DaemonConfig;
use crate::base::{At, Error, Result as BaseResult, log};
pub(super) use crate::cli::options::limit::ulimit;
use crate::engine::container::runtime::{self as runtimes, BUILT_IN};
use crate::engine::settings::Runtime;
use crate::http::address::{Address, Side, TLS_PORT};
use crate::logs;
use crate::net::address::Cidr;
use crate::net::config::{Config as Network, FirewallBackend};

type Checked = Result<String, String>;

/// Anything.
pub(super) fn text(value: &str) -> Checked {
    Ok(value.to_string())
}

/// A path, without a slash at its end; relative ones are below the working directory.
pub(super) fn path(value: &str) -> Checked {
    if value.is_empty() {
        return Err("path cannot be empty".into());
    }
    let absolute = std::path::absolute(value).map_err(|e| e.to_string())?;
    let absolute = absolute.to_str().ok_or("path is not UTF-8")?.trim_end_matches('/');
    Ok(if absolute.is_empty() { "/".into() } else { absolute.to_string() })
}

pub(super) fn host(value: &str) -> Checked {
    Address::parse(value, Side::Listen, false).map_err(|e| e.to_string())?;
    Ok(value.trim().to_string())
}

pub(super) fn ip(value: &str) -> Checked {
    match value.trim().parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {value}")),
    }
}

/// A DNS name, or `.` for no search at all.
pub(super) fn domain(value: &str) -> Checked {
    let value = value.trim();
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let name = value.strip_suffix('.').unwrap_or(value);
    match value {
        "." => Ok(value.into()),
        _ if name.len() <= 255 && name.split('.').all(label) => Ok(value.into()),
        _ => Err(format!("{value} is not a valid domain")),
    }
}

pub(super) fn label(value: &str) -> Checked {
    match value.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(value.into()),
        _ => Err(format!("bad attribute format: {value}")),
    }
}

pub(super) fn log_format(value: &str) -> Checked {
    match value {
        "text" | "json" => Ok(value.into()),
        _ => Err(format!("invalid log format: {value}")),
    }
}

/// What containers can have as a default: neither the host's nor nobody's.
pub(super) fn ipc_mode(value: &str) -> Checked {
    const HINT: &str = "use \"shareable\" or \"private\"";
    match value {
        "" | "private" | "shareable" => Ok(value.into()),
        value if matches!(value, "host" | "none") || value.starts_with("container:") => {
            Err(format!("IPC mode \"{value}\" is not supported as default value; {HINT}"))
        }
        _ => Err(format!("default IPC mode setting ({value}) is invalid; {HINT}")),
    }
}

pub(super) fn cgroupns_mode(value: &str) -> Checked {
    match value {
        "" | "private" | "host" => Ok(value.into()),
        _ => Err(format!(
            "default cgroup namespace mode ({value}) is invalid; use \"host\" or \"private\""
        )),
    }
}

pub(super) fn firewall(value: &str) -> Checked {
    match value {
        "" | "iptables" | "nftables" => Ok(value.into()),
        _ => Err(format!("invalid firewall-backend {value:?}")),
    }
}

pub(super) fn exec_driver(value: &str) -> Checked {
    match value {
        "native" => Ok(value.into()),
        "lxc" => Err("the execution driver \"lxc\" is gone, only \"native\" is left".into()),
        _ => Err(format!("unknown execution driver {value:?}, only \"native\" is left")),
    }
}

pub(super) fn exec_opt(value: &str) -> Checked {
    match value.split_once('=') {
        Some(("native.cgroupdriver", "cgroupfs")) => Ok(value.into()),
        Some(("native.cgroupdriver", driver)) => {
            Err(format!("native.cgroupdriver option {driver} not supported; only cgroupfs is"))
        }
        Some(("isolation", _)) => Err("isolation is an option of Windows only".into()),
        Some((key, _)) => Err(format!("invalid option: {key}")),
        None => Err(format!("invalid option: {value}; it must be key=value")),
    }
}

/// A size with a unit, as a number of bytes.
pub(super) fn bytes(value: &str) -> Checked {
    crate::base::bytesize::parse(value)
        .map(|bytes| bytes.to_string())
        .map_err(|e| e.message().to_string())
}

pub(super) fn ulimit_text(value: &str) -> Checked {
    ulimit(value).map(|_| value.to_string())
}

/// `name=path` of an OCI runtime.
pub(super) fn runtime(value: &str) -> Result<(String, Runtime), String> {
    let (name, path) = value
        .split_once('=')
        .map(|(name, path)| (name.trim().to_ascii_lowercase(), path.trim()))
        .filter(|(name, path)| !name.is_empty() && !path.is_empty())
        .ok_or_else(|| format!("invalid runtime argument: {value}"))?;
    runtime_name(&name)?;
    Ok((name, Runtime { path: path.into(), args: Vec::new() }))
}

/// Whether a runtime may have this name: it becomes the name of a directory.
pub(super) fn runtime_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name == BUILT_IN {
        return Err(format!("runtime name '{BUILT_IN}' is reserved"));
    }
    if !name.bytes().all(plain) || name.starts_with('.') {
        return Err(format!("invalid runtime name {name:?}"));
    }
    Ok(())
}

/// [`runtime`] as text.
pub(super) fn runtime_text(value: &str) -> Checked {
    runtime(value).map(|_| value.to_string())
}

/// A registry by `host[:port]` or by network; a scheme is dropped, as Docker does.
pub(super) fn insecure_registry(value: &str) -> Checked {
    let lower = value.to_ascii_lowercase();
    let name = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.starts_with(scheme).then(|| &value[scheme.len()..]))
        .unwrap_or(value);
    let name = name.trim_end_matches('/');
    if name.contains('/') && parse_network(name).is_none() {
        return Err(format!("insecure registry {value} is not valid: invalid host {name:?}"));
    }
    let host = name.split(':').next().unwrap_or_default();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:/[]%".contains(&b);
    if name.is_empty() || host.starts_with('-') || host.ends_with('-') || !name.bytes().all(valid) {
        return Err(format!("insecure registry {value} is not valid: invalid host {name:?}"));
    }
    if let Some(port) = name.rsplit_once(':').filter(|(h, _)| !h.contains(':')).map(|(_, p)| p)
        && port.parse::<u16>().is_err()
    {
        return Err(format!("insecure registry {value} is not valid: invalid port {port:?}"));
    }
    Ok(name.to_string())
}

fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

/// The URL of a mirror, with a slash at its end.
pub(super) fn mirror(value: &str) -> Checked {
    let bad = |why: &str| Err(format!("invalid mirror: {why} in {value:?}"));
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err(format!(
            "invalid mirror: no scheme specified for {value:?}: must use either 'https://' or 'http://'"
        ));
    };
    if !matches!(scheme, "http" | "https") {
        return bad(&format!("unsupported scheme {scheme:?}"));
    }
    if rest.contains(['?', '#']) {
        return bad("query or fragment");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains(' ') {
        return bad("missing host");
    }
    if authority.contains('@') {
        return bad("username/password not allowed");
    }
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(format!("{scheme}://{authority}/{path}{slash}"))
}

/// What options say together, once flags and file are merged; fills in what follows from others.
///
/// # Errors
/// `InvalidParameter` that names the options.
pub(super) fn complete(config: &mut DaemonConfig) -> BaseResult<()> {
    let name = &config.default_runtime;
    if !config.runtimes.contains_key(name) && !runtimes::is_built_in(name) {
        return Err(Error::invalid(format_args!(
            "specified default runtime '{name}' does not exist"
        )));
    }
    config.tls |= config.tls_verify;
    if config.hosts.is_empty() {
        config.hosts.push(String::new());
    }
    let tls = config.tls;
    let mut hosts: Vec<String> = Vec::new();
    for host in &config.hosts {
        // Docker: with TLS the default is the port for it, not the socket.
        let full = match (host.trim(), tls) {
            ("", true) => format!("tcp://127.0.0.1:{TLS_PORT}"),
            _ => Address::parse(host, Side::Listen, tls)?.to_string(),
        };
        if !hosts.contains(&full) {
            hosts.push(full);
        }
    }
    config.hosts = hosts;
    for host in config.hosts.iter().filter(|h| h.starts_with("tcp://") && !config.tls_verify) {
        config.warnings.push(format!(
            "Binding to IP address without --tlsverify is insecure and gives root access on this \
             machine to everyone who has access to your network: {host}"
        ));
    }
    log::parse_level(&config.log_level)?;
    labels(&config.labels)?;
    for (colon, family) in [(false, "IPv4"), (true, "IPv6")] {
        if config.host_gateway_ips.iter().filter(|ip| ip.contains(':') == colon).count() > 1 {
            return Err(Error::invalid(format_args!(
                "only one {family} host gateway IP address can be specified"
            )));
        }
    }
    logs::check_options(&config.log_driver, &config.log_opts).at("failed to set log opts")?;
    for (value, name, least) in [
        (config.max_concurrent_downloads, "max concurrent downloads", 0),
        (config.max_download_attempts, "max download attempts", 1),
        (config.mtu, "default MTU", 0),
        (config.shutdown_timeout, "shutdown timeout", -1),
    ] {
        if value < least {
            return Err(Error::invalid(format_args!("invalid {name}: {value}")));
        }
    }
    network(config)?.check()
}

/// # Errors
/// `InvalidParameter` if a label has two values.
fn labels(labels: &[String]) -> BaseResult<()> {
    for (i, label) in labels.iter().enumerate() {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        for other in &labels[..i] {
            let (other_key, other_value) = other.split_once('=').unwrap_or((other, ""));
            if key == other_key && value != other_value {
                return Err(Error::invalid(format_args!(
                    "conflict labels for {key}={value} and {key}={other_value}"
                )));
            }
        }
    }
    Ok(())
}

pub(super) fn network(config: &DaemonConfig) -> BaseResult<Network> {
    let cidr = |text: &str, option: &str| match text {
        "" => Ok(None),
        _ => Cidr::parse(text).map(Some).at(format_args!("reading --{option}")),
    };
    let address = |text: &str, option: &str| {
        text.parse::<Ipv4Addr>().map_err(|_| {
            Error::invalid(format_args!("invalid value for --{option}: {text} is no IPv4 address"))
        })
    };
    let gateway = match config.default_gateway.as_str() {
        "" => None,
        text => Some(address(text, "default-gateway")?),
    };
    Ok(Network {
        bridge: config.bridge.clone(),
        bip: cidr(&config.bip, "bip")?,
        fixed_cidr: cidr(&config.fixed_cidr, "fixed-cidr")?,
        default_gateway: gateway,
        mtu: u32::try_from(config.mtu)
            .map_err(|_| Error::invalid(format_args!("invalid default MTU: {}", config.mtu)))?,
        icc: config.icc,
        ip: address(&config.ip, "ip")?,
        ip_forward: config.ip_forward,
        ip_forward_no_drop: config.ip_forward_no_drop,
        // Docker: without packet filter rules there is no masquerading either.
        ip_masq: config.ip_masq && config.iptables,
        iptables: config.iptables,
        userland_proxy: config.userland_proxy,
        firewall_backend: match config.firewall_backend.as_str() {
            "nftables" => FirewallBackend::Nftables,
            "iptables" => FirewallBackend::Iptables,
            _ => FirewallBackend::Auto,
        },
        ..Network::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_and_mirrors_are_checked() {
        assert_eq!(mirror("https://m.example"), Ok("https://m.example/".into()));
        assert_eq!(mirror("http://m.example:5000/a/"), Ok("http://m.example:5000/a/".into()));
        for bad in ["foo", "ftp://x", "https://u:p@x", "https://x?y", "https://"] {
            assert!(mirror(bad).unwrap_err().starts_with("invalid mirror: "), "{bad}");
        }
        assert_eq!(insecure_registry("http://r:5000/"), Ok("r:5000".into()));
        assert_eq!(insecure_registry("10.0.0.0/8"), Ok("10.0.0.0/8".into()));
        for bad in ["foo bar", "-x", "r:99999", "a/b", ""] {
            assert!(insecure_registry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn search_domains_are_names() {
        assert!(domain(".").is_ok() && domain("a.example.").is_ok() && domain("x").is_ok());
        for bad in ["", "a..b", "-a", "a b"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn gone_and_foreign_execution_options_say_so() {
        assert!(exec_driver("lxc").unwrap_err().contains("gone"));
        assert!(exec_opt("isolation=hyperv").unwrap_err().contains("Windows"));
        assert!(exec_opt("native.umask=normal").unwrap_err().contains("native.umask"));
        assert!(exec_opt("native.cgroupdriver=cgroupfs").is_ok());
    }

    #[test]
    fn no_packet_filter_means_no_masquerading() {
        let config = DaemonConfig { iptables: false, ..DaemonConfig::default() };
        assert!(!network(&config).unwrap().ip_masq);
    }
}
