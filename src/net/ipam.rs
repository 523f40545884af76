//! Address management: which subnet a network gets and which of its addresses are leased.
//!
//! Leases live in memory. What must survive is elsewhere: the subnet in the network's record, a
//! running container's address in its endpoint, from which `restore` adopts the leases again. A lease
//! file could only disagree with the two, and would cost a write on every start of a container.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::address::Cidr;
use crate::base::{Error, Kind, Result};

/// Routes this wide are taken for a VPN that sends everything its way; a pool inside is still usable.
const CATCH_ALL_PREFIX: u8 = 8;

/// Chooses the first subnet of the pools that touches nothing in use. A host where everything is
/// routed gets one that at least collides with no narrow route, then with no address of the host; the
/// start of the daemon is never stopped by routes.
pub(super) fn choose_subnet(
    pools: &[(Cidr, u8)],
    routes: &[Cidr],
    addresses: &[Cidr],
) -> Option<Cidr> {
    let free = |subnet: &Cidr, widest: u8| {
        let in_the_way = |r: &Cidr| r.prefix > widest && r.overlaps(*subnet);
        !addresses.iter().any(|a| a.overlaps(*subnet)) && !routes.iter().any(in_the_way)
    };
    // A default route is never in the way; no route has a prefix above 32.
    [0, CATCH_ALL_PREFIX, 32]
        .into_iter()
        .find_map(|widest| subnets(pools).find(|s| free(s, widest)))
}

/// All subnets of the pools in order.
fn subnets(pools: &[(Cidr, u8)]) -> impl Iterator<Item = Cidr> {
    pools.iter().flat_map(|(base, size)| {
        let size = (*size).clamp(base.prefix, 30);
        let base = base.network();
        let step = 1u32 << (32 - u32::from(size)).min(31);
        let count = 1u32 << u32::from(size - base.prefix).min(31);
        (0..count).filter_map(move |i| Some(Cidr::new(base.nth(i.checked_mul(step)?)?, size)))
    })
}

/// The leases of one subnet.
#[derive(Debug)]
pub(super) struct Leases {
    subnet: Cidr,
    range: Cidr,
    taken: BTreeSet<Ipv4Addr>,
    /// No address below is free.
    lowest: u32,
}

impl Leases {
    /// Leases from `range` (all of `subnet` usually); network and broadcast address and `reserved`
    /// are never given away.
    pub(super) fn new(subnet: Cidr, range: Option<Cidr>, reserved: &[Ipv4Addr]) -> Leases {
        let mut taken: BTreeSet<Ipv4Addr> = reserved.iter().copied().collect();
        if subnet.prefix < 31 {
            taken.extend([subnet.first(), subnet.last()]);
        }
        Leases { subnet, range: range.unwrap_or(subnet).network(), taken, lowest: 0 }
    }

    /// Leases `wanted`, or the lowest free address of the range.
    ///
    /// # Errors
    /// `InvalidParameter` for an address outside the subnet, `Conflict` for one that is taken,
    /// `Unavailable` when none is left.
    pub(super) fn lease(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        if let Some(address) = wanted {
            return self.lease_fixed(address);
        }
        let mut n = self.lowest;
        while let Some(address) = self.range.nth(n) {
            if self.taken.insert(address) {
                self.lowest = n + 1;
                return Ok(address);
            }
            n += 1;
        }
        Err(Error::new(
            Kind::Unavailable,
            "no available IPv4 addresses on this network's address pools: bridge",
        ))
    }

    fn lease_fixed(&mut self, address: Ipv4Addr) -> Result<Ipv4Addr> {
        if !self.subnet.contains(address) {
            return Err(Error::invalid(format_args!(
                "no configured subnet contains IP address {address}"
            )));
        }
        if !self.taken.insert(address) {
            return Err(Error::conflict("Address already in use"));
        }
        Ok(address)
    }

    /// Takes an address that a running container holds, whether or not it fits.
    pub(super) fn adopt(&mut self, address: Ipv4Addr) {
        self.taken.insert(address);
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, address: Ipv4Addr) {
        if self.taken.remove(&address) && self.range.contains(address) {
            let n = u32::from(address) - u32::from(self.range.first());
            self.lowest = self.lowest.min(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config::default_pools;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    fn choose(routes: &[&str], addresses: &[&str]) -> Option<String> {
        let parse = |all: &[&str]| all.iter().map(|t| cidr(t)).collect::<Vec<_>>();
        choose_subnet(&default_pools(), &parse(routes), &parse(addresses)).map(|c| c.to_string())
    }

    #[test]
    fn routes_and_addresses_push_the_choice_on() {
        assert_eq!(choose(&["0.0.0.0/0"], &[]).unwrap(), "172.17.0.0/16");
        assert_eq!(choose(&["172.17.0.0/16"], &["172.18.3.1/24"]).unwrap(), "172.19.0.0/16");
        assert_eq!(choose(&["172.16.0.0/12"], &[]).unwrap(), "192.168.0.0/20");
        assert_eq!(choose(&["172.16.0.0/12", "192.168.0.0/18"], &[]).unwrap(), "192.168.64.0/20");
    }

    #[test]
    fn a_vpn_that_routes_everything_does_not_stop_the_choice() {
        assert_eq!(choose(&["0.0.0.0/1", "128.0.0.0/1"], &[]).unwrap(), "172.17.0.0/16");
        let all = ["172.16.0.0/12", "192.168.0.0/16"];
        assert_eq!(choose(&all, &["172.17.0.5/32"]).unwrap(), "172.18.0.0/16");
        assert_eq!(choose(&[], &all), None);
    }

    #[test]
    fn leases_are_the_lowest_free_and_come_back() {
        let mut l = Leases::new(cidr("10.0.0.0/29"), None, &[Ipv4Addr::new(10, 0, 0, 1)]);
        let all: Vec<_> = (0..5).map(|_| l.lease(None).unwrap().octets()[3]).collect();
        assert_eq!(all, [2, 3, 4, 5, 6]);
        let e = l.lease(None).unwrap_err();
        assert!(e.to_string().starts_with("no available IPv4 addresses"), "{e}");
        l.release(Ipv4Addr::new(10, 0, 0, 4));
        l.release(Ipv4Addr::new(10, 0, 0, 3));
        assert_eq!(l.lease(None).unwrap().octets()[3], 3);
        assert_eq!(l.lease(None).unwrap().octets()[3], 4);
    }

    #[test]
    fn fixed_addresses_are_checked_and_ranges_kept() {
        let mut l = Leases::new(cidr("10.0.0.0/24"), Some(cidr("10.0.0.128/25")), &[]);
        assert_eq!(l.lease(None).unwrap().octets()[3], 128);
        assert_eq!(l.lease(Some(Ipv4Addr::new(10, 0, 0, 9))).unwrap().octets()[3], 9);
        let e = l.lease(Some(Ipv4Addr::new(10, 0, 0, 9))).unwrap_err();
        assert_eq!(e.to_string(), "Address already in use");
        assert!(l.lease(Some(Ipv4Addr::new(10, 0, 1, 9))).is_err());
        assert!(l.lease(Some(Ipv4Addr::new(10, 0, 0, 255))).is_err());
    }
}
