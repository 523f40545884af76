//! The networks of one daemon: prepares the default bridge, connects and disconnects containers.
//!
//! State on disk: `<data-root>/network/bridge.json` (see `bridge`). Everything else is either in the
//! engine's endpoints or in the kernel: each veth carries `multi[-TAG]:<endpoint id>` as its alias,
//! bind mounts of namespaces lie in `<exec-root>/netns`, rules are in a table of our own. So a daemon
//! that was killed between any two steps leaves only things that [`Controller::restore`] finds.
//!
//! Order of `connect`: address and ports are taken (memory, bound sockets), veth, inside, packet
//! filter, proxy. `disconnect` goes the other way. Locks: state, then route, then firewall; none is
//! held while a process is started or awaited.
//!
//! Measured (6.18, 2 busy cores, `cargo bench --bench net`, medians): sandbox 0.1 ms with a spare
//! namespace, 0.6 without; connect 0.9 ms, with one port 1.5 ms, with 200 ports 8 ms (NAT only);
//! disconnect 0.1 ms. Of connect the veth pair is 0.45 ms, the inside 0.1 ms.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::Mac;
use super::bridge::{self, Network};
use super::cleaner::{Cleaner, Job};
use super::config::Config;
use super::endpoint::{Endpoint, EndpointRequest, Protocol};
use super::firewall::{self, Bridge, Exception, Firewall, Rules, publications};
use super::ipam::Leases;
use super::portmap::{Held, Ports};
use super::proxy::start::Proxy;
use super::sandbox::{self, Sandbox};
use super::sysctl;
use crate::base::digest::Digest;
use crate::base::{At, Error, Kind, Result, id};
use crate::sys::netlink::flows::{self, Flow};
use crate::sys::netlink::{Batch, Socket, route::Veth};
use crate::sys::random;

const DEFAULT_EXEC_ROOTS: [&str; 2] = ["/var/run/docker", "/run/docker"];
const DEFAULT_INTERFACE: &str = "eth0";

/// An endpoint and what the daemon holds for it.
pub(super) struct Live {
    pub(super) endpoint: Endpoint,
    pub(super) proxy: Option<Proxy>,
    /// Keep the host ports where there is no proxy to do so.
    pub(super) _sockets: Vec<OwnedFd>,
    /// What it may send to neighbours although icc is off.
    pub(super) exceptions: Vec<Exception>,
}

impl Live {
    pub(super) fn new(endpoint: Endpoint) -> Live {
        Live { endpoint, proxy: None, _sockets: Vec::new(), exceptions: Vec::new() }
    }
}

/// What `prepare` found, and what was given out since.
#[derive(Default)]
pub(super) struct State {
    pub(super) network: Option<Network>,
    pub(super) rules: Rules,
    pub(super) leases: Option<Leases>,
    pub(super) ports: Ports,
    pub(super) live: HashMap<String, Live>,
}

