//! The nftables back end: one table of our own, written over netlink.
//!
//! ```text
//! table ip multi {
//!   map ports       { type inet_proto . inet_service : ipv4_addr . inet_service }
//!   map address-ports { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//!   map into        { type ifname : verdict }          bridge -> jump into-BRIDGE
//!   set bridges     { type ifname }
//!   set exceptions  { type ipv4_addr . ipv4_addr . inet_proto . inet_service }   with icc off
//!   chain prerouting  nat, dstnat:  [from our bridges: return]  fib daddr type local jump publish
//!   chain output      nat, -100:    [to 127/8: return]          fib daddr type local jump publish
//!   chain publish:                  dnat by address-ports, then by ports
//!   chain postrouting nat, srcnat:  masquerade
//!   chain forward     filter:       oifname vmap @into; iifname @bridges accept
//!   chain into-BRIDGE:              established, dnat, icc or exceptions: accept; drop
//! }
//! ```
//!
//! Publishing a port adds one element to a map, whatever the number of ports. Translated connections
//! are let in by their conntrack status, so there is no second rule per port, and a container's
//! address cannot be reached directly from outside.
//!
//! Spec: nftables(8). Needs Linux 4.18 (NAT by map), fib and masq expressions.

use std::net::Ipv4Addr;

use super::{Bridge, Exception, Firewall, Publication, Rules};
use crate::base::{At, Kind, Result};
use crate::sys::netlink::Socket;
use crate::sys::netlink::nft::{
    Base, CT_STATE_ESTABLISHED_RELATED, CT_STATUS_DNAT, Family, Hook, Meta, R0, R1, R2, R3, Rule,
    Set, Transaction, Value, Verdict, ifname, types,
};

const PORTS: &str = "ports";
const ADDRESS_PORTS: &str = "address-ports";
const BRIDGES: &str = "bridges";
const EXCEPTIONS: &str = "exceptions";
const INTO: &str = "into";
const PUBLISH: &str = "publish";

const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
const RAW: i32 = -300;

/// The back end.
pub(super) struct Nftables {
    socket: Socket,
    table: String,
}

fn base(kind: &'static str, hook: Hook, priority: i32, drop: bool) -> Option<Base> {
    Some(Base { kind, hook, priority, drop })
}

fn table_name(tag: &str) -> String {
    if tag.is_empty() { "multi".to_string() } else { format!("multi-{tag}") }
}

/// Removes the table if it is there. A kernel without nf_tables has none.
pub(super) fn sweep(tag: &str) -> Result<()> {
    let table = table_name(tag);
    let mut socket = Socket::netfilter()?;
    if !socket.tables(Family::Ip).unwrap_or_default().contains(&table) {
        return Ok(());
    }
    let mut transaction = Transaction::new(Family::Ip, &table);
    transaction.delete_table();
    transaction.commit(&mut socket)
}

impl Nftables {
    /// Opens it, after a trial that everything needed is in the kernel.
    ///
    /// # Errors
    /// `Unsupported` with the missing part.
    pub(super) fn open(tag: &str) -> Result<Nftables> {
        let table = table_name(tag);
        let mut probe = Nftables { socket: Socket::netfilter()?, table: format!("{table}-probe") };
        let bridge = Bridge {
            interface: "probe".into(),
            subnet: super::Cidr::new(Ipv4Addr::UNSPECIFIED, 32),
            masquerade: true,
            icc: true,
        };
        // Nothing of the trial is ever in force: the table is made and removed in one transaction.
        let mut trial = Transaction::new(Family::Ip, &probe.table);
        trial.add_table();
        write(&mut trial, &Rules { bridges: vec![bridge], ..Rules::default() }, &[]);
        trial.delete_table();
        trial.commit(&mut probe.socket).map_err(|e| e.with_kind(Kind::Unsupported))?;
        Ok(Nftables { socket: probe.socket, table })
    }

    fn commit(&mut self, build: impl FnOnce(&mut Transaction<'_>)) -> Result<()> {
        let mut transaction = Transaction::new(Family::Ip, &self.table);
        build(&mut transaction);
        transaction.commit(&mut self.socket).map_err(|e| match e.errno() {
            Some(libc::ENOENT) => e.with_kind(Kind::NotFound),
            _ => e,
        })
    }
}

impl Firewall for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn install(&mut self, rules: &Rules, ports: &[Publication]) -> Result<()> {
        self.commit(|t| {
            // Deleting needs the table to exist, and both are part of the one step.
            t.add_table();
            t.delete_table();
            t.add_table();
            write(t, rules, ports);
        })
        .at("installing packet filter rules")
    }

