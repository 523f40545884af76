//! Between containers and `net`: which network a container asked for, what it got, the files it sees.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::Engine;
use super::container::{Container, links};
use super::model::config::Config;
use super::model::endpoint::EndpointSettings;
use super::model::host::{HostConfig, PortBinding, PortMap};
use crate::base::{At, Error, Result};
use crate::net::{self, Endpoint, EndpointRequest, Protocol};

/// The files that a container gets from us: name in its directory and place inside.
pub const FILES: &[(&str, &str)] =
    &[("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Where a container's network stack comes from.
pub enum Mode {
    /// A sandbox with the loopback interface only.
    None,
    /// A sandbox on the default bridge.
    Bridge,
    /// The host's own stack.
    Host,
    /// The stack of another container.
    Container(Arc<Container>),
}

/// What one start needs to know of the network.
pub struct Plan {
    /// Where the stack comes from.
    pub mode: Mode,
}

impl Plan {
    /// The first process of the container whose stack is shared.
    ///
    /// # Errors
    /// `Conflict` with Docker's text if it does not run.
    pub fn shared_pid(other: &Container) -> Result<i64> {
        let data = other.data();
        let state = &data.record.state;
        if state.restarting {
            return Err(Error::conflict(format_args!(
                "cannot join network namespace of container: Container {} is restarting, wait until the \
                 container is running",
                other.id
            )));
        }
        if !state.running || state.pid == 0 {
            return Err(Error::conflict(format_args!(
                "cannot join network namespace of a non running container: container {} is {}",
                data.record.plain_name(),
                state.status()
            )));
        }
        Ok(state.pid)
    }
}

/// The name under which a mode appears in `NetworkSettings.Networks`; none for shared stacks.
pub fn network_name(mode: &str) -> Option<&'static str> {
    match mode {
        "" | "default" | "bridge" => Some("bridge"),
        "none" => Some("none"),
        "host" => Some("host"),
        _ => None,
    }
}

impl Engine {
    /// Reads what `container` asked for.
    ///
    /// # Errors
    /// `NotFound` for an unknown network or container.
    pub(super) fn network_plan(&self, container: &Container) -> Result<Plan> {
        let mode = container.data().host.network_mode.clone();
        let mode = match mode.as_str() {
            "none" => Mode::None,
            "host" => Mode::Host,
            "" | "default" | "bridge" if self.net.config().has_bridge() => Mode::Bridge,
            "" | "default" | "bridge" => Mode::None,
            other => match other.strip_prefix("container:") {
                Some(reference) => {
                    let other = self
                        .containers()?
                        .find(reference)
                        .at("joining network namespace of container")?;
                    if other.id == container.id {
                        return Err(Error::invalid("cannot join own network namespace"));
                    }
                    Mode::Container(other)
                }
                None => {
                    return Err(Error::not_found(format_args!("network {other} not found")));
                }
            },
        };
        Ok(Plan { mode })
    }

    /// Makes the sandbox of `container`, which is its own from then on: see [`Engine::network_release`].
    pub(super) fn sandbox_create(&self, container: &Container) -> Result<net::Sandbox> {
        let sandbox = self.net.sandbox(&container.id)?;
        note_sandbox(container, &sandbox.path().to_string_lossy());
        Ok(sandbox)
    }

    /// Connects the sandbox as `plan` says, records what it got, and writes the container's files. Where
    /// ports are published, the proxy gets from `life` what it is to end with.
    pub(super) fn network_connect(
        &self,
        container: &Arc<Container>,
        plan: &Plan,
        sandbox: &net::Sandbox,
        life: &Receiver<OwnedFd>,
    ) -> Result<()> {
        let Mode::Bridge = plan.mode else {
            self.tell_connected(container);
            return Ok(());
        };
        let mut request = self.endpoint_request(container)?;
        if !request.ports.is_empty() {
            let life = life.recv();
            request.life =
                Some(life.map_err(|_| Error::internal("the container's process was not made"))?);
        }
        let endpoint = self.net.connect(sandbox, &request)?;
        // First of all, so that whatever fails from here on gives it back.
        note_endpoint(container, &endpoint);
        self.tell_connected(container);
        links::open_ways(self, container);
        self.write_hosts(container, Some(&endpoint))?;
        self.remember_endpoint(container, &endpoint)
    }

    /// Notes for a container that was found running what its record may not tell yet.
    pub(super) fn network_adopt(&self, container: &Container, endpoint: Option<&Endpoint>) {
        let path = self.net.sandbox_path(&container.id);
        if path.exists() {
            note_sandbox(container, &path.to_string_lossy());
        }
        if let Some(endpoint) = endpoint {
            note_endpoint(container, endpoint);
        }
    }

    /// Gives back the network of a run; nothing if it holds none.
    pub(super) fn network_release(&self, container: &Container) -> Result<()> {
        let mut left = Vec::new();
        let (endpoint, had_sandbox) = {
            let mut data = container.data();
            let settings = &mut data.record.network;
            let had_sandbox = !settings.sandbox_key.is_empty();
            settings.sandbox_id.clear();
            settings.sandbox_key.clear();
            settings.ports = None;
            for (name, entry) in &mut settings.networks {
                if !entry.endpoint_id.is_empty() {
                    left.push((name.clone(), entry.network_id.clone()));
                }
                clear_endpoint(entry);
            }
            (data.endpoint.take(), had_sandbox)
        };
        let disconnected = match &endpoint {
            Some(endpoint) => self.net.disconnect(endpoint),
            None => Ok(()),
        };
        if had_sandbox || endpoint.is_some() {
            self.net.remove_sandbox(&self.net.sandbox_path(&container.id));
        }
        for (name, id) in left {
            self.network_event(&id, "disconnect", &name, &container.id);
        }
        disconnected
    }
}

/// The published ports that `host` asks for: `-p`, and with `-P` every exposed port that `-p` leaves out.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for malformed ports, ranges and addresses.
pub fn port_bindings(config: &Config, host: &HostConfig) -> Result<Vec<net::PortBinding>> {
    let mut found = Vec::new();
    let asked = host.port_bindings.iter().flatten();
    for (port, bindings) in asked {
        let (container_port, protocol) = parse_port(port)?;
        // A port without a binding is published on any free one.
        let any = vec![PortBinding::default()];
        let bindings = bindings.as_ref().filter(|list| !list.is_empty()).unwrap_or(&any);
        for binding in bindings {
            let (host_port, host_port_end) = parse_host_port(&binding.host_port)?;
            let host_ip = match binding.host_ip.as_str() {
                "" => None,
                ip => Some(
                    ip.parse()
                        .map_err(|_| Error::invalid(format_args!("invalid IP address: {ip}")))?,
                ),
            };
            found.push(net::PortBinding {
                protocol,
                container_port,
                host_ip,
                host_port,
                host_port_end,
            });
        }
    }
    if host.publish_all_ports {
        for port in config.exposed_ports.keys() {
            let (container_port, protocol) = parse_port(port)?;
            let known =
                |b: &net::PortBinding| b.container_port == container_port && b.protocol == protocol;
            if !found.iter().any(known) {
                found.push(net::PortBinding {
                    protocol,
                    container_port,
                    host_ip: None,
                    host_port: 0,
                    host_port_end: 0,
                });
            }
        }
    }
    Ok(found)
}

/// Checks the ports of a new container.
///
/// # Errors
/// As [`port_bindings`]; `InvalidParameter` for a malformed exposed port.
pub fn check_ports(config: &Config, host: &HostConfig) -> Result<()> {
    for port in config.exposed_ports.keys() {
        parse_port(port)?;
    }
    let bindings = port_bindings(config, host)?;
    let shared = host.network_mode == "host" || host.network_mode.starts_with("container:");
    if host.network_mode.starts_with("container:") && shared && !bindings.is_empty() {
        return Err(Error::invalid(
            "conflicting options: port publishing and the container type network mode",
        ));
    }
    Ok(())
}

/// `80/tcp`.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number =
        port.parse::<u16>().ok().filter(|n| *n != 0).ok_or_else(|| {
            Error::invalid(format_args!("invalid port specification: \"{text}\""))
        })?;
    Ok((number, Protocol::parse(protocol)?))
}

