//! rtnetlink: links (bridge, veth), addresses, routes.
//!
//! Changes are added to a [`Batch`] and executed together, so that a veth pair with names, peer
//! namespace, bridge port and "up" is one system call and takes the rtnl lock once per message.
//!
//! Spec: rtnetlink(7), linux/if_link.h.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::msg::{
    Batch, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Socket, attributes, str_of, u32_of,
};
use crate::base::{At, Error, Kind, Result};

/// Index of `lo` in every namespace.
pub const LOOPBACK: u32 = 1;

const IFLA_BR_NF_CALL_IPTABLES: u16 = 36;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const RT_SCOPE_LINK: u8 = 253;

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Kind (`bridge`, `veth`), empty for physical devices.
    pub kind: String,
    /// Index of the bridge it is a port of, 0 if none.
    pub master: u32,
    /// IFF_ flags.
    pub flags: u32,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Hardware address.
    pub mac: Vec<u8>,
    /// Free text that marks who made it.
    pub alias: String,
}

impl Link {
    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP.cast_unsigned() != 0
    }
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
}

/// An IPv4 route of the main or another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; 0.0.0.0/0 is the default route.
    pub destination: Ipv4Addr,
    /// Length of the prefix.
    pub prefix: u8,
    /// Index of the outgoing link, 0 if several.
    pub index: u32,
    /// RT_TABLE_ number.
    pub table: u8,
    /// RTN_ kind (unicast, local, broadcast...).
    pub kind: u8,
}

/// A veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name of the end in the socket's namespace.
    pub name: &'a str,
    /// Index of the bridge it becomes a port of; 0 for none.
    pub master: u32,
    /// Largest packet of both ends; 0 for the kernel's default.
    pub mtu: u32,
    /// Mark of the near end.
    pub alias: &'a str,
    /// Namespace of the other end.
    pub peer_netns: BorrowedFd<'a>,
    /// Name of the other end, given in its namespace.
    pub peer_name: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: [u8; 6],
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

const UP: u32 = libc::IFF_UP.cast_unsigned();

impl Batch {
    /// Makes a bridge, down and without address. Its hardware address is fixed so that it does not
    /// change when ports come and go.
    pub fn create_bridge(&mut self, name: &str, mtu: u32, mac: [u8; 6]) {
        let what = format!("creating bridge {name}");
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let m = self.begin(libc::RTM_NEWLINK, flags, &link_header(0, 0, 0), what);
        self.attr_str(libc::IFLA_IFNAME, name);
        self.attr(libc::IFLA_ADDRESS, &mac);
        if mtu != 0 {
            self.attr_u32(libc::IFLA_MTU, mtu);
        }
        let info = self.nest(libc::IFLA_LINKINFO);
        self.attr(libc::IFLA_INFO_KIND, b"bridge");
        let data = self.nest(libc::IFLA_INFO_DATA);
        self.attr_u32(IFLA_BR_FORWARD_DELAY, 0);
        self.end_nest(data);
        self.end_nest(info);
        self.end(m);
    }

