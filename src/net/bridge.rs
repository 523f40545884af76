//! The bridge of the default network: made, adopted or found, and what it says about the network.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::address::Cidr;
use super::config::{Config, check_fixed_cidr, check_gateway};
use super::ipam::choose_subnet;
use super::sysctl;
use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result, json};
use crate::sys::netlink::route::Link;
use crate::sys::netlink::{Batch, Socket};
use crate::sys::random;

/// Name of the default network.
pub const NETWORK_NAME: &str = "bridge";
const DEFAULT_MTU: u32 = 1500;

crate::wire! {
    /// `<data-root>/network/bridge.json`: what a network keeps over a restart of the host.
    pub(super) struct Record {
        "Version" keep version: u32,
        "Id" keep id: String,
        "Name" keep name: String,
        "Created" keep created: Timestamp,
        /// Subnet of the last start; taken again while nothing else uses it.
        "Subnet" keep subnet: String,
    }
}

/// A bridge network as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// `bridge`.
    pub name: String,
    /// When it was first made.
    pub created: Timestamp,
    /// Name of the interface.
    pub interface: String,
    /// Index of the interface.
    pub index: u32,
    /// The bridge's own address and prefix.
    pub address: Cidr,
    /// Gateway of the containers.
    pub gateway: Ipv4Addr,
    /// The part that leases come from, if not all of the subnet.
    pub range: Option<Cidr>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// Reads the record, or makes a new one that is not saved yet. A damaged one is replaced: everything
/// in it can be chosen anew.
pub(super) fn load_record(path: &Path) -> Record {
    let read = read_optional(path).and_then(|bytes| match bytes {
        Some(bytes) => json::parse::<Record>(&bytes).map(Some),
        None => Ok(None),
    });
    match read {
        Ok(Some(record)) if crate::base::id::is_full(&record.id) => return record,
        Ok(_) => {}
        Err(e) => log::warn!("network record {} is replaced: {e}", path.display()),
    }
    Record {
        version: 1,
        id: random::id(),
        name: NETWORK_NAME.into(),
        created: Timestamp::now(),
        subnet: String::new(),
    }
}

/// Brings the bridge into the state that the options ask for. Idempotent.
///
/// # Errors
/// `NotFound` for an administrator's bridge that is not there, `InvalidParameter` for options that do
/// not fit it, `Unavailable` when no subnet is free, `Io`.
pub(super) fn ensure(config: &Config, socket: &mut Socket, path: &Path) -> Result<Network> {
    let name = config.bridge_name();
    let mut record = load_record(path);
    let saved = record.clone();
    let link = match socket.link(name)? {
        Some(link) if link.kind != "bridge" => {
            return Err(Error::invalid(format_args!("interface {name} is not a bridge")));
        }
        Some(link) => link,
        None if config.owns_bridge() => make(socket, name, config.mtu)?,
        None => {
            let text = format!("could not find bridge {name}: no such network interface");
            return Err(Error::not_found(text));
        }
    };
    let has: Vec<Cidr> = addresses(socket)?
        .into_iter()
        .filter(|(index, address)| *index == link.index && !address.address.is_link_local())
        .map(|(_, address)| address)
        .collect();
    let address = match (config.owns_bridge(), config.bip, has.first()) {
        (false, _, Some(address)) => *address,
        (false, _, None) => {
            return Err(Error::invalid(format_args!("bridge {name} has no IPv4 address")));
        }
        (true, Some(bip), _) => bip,
        (true, None, Some(address)) => *address,
        (true, None, None) => choose(config, socket, &record.subnet)?,
    };
    if let Some(part) = config.fixed_cidr {
        check_fixed_cidr(address, part)?;
    }
    if let Some(gateway) = config.default_gateway {
        check_gateway(address, gateway)?;
    }
    if config.owns_bridge() {
        adjust(socket, &link, &has, address, config.mtu)?;
    }
    record.subnet = address.to_string();
    if record != saved || read_optional(path)?.is_none() {
        write_atomic(path, json::to_string(&record).as_bytes(), 0o600, Durable::Yes)?;
    }
    let mtu = if config.mtu != 0 { config.mtu } else { link.mtu.max(68) };
    Ok(Network {
        id: record.id,
        name: record.name,
        created: record.created,
        interface: name.into(),
        index: link.index,
        address,
        gateway: config.default_gateway.unwrap_or(address.address),
        range: config.fixed_cidr,
        mtu: if mtu == 0 { DEFAULT_MTU } else { mtu },
    })
}

