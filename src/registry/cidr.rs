//! Networks in CIDR notation, as `--insecure-registry` and `NO_PROXY` name them.

use std::net::IpAddr;

use crate::base::{Error, Result};

/// A network: all addresses that share the first `bits` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/8` or `fd00::/8`; host bits may be set.
    ///
    /// # Errors
    /// `InvalidParameter` with Go's text.
    pub fn parse(text: &str) -> Result<Cidr> {
        let bad = || Error::invalid(format_args!("invalid CIDR address: {text}"));
        let (address, bits) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().map_err(|_| bad())?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(bad());
        }
        Ok(Cidr { address, bits })
    }

    /// Whether `address` is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |width: u8| u32::from(width - self.bits);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                u32::from(a).checked_shr(shift(32)) == u32::from(b).checked_shr(shift(32))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                u128::from(a).checked_shr(shift(128)) == u128::from(b).checked_shr(shift(128))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_follows_the_prefix() {
        let inside = |net: &str, a: &str| Cidr::parse(net).unwrap().contains(a.parse().unwrap());
        assert!(inside("10.1.0.0/16", "10.1.255.1"));
        assert!(!inside("10.1.0.0/16", "10.2.0.1"));
        assert!(inside("0.0.0.0/0", "8.8.8.8"));
        assert!(inside("1.2.3.4/32", "1.2.3.4"));
        assert!(inside("1.2.3.4/32", "::ffff:1.2.3.4"));
        assert!(inside("fd00::/8", "fdff::1"));
        assert!(inside("::/0", "fdff::1"));
        assert!(!inside("fd00::/8", "1.2.3.4"));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/-1"] {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
    }
}
