//! What the engine asks of a network and what it gets: requests, endpoints, published ports.
//!
//! An [`Endpoint`] is plain data. The engine keeps it in the container's record and gives it back to
//! `Controller::restore` after a restart and to `Controller::disconnect` at the end; everything that
//! belongs to the endpoint (veth, address, firewall elements, proxy) can be found from it alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use super::address::Mac;
use crate::base::{Error, Result};

/// Transport of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// From `tcp`, `udp` or `sctp` in any case; empty means tcp.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(text: &str) -> Result<Protocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" | "" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(Error::invalid(format_args!("invalid proto: {text}"))),
        }
    }

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One `-p`: a container port and where it should appear on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBinding {
    /// Transport.
    pub protocol: Protocol,
    /// Port inside the container.
    pub container_port: u16,
    /// Host address; `None` means the daemon's `--ip` (all addresses unless set).
    pub host_ip: Option<IpAddr>,
    /// Host port; 0 takes a free one of the ephemeral range.
    pub host_port: u16,
    /// Last port of a range of which the first free one is taken; equal to `host_port` (or 0) for one port.
    pub host_port_end: u16,
}

/// What `Controller::connect` should make.
#[derive(Debug, Default)]
pub struct EndpointRequest {
    /// Name of the network; empty means the default bridge.
    pub network: String,
    /// Full id of the container.
    pub container_id: String,
    /// Name of the container without the slash, for error texts.
    pub container_name: String,
    /// Hardware address; made from the IPv4 address if absent.
    pub mac: Option<Mac>,
    /// A fixed address; the lowest free one if absent.
    pub address: Option<Ipv4Addr>,
    /// Name of the interface inside; `eth0` if empty.
    pub interface: String,
    /// Ports to publish, `-P` already resolved (host port 0).
    pub ports: Vec<PortBinding>,
    /// A descriptor that becomes readable or hangs up when the container is gone (a pidfd of its shim
    /// does); the userland proxy ends with it. Without one it ends when the veth goes.
    pub life: Option<OwnedFd>,
}

crate::wire! {
    /// A port that is published.
    pub struct PublishedPort {
        "Protocol" keep protocol: String,
        "ContainerPort" keep container_port: u16,
        "HostIp" keep host_ip: String,
        "HostPort" keep host_port: u16,
    }
}

crate::wire! {
    /// A container's place in a network.
    pub struct Endpoint {
        "EndpointID" keep id: String,
        "Network" keep network: String,
        "NetworkID" keep network_id: String,
        "ContainerID" keep container_id: String,
        "ContainerName" keep container_name: String,
        /// Path of the network namespace's bind mount.
        "SandboxKey" keep sandbox: String,
        /// Name inside the container.
        "Interface" keep interface: String,
        /// Name of the other end on the host.
        "HostInterface" keep host_interface: String,
        /// Index of the other end on the host.
        "HostIndex" keep host_index: u32,
        "MacAddress" keep mac: String,
        "IPAddress" keep address: String,
        "IPPrefixLen" keep prefix: u8,
        "Gateway" keep gateway: String,
        "Ports" keep ports: Vec<PublishedPort>,
        /// Process of the userland proxy, 0 if there is none.
        "ProxyPid" omit proxy_pid: i32,
        /// Start time of that process in clock ticks since boot: a pid alone may have been given away.
        "ProxyStart" omit proxy_start: u64,
    }
}

impl PublishedPort {
    /// The transport.
    pub fn transport(&self) -> Protocol {
        Protocol::parse(&self.protocol).unwrap_or(Protocol::Tcp)
    }

    /// The host address; the unspecified one if the record is damaged.
    pub fn ip(&self) -> IpAddr {
        self.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

impl Endpoint {
    /// The IPv4 address; unspecified if the record is damaged.
    pub fn ip(&self) -> Ipv4Addr {
        self.address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}
