//! Moving images: from registries, from and to archives; and logging in to registries.

use std::io::{Read, Write};

use super::Images;
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::base::{Error, Kind, Result};
use crate::image;
use crate::image::config::Platform;
use crate::registry::auth::Credentials;
use crate::registry::client::Client;
use crate::registry::pull;
use crate::registry::reference::{DEFAULT_DOMAIN, Reference};

/// What to pull, and as whom.
#[derive(Clone, Copy)]
pub struct PullRequest<'a> {
    /// A name with a tag or a digest.
    pub reference: &'a Reference,
    /// The platform that the user asked for.
    pub platform: Option<&'a Platform>,
    /// Who asks.
    pub credentials: &'a Credentials,
}

impl Images {
    /// Pulls an image into the store.
    ///
    /// # Errors
    /// Those of the registry in Docker's words; `Forbidden` for a reserved name; `Cancelled`.
    pub fn pull(
        &self,
        request: &PullRequest<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<()> {
        let reference = request.reference;
        if reference.familiar_name() == "scratch" {
            return Err(Error::new(Kind::Forbidden, "'scratch' is a reserved name"));
        }
        let settings = self.registries();
        let asked = pull::Request {
            settings: &settings,
            reference,
            platform: request.platform,
            credentials: request.credentials,
        };
        let pulled = self.puller.pull(&asked, progress, cancel)?;
        let mut attributes = self.labels(&pulled.config);
        attributes.insert("name".into(), reference.familiar_name());
        self.events.publish("image", "pull", &reference.familiar(), attributes);
        if let Some(platform) = request.platform
            && let Err(e) = self.find_for(&pulled.config.to_string(), Some(platform))
        {
            // An image that comes alone, not in a list of platforms, is taken whatever it is for.
            progress.message("", &format!("WARNING: {e}"));
        }
        Ok(())
    }

    /// Reads an archive of images into the store. Returns lines that tell of each.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no archive of images; those of the store. Images before the one
    /// that failed stay.
    pub fn load(
        &self,
        archive: &mut (dyn Read + Send),
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        let loaded = image::load(&self.store, archive, platform, progress)?;
        for image in &loaded {
            self.publish(&image.id, "load", &image.id.to_string());
        }
        Ok(loaded.iter().flat_map(image::Loaded::lines).collect())
    }

    /// Writes the images `names` as an archive.
    ///
    /// # Errors
    /// `NotFound` before anything is written; `Io`.
    pub fn save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        out: &mut dyn Write,
    ) -> Result<()> {
        if platform.is_some() {
            for name in names {
                self.find_for(name, platform)?;
            }
        }
        for id in image::save(&self.store, names, out)? {
            self.publish(&id, "save", &id.to_string());
        }
        Ok(())
    }

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
