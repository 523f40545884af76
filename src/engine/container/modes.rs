//! Which namespaces a container shares, with the host or with another container, and what cannot go
//! together with that.
//!
//! `container:NAME` becomes `container:ID` at create, so that a rename changes nothing. The other container
//! is looked at again at every start: it must run then, and its namespaces are those of its current run.
//!
//! Spec: Docker Engine API 1.51, HostConfig; texts of moby `daemon/internal/runconfig`,
//! `daemon/daemon_unix.go` and `daemon/container_operations_unix.go`.

use std::sync::{Arc, OnceLock};

use super::{Container, ipc};
use crate::base::{At, Error, Result, id};
use crate::engine::Engine;
use crate::engine::model::config::Config;
use crate::engine::model::host::HostConfig;
use crate::engine::network::{Mode, Plan};
use crate::runtime::spec::{Linux, Namespace};

/// Longest host name, as the kernel has it.
const HOST_NAME_MAX: usize = 64;

/// Checks what the client asks for, before anything is filled in from the image.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check(config: &Config, host: &HostConfig) -> Result<()> {
    check_network(config, host)?;
    let given = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    let (links, hostname) = (given(&host.links), config.hostname.as_str());
    let known = |mode: &str, words: &[&str]| mode.is_empty() || words.contains(&mode);
    let bad = |what: &str, mode: &str| format!("invalid {what} mode: {mode}");
    let wrong = [
        (
            host.uts_mode == "host" && !hostname.is_empty(),
            "conflicting options: hostname and the UTS mode".into(),
        ),
        (
            host.network_mode == "host" && links,
            "conflicting options: host type networking can't be used with links. This would result in \
             undefined behavior"
                .into(),
        ),
        (
            !matches!(host.isolation.to_lowercase().as_str(), "" | "default"),
            format!("invalid isolation ({}): linux only supports 'default'", host.isolation),
        ),
        (
            host.io_maximum_bandwidth != 0,
            "invalid option: QoS maximum bandwidth configuration is not supported on linux".into(),
        ),
        (
            host.io_maximum_iops != 0,
            "invalid option: QoS maximum IOPs configuration is not supported on linux".into(),
        ),
        (
            host.annotations.contains_key(""),
            "invalid Annotations: the empty string is not permitted as an annotation key".into(),
        ),
        (
            hostname.len() > HOST_NAME_MAX,
            format!("hostname {hostname:?} is too long (maximum {HOST_NAME_MAX} bytes)"),
        ),
        (
            !known(&host.ipc_mode, &["private", "shareable", "host", "none"])
                && other(&host.ipc_mode).is_none(),
            bad("IPC", &host.ipc_mode),
        ),
        (
            !known(&host.pid_mode, &["host"]) && other(&host.pid_mode).is_none(),
            bad("PID", &host.pid_mode),
        ),
        (!known(&host.uts_mode, &["host"]), bad("UTS", &host.uts_mode)),
        (!known(&host.userns_mode, &["host"]), bad("user namespace", &host.userns_mode)),
        (
            !known(&host.cgroupns_mode, &["private", "host"]),
            bad("cgroup namespace", &host.cgroupns_mode),
        ),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, text)) => Err(Error::invalid(text)),
        None => Ok(()),
    }
}

/// What the user should know of the network that was asked for.
pub fn warnings(engine: &Engine, host: &HostConfig) -> Vec<String> {
    let is_host = host.network_mode == "host";
    let is_forwarding = || {
        // Otherwise we have switched it on ourselves.
        engine.net.config().ip_forward
            || std::fs::read("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|text| text.starts_with(b"1"))
    };
    let mut warnings = Vec::new();
    if !is_host && host.network_mode != "none" && !is_forwarding() {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".into());
    }
    if host.cgroupns_mode == "private" && !has_cgroup_namespaces() {
        warnings.push(
            "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded."
                .into(),
        );
    }
    if is_host && host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    warnings
}

/// What cannot be had with the network of another container.
fn check_network(config: &Config, host: &HostConfig) -> Result<()> {
    if host.network_mode != "container" && !host.network_mode.starts_with(PREFIX) {
        return Ok(());
    }
    let given = |list: &Option<Vec<String>>| list.iter().flatten().next().is_some();
    let ports = host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let wrong = [
        (
            other(&host.network_mode).is_none(),
            "invalid network mode: invalid container format container:<name|id>",
        ),
        (!config.hostname.is_empty(), "conflicting options: hostname and the network mode"),
        (
            given(&host.links),
            "conflicting options: container type network can't be used with links. This would result \
             in undefined behavior",
        ),
        (given(&host.dns), "conflicting options: dns and the network mode"),
        (
            given(&host.extra_hosts),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            ports || host.publish_all_ports,
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "conflicting options: port exposing and the container type network mode",
        ),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, text)) => Err(Error::invalid(text)),
        None => Ok(()),
    }
}

const PREFIX: &str = "container:";

/// The container that a mode names.
fn other(mode: &str) -> Option<&str> {
    mode.strip_prefix(PREFIX).filter(|reference| !reference.is_empty())
}