/// The networks of one daemon. Shared between threads by reference.
pub struct Controller {
    pub(super) config: Config,
    pub(super) mark: String,
    tag: String,
    pub(super) netns_dir: PathBuf,
    record: PathBuf,
    pub(super) route: Mutex<Socket>,
    firewall: Mutex<Option<Box<dyn Firewall>>>,
    pub(super) state: Mutex<State>,
    pub(super) cleaner: Cleaner,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controller {
    /// Checks the options and makes the directories; nothing of the host's network is changed yet.
    ///
    /// # Errors
    /// `InvalidParameter` for options that exclude each other, `Io`.
    pub fn open(config: Config, exec_root: &Path, data_root: &Path) -> Result<Controller> {
        config.check()?;
        let netns_dir = exec_root.join("netns");
        let network_dir = data_root.join("network");
        std::fs::create_dir_all(&network_dir)
            .at(format_args!("creating {}", network_dir.display()))?;
        let tag = match DEFAULT_EXEC_ROOTS.iter().any(|root| Path::new(root) == exec_root) {
            true => String::new(),
            false => Digest::of(exec_root.as_os_str().as_encoded_bytes()).hex()[..8].to_string(),
        };
        let mark = if tag.is_empty() { "multi:".into() } else { format!("multi-{tag}:") };
        Ok(Controller {
            config,
            mark,
            tag,
            netns_dir,
            record: network_dir.join("bridge.json"),
            route: Mutex::new(Socket::route()?),
            firewall: Mutex::new(None),
            state: Mutex::new(State::default()),
            cleaner: Cleaner::start()?,
        })
    }

    /// Makes or adopts the bridge, switches forwarding on, writes the packet filter rules. Idempotent:
    /// may be called again to repair what somebody removed.
    ///
    /// # Errors
    /// As of the bridge options; `Unsupported` if the packet filter does not work here.
    pub fn prepare(&self) -> Result<()> {
        let mut state = lock(&self.state);
        self.prepare_locked(&mut state)
    }

    fn prepare_locked(&self, state: &mut State) -> Result<()> {
        sandbox::prepare_dir(&self.netns_dir)?;
        if !self.config.has_bridge() {
            return Ok(());
        }
        let drop_forwarding = self.forward()?;
        let mut route = lock(&self.route);
        let network = bridge::ensure(&self.config, &mut route, &self.record)?;
        if !self.config.icc {
            bridge::filter_bridged(&mut route, network.index)?;
        }
        drop(route);
        if !self.config.userland_proxy {
            sysctl::write(&format!("ipv4/conf/{}/route_localnet", network.interface), "1")?;
        }
        let reserved = [network.address.address, network.gateway];
        let mut leases = Leases::new(network.address.network(), network.range, &reserved);
        state.live.values().for_each(|live| leases.adopt(live.endpoint.ip()));
        state.leases = Some(leases);
        state.rules = Rules {
            bridges: vec![Bridge {
                interface: network.interface.clone(),
                subnet: network.address.network(),
                masquerade: self.config.ip_masq,
                icc: self.config.icc,
            }],
            userland_proxy: self.config.userland_proxy,
            drop_forwarding,
            ..Rules::default()
        };
        state.network = Some(network);
        self.install(state)
    }

    /// Switches IPv4 forwarding on; whether foreign forwarding is to be dropped because it was off.
    fn forward(&self) -> Result<bool> {
        // Outlives the daemon, not the host: after a boot forwarding is off again.
        let marker = self.netns_dir.with_file_name("forwarding-was-off");
        if self.config.ip_forward && sysctl::read("ipv4/ip_forward").as_deref() == Some("0") {
            match sysctl::write("ipv4/ip_forward", "1") {
                Ok(()) => std::fs::write(&marker, "").at("noting the state of ip_forward")?,
                Err(e) => log::warn!("containers cannot reach other hosts: {e}"),
            }
        }
        Ok(!self.config.ip_forward_no_drop && self.config.iptables && marker.exists())
    }

    /// Writes all packet filter rules anew.
    pub(super) fn install(&self, state: &State) -> Result<()> {
        let Some(network) = &state.network else { return Ok(()) };
        if !self.config.iptables {
            return firewall::sweep(&self.tag);
        }
        let ports: Vec<_> = state
            .live
            .values()
            .flat_map(|live| self.publications(&network.interface, &live.endpoint))
            .collect();
        let exceptions = state.live.values().flat_map(|live| live.exceptions.clone()).collect();
        let rules = Rules { exceptions, ..state.rules.clone() };
        let mut firewall = lock(&self.firewall);
        if firewall.is_none() {
            let opened = firewall::open(self.config.firewall_backend, &self.tag)?;
            log::debug!("packet filter back end: {}", opened.name());
            if opened.name() == "iptables" {
                firewall::sweep(&self.tag)?;
            }
            *firewall = Some(opened);
        }
        match firewall.as_mut() {
            Some(firewall) => firewall.install(&rules, &ports),
            None => Ok(()),
        }
    }

    fn publications(&self, interface: &str, endpoint: &Endpoint) -> Vec<firewall::Publication> {
        publications(interface, self.config.userland_proxy, endpoint)
    }

    /// The default network, once prepared.
    pub fn network(&self) -> Option<Network> {
        lock(&self.state).network.clone()
    }

    /// The options.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name of the packet filter back end in use; `None` before `prepare` or with `--iptables=false`.
    pub fn firewall_backend(&self) -> Option<&'static str> {
        lock(&self.firewall).as_ref().map(|firewall| firewall.name())
    }

    /// Where the namespace of a container is bound.
    pub fn sandbox_path(&self, container_id: &str) -> PathBuf {
        self.netns_dir.join(id::short(container_id))
    }

    /// A new namespace for a container, with `lo` up: the spare one if there is one.
    ///
    /// # Errors
    /// `Io`; nothing is left behind.
    pub fn sandbox(&self, container_id: &str) -> Result<Sandbox> {
        let spare = self.cleaner.take_spare();
        self.cleaner.push(Job::Spare);
        let unbound = spare.map_or_else(Sandbox::unbound, Ok)?;
        let path = self.sandbox_path(container_id);
        // One that an unclean end left under the same name is not to be reused.
        if path.exists() {
            sandbox::unbind(&path)?;
        }
        unbound.bind(&path)
    }

