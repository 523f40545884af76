//! Addresses of registries, without the C library: literals, the hosts file, and a name server.
//!
//! getaddrinfo loads plugins that do not exist for a static executable. Whoever has a resolver for the
//! rest of the names passes it in as a [`Resolve`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::base::{Error, Result};

/// Finds the addresses of a host.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host` in the order in which they should be tried; never empty. May block.
    ///
    /// # Errors
    /// `NotFound` with Go's text, `lookup HOST: no such host`.
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>>;
}

/// Literals, `localhost` and the hosts file.
#[derive(Debug)]
pub struct HostsFile {
    /// Where the file is.
    pub path: PathBuf,
}

impl Default for HostsFile {
    fn default() -> HostsFile {
        HostsFile { path: "/etc/hosts".into() }
    }
}

impl Resolve for HostsFile {
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        // An absent file names nobody.
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let mut found = lookup(&text, host);
        if found.is_empty() && host.eq_ignore_ascii_case("localhost") {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if found.is_empty() {
            return Err(Error::not_found(format_args!("lookup {host}: no such host")));
        }
        Ok(found)
    }
}

/// The address that `host` spells, with or without brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

fn lookup(hosts: &str, host: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|w| w.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_read_and_ipv4_comes_first() {
        let text =
            "::1 localhost reg\n127.0.0.1 localhost # reg2\n10.0.0.1\tReg.example reg\nx y\n";
        let found = |host| lookup(text, host).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(found("reg"), ["10.0.0.1", "::1"]);
        assert_eq!(found("reg.EXAMPLE"), ["10.0.0.1"]);
        assert!(found("reg2").is_empty());
    }

    #[test]
    fn literals_and_localhost_need_no_file() {
        let none = HostsFile { path: "/nonexistent".into() };
        assert_eq!(none.resolve("[::1]").unwrap(), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(none.resolve("10.1.2.3").unwrap(), [IpAddr::from([10, 1, 2, 3])]);
        assert_eq!(none.resolve("localhost").unwrap().len(), 2);
        let e = none.resolve("nosuch.example").unwrap_err();
        assert_eq!(e.to_string(), "lookup nosuch.example: no such host");
    }
}