    fn publish(&mut self, _: &Rules, ports: &[Publication]) -> Result<()> {
        self.commit(|t| add_ports(t, ports)).at("publishing ports")
    }

    fn unpublish(&mut self, _: &Rules, ports: &[Publication]) -> Result<()> {
        self.commit(|t| {
            for (set, ports) in by_set(ports) {
                let keys: Vec<_> = ports.iter().map(|p| key(p)).collect();
                t.delete_elements(set, &keys);
            }
        })
        .at("unpublishing ports")
    }

    fn allow(&mut self, exceptions: &[Exception]) -> Result<()> {
        self.commit(|t| add_exceptions(t, exceptions)).at("allowing what links need")
    }

    fn disallow(&mut self, exceptions: &[Exception]) -> Result<()> {
        let keys: Vec<_> = exceptions.iter().map(exception_key).collect();
        self.commit(|t| t.delete_elements(EXCEPTIONS, &keys)).at("disallowing what links needed")
    }
}

fn exception_key(exception: &Exception) -> Vec<u8> {
    let mut key = exception.from.octets().to_vec();
    key.extend(exception.to.octets());
    key.extend(padded(&[exception.protocol.number()]));
    key.extend(padded(&exception.port.to_be_bytes()));
    key
}

fn add_exceptions(t: &mut Transaction<'_>, exceptions: &[Exception]) {
    let elements: Vec<_> = exceptions.iter().map(|e| (exception_key(e), None)).collect();
    if !elements.is_empty() {
        t.add_elements(EXCEPTIONS, &elements);
    }
}

/// The wildcard and the address map with the publications that go there.
fn by_set(ports: &[Publication]) -> Vec<(&'static str, Vec<&Publication>)> {
    let (wildcard, address): (Vec<_>, Vec<_>) =
        ports.iter().partition(|p| p.host_ip.is_unspecified());
    [(PORTS, wildcard), (ADDRESS_PORTS, address)]
        .into_iter()
        .filter(|(_, ports)| !ports.is_empty())
        .collect()
}

/// A part of a concatenation, padded to four bytes.
fn padded(part: &[u8]) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..part.len()].copy_from_slice(part);
    bytes
}

fn key(port: &Publication) -> Vec<u8> {
    let mut key = Vec::new();
    if !port.host_ip.is_unspecified() {
        key.extend(port.host_ip.octets());
    }
    key.extend(padded(&[port.protocol.number()]));
    key.extend(padded(&port.host_port.to_be_bytes()));
    key
}

fn add_ports(t: &mut Transaction<'_>, ports: &[Publication]) {
    for (set, ports) in by_set(ports) {
        let elements: Vec<_> = ports
            .iter()
            .map(|port| {
                let mut value = port.container_ip.octets().to_vec();
                value.extend(padded(&port.container_port.to_be_bytes()));
                (key(port), Some(Value::Data(value)))
            })
            .collect();
        t.add_elements(set, &elements);
    }
}