    /// Ends the namespace of a container, in the background.
    pub fn remove_sandbox(&self, path: &Path) {
        if path.parent() == Some(&self.netns_dir) {
            self.cleaner.push(Job::Sandbox(path.to_path_buf()));
        }
    }

    /// Waits until everything that was left to the background is done.
    pub fn flush(&self) {
        self.cleaner.flush();
    }

    /// The clean end of the daemon: what was left to the background is done, and unless namespaces are
    /// still in use, the mount that holds them goes.
    pub fn close(&self) {
        self.flush();
        let is_empty = std::fs::read_dir(&self.netns_dir).is_ok_and(|mut dir| dir.next().is_none());
        if is_empty && let Err(e) = sandbox::release_dir(&self.netns_dir) {
            log::warn!("{e}");
        }
    }

    /// Connects a sandbox to a network and publishes its ports.
    ///
    /// # Errors
    /// `NotFound` for an unknown network, as of addresses and ports, `Io`. Nothing is left behind.
    pub fn connect(&self, sandbox: &Sandbox, request: &EndpointRequest) -> Result<Endpoint> {
        if !request.network.is_empty() && request.network != bridge::NETWORK_NAME {
            return Err(Error::not_found(format_args!("network {} not found", request.network)));
        }
        let (mut endpoint, held, network) = self.reserve(sandbox, request)?;
        let result = self
            .attach(sandbox, &mut endpoint, network)
            .and_then(|()| self.publish(&mut endpoint, held, request));
        if let Err(e) = result {
            if let Err(undo) = self.disconnect(&endpoint) {
                log::warn!("undoing endpoint {}: {undo}", endpoint.id);
            }
            return Err(e);
        }
        Ok(endpoint)
    }

    /// Takes address and ports.
    fn reserve(
        &self,
        sandbox: &Sandbox,
        request: &EndpointRequest,
    ) -> Result<(Endpoint, Vec<Held>, Network)> {
        let id = random::id();
        let mut state = lock(&self.state);
        let State { network, leases, ports, live, .. } = &mut *state;
        let (Some(network), Some(leases)) = (network, leases) else {
            return Err(Error::not_found(format_args!(
                "network {} not found",
                bridge::NETWORK_NAME
            )));
        };
        let address = leases.lease(request.address).map_err(|e| match e.kind() {
            Kind::Unavailable => e,
            _ => e.at("invalid address"),
        })?;
        let held = match ports.hold(&self.config, request, address) {
            Ok(held) => held,
            Err(e) => {
                leases.release(address);
                let kind = if e.kind() == Kind::Io { Kind::Internal } else { e.kind() };
                return Err(external_connectivity(e, &request.container_name, &id).with_kind(kind));
            }
        };
        let interface = match request.interface.as_str() {
            "" => DEFAULT_INTERFACE,
            name => name,
        };
        let endpoint = Endpoint {
            id: id.clone(),
            network: network.name.clone(),
            network_id: network.id.clone(),
            container_id: request.container_id.clone(),
            container_name: request.container_name.clone(),
            sandbox: sandbox.path().to_string_lossy().into_owned(),
            interface: interface.into(),
            host_interface: format!("veth{}", &random::id()[..7]),
            mac: request.mac.unwrap_or_else(|| Mac::of(address)).to_string(),
            address: address.to_string(),
            prefix: network.address.prefix,
            gateway: network.gateway.to_string(),
            ports: held.iter().map(|held| held.port.clone()).collect(),
            ..Endpoint::default()
        };
        live.insert(id, Live::new(endpoint.clone()));
        Ok((endpoint, held, network.clone()))
    }

    /// Makes the veth pair and configures the inside.
    fn attach(&self, sandbox: &Sandbox, endpoint: &mut Endpoint, network: Network) -> Result<()> {
        let result = self.create_veth(sandbox, endpoint, &network);
        let index = match result {
            Err(e) if matches!(e.errno(), Some(libc::ENODEV | libc::EINVAL)) => {
                // Somebody removed the bridge, or made another of that name.
                let again = self.repair(&network).ok_or(e)?;
                self.create_veth(sandbox, endpoint, &again)?
            }
            other => other?,
        };
        endpoint.host_index = index;
        let mut inside = sandbox.socket();
        let eth = inside.link_index(&endpoint.interface)?;
        let mut batch = Batch::new();
        batch.add_address(eth, endpoint.ip(), endpoint.prefix);
        batch.set_up(eth);
        let gateway = endpoint.gateway.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        batch.add_default_route(eth, gateway);
        inside.execute(batch)
    }