/// A port, a range, or nothing for a free one.
fn parse_host_port(text: &str) -> Result<(u16, u16)> {
    let bad = || Error::invalid(format_args!("invalid port specification: \"{text}\""));
    if text.is_empty() {
        return Ok((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if last < first { Err(bad()) } else { Ok((first, last)) }
}

impl Engine {
    fn endpoint_request(&self, container: &Container) -> Result<EndpointRequest> {
        let data = container.data();
        let asked = data.record.network.networks.get("bridge");
        let mac =
            [asked.map(|e| e.mac_address.as_str()), Some(data.record.config.mac_address.as_str())]
                .into_iter()
                .flatten()
                .find(|mac| !mac.is_empty())
                .map(net::Mac::parse)
                .transpose()?;
        Ok(EndpointRequest {
            container_id: container.id.clone(),
            container_name: data.record.plain_name().into(),
            mac,
            ports: port_bindings(&data.record.config, &data.host)?,
            ..EndpointRequest::default()
        })
    }

    /// Writes resolv.conf, hostname and hosts of `container`, before its process mounts them. Another
    /// container's stack comes with that one's files.
    pub(super) fn write_network_files(&self, container: &Container, plan: &Plan) -> Result<()> {
        if let Mode::Container(other) = &plan.mode {
            take_over_names(container, other);
            return Ok(());
        }
        let (hostname, host) = {
            let data = container.data();
            (data.record.config.hostname.clone(), data.host.clone())
        };
        let shares_host = matches!(plan.mode, Mode::Host);
        write_in(container, "resolv.conf", &self.resolv_conf(&host, shares_host))?;
        write_in(container, "hostname", &net::files::hostname(&hostname))?;
        if shares_host {
            write_in(container, "hosts", &net::files::hosts_of_host(&self.extra_hosts(&host)?))?;
        } else {
            self.write_hosts(container, None)?;
        }
        let mut data = container.data();
        let place = |name: &str| container.dir.join(name).to_string_lossy().into_owned();
        data.record.resolv_conf_path = place("resolv.conf");
        data.record.hostname_path = place("hostname");
        data.record.hosts_path = place("hosts");
        Ok(())
    }

    /// Writes the hosts file of a container with a stack of its own; in place, because it may be mounted
    /// in its process already.
    fn write_hosts(&self, container: &Container, endpoint: Option<&Endpoint>) -> Result<()> {
        let (config, host) = {
            let data = container.data();
            (data.record.config.clone(), data.host.clone())
        };
        let addresses: Vec<IpAddr> = endpoint.map(|e| e.ip().into()).into_iter().collect();
        let mut extra = self.extra_hosts(&host)?;
        extra.extend(links::hosts(self, container));
        let text = net::files::hosts(&config.hostname, &config.domainname, &addresses, &extra);
        write_in(container, "hosts", &text)
    }

    fn resolv_conf(&self, host: &HostConfig, shares_host: bool) -> String {
        let pick = |own: &Option<Vec<String>>, daemon: &Vec<String>| {
            own.clone().filter(|list| !list.is_empty()).unwrap_or_else(|| daemon.clone())
        };
        let options = net::files::DnsOptions {
            servers: pick(&host.dns, &self.settings.dns),
            search: pick(&host.dns_search, &self.settings.dns_search),
            options: pick(&host.dns_options, &self.settings.dns_opts),
        };
        net::files::resolv_conf(&net::files::host_resolv_conf(), &options, !shares_host, false)
    }

    /// `name:address` pairs; `host-gateway` is what the daemon was told, else the bridge's address.
    fn extra_hosts(&self, host: &HostConfig) -> Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        for entry in host.extra_hosts.iter().flatten() {
            let (name, address) = entry
                .split_once([':', '='])
                .ok_or_else(|| Error::invalid(format_args!("invalid extra host: {entry}")))?;
            let addresses = match address {
                "host-gateway" => self.host_gateway()?,
                address => vec![address.trim_matches(['[', ']']).to_string()],
            };
            pairs.extend(addresses.into_iter().map(|address| (name.to_string(), address)));
        }
        Ok(pairs)
    }

    fn host_gateway(&self) -> Result<Vec<String>> {
        let told = &self.settings.host_gateway_ips;
        if !told.is_empty() {
            return Ok(told.clone());
        }
        let gateway = self.net.network().map(|network| network.gateway.to_string());
        gateway
            .map(|gateway| vec![gateway])
            .ok_or_else(|| Error::invalid("unable to derive the IP value for host-gateway"))
    }
}

/// Writes over what the last run left, and cuts afterwards: the room that a file has is enough for it on a
/// disk that has no other.
fn write_in(container: &Container, name: &str, text: &str) -> Result<()> {
    let path = container.dir.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    };
    write().at(format_args!("writing {}", path.display()))
}

/// A container in the network of another one goes by that one's names and files.
fn take_over_names(container: &Container, other: &Container) {
    let theirs = other.data().record.clone();
    let mut data = container.data();
    let record = &mut data.record;
    record.config.hostname = theirs.config.hostname;
    record.config.domainname = theirs.config.domainname;
    record.resolv_conf_path = theirs.resolv_conf_path;
    record.hostname_path = theirs.hostname_path;
    record.hosts_path = theirs.hosts_path;
}

fn note_sandbox(container: &Container, path: &str) {
    let mut data = container.data();
    let settings = &mut data.record.network;
    settings.sandbox_id.clone_from(&container.id);
    settings.sandbox_key = path.into();
}

fn note_endpoint(container: &Container, endpoint: &Endpoint) {
    let mut data = container.data();
    let settings = &mut data.record.network;
    let entry = settings.networks.entry("bridge".into()).or_default();
    fill_endpoint(entry, endpoint);
    settings.ports = Some(resolved_ports(endpoint));
    data.endpoint = Some(endpoint.clone());
}

fn fill_endpoint(entry: &mut EndpointSettings, endpoint: &Endpoint) {
    entry.network_id.clone_from(&endpoint.network_id);
    entry.endpoint_id.clone_from(&endpoint.id);
    entry.gateway.clone_from(&endpoint.gateway);
    entry.ip_address.clone_from(&endpoint.address);
    entry.ip_prefix_len = i64::from(endpoint.prefix);
    entry.mac_address.clone_from(&endpoint.mac);
}

/// Keeps what the user asked for and forgets what the run had.
fn clear_endpoint(entry: &mut EndpointSettings) {
    *entry = EndpointSettings {
        ipam_config: entry.ipam_config.take(),
        links: entry.links.take(),
        aliases: entry.aliases.take(),
        driver_opts: entry.driver_opts.take(),
        gw_priority: entry.gw_priority,
        network_id: std::mem::take(&mut entry.network_id),
        ..EndpointSettings::default()
    };
}

fn resolved_ports(endpoint: &Endpoint) -> PortMap {
    let mut ports = PortMap::new();
    for port in &endpoint.ports {
        let key = format!("{}/{}", port.container_port, port.protocol);
        ports.entry(key).or_default().get_or_insert_default().push(PortBinding {
            host_ip: port.host_ip.clone(),
            host_port: port.host_port.to_string(),
        });
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(key: &str, host_port: &str, host_ip: &str) -> HostConfig {
        let binding = PortBinding { host_ip: host_ip.into(), host_port: host_port.into() };
        HostConfig {
            port_bindings: Some(PortMap::from([(key.into(), Some(vec![binding]))])),
            ..HostConfig::default()
        }
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let found =
            port_bindings(&Config::default(), &host("80/tcp", "8000-8010", "127.0.0.1")).unwrap();
        assert_eq!((found[0].host_port, found[0].host_port_end), (8000, 8010));
        for (key, port, ip) in [
            ("x", "1", ""),
            ("0/tcp", "1", ""),
            ("80/xyz", "1", ""),
            ("80", "9-8", ""),
            ("80", "70000", ""),
            ("80", "1", "nope"),
        ] {
            assert!(
                port_bindings(&Config::default(), &host(key, port, ip)).is_err(),
                "{key} {port} {ip}"
            );
        }
    }

    #[test]
    fn all_exposed_ports_are_published_once() {
        let mut config = Config::default();
        for port in ["80/tcp", "53/udp"] {
            config.exposed_ports.insert(port.into(), crate::base::json::Nothing);
        }
        let mut host = host("80/tcp", "8080", "");
        host.publish_all_ports = true;
        let found = port_bindings(&config, &host).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].host_port, 0);
    }
}
