//! Which HTTP proxy, if any, stands between a client and a tcp host.
//!
//! `HTTPS_PROXY` goes before `HTTP_PROXY`, upper case before lower case; `NO_PROXY` lists hosts that
//! are reached directly: `*`, names (with their subdomains), addresses, networks, each with an
//! optional port. Loopback hosts are never proxied.
//!
//! Spec: golang.org/x/net/http/httpproxy, Config.

use std::net::IpAddr;

use crate::base::{Error, Result};

/// A proxy to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password` as given, percent-decoded; empty if none.
    pub credentials: String,
}

/// The proxy for `host` by the environment that `variable` reads.
///
/// # Errors
/// `InvalidParameter` for a proxy address that cannot be read.
pub fn for_host(
    host: &str,
    port: u16,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>> {
    let read = |upper: &str| {
        let named = |name: &str| variable(name).filter(|v| !v.is_empty());
        named(upper).or_else(|| named(&upper.to_ascii_lowercase()))
    };
    let Some(text) = read("HTTPS_PROXY").or_else(|| read("HTTP_PROXY")) else { return Ok(None) };
    if is_direct(host, port, &read("NO_PROXY").unwrap_or_default()) {
        return Ok(None);
    }
    parse(&text).map(Some)
}

/// Parses `[http://][user:password@]host[:port][/]`.
///
/// # Errors
/// `InvalidParameter` that quotes the text without its credentials.
pub fn parse(text: &str) -> Result<Proxy> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let (credentials, authority) = rest.rsplit_once('@').unwrap_or(("", rest));
    let bad = || Error::invalid(format_args!("invalid proxy address {scheme}://{authority}"));
    if scheme != "http" {
        return Err(bad());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = if port.is_empty() { 80 } else { port.parse().map_err(|_| bad())? };
    if host.is_empty() {
        return Err(bad());
    }
    let credentials = super::query::decode(credentials, false)?;
    Ok(Proxy { host: host.into(), port, credentials })
}

/// Whether `host` is to be reached without a proxy.
pub fn is_direct(host: &str, port: u16, no_proxy: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(str::trim).filter(|e| !e.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return ip.is_some_and(|ip| in_network(ip, network, bits));
        }
        let (name, wanted) = split_port(&entry);
        if wanted.is_some_and(|p| p != port) {
            return false;
        }
        match (name.parse::<IpAddr>(), ip) {
            (Ok(entry), Some(ip)) => entry == ip,
            (Ok(_), None) | (Err(_), Some(_)) => false,
            (Err(_), None) => matches_name(&host, name),
        }
    })
}

fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, port.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

/// `.x` and `*.x` match only what is below x; `x` matches x as well.
fn matches_name(host: &str, entry: &str) -> bool {
    let entry = entry.strip_prefix('*').unwrap_or(entry);
    if entry.starts_with('.') {
        return host.ends_with(entry);
    }
    host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(ip: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (ip, network.parse()) {
        (IpAddr::V4(ip), Ok(IpAddr::V4(net))) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(ip) & mask == u32::from(net) & mask
        }
        (IpAddr::V6(ip), Ok(IpAddr::V6(net))) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(ip) & mask == u128::from(net) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(pairs: &[(&str, &str)], host: &str) -> Option<String> {
        let read =
            |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_string());
        for_host(host, 2375, read).unwrap().map(|p| format!("{}:{}", p.host, p.port))
    }

    #[test]
    fn the_https_variable_wins_and_lower_case_counts() {
        let both = [("HTTP_PROXY", "http://a:1"), ("https_proxy", "b:2")];
        assert_eq!(proxy(&both, "h").as_deref(), Some("b:2"));
        assert_eq!(proxy(&both[..1], "h").as_deref(), Some("a:1"));
        assert_eq!(proxy(&both[..1], "127.0.0.1"), None);
        assert_eq!(proxy(&[], "h"), None);
        let p = parse("http://us%40er:pw@[::1]:3128/").unwrap();
        assert_eq!((p.host.as_str(), p.port, p.credentials.as_str()), ("::1", 3128, "us@er:pw"));
        assert!(parse("socks5://x:1").is_err() && parse("http://x:y").is_err());
    }

    #[test]
    fn no_proxy_matches_as_in_go() {
        let direct = |list: &str, host: &str| is_direct(host, 2375, list);
        assert!(direct("*", "h") && direct("example.org", "a.example.org"));
        assert!(
            direct("a, .example.org", "a.example.org") && !direct(".example.org", "example.org")
        );
        assert!(!direct("example.org", "badexample.org"));
        assert!(direct("10.0.0.0/8", "10.1.2.3") && !direct("10.0.0.0/8", "11.1.2.3"));
        assert!(
            direct("h:2375", "h") && !direct("h:2376", "h") && direct("192.0.2.1", "192.0.2.1")
        );
    }
}
