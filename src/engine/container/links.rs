//! Links: a container knows another one of the default bridge by a name of its own.
//!
//! What the container that links (the parent, in Docker's words) gets of the one it links to (the child):
//! variables with the child's address, ports and environment; lines in its hosts file, which follow the
//! child's address when that starts anew; and with icc off, the way to the child's exposed ports.
//!
//! `HostConfig.Links` of the parent's record says what it links to, by name; the index says which
//! container that name meant, so that a child which is renamed stays linked. `/web/db` is a further name of
//! the child `db` of `web`.
//!
//! Spec: moby `daemon/links`, `daemon/container_operations.go` (behaviour and texts).

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record::save_host_config;
use super::{Container, durability, restart};
use crate::base::{At, Error, Kind, Result};
use crate::engine::Engine;
use crate::engine::model::config::Config;
use crate::engine::model::host::HostConfig;
use crate::engine::network::{network_name, parse_port};
use crate::net::Protocol;

/// What `--link` says: the other container and the name it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Name or id of the child.
    pub name: String,
    /// The parent's name for it.
    pub alias: String,
}

/// Reads `name`, `name:alias` or `/name:/parent/alias`, which is how inspect shows it.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn parse(text: &str) -> Result<Asked> {
    if text.is_empty() {
        return Err(Error::invalid("empty string specified for links"));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (name, alias) = match parts[..] {
        [name] => (name, name),
        [name, alias] => match name.strip_prefix('/') {
            Some(name) => (name, alias.rsplit('/').next().unwrap_or_default()),
            None => (name, alias),
        },
        _ => return Err(Error::invalid(format_args!("bad format for links: {text}"))),
    };
    Ok(Asked { name: name.into(), alias: alias.into() })
}

/// Checks the links of a new container: alias and id of each child.
///
/// # Errors
/// `InvalidParameter` with Docker's texts: malformed, unknown, or impossible with the network mode.
pub fn check(engine: &Engine, host: &HostConfig) -> Result<Vec<(String, String)>> {
    let asked = host.links.iter().flatten();
    let conflict = |kind: &str| {
        Err(Error::invalid(format_args!(
            "conflicting options: {kind} can't be used with links. This would result in undefined behavior"
        )))
    };
    let mut found = Vec::new();
    for link in asked {
        match host.network_mode.as_str() {
            "host" => return conflict("host type networking"),
            mode if mode.starts_with("container:") => return conflict("container type network"),
            // Links of networks that users make belong to their endpoints.
            mode if network_name(mode).is_none() => return Ok(Vec::new()),
            _ => {}
        }
        let Asked { name, alias } = parse(link)?;
        let child = owner_of_stack(engine, &name)?;
        if child.data().host.network_mode == "host" {
            return conflict("host type networking");
        }
        found.push((alias, child.id.clone()));
    }
    Ok(found)
}

/// The container `name`, or the one whose network stack it shares.
fn owner_of_stack(engine: &Engine, name: &str) -> Result<Arc<Container>> {
    let mut name = name.to_string();
    loop {
        let child = engine.containers_now().find(&name).map_err(|e| {
            e.at(format_args!("could not get container for {name}"))
                .with_kind(Kind::InvalidParameter)
        })?;
        let mode = child.data().host.network_mode.clone();
        match mode.strip_prefix("container:") {
            Some(other) => name = other.into(),
            None => return Ok(child),
        }
    }
}

/// Notes the links of a container whose name is known. An alias that is taken is left out, as in Docker.
pub fn register(engine: &Engine, parent: &str, links: &[(String, String)]) {
    for (alias, child) in links {
        if !engine.containers_now().link(parent, alias, child) {
            log::warn!(
                "container {parent} links to two containers as {alias}: the first one counts"
            );
        }
    }
}

/// Notes the links of a container that an earlier daemon made. What cannot be found is told by its start.
pub fn register_again(engine: &Engine, container: &Container) {
    let (name, host) = {
        let data = container.data();
        (data.record.plain_name().to_string(), data.host.clone())
    };
    if host.links.iter().flatten().next().is_none() {
        return;
    }
    match check(engine, &host) {
        Ok(links) => register(engine, &name, &links),
        Err(e) => log::error!("links of container {}: {e}", container.id),
    }
}

/// A link of a container that runs or is to run.
struct Link {
    /// The parent's name for the child.
    alias: String,
    /// `/web/db`
    full: String,
    /// The child by its own name; `None` if it is gone.
    child: Option<Arc<Container>>,
    /// The child as the user named it.
    name: String,
}