/// Writes everything into a table that is empty.
fn write(t: &mut Transaction<'_>, rules: &Rules, ports: &[Publication]) {
    let target = Some((types::concat(&[types::IPV4, types::SERVICE]), 8));
    let port_key = types::concat(&[types::PROTO, types::SERVICE]);
    let address_key = types::concat(&[types::IPV4, types::PROTO, types::SERVICE]);
    t.add_set(&Set { name: PORTS, key_type: port_key, key_bytes: 8, value: target });
    t.add_set(&Set { name: ADDRESS_PORTS, key_type: address_key, key_bytes: 12, value: target });
    if rules.bridges.iter().any(|bridge| !bridge.icc) {
        let parts = [types::IPV4, types::IPV4, types::PROTO, types::SERVICE];
        let key_type = types::concat(&parts);
        t.add_set(&Set { name: EXCEPTIONS, key_type, key_bytes: 16, value: None });
        add_exceptions(t, &rules.exceptions);
    }
    t.add_set(&Set { name: BRIDGES, key_type: types::IFNAME, key_bytes: 16, value: None });
    let verdict = Some((types::VERDICT, 16));
    t.add_set(&Set { name: INTO, key_type: types::IFNAME, key_bytes: 16, value: verdict });
    t.add_chain(PUBLISH, None);
    t.add_chain("prerouting", base("nat", Hook::Prerouting, DSTNAT, false));
    t.add_chain("output", base("nat", Hook::Output, DSTNAT, false));
    t.add_chain("postrouting", base("nat", Hook::Postrouting, SRCNAT, false));
    t.add_chain("forward", base("filter", Hook::Forward, 0, rules.drop_forwarding));

    t.add_rule(
        PUBLISH,
        &Rule::new()
            .network(16, 4, R0)
            .meta(Meta::L4proto, R1)
            .transport(2, 2, R2)
            .map(ADDRESS_PORTS)
            .dnat(Family::Ip),
    );
    t.add_rule(
        PUBLISH,
        &Rule::new().meta(Meta::L4proto, R0).transport(2, 2, R1).map(PORTS).dnat(Family::Ip),
    );
    if rules.userland_proxy {
        let from_bridges = Rule::new().meta(Meta::Iifname, R0).in_set(true, BRIDGES);
        t.add_rule("prerouting", &from_bridges.verdict(Verdict::Return));
        let to_loopback = Rule::new().daddr(true, [127, 0, 0, 0], 8);
        t.add_rule("output", &to_loopback.verdict(Verdict::Return));
    } else {
        // route_localnet is on: what comes for 127/8 from elsewhere must not get in (CVE-2020-8558).
        t.add_chain("loopback", base("filter", Hook::Prerouting, RAW, false));
        let foreign = Rule::new().iifname(false, "lo").daddr(true, [127, 0, 0, 0], 8);
        t.add_rule("loopback", &foreign.counter().verdict(Verdict::Drop));
    }
    for chain in ["prerouting", "output"] {
        let local = Rule::new().destination_is_local();
        t.add_rule(chain, &local.verdict(Verdict::Jump(PUBLISH)));
    }
    t.add_rule("forward", &Rule::new().meta(Meta::Oifname, R0).verdict_map(INTO));
    let from_bridges = Rule::new().meta(Meta::Iifname, R0).in_set(true, BRIDGES);
    t.add_rule("forward", &from_bridges.verdict(Verdict::Accept));
    if rules.drop_forwarding {
        // What the host forwards to others on behalf of a container: the answers of the outside go
        // through `into`; answers to translated foreign connections stay possible.
        let answers = Rule::new().ct_state(CT_STATE_ESTABLISHED_RELATED);
        t.add_rule("forward", &answers.verdict(Verdict::Accept));
    }
    for bridge in &rules.bridges {
        add_bridge(t, bridge, rules.userland_proxy);
    }
    add_ports(t, ports);
}

fn add_bridge(t: &mut Transaction<'_>, bridge: &Bridge, userland_proxy: bool) {
    let name = bridge.interface.as_str();
    let chain = format!("into-{name}");
    t.add_chain(&chain, None);
    let answers = Rule::new().ct_state(CT_STATE_ESTABLISHED_RELATED);
    t.add_rule(&chain, &answers.counter().verdict(Verdict::Accept));
    let translated = Rule::new().ct_status(CT_STATUS_DNAT);
    t.add_rule(&chain, &translated.counter().verdict(Verdict::Accept));
    if bridge.icc {
        let own = Rule::new().iifname(true, name);
        t.add_rule(&chain, &own.counter().verdict(Verdict::Accept));
    } else {
        let linked = Rule::new()
            .iifname(true, name)
            .network(12, 4, R0)
            .network(16, 4, R1)
            .meta(Meta::L4proto, R2)
            .transport(2, 2, R3)
            .in_set(true, EXCEPTIONS);
        t.add_rule(&chain, &linked.counter().verdict(Verdict::Accept));
    }
    t.add_rule(&chain, &Rule::new().counter().verdict(Verdict::Drop));
    let interface = ifname(name).to_vec();
    let jump = Value::Verdict(Verdict::Jump(&chain));
    t.add_elements(INTO, &[(interface.clone(), Some(jump))]);
    t.add_elements(BRIDGES, &[(interface, None)]);

    let (network, prefix) = (bridge.subnet.first().octets(), bridge.subnet.prefix);
    if bridge.masquerade {
        let leaving = Rule::new().saddr(true, network, prefix).oifname(false, name);
        t.add_rule("postrouting", &leaving.counter().masquerade());
    }
    if !userland_proxy {
        // The answer must come back through here: a neighbour would answer directly, and to a
        // loopback address there is no way at all.
        let hairpin = Rule::new().saddr(true, network, prefix).oifname(true, name);
        t.add_rule("postrouting", &hairpin.ct_status(CT_STATUS_DNAT).counter().masquerade());
        let loopback = Rule::new().saddr(true, [127, 0, 0, 0], 8).oifname(true, name);
        t.add_rule("postrouting", &loopback.counter().masquerade());
    }
}