    fn create_veth(
        &self,
        sandbox: &Sandbox,
        endpoint: &Endpoint,
        network: &Network,
    ) -> Result<u32> {
        let mac = Mac::parse(&endpoint.mac)?;
        let mut batch = Batch::new();
        batch.create_veth(&Veth {
            name: &endpoint.host_interface,
            master: network.index,
            mtu: network.mtu,
            alias: &format!("{}{}", self.mark, endpoint.id),
            peer_netns: sandbox.netns(),
            peer_name: &endpoint.interface,
            peer_mac: mac.0,
        });
        if !self.config.userland_proxy {
            batch.set_hairpin(&endpoint.host_interface);
        }
        let mut route = lock(&self.route);
        route.execute(batch)?;
        route.link_index(&endpoint.host_interface)
    }

    /// Makes the bridge again if it is gone; the network as it is then, `None` if that was not it.
    fn repair(&self, old: &Network) -> Option<Network> {
        let found = lock(&self.route).link(&old.interface).ok()?;
        if found.is_some_and(|link| link.index == old.index) {
            return None;
        }
        log::warn!("bridge {} is gone or was replaced: preparing it again", old.interface);
        let mut state = lock(&self.state);
        match self.prepare_locked(&mut state) {
            Ok(()) => {
                state.network.clone().filter(|n| n.address.network() == old.address.network())
            }
            Err(e) => {
                log::warn!("preparing bridge {}: {e}", old.interface);
                None
            }
        }
    }

    /// Rules and proxy for the endpoint's ports.
    fn publish(
        &self,
        endpoint: &mut Endpoint,
        held: Vec<Held>,
        request: &EndpointRequest,
    ) -> Result<()> {
        if endpoint.ports.is_empty() {
            self.keep(endpoint, None, Vec::new());
            return Ok(());
        }
        self.translate(endpoint)
            .map(|()| self.forget_flows(endpoint))
            .and_then(|()| self.start_proxy(endpoint, held, request.life.as_ref()))
            .map_err(|e| external_connectivity(e, &endpoint.container_name, &endpoint.id))
    }

    pub(super) fn start_proxy(
        &self,
        endpoint: &mut Endpoint,
        held: Vec<Held>,
        life: Option<&OwnedFd>,
    ) -> Result<()> {
        if self.config.userland_proxy && held.iter().any(|held| held.socket.is_some()) {
            let proxy = Proxy::start(&self.config.executable, endpoint, held, life)?;
            (endpoint.proxy_pid, endpoint.proxy_start) = proxy.identity();
            self.keep(endpoint, Some(proxy), Vec::new());
        } else {
            let sockets = held.into_iter().filter_map(|held| held.socket).collect();
            self.keep(endpoint, None, sockets);
        }
        Ok(())
    }

    fn keep(&self, endpoint: &Endpoint, proxy: Option<Proxy>, sockets: Vec<OwnedFd>) {
        let live = Live { proxy, _sockets: sockets, ..Live::new(endpoint.clone()) };
        lock(&self.state).live.insert(endpoint.id.clone(), live);
    }

    /// Adds the packet filter's part of the endpoint's ports.
    fn translate(&self, endpoint: &Endpoint) -> Result<()> {
        self.change_rules(endpoint, |firewall, rules, ports| firewall.publish(rules, ports))
    }

    /// Lets the endpoint `id` reach ports of its neighbours although icc is off: exactly these, instead
    /// of those it reached before. `to` are addresses of the same network. Nothing to do with icc on.
    ///
    /// # Errors
    /// `Io` of the packet filter.
    pub fn set_exceptions(&self, id: &str, to: &[(Ipv4Addr, Protocol, u16)]) -> Result<()> {
        if self.config.icc || !self.config.iptables {
            return Ok(());
        }
        let mut state = lock(&self.state);
        let Some(interface) = state.network.as_ref().map(|network| network.interface.clone())
        else {
            return Ok(());
        };
        let Some(live) = state.live.get_mut(id) else { return Ok(()) };
        let from = live.endpoint.ip();
        let mut wanted: Vec<Exception> = Vec::new();
        for (to, protocol, port) in to.iter().copied() {
            let exception = Exception { interface: interface.clone(), from, to, protocol, port };
            if !wanted.contains(&exception) {
                wanted.push(exception);
            }
        }
        let missing = |all: &[Exception], of: &[Exception]| -> Vec<Exception> {
            of.iter().filter(|exception| !all.contains(exception)).cloned().collect()
        };
        let (gone, new) = (missing(&wanted, &live.exceptions), missing(&live.exceptions, &wanted));
        live.exceptions = wanted;
        self.change_exceptions(&state, &gone, &new)
    }

