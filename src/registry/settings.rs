//! What the user decided about registries: whom to trust, which way to go, how long to wait.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::cidr::Cidr;
use super::proxy::Proxies;
use super::reference::DEFAULT_DOMAIN;
use super::resolve::{Resolve, System, literal};
use crate::base::{Error, Result};

/// Where the default domain is served.
const DEFAULT_REGISTRY: &str = "registry-1.docker.io";

/// Settings that hold for all registries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registries, as `host[:port]`, and networks that may be spoken to without TLS or with a
    /// certificate that nobody vouches for. Loopback always may.
    pub insecure: Vec<String>,
    /// URLs that are tried before the default registry.
    pub mirrors: Vec<String>,
    /// Holds a directory with certificates for each registry that needs some.
    pub certs_dir: PathBuf,
    /// Ways out of a closed network.
    pub proxies: Proxies,
    /// Finds addresses.
    pub resolver: Arc<dyn Resolve>,
    /// How often a download is tried before it is given up, counted anew whenever it gets on.
    pub max_attempts: u32,
    /// Pause before the second attempt; it doubles with each further one.
    pub pause: Duration,
    /// A peer that says nothing for so long is taken for dead.
    pub stall: Duration,
    /// Layers of one image that are fetched at the same time.
    pub max_concurrent_downloads: usize,
    /// How this program calls itself.
    pub user_agent: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certs_dir: "/etc/docker/certs.d".into(),
            proxies: Proxies::default(),
            resolver: Arc::new(System),
            max_attempts: 5,
            pause: Duration::from_millis(500),
            stall: Duration::from_secs(60),
            max_concurrent_downloads: 3,
            user_agent: format!(
                "multi/{} os/linux arch/{}",
                crate::VERSION,
                std::env::consts::ARCH
            ),
        }
    }
}

/// One place that may serve a repository, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `https` or `http`.
    pub(super) scheme: &'static str,
    /// `host[:port]`.
    pub(super) authority: String,
    /// What comes before `/v2/` in paths; empty or with a leading slash.
    pub(super) prefix: String,
    /// Whether certificates are checked.
    pub(super) verify: bool,
    /// Whether it only repeats what another registry has. Mirrors see no credentials.
    pub(super) mirror: bool,
}

impl Place {
    /// The URL up to, without, `/v2/`.
    pub(super) fn base(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl Settings {
    /// The places that serve the repositories of `domain`.
    ///
    /// # Errors
    /// `InvalidParameter` for a mirror that is no URL.
    pub(super) fn places(&self, domain: &str) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        if domain == DEFAULT_DOMAIN {
            for mirror in &self.mirrors {
                let (scheme, authority, prefix) = split_mirror(mirror)?;
                let verify = !self.is_insecure(&authority);
                places.push(Place { scheme, authority, prefix, verify, mirror: true });
            }
        }
        let authority = if domain == DEFAULT_DOMAIN { DEFAULT_REGISTRY } else { domain };
        let verify = !self.is_insecure(domain);
        let place = |scheme| Place {
            scheme,
            authority: authority.to_string(),
            prefix: String::new(),
            verify,
            mirror: false,
        };
        places.push(place("https"));
        if !verify {
            places.push(place("http"));
        }
        Ok(places)
    }

    /// Whether `registry`, a `host[:port]`, may be spoken to without TLS.
    pub fn is_insecure(&self, registry: &str) -> bool {
        if self.insecure.iter().any(|name| name == registry) {
            return true;
        }
        let networks: Vec<Cidr> =
            self.insecure.iter().filter_map(|text| Cidr::parse(text).ok()).collect();
        let host = host_of(registry);
        let inside =
            |a: &IpAddr| a.to_canonical().is_loopback() || networks.iter().any(|n| n.contains(*a));
        match literal(host) {
            Some(address) => inside(&address),
            None if registry == DEFAULT_DOMAIN => false,
            None => self.resolver.resolve(host).is_ok_and(|found| found.iter().any(inside)),
        }
    }
}

/// The host of `host[:port]`, brackets kept.
pub(super) fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    }
}

fn split_mirror(url: &str) -> Result<(&'static str, String, String)> {
    let bad = |why: &str| Error::invalid(format_args!("invalid mirror: {why}: {url:?}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("no scheme specified"))?;
    let scheme = match scheme {
        "https" => "https",
        "http" => "http",
        _ => return Err(bad("unsupported scheme")),
    };
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() {
        return Err(bad("no host specified"));
    }
    if authority.contains('@') {
        return Err(Error::invalid("invalid mirror: username/password not allowed in URI"));
    }
    if prefix.contains(['?', '#']) {
        return Err(bad("query or fragment not allowed"));
    }
    let prefix = prefix.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    Ok((scheme, authority.to_string(), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct OnlyLocalhost;

    impl Resolve for OnlyLocalhost {
        fn resolve(&self, host: &str) -> Result<Vec<IpAddr>> {
            match host {
                "localhost" => Ok(vec![[127, 0, 0, 1].into()]),
                _ => Err(Error::not_found("no such host")),
            }
        }
    }

    fn bases(settings: &Settings, domain: &str) -> Vec<String> {
        settings.places(domain).unwrap().iter().map(Place::base).collect()
    }

    #[test]
    fn places_are_tried_in_dockers_order() {
        let settings = Settings {
            insecure: vec!["plain:5000".into(), "10.0.0.0/8".into()],
            mirrors: vec!["https://mirror.example/hub/".into(), "http://m2:5000".into()],
            resolver: Arc::new(OnlyLocalhost),
            ..Settings::default()
        };
        assert_eq!(
            bases(&settings, "docker.io"),
            ["https://mirror.example/hub", "http://m2:5000", "https://registry-1.docker.io"]
        );
        assert_eq!(bases(&settings, "far.example"), ["https://far.example"]);
        assert_eq!(bases(&settings, "plain:5000"), ["https://plain:5000", "http://plain:5000"]);
        assert_eq!(bases(&settings, "plain:5001"), ["https://plain:5001"]);
        assert_eq!(bases(&settings, "10.1.1.1:5000").len(), 2);
        assert_eq!(bases(&settings, "11.1.1.1:5000").len(), 1);
        assert_eq!(bases(&settings, "localhost:5000").len(), 2);
        assert_eq!(bases(&settings, "127.3.2.1").len(), 2);
        assert_eq!(bases(&settings, "[::1]:5000").len(), 2);
    }

    #[test]
    fn mirrors_are_checked() {
        for bad in ["mirror.example", "ftp://x", "https://", "https://u:p@x", "https://x/?q"] {
            let settings = Settings { mirrors: vec![bad.into()], ..Settings::default() };
            assert!(settings.places("docker.io").is_err(), "{bad}");
        }
    }
}