    /// Sends traffic between ports of bridge `index` through the IPv4 packet filter (br_netfilter).
    pub fn filter_bridged(&mut self, index: u32) {
        let what = "passing bridged traffic through the packet filter (br_netfilter)";
        let m = self.begin(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0), what);
        let info = self.nest(libc::IFLA_LINKINFO);
        self.attr(libc::IFLA_INFO_KIND, b"bridge");
        let data = self.nest(libc::IFLA_INFO_DATA);
        self.attr(IFLA_BR_NF_CALL_IPTABLES, &[1]);
        self.end_nest(data);
        self.end_nest(info);
        self.end(m);
    }

    /// Makes a veth pair; the near end is up and a port of its bridge when the message is done. The
    /// far end is down: the kernel cannot open it before the pair is complete (ENOTCONN).
    pub fn create_veth(&mut self, veth: &Veth<'_>) {
        let what = format!("creating veth pair {}", veth.name);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let m = self.begin(libc::RTM_NEWLINK, flags, &link_header(0, UP, UP), what);
        self.attr_str(libc::IFLA_IFNAME, veth.name);
        if veth.mtu != 0 {
            self.attr_u32(libc::IFLA_MTU, veth.mtu);
        }
        if veth.master != 0 {
            self.attr_u32(libc::IFLA_MASTER, veth.master);
        }
        // One queue each: the default since 5.17 is one per CPU, which costs memory and time.
        self.attr_u32(libc::IFLA_NUM_TX_QUEUES, 1);
        self.attr_u32(libc::IFLA_NUM_RX_QUEUES, 1);
        let info = self.nest(libc::IFLA_LINKINFO);
        self.attr(libc::IFLA_INFO_KIND, b"veth");
        let data = self.nest(libc::IFLA_INFO_DATA);
        let peer = self.nest(VETH_INFO_PEER);
        self.raw(&link_header(0, 0, 0));
        self.attr_str(libc::IFLA_IFNAME, veth.peer_name);
        self.attr(libc::IFLA_ADDRESS, &veth.peer_mac);
        if veth.mtu != 0 {
            self.attr_u32(libc::IFLA_MTU, veth.mtu);
        }
        self.attr_u32(libc::IFLA_NUM_TX_QUEUES, 1);
        self.attr_u32(libc::IFLA_NUM_RX_QUEUES, 1);
        self.attr_u32(libc::IFLA_NET_NS_FD, veth.peer_netns.as_raw_fd().cast_unsigned());
        self.end_nest(peer);
        self.end_nest(data);
        self.end_nest(info);
        self.end(m);
        // The alias is only taken by a change, not at creation.
        if !veth.alias.is_empty() {
            let what = format!("marking {}", veth.name);
            let m = self.begin(libc::RTM_SETLINK, 0, &link_header(0, 0, 0), what);
            self.attr_str(libc::IFLA_IFNAME, veth.name);
            self.attr(libc::IFLA_IFALIAS, veth.alias.as_bytes());
            self.end(m);
        }
    }

    /// Brings a link up.
    pub fn set_up(&mut self, index: u32) {
        let what = format!("bringing link {index} up");
        let m = self.begin(libc::RTM_NEWLINK, 0, &link_header(index, UP, UP), what);
        self.end(m);
    }

    /// Lets a bridge send a packet back through the port `name` that it came from (hairpin mode).
    pub fn set_hairpin(&mut self, name: &str) {
        let what = format!("setting hairpin mode of {name}");
        let m = self.begin(libc::RTM_NEWLINK, 0, &link_header(0, 0, 0), what);
        self.attr_str(libc::IFLA_IFNAME, name);
        let info = self.nest(libc::IFLA_LINKINFO);
        self.attr(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
        let data = self.nest(libc::IFLA_INFO_SLAVE_DATA);
        self.attr(IFLA_BRPORT_MODE, &[1]);
        self.end_nest(data);
        self.end_nest(info);
        self.end(m);
    }

    /// Lets nothing through a port of a bridge any more and forgets the addresses learned there; much
    /// cheaper than deleting it, which can then follow at leisure. (Its STP state would do the same,
    /// but the bridge sets that back at the notification which this very change sends.)
    pub fn silence_port(&mut self, name: &str) {
        let what = format!("silencing bridge port {name}");
        let m = self.begin(libc::RTM_NEWLINK, 0, &link_header(0, 0, 0), what);
        self.attr_str(libc::IFLA_IFNAME, name);
        let info = self.nest(libc::IFLA_LINKINFO);
        self.attr(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
        let data = self.nest(libc::IFLA_INFO_SLAVE_DATA);
        for off in [
            IFLA_BRPORT_LEARNING,
            IFLA_BRPORT_UNICAST_FLOOD,
            IFLA_BRPORT_MCAST_FLOOD,
            IFLA_BRPORT_BCAST_FLOOD,
        ] {
            self.attr(off, &[0]);
        }
        self.attr(IFLA_BRPORT_ISOLATED, &[1]);
        self.attr(IFLA_BRPORT_FLUSH, &[]);
        self.end_nest(data);
        self.end_nest(info);
        self.end(m);
    }

    /// Changes the MTU of a link.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) {
        let what = format!("setting mtu {mtu} of link {index}");
        let m = self.begin(libc::RTM_NEWLINK, 0, &link_header(index, 0, 0), what);
        self.attr_u32(libc::IFLA_MTU, mtu);
        self.end(m);
    }

    /// Removes a link by name; a veth takes its peer along.
    pub fn delete_link(&mut self, name: &str) {
        let what = format!("deleting link {name}");
        let m = self.begin(libc::RTM_DELLINK, 0, &link_header(0, 0, 0), what);
        self.attr_str(libc::IFLA_IFNAME, name);
        self.end(m);
    }

    /// Adds an IPv4 address with its subnet's broadcast address.
    pub fn add_address(&mut self, index: u32, ip: Ipv4Addr, prefix: u8) {
        self.address(libc::RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, ip, prefix);
    }

    /// Removes an IPv4 address.
    pub fn delete_address(&mut self, index: u32, ip: Ipv4Addr, prefix: u8) {
        self.address(libc::RTM_DELADDR, 0, index, ip, prefix);
    }

    fn address(&mut self, kind: u16, flags: u16, index: u32, ip: Ipv4Addr, prefix: u8) {
        let verb = if kind == libc::RTM_NEWADDR { "adding" } else { "deleting" };
        let mut header = [u8::try_from(libc::AF_INET).unwrap_or(2), prefix, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let m = self.begin(kind, flags, &header, format!("{verb} address {ip}/{prefix}"));
        self.attr(libc::IFA_LOCAL, &ip.octets());
        self.attr(libc::IFA_ADDRESS, &ip.octets());
        if prefix < 31 && kind == libc::RTM_NEWADDR {
            let broadcast = u32::from(ip) | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            self.attr(libc::IFA_BROADCAST, &Ipv4Addr::from(broadcast).octets());
        }
        self.end(m);
    }

    /// Adds the default route through `gateway`.
    pub fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) {
        let what = format!("adding default route via {gateway}");
        let m = self.begin(
            libc::RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
            &route_header(0, libc::RT_SCOPE_UNIVERSE),
            what,
        );
        self.attr(libc::RTA_GATEWAY, &gateway.octets());
        self.attr_u32(libc::RTA_OIF, index);
        self.end(m);
    }

    /// Adds a route to one host that is on the link.
    pub fn add_host_route(&mut self, index: u32, host: Ipv4Addr) {
        let what = format!("adding route to {host}");
        let header = route_header(32, RT_SCOPE_LINK);
        let m = self.begin(libc::RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header, what);
        self.attr(libc::RTA_DST, &host.octets());
        self.attr_u32(libc::RTA_OIF, index);
        self.end(m);
    }
}