    fn change_exceptions(
        &self,
        state: &State,
        gone: &[Exception],
        new: &[Exception],
    ) -> Result<()> {
        let result = match lock(&self.firewall).as_mut() {
            Some(firewall) => {
                let removed = if gone.is_empty() { Ok(()) } else { firewall.disallow(gone) };
                removed.and_then(|()| if new.is_empty() { Ok(()) } else { firewall.allow(new) })
            }
            None => Ok(()),
        };
        self.install_if_flushed(state, result)
    }

    /// Makes the kernel look anew at what comes to the endpoint's udp ports, which are other rules' from now
    /// on. A kernel that tracks no connections has nothing to forget.
    fn forget_flows(&self, endpoint: &Endpoint) {
        let udp: Vec<(IpAddr, u16)> = endpoint
            .ports
            .iter()
            .filter(|port| port.transport() == Protocol::Udp)
            .map(|port| (port.ip(), port.host_port))
            .collect();
        if udp.is_empty() {
            return;
        }
        let wanted = |flow: Flow| {
            i32::from(flow.protocol) == libc::IPPROTO_UDP
                && udp.iter().any(|(ip, port)| {
                    *port == flow.port && (ip.is_unspecified() || *ip == IpAddr::V4(flow.address))
                })
        };
        match Socket::netfilter().and_then(|mut socket| socket.forget_flows(&wanted)) {
            Ok(count) => log::debug!("forgot {count} udp flows to {}", endpoint.container_name),
            Err(e) if flows::is_untracked(&e) => log::debug!("{e}"),
            Err(e) => log::warn!("old udp flows to {} stay: {e}", endpoint.container_name),
        }
    }

    /// Rules that somebody flushed are written anew as a whole, from the live endpoints.
    fn change_rules(
        &self,
        endpoint: &Endpoint,
        change: impl FnOnce(&mut dyn Firewall, &Rules, &[firewall::Publication]) -> Result<()>,
    ) -> Result<()> {
        let state = lock(&self.state);
        let Some(network) = &state.network else { return Ok(()) };
        let ports = self.publications(&network.interface, endpoint);
        if ports.is_empty() {
            return Ok(());
        }
        let result = match lock(&self.firewall).as_mut() {
            Some(firewall) => change(firewall.as_mut(), &state.rules, &ports),
            None => Ok(()),
        };
        self.install_if_flushed(&state, result)
    }

    fn install_if_flushed(&self, state: &State, result: Result<()>) -> Result<()> {
        match result {
            Err(e) if e.kind() == Kind::NotFound => {
                log::warn!("packet filter rules were changed by somebody, writing them again: {e}");
                self.install(state)
            }
            other => other,
        }
    }

    /// Takes a container out of its network. On return its ports and its address are free and no
    /// packet passes any more; the interfaces go in the background. Does nothing twice.
    ///
    /// # Errors
    /// `Io`, after everything was tried.
    pub fn disconnect(&self, endpoint: &Endpoint) -> Result<()> {
        let removed = lock(&self.state).live.remove(&endpoint.id);
        let mut batch = Batch::new();
        batch.silence_port(&endpoint.host_interface);
        match lock(&self.route).execute(batch) {
            Ok(()) => self.cleaner.push(Job::Link(endpoint.host_interface.clone())),
            // Never made, gone with its namespace, or no port of a bridge any more.
            Err(e) if e.errno() == Some(libc::ENODEV) => {}
            Err(e) => {
                log::debug!("{e}");
                self.cleaner.push(Job::Link(endpoint.host_interface.clone()));
            }
        }
        let Some(live) = removed else { return Ok(()) };
        let result =
            self.change_rules(endpoint, |firewall, rules, ports| firewall.unpublish(rules, ports));
        self.forget_flows(endpoint);
        if let Some(proxy) = live.proxy {
            proxy.stop();
        }
        let mut state = lock(&self.state);
        let result = result.and(self.change_exceptions(&state, &live.exceptions, &[]));
        endpoint.ports.iter().for_each(|port| state.ports.release(port));
        if let Some(leases) = &mut state.leases {
            leases.release(endpoint.ip());
        }
        result
    }
}

/// Docker's words around a failure to publish.
fn external_connectivity(e: Error, name: &str, id: &str) -> Error {
    e.at(format_args!("driver failed programming external connectivity on endpoint {name} ({id})"))
}
