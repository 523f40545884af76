//! Published ports: which host ports are ours, and sockets that hold them against everybody else.
//!
//! Every published tcp and udp port is held by a bound socket; so a collision with a foreign process
//! is found before any rule changes, and nobody can take the port while it is published. The socket
//! goes to the container's userland proxy, or stays in the daemon where there is none. SCTP is
//! published by NAT alone: its ports are known to the table here, but no socket holds them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use super::config::Config;
use super::endpoint::{EndpointRequest, PortBinding, Protocol, PublishedPort};
use super::sysctl;
use crate::base::{Error, Result};

/// A published port and the socket that holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) port: PublishedPort,
    pub(super) socket: Option<OwnedFd>,
}

/// The ports that this daemon has published.
#[derive(Debug, Default)]
pub(super) struct Ports {
    taken: HashMap<(Protocol, u16), Vec<IpAddr>>,
    /// Where the search for a free port goes on, so that a port just freed is not given out at once.
    next: u16,
}

impl Ports {
    fn is_taken(&self, protocol: Protocol, ip: IpAddr, port: u16) -> bool {
        let overlap = |other: &IpAddr| {
            *other == ip
                || other.is_ipv4() == ip.is_ipv4()
                    && (other.is_unspecified() || ip.is_unspecified())
        };
        self.taken.get(&(protocol, port)).is_some_and(|all| all.iter().any(overlap))
    }

    /// Notes a port that is published already.
    pub(super) fn adopt(&mut self, port: &PublishedPort) {
        self.taken.entry((port.transport(), port.host_port)).or_default().push(port.ip());
    }

    /// Forgets a port.
    pub(super) fn release(&mut self, port: &PublishedPort) {
        let key = (port.transport(), port.host_port);
        if let Some(all) = self.taken.get_mut(&key) {
            if let Some(at) = all.iter().position(|ip| *ip == port.ip()) {
                all.swap_remove(at);
            }
            if all.is_empty() {
                self.taken.remove(&key);
            }
        }
    }

    /// Chooses and holds a host port for each binding, all or none.
    ///
    /// # Errors
    /// Docker's texts, without the endpoint: `Bind for 0.0.0.0:80 failed: port is already allocated`
    /// if it is ours already, `failed to bind host port for ...: address already in use` if it is not.
    pub(super) fn hold(
        &mut self,
        config: &Config,
        request: &EndpointRequest,
        address: Ipv4Addr,
    ) -> Result<Vec<Held>> {
        let mut all: Vec<Held> = Vec::new();
        for binding in &request.ports {
            match self.hold_one(config, binding, address) {
                Ok(held) => all.extend(held),
                Err(e) => {
                    all.iter().for_each(|held| self.release(&held.port));
                    return Err(e);
                }
            }
        }
        Ok(all)
    }

    fn hold_one(
        &mut self,
        config: &Config,
        binding: &PortBinding,
        address: Ipv4Addr,
    ) -> Result<Vec<Held>> {
        let ips = host_addresses(config, binding)?;
        let fixed = binding.host_port != 0;
        let (first, last) = match fixed {
            true => (binding.host_port, binding.host_port_end.max(binding.host_port)),
            false => sysctl::local_port_range(),
        };
        let count = u32::from(last - first) + 1;
        let start = match fixed {
            false if (first..=last).contains(&self.next) => u32::from(self.next - first),
            _ => 0,
        };
        let mut failure = None;
        for i in 0..count {
            let offset = u16::try_from((start + i) % count).unwrap_or(0);
            let port = first + offset;
            match self.try_port(binding, &ips, port, address) {
                Ok(held) => {
                    if !fixed {
                        self.next = port.checked_add(1).unwrap_or(first);
                    }
                    return Ok(held);
                }
                // One port or the last of a range: the reason is the user's answer.
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            Some(e) if count == 1 || e.errno().is_some_and(|n| n != libc::EADDRINUSE) => Err(e),
            _ => Err(Error::internal("all ports are allocated")
                .at(format_args!("Bind for {} failed", SocketAddr::new(ips[0], first)))),
        }
    }

    fn try_port(
        &mut self,
        binding: &PortBinding,
        ips: &[IpAddr],
        port: u16,
        address: Ipv4Addr,
    ) -> Result<Vec<Held>> {
        let protocol = binding.protocol;
        if let Some(ip) = ips.iter().find(|ip| self.is_taken(protocol, **ip, port)) {
            // 500, as Docker answers: 409 is about the container itself.
            return Err(Error::internal(format_args!(
                "Bind for {} failed: port is already allocated",
                SocketAddr::new(*ip, port)
            )));
        }
        let mut held = Vec::new();
        for ip in ips {
            let at = SocketAddr::new(*ip, port);
            let socket = match hold_port(protocol, at) {
                // A host without IPv6 still publishes on IPv4.
                Err(e) if ip.is_ipv6() && ips.len() > 1 && is_no_family(&e) => continue,
                Err(e) => {
                    let target = format!("{at}:{address}:{}/{protocol}", binding.container_port);
                    return Err(e.at(format_args!("failed to bind host port for {target}")));
                }
                Ok(socket) => socket,
            };
            held.push(Held {
                port: PublishedPort {
                    protocol: protocol.name().into(),
                    container_port: binding.container_port,
                    host_ip: ip.to_string(),
                    host_port: port,
                },
                socket,
            });
        }
        held.iter().for_each(|held| self.adopt(&held.port));
        Ok(held)
    }
}

fn is_no_family(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The addresses a binding means. Without one and without `--ip` a proxied port appears on IPv6 too.
fn host_addresses(config: &Config, binding: &PortBinding) -> Result<Vec<IpAddr>> {
    let proxied = config.userland_proxy && binding.protocol != Protocol::Sctp;
    match binding.host_ip {
        Some(ip) if ip.is_ipv6() && !proxied => Err(Error::invalid(format_args!(
            "cannot publish {}/{} on {ip}: IPv6 host addresses need the userland proxy",
            binding.container_port, binding.protocol
        ))),
        Some(ip) => Ok(vec![ip]),
        None if config.ip.is_unspecified() && proxied => {
            Ok(vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()])
        }
        None => Ok(vec![config.ip.into()]),
    }
}

/// A socket that holds `at`: listening for tcp, bound for udp, none for sctp.
///
/// # Errors
/// `Io`: EADDRINUSE, EACCES, EADDRNOTAVAIL.
pub(super) fn hold_port(protocol: Protocol, at: SocketAddr) -> Result<Option<OwnedFd>> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp => return Ok(None),
    };
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, None)?;
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        // As Go does: connections in TIME_WAIT do not keep the port.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    } else if at.is_ipv4() {
        // The answer must leave from the address that was asked.
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    if protocol == Protocol::Tcp {
        listen(&fd, Backlog::MAXALLOWABLE)?;
    }
    Ok(Some(fd))
}