fn make(socket: &mut Socket, name: &str, mtu: u32) -> Result<Link> {
    // Fixed and random, as Docker's: without one the bridge takes that of its lowest port, which
    // changes under the containers' neighbour caches.
    let [a, b, c, d, ..] = random::u64().to_ne_bytes();
    let mut batch = Batch::new();
    batch.create_bridge(name, mtu, [0x02, 0x42, a, b, c, d]);
    match socket.execute(batch) {
        Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => {
            return Err(e.with_kind(Kind::Unsupported).at("this kernel has no bridge support"));
        }
        other => other?,
    }
    socket.link(name)?.ok_or_else(|| Error::internal("bridge is not there after it was made"))
}

/// Address, MTU and "up" of our own bridge; addresses that are wrong go after the right one came.
fn adjust(socket: &mut Socket, link: &Link, has: &[Cidr], address: Cidr, mtu: u32) -> Result<()> {
    let mut batch = Batch::new();
    if !has.contains(&address) {
        batch.add_address(link.index, address.address, address.prefix);
        for wrong in has {
            batch.delete_address(link.index, wrong.address, wrong.prefix);
        }
    }
    if mtu != 0 && link.mtu != mtu {
        batch.set_mtu(link.index, mtu);
    }
    if !link.is_up() {
        batch.set_up(link.index);
    }
    socket.execute(batch).at(format_args!("configuring bridge {}", link.name))
}

fn addresses(socket: &mut Socket) -> Result<Vec<(u32, Cidr)>> {
    let all = socket.addresses()?;
    Ok(all
        .iter()
        .filter_map(|a| match a.ip {
            IpAddr::V4(ip) => Some((a.index, Cidr::new(ip, a.prefix))),
            IpAddr::V6(_) => None,
        })
        .collect())
}

/// S103: the subnet of the last start if nothing else uses it now, else the first free one.
fn choose(config: &Config, socket: &mut Socket, last: &str) -> Result<Cidr> {
    let routes: Vec<Cidr> =
        socket.routes()?.iter().map(|r| Cidr::new(r.destination, r.prefix)).collect();
    let mut used: Vec<Cidr> = addresses(socket)?.into_iter().map(|(_, a)| a).collect();
    used.extend(super::files::nameservers().into_iter().map(|ip| Cidr::new(ip, 32)));
    if let Ok(last) = Cidr::parse(last) {
        let again = (last.network(), last.prefix);
        let inside = config.address_pools.iter().any(|(base, _)| base.contains(last.address));
        if inside && choose_subnet(&[again], &routes, &used) == Some(again.0) {
            return Ok(last);
        }
    }
    let subnet = choose_subnet(&config.address_pools, &routes, &used).ok_or_else(|| {
        Error::new(
            Kind::Unavailable,
            "all predefined address pools have been fully subnetted: set --bip to a free subnet",
        )
    })?;
    let first = subnet.nth(1).unwrap_or(subnet.address);
    Ok(Cidr::new(first, subnet.prefix))
}

/// Makes traffic between ports of the bridge visible to the packet filter, which `--icc=false` needs.
///
/// # Errors
/// `Unsupported` where the kernel has no br_netfilter.
pub(super) fn filter_bridged(socket: &mut Socket, index: u32) -> Result<()> {
    if sysctl::read("bridge/bridge-nf-call-iptables").is_none() {
        return Err(Error::unsupported(
            "cannot restrict inter-container communication: kernel module br_netfilter is not loaded",
        ));
    }
    let mut batch = Batch::new();
    batch.filter_bridged(index);
    socket.execute(batch)
}
