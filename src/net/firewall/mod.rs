//! Packet filter rules of the networks: what they must do, and the two back ends that write them.
//!
//! What the rules do, whichever the back end:
//! * traffic that leaves a bridge's subnet by another interface gets the host's address (masquerade);
//! * a packet for a published port of an address of this host goes to the container (DNAT);
//! * into a bridge go answers, translated connections, and what its own containers send each other
//!   (unless icc is off, and then what links allow); everything else is dropped, also what other bridges send;
//! * without the userland proxy also the host's own packets to loopback addresses and packets of the
//!   bridge to itself are translated, and get an address that the answer finds its way back to.
//!
//! Foreign rules are never touched. Everything is written by [`Firewall::install`] in one step and can
//! be written again at any time; publishing a port only adds to it.

mod iptables;
mod nftables;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use super::address::Cidr;
use super::config::FirewallBackend;
use super::endpoint::{Endpoint, Protocol};
use crate::base::{Error, Result};

/// Rules of one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) interface: String,
    pub(super) subnet: Cidr,
    pub(super) masquerade: bool,
    pub(super) icc: bool,
}

/// Everything but the published ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) bridges: Vec<Bridge>,
    /// Packets of the host to loopback and of bridges to the host's ports are left to the proxies.
    pub(super) userland_proxy: bool,
    /// Forwarding was switched on by us: what does not concern our bridges is dropped.
    pub(super) drop_forwarding: bool,
    /// What containers of a bridge may send each other although icc is off.
    pub(super) exceptions: Vec<Exception>,
}

/// A port of one container that another one reaches although icc is off: a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The bridge.
    pub interface: String,
    /// Who may send.
    pub from: Ipv4Addr,
    /// To whom.
    pub to: Ipv4Addr,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Protocol,
    /// The port of the receiver.
    pub port: u16,
}

/// A port that packets are translated for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) interface: String,
    pub(super) protocol: Protocol,
    /// Unspecified for all addresses of the host.
    pub(super) host_ip: Ipv4Addr,
    pub(super) host_port: u16,
    pub(super) container_ip: Ipv4Addr,
    pub(super) container_port: u16,
}

/// The publications of an endpoint that the packet filter takes part in.
pub(super) fn publications(
    interface: &str,
    userland_proxy: bool,
    endpoint: &Endpoint,
) -> Vec<Publication> {
    let translate = |port: &super::PublishedPort| match port.ip() {
        // Loopback is the proxy's; IPv6 always is, the container has no IPv6 address.
        IpAddr::V4(ip) if !(ip.is_loopback() && userland_proxy) => Some(Publication {
            interface: interface.into(),
            protocol: port.transport(),
            host_ip: ip,
            host_port: port.host_port,
            container_ip: endpoint.ip(),
            container_port: port.container_port,
        }),
        _ => None,
    };
    endpoint.ports.iter().filter_map(translate).collect()
}

/// A back end.
pub(super) trait Firewall: Send {
    /// `nftables` or `iptables`.
    fn name(&self) -> &'static str;

    /// Replaces everything that is ours by these rules; packets see the old rules or the new.
    ///
    /// # Errors
    /// `Io`, `Unsupported` with the rule that the kernel lacks something for.
    fn install(&mut self, rules: &Rules, ports: &[Publication]) -> Result<()>;

    /// Adds publications.
    ///
    /// # Errors
    /// `NotFound` if our rules are gone (somebody flushed them): install again.
    fn publish(&mut self, rules: &Rules, ports: &[Publication]) -> Result<()>;

    /// Removes publications.
    ///
    /// # Errors
    /// As of `publish`.
    fn unpublish(&mut self, rules: &Rules, ports: &[Publication]) -> Result<()>;

    /// Adds what containers may send each other although icc is off.
    ///
    /// # Errors
    /// As of `publish`.
    fn allow(&mut self, exceptions: &[Exception]) -> Result<()>;

    /// Takes it back.
    ///
    /// # Errors
    /// As of `publish`.
    fn disallow(&mut self, exceptions: &[Exception]) -> Result<()>;
}

/// Removes rules of ours that a daemon with other options left in nf_tables; they would go on
/// translating beside the new ones.
///
/// # Errors
/// `Io`.
pub(super) fn sweep(tag: &str) -> Result<()> {
    nftables::sweep(tag)
}

/// Opens the back end that is asked for; `tag` tells this daemon's rules from another's.
///
/// # Errors
/// `Unsupported` if it does not work here, with the reason.
pub(super) fn open(backend: FirewallBackend, tag: &str) -> Result<Box<dyn Firewall>> {
    match backend {
        FirewallBackend::Nftables => Ok(Box::new(nftables::Nftables::open(tag)?)),
        FirewallBackend::Iptables => Ok(Box::new(iptables::Iptables::open()?)),
        FirewallBackend::Auto => match nftables::Nftables::open(tag) {
            Ok(backend) => Ok(Box::new(backend)),
            Err(nft) => match iptables::Iptables::open() {
                Ok(backend) => Ok(Box::new(backend)),
                Err(iptables) => Err(Error::unsupported(format_args!(
                    "no usable packet filter: nftables: {nft}; iptables: {iptables}; \
                     use --iptables=false to go without"
                ))),
            },
        },
    }
}
