//! Rules: expressions that load values into registers, compare them, and end in a verdict or in NAT.
//!
//! Registers: the 32-bit ones are used throughout (`R0`...); a concatenated key or value takes
//! consecutive registers, each part padded to four bytes.
//!
//! Spec: linux/netfilter/nf_tables.h, enum nft_*_attributes; nftables(8) for what the rules mean.

use super::nft::{Family, Verdict, ifname};

/// First 32-bit register.
pub const R0: u32 = 8;
/// The next one, for the second part of a concatenation.
pub const R1: u32 = 9;
/// And the next.
pub const R2: u32 = 10;
/// And the fourth.
pub const R3: u32 = 11;

fn attr(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn attr_be32(out: &mut Vec<u8>, kind: u16, value: u32) {
    attr(out, kind, &value.to_be_bytes());
}

/// A value wrapped as NFTA_DATA_VALUE inside attribute `kind`.
fn attr_data(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let mut inner = Vec::new();
    attr(&mut inner, 1, value);
    attr(out, kind | 1 << 15, &inner);
}

pub(super) fn verdict_data(verdict: Verdict<'_>) -> Vec<u8> {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Return => (-5, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
    };
    let mut out = Vec::new();
    attr_be32(&mut out, 1, i32::cast_unsigned(code));
    if let Some(chain) = chain {
        let mut name = chain.as_bytes().to_vec();
        name.push(0);
        attr(&mut out, 2, &name);
    }
    out
}

/// What `meta` loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Name of the incoming interface, 16 bytes.
    Iifname = 6,
    /// Name of the outgoing interface, 16 bytes.
    Oifname = 7,
    /// Transport protocol, one byte.
    L4proto = 16,
}

/// Established or related: `ct state`.
pub const CT_STATE_ESTABLISHED_RELATED: u32 = 2 | 4;
/// The connection's destination was translated: `ct status dnat`.
pub const CT_STATUS_DNAT: u32 = 1 << 5;

