//! IPv4 subnets and hardware addresses: parsing, printing, and the arithmetic that leases need.

use std::fmt;
use std::net::Ipv4Addr;

use crate::base::{Error, Result};

/// An address with its prefix length, as `172.17.0.1/16`. The host bits may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address, host bits included.
    pub address: Ipv4Addr,
    /// Length of the prefix, 0 to 32.
    pub prefix: u8,
}

impl Cidr {
    /// From its parts; a prefix above 32 counts as 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Cidr {
        Cidr { address, prefix: prefix.min(32) }
    }

    /// Parses `a.b.c.d/n`.
    ///
    /// # Errors
    /// `InvalidParameter` with Go's text.
    pub fn parse(text: &str) -> Result<Cidr> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32)?;
            Some(Cidr { address: address.parse().ok()?, prefix })
        };
        parse().ok_or_else(|| Error::invalid(format_args!("invalid CIDR address: {text}")))
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The same subnet with the host bits cleared.
    pub fn network(self) -> Cidr {
        Cidr { address: Ipv4Addr::from(u32::from(self.address) & self.mask()), ..self }
    }

    /// Lowest address of the subnet.
    pub fn first(self) -> Ipv4Addr {
        self.network().address
    }

    /// Highest address of the subnet: the broadcast address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !self.mask())
    }

    /// Whether `address` lies in the subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.first())
    }

    /// Whether the two subnets share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// The address `n` above the lowest one, if it is still inside.
    pub fn nth(self, n: u32) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from(u32::from(self.first()).checked_add(n)?);
        self.contains(address).then_some(address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Docker's address for a container: `02:42` and the IPv4 address, so that an address which is
    /// leased again keeps the neighbours' caches valid.
    pub fn of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }

    /// Parses `02:42:ac:11:00:02` (also with `-`).
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(text: &str) -> Result<Mac> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2);
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(|| Error::invalid(format_args!("invalid MAC address: {text}")))?;
        }
        match parts.next() {
            None => Ok(Mac(bytes)),
            Some(_) => Err(Error::invalid(format_args!("invalid MAC address: {text}"))),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_know_their_ends_and_overlaps() {
        let c = Cidr::parse("172.17.42.1/16").unwrap();
        assert_eq!(c.network().to_string(), "172.17.0.0/16");
        assert_eq!(c.last().to_string(), "172.17.255.255");
        assert_eq!(c.nth(2).unwrap().to_string(), "172.17.0.2");
        assert_eq!(c.nth(65536), None);
        assert!(c.overlaps(Cidr::parse("172.16.0.0/12").unwrap()));
        assert!(!c.overlaps(Cidr::parse("172.18.0.0/16").unwrap()));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains(Ipv4Addr::new(8, 8, 8, 8)));
        assert!(Cidr::parse("10.0.0.1/33").is_err() && Cidr::parse("10.0.0.1").is_err());
    }

    #[test]
    fn hardware_addresses_follow_the_lease() {
        let m = Mac::of(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(m.to_string(), "02:42:ac:11:00:02");
        assert_eq!(Mac::parse("02-42-AC-11-00-02").unwrap(), m);
        assert!(
            Mac::parse("02:42:ac:11:00").is_err() && Mac::parse("02:42:ac:11:00:02:03").is_err()
        );
    }
}