/// Puts the ids of other containers in the place of their names.
///
/// # Errors
/// `InvalidParameter` if a container whose processes or memory are to be shared does not exist. One whose
/// network is shared may come later.
pub fn resolve(engine: &Engine, host: &mut HostConfig) -> Result<()> {
    for (mode, must_exist) in
        [(&mut host.ipc_mode, true), (&mut host.pid_mode, true), (&mut host.network_mode, false)]
    {
        let Some(reference) = other(mode) else { continue };
        match engine.containers()?.find(reference) {
            Ok(found) => *mode = format!("{PREFIX}{}", found.id),
            // Not `NotFound`: clients would take that for a missing image and pull it.
            Err(e) if must_exist => return Err(Error::invalid(e.message())),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Gives a container without a host name its own.
///
/// # Errors
/// `Io` if the host's name cannot be read.
pub fn set_host_name(own_id: &str, config: &mut Config, host: &HostConfig) -> Result<()> {
    if config.hostname.is_empty() {
        config.hostname = if host.network_mode == "host" {
            nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .at("reading the host name")?
        } else {
            id::short(own_id).into()
        };
    }
    Ok(())
}

/// Which namespaces the runtime makes, and which it joins.
///
/// # Errors
/// `InvalidParameter`, `Conflict` with Docker's texts for another container that is not there, does not run
/// or does not share what is wanted.
pub fn namespaces(
    engine: &Engine,
    host: &HostConfig,
    plan: &Plan,
    linux: &mut Linux,
) -> Result<()> {
    match &plan.mode {
        // Given by descriptor.
        Mode::None | Mode::Bridge => {}
        Mode::Host => remove(linux, "network"),
        Mode::Container(other) => join(linux, "network", "net", Plan::shared_pid(other)?),
    }
    if host.uts_mode == "host" {
        remove(linux, "uts");
    }
    if host.pid_mode == "host" {
        remove(linux, "pid");
    } else if let Some(reference) = other(&host.pid_mode) {
        let donor = running(engine, reference).at("failed to join PID namespace")?;
        join(linux, "pid", "pid", donor.data().record.state.pid);
    }
    if host.ipc_mode == "host" {
        remove(linux, "ipc");
    } else if let Some(donor) = ipc_donor(engine, host)? {
        join(linux, "ipc", "ipc", donor.data().record.state.pid);
    }
    if host.cgroupns_mode == "private" && has_cgroup_namespaces() {
        linux.namespaces.push(Namespace { kind: "cgroup".into(), path: String::new() });
    }
    Ok(())
}

/// Since Linux 4.6.
fn has_cgroup_namespaces() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| std::fs::exists("/proc/self/ns/cgroup").unwrap_or(true))
}

/// The running container whose System V memory, queues and `/dev/shm` are to be shared.
///
/// # Errors
/// As [`namespaces`].
pub fn ipc_donor(engine: &Engine, host: &HostConfig) -> Result<Option<Arc<Container>>> {
    let Some(reference) = other(&host.ipc_mode) else { return Ok(None) };
    let donor = running(engine, reference)
        .and_then(|donor| ipc::check_shareable(&donor, reference).map(|()| donor))
        .at("failed to join IPC namespace")?;
    Ok(Some(donor))
}

fn running(engine: &Engine, reference: &str) -> Result<Arc<Container>> {
    let found = engine.containers()?.find(reference).map_err(|e| Error::invalid(e.message()))?;
    let state = found.data().record.state.clone();
    if state.restarting {
        return Err(Error::conflict(format_args!(
            "Container {reference} is restarting, wait until the container is running"
        )));
    }
    if !state.running || state.pid == 0 {
        return Err(Error::conflict(format_args!("container {reference} is not running")));
    }
    Ok(found)
}

fn remove(linux: &mut Linux, kind: &str) {
    linux.namespaces.retain(|namespace| namespace.kind != kind);
}

fn join(linux: &mut Linux, kind: &str, file: &str, pid: i64) {
    remove(linux, kind);
    linux.namespaces.push(Namespace { kind: kind.into(), path: format!("/proc/{pid}/ns/{file}") });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: impl Fn(&mut Config, &mut HostConfig)) -> String {
        let (mut config, mut host) = (Config::default(), HostConfig::default());
        change(&mut config, &mut host);
        check(&config, &host).map_or_else(|e| e.message().to_string(), |()| String::new())
    }

    #[test]
    fn modes_are_told_apart() {
        for mode in ["private", "shareable", "host", "none", "container:x", ""] {
            assert_eq!(text(|_, host| host.ipc_mode = mode.into()), "", "{mode}");
        }
        assert_eq!(text(|_, host| host.ipc_mode = "x".into()), "invalid IPC mode: x");
        assert_eq!(text(|_, h| h.pid_mode = "container:".into()), "invalid PID mode: container:");
        assert_eq!(text(|_, host| host.uts_mode = "x".into()), "invalid UTS mode: x");
        assert!(text(|_, host| host.cgroupns_mode = "x".into()).contains("cgroup namespace mode"));
        assert!(text(|config, _| config.hostname = "x".repeat(65)).ends_with("(maximum 64 bytes)"));
    }

    #[test]
    fn the_network_of_another_container_comes_with_its_names_and_ports() {
        let shared = |change: &dyn Fn(&mut Config, &mut HostConfig)| {
            text(|config, host| {
                host.network_mode = "container:x".into();
                change(config, host);
            })
        };
        assert_eq!(shared(&|_, _| {}), "");
        assert!(shared(&|config, _| config.hostname = "x".into()).contains("hostname and the net"));
        assert!(shared(&|_, host| host.dns = Some(vec!["1.1.1.1".into()])).contains("dns and"));
        assert!(
            shared(&|_, host| host.extra_hosts = Some(vec!["a:1.1.1.1".into()])).contains("IP")
        );
        assert!(shared(&|_, host| host.publish_all_ports = true).contains("port publishing"));
        let exposed = shared(&|config, _| {
            config.exposed_ports.insert("80/tcp".into(), crate::base::json::Nothing);
        });
        assert!(exposed.contains("port exposing"));
        assert!(text(|_, host| host.network_mode = "container:".into()).contains("<name|id>"));
    }
}
