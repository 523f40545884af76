//! Moving images: from registries, from and to archives; and logging in to registries.

use super::Images;
use crate::base::Result;
use crate::base::cancel::Cancel;
use crate::registry::auth::Credentials;
use crate::registry::client::Client;
use crate::registry::reference::DEFAULT_DOMAIN;

impl Images {
    /// Checks credentials at their registry; returns a token to be kept in their place, if there is one.
    ///
    /// # Errors
    /// `Unauthorized` if they are refused; `Io` if the registry cannot be asked.
    pub fn login(&self, credentials: &Credentials, cancel: &Cancel) -> Result<String> {
        let domain = registry_host(&credentials.server_address);
        Client::new(&self.registries(), &domain, credentials, cancel)?.login()
    }
}

/// The host of a server address: `https://index.docker.io/v1/` and the empty text are the default.
fn registry_host(address: &str) -> String {
    let bare = ["https://", "http://"].iter().find_map(|s| address.strip_prefix(s));
    let host = bare.unwrap_or(address).split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN.to_string(),
        host => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_lead_to_hosts() {
        for (address, host) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://reg.example:80/v2/", "reg.example:80"),
        ] {
            assert_eq!(registry_host(address), host);
        }
    }
}
