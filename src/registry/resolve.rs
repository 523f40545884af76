//! Addresses of registries, by [`http::resolve`](crate::http::resolve) unless a caller knows better.

use std::fmt;
use std::net::IpAddr;

use crate::base::Result;
use crate::http::resolve;

/// Finds the addresses of a host.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `host` in the order in which they should be tried; never empty. May block.
    ///
    /// # Errors
    /// `Io` with Go's text, `lookup HOST: no such host`.
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>>;
}

/// Literals, the hosts file, name servers.
#[derive(Debug)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
        resolve::lookup(host)
    }
}

/// The address that `host` spells, with or without brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}
