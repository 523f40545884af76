//! Which requests go through a proxy: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! Loopback hosts never do. Spec: Go `golang.org/x/net/http/httpproxy`.

use std::fmt;
use std::net::IpAddr;

use super::cidr::Cidr;
use super::resolve::literal;

/// The proxies of this process. `Debug` does not show them: their URLs may hold passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: String,
    /// For `https` URLs.
    pub https: String,
    /// Comma-separated hosts, domains, networks; `*` for all.
    pub no_proxy: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies(...)")
    }
}

impl Proxies {
    /// From the environment, the upper-case names first.
    pub fn from_env() -> Proxies {
        let var = |name: &str| {
            let value = std::env::var(name).unwrap_or_default();
            if value.is_empty() {
                std::env::var(name.to_ascii_lowercase()).unwrap_or_default()
            } else {
                value
            }
        };
        Proxies { http: var("HTTP_PROXY"), https: var("HTTPS_PROXY"), no_proxy: var("NO_PROXY") }
    }

    /// The URL of the proxy for a request, if it is to go through one.
    pub fn for_host(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let proxy = if scheme == "https" { &self.https } else { &self.http };
        (!proxy.is_empty() && !self.is_direct(host, port)).then_some(proxy)
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = literal(&host);
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.no_proxy
            .split(',')
            .map(|rule| rule.trim().to_ascii_lowercase())
            .filter(|rule| !rule.is_empty())
            .any(|rule| matches_rule(&rule, &host, address, port))
    }
}

fn matches_rule(rule: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if rule == "*" {
        return true;
    }
    if let Ok(network) = Cidr::parse(rule) {
        return address.is_some_and(|a| network.contains(a));
    }
    // A lone IPv6 address has colons but no port.
    let (rule, wanted) = match rule.rsplit_once(':') {
        Some((name, digits)) if literal(rule).is_none() => (name, digits.parse::<u16>().ok()),
        _ => (rule, None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Some(literal) = literal(rule) {
        return address == Some(literal);
    }
    let domain = rule.trim_start_matches("*.").trim_start_matches('.');
    let below = host.strip_suffix(domain).is_some_and(|head| head.ends_with('.'));
    // `.example.org` means the hosts below, `example.org` the host as well.
    below || (host == domain && domain.len() == rule.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_named_go_direct() {
        let proxies = Proxies {
            http: "http://p:1".into(),
            https: "http://p:2".into(),
            no_proxy: "example.org, .below.net,10.0.0.0/8,1.2.3.4:80,other:5000,fd00::1".into(),
        };
        for (host, port, direct) in [
            ("localhost", 5000, true),
            ("127.0.0.1", 80, true),
            ("[::1]", 80, true),
            ("example.org", 443, true),
            ("a.example.org", 443, true),
            ("notexample.org", 443, false),
            ("below.net", 443, false),
            ("x.below.net", 443, true),
            ("10.2.3.4", 443, true),
            ("11.2.3.4", 443, false),
            ("1.2.3.4", 80, true),
            ("1.2.3.4", 443, false),
            ("other", 5000, true),
            ("other", 443, false),
            ("[fd00::1]", 443, true),
        ] {
            assert_eq!(proxies.for_host("https", host, port).is_none(), direct, "{host}:{port}");
        }
        assert_eq!(proxies.for_host("http", "x", 80), Some("http://p:1"));
        assert_eq!(Proxies::default().for_host("http", "x", 80), None);
        let all = Proxies { no_proxy: "*".into(), ..proxies };
        assert_eq!(all.for_host("http", "x", 80), None);
    }
}