/// The links of `container`; none unless it is on the default bridge.
fn of(engine: &Engine, container: &Container) -> Vec<Link> {
    let (parent, host) = {
        let data = container.data();
        (data.record.plain_name().to_string(), data.host.clone())
    };
    if network_name(&host.network_mode) != Some("bridge") {
        return Vec::new();
    }
    let asked = host.links.iter().flatten().filter_map(|link| parse(link).ok());
    asked
        .map(|Asked { name, alias }| {
            let full = format!("/{parent}/{alias}");
            let child = engine.containers_now().find(&full).ok();
            let name = child.as_ref().map_or(name, |c| c.data().record.plain_name().into());
            Link { alias, full, child, name }
        })
        .collect()
}

/// What a running child shows its parents.
struct Shown {
    address: Ipv4Addr,
    config: Config,
}

fn shown(child: &Container) -> Option<Shown> {
    let data = child.data();
    let endpoint = data.endpoint.as_ref().filter(|_| data.record.state.running)?;
    Some(Shown { address: endpoint.ip(), config: data.record.config.clone() })
}

/// Whether every child runs and is on the default bridge.
///
/// # Errors
/// `Internal` with Docker's texts for one that is not.
pub fn check_start(engine: &Engine, container: &Container) -> Result<()> {
    for link in of(engine, container) {
        let (name, full) = (&link.name, &link.full);
        let Some(child) = link.child.filter(|child| child.data().record.state.running) else {
            return Err(Error::internal(format_args!(
                "Cannot link to a non running container: /{name} AS {full}"
            )));
        };
        if child.data().endpoint.is_none() {
            return Err(Error::internal(format_args!(
                "Cannot link to /{name}, as it does not belong to the default network"
            )));
        }
    }
    Ok(())
}

/// Waits for children that are being started with the daemon, as the container is.
pub fn await_children(engine: &Engine, container: &Container, limit: Duration) {
    let deadline = Instant::now() + limit;
    for child in of(engine, container).into_iter().filter_map(|link| link.child) {
        if !restart::applies_at_start(&child) {
            continue;
        }
        let mut data = child.data();
        while !data.record.state.running && !data.removed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            data = child.sleep(data, left);
        }
    }
}

/// The variables of all links. Children that do not run (any more) show nothing.
pub fn environment(engine: &Engine, container: &Container) -> Vec<String> {
    let mut env = Vec::new();
    for link in of(engine, container) {
        if let Some(shown) = link.child.as_deref().and_then(shown) {
            variables(&link.alias, &link.full, &shown, &mut env);
        }
    }
    env
}

fn variables(alias: &str, full: &str, shown: &Shown, env: &mut Vec<String>) {
    let prefix = alias.to_uppercase().replace('-', "_");
    let ip = shown.address;
    let mut ports: Vec<(u16, Protocol)> =
        shown.config.exposed_ports.keys().filter_map(|port| parse_port(port).ok()).collect();
    ports.sort_unstable();
    if let Some((port, protocol)) = ports.first() {
        env.push(format!("{prefix}_PORT={protocol}://{ip}:{port}"));
    }
    // TCP first, each protocol in order: ports in a row are told as a range as well.
    ports.sort_unstable_by_key(|(port, protocol)| (*protocol, *port));
    let name = |port: u16, protocol: Protocol| {
        format!("{prefix}_PORT_{port}_{}", protocol.to_string().to_uppercase())
    };
    let follows = |a: &(u16, Protocol), b: &(u16, Protocol)| a.1 == b.1 && a.0 + 1 == b.0;
    for range in ports.chunk_by(follows).filter(|range| range.len() > 1) {
        let ((first, protocol), (last, _)) = (range[0], range[range.len() - 1]);
        let name = name(first, protocol);
        env.push(format!("{name}_START={protocol}://{ip}:{first}"));
        env.push(format!("{name}_ADDR={ip}"));
        env.push(format!("{name}_PROTO={protocol}"));
        env.push(format!("{name}_PORT_START={first}"));
        env.push(format!("{name}_END={protocol}://{ip}:{last}"));
        env.push(format!("{name}_PORT_END={last}"));
    }
    for (port, protocol) in &ports {
        let name = name(*port, *protocol);
        env.push(format!("{name}={protocol}://{ip}:{port}"));
        env.push(format!("{name}_ADDR={ip}"));
        env.push(format!("{name}_PORT={port}"));
        env.push(format!("{name}_PROTO={protocol}"));
    }
    env.push(format!("{prefix}_NAME={full}"));
    for entry in shown.config.env.iter().flatten().filter(|entry| entry.contains('=')) {
        if !entry.starts_with("HOME=") && !entry.starts_with("PATH=") {
            env.push(format!("{prefix}_ENV_{entry}"));
        }
    }
}

