//! The userland proxy: carries traffic for published ports that NAT does not reach.
//!
//! One process for all ports of a container, one thread, one epoll loop. It gets its listening sockets
//! over the socket on its standard input, so that the port is held before anybody is told of it:
//!
//! ```text
//! message 1:  "multi-proxy 1"  link index (u32)   [descriptor: the container's life]
//! message n:  8 bytes a port: protocol, 0, port (big endian), IPv4 address   [its sockets]
//! then end of file
//! ```
//!
//! It ends with its container: when the veth on the host is deleted, or when the life descriptor
//! becomes readable or hangs up. It does not notice the end of the daemon.

mod event_loop;
pub(super) mod start;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use super::endpoint::Protocol;
use crate::base::{At, Error, Result};
use crate::sys::scm;

const GREETING: &[u8] = b"multi-proxy 1";
const PORT_BYTES: usize = 8;

/// A port to carry traffic for.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    pub(super) socket: OwnedFd,
    pub(super) target: SocketAddrV4,
}

/// What the process is told at its start.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) link_index: u32,
    pub(super) life: Option<OwnedFd>,
    pub(super) listeners: Vec<Listener>,
}

/// The process: reads its orders from `control` and carries traffic until its container is gone.
///
/// # Errors
/// `InvalidParameter` for orders that make no sense, `Io`.
pub fn run(control: OwnedFd) -> Result<()> {
    let orders = receive(&control)?;
    drop(control);
    event_loop::run(orders)
}

/// Sends orders; the descriptors are duplicated into the messages.
pub(super) fn send(control: &OwnedFd, orders: &Orders) -> Result<()> {
    let mut greeting = GREETING.to_vec();
    greeting.extend(orders.link_index.to_ne_bytes());
    let life: Vec<_> = orders.life.iter().map(AsFd::as_fd).collect();
    scm::send(control, &greeting, &life)?;
    for part in orders.listeners.chunks(scm::MAX_FDS) {
        let mut bytes = Vec::new();
        for listener in part {
            bytes.extend([listener.protocol.number(), 0]);
            bytes.extend(listener.target.port().to_be_bytes());
            bytes.extend(listener.target.ip().octets());
        }
        let fds: Vec<_> = part.iter().map(|listener| listener.socket.as_fd()).collect();
        scm::send(control, &bytes, &fds)?;
    }
    Ok(())
}

fn receive(control: &OwnedFd) -> Result<Orders> {
    let malformed = || Error::invalid("malformed orders for the userland proxy");
    let mut buffer = [0u8; PORT_BYTES * scm::MAX_FDS];
    let (n, fds) = scm::receive(control, &mut buffer, true).at("receiving orders")?;
    let index = buffer[..n].strip_prefix(GREETING).and_then(|rest| rest.try_into().ok());
    let mut orders = Orders {
        link_index: u32::from_ne_bytes(index.ok_or_else(malformed)?),
        life: fds.into_iter().next(),
        listeners: Vec::new(),
    };
    loop {
        let (n, fds) = scm::receive(control, &mut buffer, true).at("receiving orders")?;
        if n == 0 {
            return Ok(orders);
        }
        if n != fds.len() * PORT_BYTES {
            return Err(malformed());
        }
        for (bytes, socket) in buffer.chunks_exact(PORT_BYTES).zip(fds) {
            let protocol = match bytes[0] {
                6 => Protocol::Tcp,
                17 => Protocol::Udp,
                _ => return Err(malformed()),
            };
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            orders.listeners.push(Listener {
                protocol,
                socket,
                target: SocketAddrV4::new(ip, port),
            });
        }
    }
}