fn route_header(prefix: u8, scope: u8) -> [u8; 12] {
    let family = u8::try_from(libc::AF_INET).unwrap_or(2);
    let (table, protocol) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT);
    [family, prefix, 0, 0, table, protocol, scope, libc::RTN_UNICAST, 0, 0, 0, 0]
}

impl Socket {
    /// Opens an rtnetlink socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// `Io`.
    pub fn route() -> Result<Socket> {
        Socket::open(libc::NETLINK_ROUTE)
    }

    /// The link of that name, or `None`.
    ///
    /// # Errors
    /// `Io`.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut batch = Batch::new();
        let what = format!("looking up link {name}");
        let m = batch.begin(libc::RTM_GETLINK, 0, &link_header(0, 0, 0), what);
        batch.attr_str(libc::IFLA_IFNAME, name);
        batch.end(m);
        let mut found = None;
        match self.query(batch, |m| found = read_link(m.payload)) {
            Ok(()) => Ok(found),
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Index of the link of that name.
    ///
    /// # Errors
    /// `NotFound` that names it, `Io`.
    pub fn link_index(&mut self, name: &str) -> Result<u32> {
        self.link(name)?
            .map(|link| link.index)
            .ok_or_else(|| Error::from_errno(libc::ENODEV).with_kind(Kind::NotFound))
            .at(format_args!("looking up link {name}"))
    }

    /// All links of the namespace.
    ///
    /// # Errors
    /// `Io`.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.dump(libc::RTM_GETLINK, &link_header(0, 0, 0), "listing links", read_link)
    }

    /// All addresses of the namespace, both families.
    ///
    /// # Errors
    /// `Io`.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        self.dump(libc::RTM_GETADDR, &[0; 8], "listing addresses", read_address)
    }

    /// All IPv4 routes of all tables.
    ///
    /// # Errors
    /// `Io`.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut header = [0; 12];
        header[0] = u8::try_from(libc::AF_INET).unwrap_or(2);
        self.dump(libc::RTM_GETROUTE, &header, "listing routes", read_route)
    }

    /// A dump that another change cut into is asked for again.
    fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        what: &str,
        read: fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        const TRIES: usize = 20;
        let mut tries = 0;
        loop {
            let mut batch = Batch::new();
            let m = batch.begin(kind, NLM_F_DUMP, header, what);
            batch.end(m);
            let mut all = Vec::new();
            tries += 1;
            match self.query(batch, |m| all.extend(read(m.payload))) {
                Err(e) if e.errno() == Some(libc::EINTR) && tries < TRIES => {}
                Err(e) => return Err(e),
                Ok(()) => return Ok(all),
            }
        }
    }
}