/// Names and address of every child that runs, for the hosts file: alias, host name, own name.
pub fn hosts(engine: &Engine, container: &Container) -> Vec<(String, String)> {
    let line = |link: Link| {
        let Shown { address, config } = link.child.as_deref().and_then(shown)?;
        let mut names = format!("{} {}", link.alias, config.hostname);
        if link.alias != link.name {
            let _ = write!(names, " {}", link.name);
        }
        Some((names, address.to_string()))
    };
    of(engine, container).into_iter().filter_map(line).collect()
}

/// Tells the parents of `child`, which has started or ended, where it is now.
pub fn child_changed(engine: &Engine, child: &Container) {
    for (parent, alias) in engine.containers_now().parents(&child.id) {
        let Ok(parent) = engine.containers_now().find(&parent) else { continue };
        if let Some(shown) = shown(child)
            && let Err(e) = point_to(&parent, &alias, Some(shown.address))
        {
            log::warn!("telling container {} of container {}: {e}", parent.id, child.id);
        }
        open_ways(engine, &parent);
    }
}

/// Lets a running container reach the exposed ports of its children, and nothing else, where icc is off.
pub fn open_ways(engine: &Engine, container: &Container) {
    if engine.net.config().icc {
        return;
    }
    let Some(endpoint) = container.data().endpoint.as_ref().map(|endpoint| endpoint.id.clone())
    else {
        return;
    };
    let mut ways = Vec::new();
    for link in of(engine, container) {
        let Some(Shown { address, config }) = link.child.as_deref().and_then(shown) else {
            continue;
        };
        let ports = config.exposed_ports.keys().filter_map(|port| parse_port(port).ok());
        ways.extend(ports.map(|(port, protocol)| (address, protocol, port)));
    }
    if let Err(e) = engine.net.set_exceptions(&endpoint, &ways) {
        log::warn!("opening the ways of container {}: {e}", container.id);
    }
}

/// Gives the lines of `alias` in the container's hosts file another address, or takes them out. In place:
/// the file is mounted, and what the container wrote there itself stays.
fn point_to(container: &Container, alias: &str, address: Option<Ipv4Addr>) -> Result<()> {
    let path = container.dir.join("hosts");
    let text = fs::read_to_string(&path).at(format_args!("reading {}", path.display()))?;
    let changed = repointed(&text, alias, address);
    if changed == text {
        return Ok(());
    }
    fs::write(&path, changed).at(format_args!("writing {}", path.display()))
}

fn repointed(text: &str, alias: &str, address: Option<Ipv4Addr>) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let names = line.split_once('\t').map(|(_, names)| names);
        let is_ours =
            names.is_some_and(|names| names.split_ascii_whitespace().next() == Some(alias));
        match (is_ours, address, names) {
            (true, Some(address), Some(names)) => drop(write!(changed, "{address}\t{names}")),
            (true, None, _) => {}
            _ => changed.push_str(line),
        }
    }
    changed
}

/// What inspect shows as `HostConfig.Links`.
pub fn inspected(engine: &Engine, container: &Container) -> Option<Vec<String>> {
    let linked = of(engine, container).into_iter().filter(|link| link.child.is_some());
    let all: Vec<String> = linked.map(|link| format!("/{}:{}", link.name, link.full)).collect();
    (!all.is_empty()).then_some(all)
}

