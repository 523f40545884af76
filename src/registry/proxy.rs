//! Which requests go through a proxy: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! Loopback hosts never do. Spec: Go `golang.org/x/net/http/httpproxy`.

use std::fmt;

use crate::http::proxy::is_direct;

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
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        (!proxy.is_empty() && !is_direct(bare, port, &self.no_proxy)).then_some(proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_the_proxy_and_some_hosts_go_direct() {
        let proxies = Proxies {
            http: "http://p:1".into(),
            https: "http://p:2".into(),
            no_proxy: "example.org,10.0.0.0/8,fd00::1".into(),
        };
        for (host, direct) in [
            ("localhost", true),
            ("[::1]", true),
            ("a.example.org", true),
            ("10.2.3.4", true),
            ("[fd00::1]", true),
            ("11.2.3.4", false),
            ("other", false),
        ] {
            assert_eq!(proxies.for_host("https", host, 443).is_none(), direct, "{host}");
        }
        assert_eq!(proxies.for_host("http", "x", 80), Some("http://p:1"));
        assert_eq!(proxies.for_host("https", "x", 443), Some("http://p:2"));
        assert_eq!(Proxies::default().for_host("http", "x", 80), None);
    }
}