/// Reads the body of an RTM_NEWLINK message.
pub fn read_link(payload: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_of(payload.get(4..8)?),
        flags: u32_of(payload.get(8..12)?),
        ..Link::default()
    };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = str_of(value),
            libc::IFLA_MASTER => link.master = u32_of(value),
            libc::IFLA_MTU => link.mtu = u32_of(value),
            libc::IFLA_ADDRESS => link.mac = value.to_vec(),
            libc::IFLA_IFALIAS => link.alias = str_of(value),
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| str_of(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn read_address(payload: &[u8]) -> Option<Address> {
    let (prefix, index) = (*payload.get(1)?, u32_of(payload.get(4..8)?));
    let mut ip = None;
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            // For IPv4 the local address is the one that counts; IPv6 has only the other.
            libc::IFA_LOCAL => ip = ip_of(value),
            libc::IFA_ADDRESS if ip.is_none() => ip = ip_of(value),
            _ => {}
        }
    }
    Some(Address { index, ip: ip?, prefix })
}

fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

fn read_route(payload: &[u8]) -> Option<Route> {
    let mut route = Route {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: *payload.get(1)?,
        index: 0,
        table: *payload.get(4)?,
        kind: *payload.get(7)?,
    };
    for (kind, value) in attributes(payload.get(12..)?) {
        match (kind, ip_of(value)) {
            (libc::RTA_DST, Some(IpAddr::V4(ip))) => route.destination = ip,
            (libc::RTA_OIF, _) => route.index = u32_of(value),
            _ => {}
        }
    }
    Some(route)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::testing::in_netns;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_pair_is_made_with_names_peer_namespace_and_bridge_at_once() {
        in_netns(|| {
            let mut host = Socket::route().unwrap();
            let here = File::open("/proc/thread-self/ns/net").unwrap();
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let there = File::open("/proc/thread-self/ns/net").unwrap();
            let mut inside = Socket::route().unwrap();
            nix::sched::setns(&here, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();

            let mut b = Batch::new();
            b.create_bridge("br0", 1400, [2, 0x42, 1, 2, 3, 4]);
            host.execute(b).unwrap();
            let bridge = host.link("br0").unwrap().unwrap();
            assert_eq!((bridge.kind.as_str(), bridge.mtu), ("bridge", 1400));
            let mut b = Batch::new();
            b.set_up(bridge.index);
            b.add_address(bridge.index, Ipv4Addr::new(10, 9, 0, 1), 24);
            b.create_veth(&Veth {
                name: "veth0",
                master: bridge.index,
                mtu: 1400,
                alias: "multi:x",
                peer_netns: there.as_fd(),
                peer_name: "eth0",
                peer_mac: [2, 0x42, 10, 9, 0, 2],
            });
            b.set_hairpin("veth0");
            host.execute(b).unwrap();
            let near = host.link("veth0").unwrap().unwrap();
            assert_eq!((near.master, near.mtu, near.is_up()), (bridge.index, 1400, true));
            assert_eq!(near.alias, "multi:x");
            let far = inside.link("eth0").unwrap().unwrap();
            assert_eq!((far.mac.as_slice(), far.mtu), (&[2, 0x42, 10, 9, 0, 2][..], 1400));
            let mut b = Batch::new();
            b.add_address(far.index, Ipv4Addr::new(10, 9, 0, 2), 24);
            b.set_up(far.index);
            b.add_default_route(far.index, Ipv4Addr::new(10, 9, 0, 1));
            inside.execute(b).unwrap();
            let address = Address { index: far.index, ip: [10, 9, 0, 2].into(), prefix: 24 };
            assert!(inside.addresses().unwrap().contains(&address));
            let routes = inside.routes().unwrap();
            assert!(routes.iter().any(|r| r.prefix == 0 && r.index == far.index));
            let mut b = Batch::new();
            b.delete_link("veth0");
            host.execute(b).unwrap();
            assert_eq!(inside.link("eth0").unwrap(), None);
        });
    }

    #[test]
    fn a_failure_names_the_step_and_the_kernels_reason() {
        in_netns(|| {
            let mut socket = Socket::route().unwrap();
            let mut b = Batch::new();
            b.delete_link("absent");
            b.set_up(LOOPBACK);
            let e = socket.execute(b).unwrap_err();
            assert!(e.to_string().starts_with("deleting link absent"), "{e}");
            assert_eq!(e.errno(), Some(libc::ENODEV));
            // The rest of the batch was done, and the socket is in step.
            assert!(socket.links().unwrap().iter().any(|l| l.index == LOOPBACK && l.is_up()));
            assert!(socket.link_index("absent").unwrap_err().to_string().contains("absent"));
        });
    }
}