/// Removes the link `name`, `/web/db`, and nothing else.
///
/// # Errors
/// `NotFound` for an unknown link; `Internal` with Docker's text for a container's own name; `Io` if the
/// record cannot be written, and the link stays.
pub fn remove(engine: &Engine, name: &str) -> Result<()> {
    let index = engine.containers()?;
    index.find(name)?;
    let path = name.strip_prefix('/').unwrap_or(name);
    let Some((parent, alias)) = path.rsplit_once('/') else {
        return Err(Error::internal(
            "Conflict, cannot remove the default link name of the container",
        ));
    };
    let parent = index.find(parent).map_err(|_| {
        Error::internal(format_args!("Cannot get parent /{parent} for link name /{path}"))
    })?;
    let _operation = parent.begin();
    let mut host = (*parent.data().host).clone();
    let others = host.links.into_iter().flatten();
    let others: Vec<String> =
        others.filter(|link| parse(link).is_ok_and(|asked| asked.alias != alias)).collect();
    host.links = (!others.is_empty()).then_some(others);
    save_host_config(&host, &parent.dir, durability(&host))?;
    parent.data().host = Arc::new(host);
    index.unlink(path);
    if let Err(e) = point_to(&parent, alias, None) {
        log::debug!("removing link {path}: {e}");
    }
    open_ways(engine, &parent);
    Ok(())
}

/// A child has another name: its parents' records name it so from now on.
pub fn child_renamed(engine: &Engine, child: &Container) {
    let new = child.data().record.plain_name().to_string();
    for (parent, alias) in engine.containers_now().parents(&child.id) {
        let Ok(parent) = engine.containers_now().find(&parent) else { continue };
        let host = {
            let mut data = parent.data();
            let mut host = (*data.host).clone();
            for link in host.links.iter_mut().flatten() {
                if parse(link).is_ok_and(|asked| asked.alias == alias) {
                    *link = format!("{new}:{alias}");
                }
            }
            data.host = Arc::new(host);
            data.host.clone()
        };
        if let Err(e) = save_host_config(&host, &parent.dir, durability(&host)) {
            log::error!("recording the links of container {}: {e}", parent.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::Nothing;

    #[test]
    fn links_are_read_in_both_forms() {
        let asked = |name: &str, alias: &str| Asked { name: name.into(), alias: alias.into() };
        assert_eq!(parse("db").unwrap(), asked("db", "db"));
        assert_eq!(parse("db:x").unwrap(), asked("db", "x"));
        assert_eq!(parse("/db:/web/x").unwrap(), asked("db", "x"));
        assert_eq!(parse("a:b:c").unwrap_err().to_string(), "bad format for links: a:b:c");
        assert!(parse("").is_err());
    }

    #[test]
    fn variables_are_those_of_docker_in_its_order() {
        let mut config = Config::default();
        for port in ["53/udp", "6379/tcp", "6380/tcp"] {
            config.exposed_ports.insert(port.into(), Nothing);
        }
        config.env = Some(["PATH=/bin", "HOME=/", "A=b c", "BARE"].map(String::from).to_vec());
        let shown = Shown { address: Ipv4Addr::new(172, 17, 0, 2), config };
        let mut env = Vec::new();
        variables("my-db", "/web/my-db", &shown, &mut env);
        assert_eq!(
            env,
            [
                "MY_DB_PORT=udp://172.17.0.2:53",
                "MY_DB_PORT_6379_TCP_START=tcp://172.17.0.2:6379",
                "MY_DB_PORT_6379_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_6379_TCP_PROTO=tcp",
                "MY_DB_PORT_6379_TCP_PORT_START=6379",
                "MY_DB_PORT_6379_TCP_END=tcp://172.17.0.2:6380",
                "MY_DB_PORT_6379_TCP_PORT_END=6380",
                "MY_DB_PORT_6379_TCP=tcp://172.17.0.2:6379",
                "MY_DB_PORT_6379_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_6379_TCP_PORT=6379",
                "MY_DB_PORT_6379_TCP_PROTO=tcp",
                "MY_DB_PORT_6380_TCP=tcp://172.17.0.2:6380",
                "MY_DB_PORT_6380_TCP_ADDR=172.17.0.2",
                "MY_DB_PORT_6380_TCP_PORT=6380",
                "MY_DB_PORT_6380_TCP_PROTO=tcp",
                "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
                "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_A=b c",
            ]
        );
    }

    #[test]
    fn only_the_lines_of_the_alias_change() {
        let text =
            "127.0.0.1\tlocalhost\n172.17.0.2\tdb host\n172.17.0.2\tdb2 host\n10.0.0.1\tmine\n";
        let new = repointed(text, "db", Some(Ipv4Addr::new(172, 17, 0, 9)));
        assert_eq!(new, text.replace("172.17.0.2\tdb host", "172.17.0.9\tdb host"));
        assert_eq!(repointed(text, "db", None), text.replace("172.17.0.2\tdb host\n", ""));
        assert_eq!(repointed(text, "nobody", None), text);
    }
}