/// A rule under construction.
#[derive(Clone, Debug, Default)]
pub struct Rule(Vec<(&'static str, Vec<u8>)>);

impl Rule {
    /// The expressions in order, each with its attributes.
    pub(super) fn expressions(&self) -> &[(&'static str, Vec<u8>)] {
        &self.0
    }

    /// A rule without expressions.
    pub fn new() -> Rule {
        Rule::default()
    }

    fn push(mut self, name: &'static str, build: impl FnOnce(&mut Vec<u8>)) -> Rule {
        let mut data = Vec::new();
        build(&mut data);
        self.0.push((name, data));
        self
    }

    /// Loads `length` bytes at `offset` of the network header.
    pub fn network(self, offset: u32, length: u32, register: u32) -> Rule {
        self.payload(1, offset, length, register)
    }

    /// Loads `length` bytes at `offset` of the transport header.
    pub fn transport(self, offset: u32, length: u32, register: u32) -> Rule {
        self.payload(2, offset, length, register)
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Rule {
        self.push("payload", |out| {
            attr_be32(out, 1, register);
            attr_be32(out, 2, base);
            attr_be32(out, 3, offset);
            attr_be32(out, 4, length);
        })
    }

    /// Loads a property of the packet.
    pub fn meta(self, key: Meta, register: u32) -> Rule {
        self.push("meta", |out| {
            attr_be32(out, 2, key as u32);
            attr_be32(out, 1, register);
        })
    }

    /// Goes on only if the first register holds `value`, or with `equal` false does not.
    pub fn compare(self, equal: bool, value: &[u8]) -> Rule {
        self.push("cmp", |out| {
            attr_be32(out, 1, R0);
            attr_be32(out, 2, u32::from(!equal));
            attr_data(out, 3, value);
        })
    }

    /// Keeps the bits of `mask` in the first register.
    pub fn mask(self, mask: &[u8]) -> Rule {
        self.push("bitwise", |out| {
            attr_be32(out, 1, R0);
            attr_be32(out, 2, R0);
            attr_be32(out, 3, u32::try_from(mask.len()).unwrap_or(4));
            attr_data(out, 4, mask);
            attr_data(out, 5, &vec![0; mask.len()]);
        })
    }

    /// `iifname == name` or `!=`.
    pub fn iifname(self, equal: bool, name: &str) -> Rule {
        self.meta(Meta::Iifname, R0).compare(equal, &ifname(name))
    }

    /// `oifname == name` or `!=`.
    pub fn oifname(self, equal: bool, name: &str) -> Rule {
        self.meta(Meta::Oifname, R0).compare(equal, &ifname(name))
    }

    /// `ip saddr` in the subnet, or not.
    pub fn saddr(self, equal: bool, address: [u8; 4], prefix: u8) -> Rule {
        self.network(12, 4, R0).subnet(equal, address, prefix)
    }

    /// `ip daddr` in the subnet, or not.
    pub fn daddr(self, equal: bool, address: [u8; 4], prefix: u8) -> Rule {
        self.network(16, 4, R0).subnet(equal, address, prefix)
    }

    fn subnet(self, equal: bool, address: [u8; 4], prefix: u8) -> Rule {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        let network = u32::from_be_bytes(address) & mask;
        let rule = if prefix < 32 { self.mask(&mask.to_be_bytes()) } else { self };
        rule.compare(equal, &network.to_be_bytes())
    }

    /// Goes on if one of the bits of `ct state` is set.
    pub fn ct_state(self, bits: u32) -> Rule {
        self.ct(0, bits)
    }

    /// Goes on if one of the bits of `ct status` is set.
    pub fn ct_status(self, bits: u32) -> Rule {
        self.ct(2, bits)
    }

    fn ct(self, key: u32, bits: u32) -> Rule {
        self.push("ct", |out| {
            attr_be32(out, 2, key);
            attr_be32(out, 1, R0);
        })
        .mask(&bits.to_ne_bytes())
        .compare(false, &[0; 4])
    }

    /// Goes on if the destination is an address of this host: `fib daddr type local`.
    pub fn destination_is_local(self) -> Rule {
        const ADDRTYPE: u32 = 3;
        const DADDR: u32 = 2;
        self.push("fib", |out| {
            attr_be32(out, 1, R0);
            attr_be32(out, 2, ADDRTYPE);
            attr_be32(out, 3, DADDR);
        })
        .compare(true, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// Goes on if the key that starts in the first register is in the set, or not.
    pub fn in_set(self, contained: bool, set: &str) -> Rule {
        self.lookup(set, None, contained)
    }

    /// Takes the map's value for the key in the first registers as verdict; goes on if there is none.
    pub fn verdict_map(self, map: &str) -> Rule {
        self.lookup(map, Some(0), true)
    }

    /// Loads the map's value for the key in the first registers over it; stops if there is none.
    pub fn map(self, map: &str) -> Rule {
        self.lookup(map, Some(R0), true)
    }

    fn lookup(self, set: &str, destination: Option<u32>, contained: bool) -> Rule {
        self.push("lookup", |out| {
            let mut name = set.as_bytes().to_vec();
            name.push(0);
            attr(out, 1, &name);
            attr_be32(out, 2, R0);
            if let Some(register) = destination {
                attr_be32(out, 3, register);
            }
            if !contained {
                attr_be32(out, 5, 1);
            }
        })
    }

    /// Translates the destination to the address in the first and the port in the second register.
    pub fn dnat(self, family: Family) -> Rule {
        const DNAT: u32 = 1;
        self.push("nat", |out| {
            attr_be32(out, 1, DNAT);
            attr_be32(out, 2, family.number().into());
            attr_be32(out, 3, R0);
            attr_be32(out, 5, R1);
        })
    }

    /// Translates the source to the address of the outgoing interface.
    pub fn masquerade(self) -> Rule {
        self.push("masq", |_| {})
    }

    /// Counts packets and bytes.
    pub fn counter(self) -> Rule {
        self.push("counter", |_| {})
    }

    /// Ends with a verdict.
    pub fn verdict(self, verdict: Verdict<'_>) -> Rule {
        self.push("immediate", |out| {
            attr_be32(out, 1, 0);
            let mut data = Vec::new();
            attr(&mut data, 2 | 1 << 15, &verdict_data(verdict));
            attr(out, 2 | 1 << 15, &data);
        })
    }
}
