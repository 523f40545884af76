//! The connection of one command to one daemon: address, TLS, API version, requests.
//!
//! Nothing is read or opened before it is needed: a command that only prints help never touches the
//! configuration, one that talks to the daemon asks for its version once.

use std::cell::OnceCell;
use std::sync::Arc;

use multi_core::base::json::{self, Deserialize, Serialize};
use multi_core::base::{Error, Kind, Result};
use multi_core::cli::print;
use multi_core::config::client::{ClientConfig, Connection, Endpoint, TlsFiles};
use multi_core::config::{self, paths};
use multi_core::http::Headers;
use multi_core::http::address::Address;
use multi_core::http::client::{Answer, Client, Payload, Upgraded};
use multi_core::http::{query, tls};

use super::failure::Failure;

/// Newest API version that this client speaks.
pub(crate) const API_VERSION: &str = "1.51";
/// Key of Docker Hub among credentials.
pub(crate) const INDEX_SERVER: &str = "https://index.docker.io/v1/";
/// Oldest one.
const OLDEST_API: &str = "1.24";

/// Options before the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Global {
    /// `--config`
    pub(crate) config_dir: Option<String>,
    /// `--debug`
    pub(crate) debug: bool,
    /// What says which daemon is meant.
    pub(crate) connection: Connection,
}

/// What the daemon said of itself when it was asked for its version.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// API version to use.
    pub(crate) version: String,
}

/// See the module.
pub(crate) struct Session {
    global: Global,
    config: OnceCell<ClientConfig>,
    endpoint: OnceCell<Endpoint>,
    client: OnceCell<Client>,
    server: OnceCell<Server>,
}

/// Name and value of one parameter of a query.
pub(crate) type Pair<'a> = (&'a str, &'a str);

impl Session {
    /// Nothing is opened yet.
    pub(crate) fn new(global: Global) -> Session {
        Session {
            global,
            config: OnceCell::new(),
            endpoint: OnceCell::new(),
            client: OnceCell::new(),
            server: OnceCell::new(),
        }
    }

    /// The options before the command; another thread makes its own session of them.
    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// Whether `--debug` was given.
    pub(crate) fn debug(&self) -> bool {
        self.global.debug
    }

    /// The user's configuration. A file that cannot be read is told once and taken as empty.
    pub(crate) fn config(&self) -> &ClientConfig {
        self.config.get_or_init(|| self.fresh_config())
    }

    /// A copy of the configuration that can be changed and saved.
    pub(crate) fn fresh_config(&self) -> ClientConfig {
        let dir = match &self.global.config_dir {
            Some(dir) => dir.into(),
            None => paths::client_dir(),
        };
        let (config, warning) = ClientConfig::load(&dir);
        if let Some(warning) = warning {
            print::err(&warning);
        }
        config
    }

    /// The daemon that is meant.
    pub(crate) fn endpoint(&self) -> Result<&Endpoint, Failure> {
        if let Some(endpoint) = self.endpoint.get() {
            return Ok(endpoint);
        }
        let endpoint = config::client::endpoint(&self.global.connection, self.config())?;
        Ok(self.endpoint.get_or_init(|| endpoint))
    }

    /// The client; made at the first call.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.connect()?;
        Ok(self.client.get_or_init(|| client))
    }

    fn connect(&self) -> Result<Client, Failure> {
        let endpoint = self.endpoint()?;
        let tls = match &endpoint.tls {
            Some(files) if matches!(endpoint.host, Address::Tcp { .. }) => Some(tls_config(files)?),
            _ => None,
        };
        let mut headers = Headers::new();
        let agent = format!("Docker-Client/{} (linux)", multi_core::VERSION);
        headers.set("User-Agent", &agent);
        for (name, value) in self.config().http_headers() {
            headers.set(&name, &value);
        }
        Ok(Client::new(endpoint.host.clone(), tls, headers)?)
    }

    /// What the daemon is; asks it at the first call.
    pub(crate) fn server(&self) -> Result<&Server, Failure> {
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        let client = self.client()?;
        let mut version = String::new();
        // HEAD is answered by every daemon since 18.09; older ones take GET.
        for method in ["HEAD", "GET"] {
            let answer = client.send(method, "/_ping", &Headers::new(), Payload::None)?;
            let header = |name: &str| answer.head.headers.get(name).map(String::from);
            version = header("Api-Version").unwrap_or_default();
            if answer.head.status == 200 || !version.is_empty() {
                break;
            }
        }
        let version = match &self.endpoint()?.api_version {
            Some(pinned) => pinned.clone(),
            None => negotiated(&version),
        };
        Ok(self.server.get_or_init(|| Server { version }))
    }

    /// Whether the daemon's API is at least of `version`.
    pub(crate) fn api_at_least(&self, version: &str) -> Result<bool, Failure> {
        Ok(number(&self.server()?.version) >= number(version))
    }

    fn path(&self, path: &str, query: &[Pair<'_>]) -> Result<String, Failure> {
        let mut out = format!("/v{}{path}", self.server()?.version);
        for (i, (name, value)) in query.iter().enumerate() {
            out.push(if i == 0 { '?' } else { '&' });
            out.push_str(name);
            out.push('=');
            out.push_str(&query::encode(value));
        }
        Ok(out)
    }

    /// Sends a request; an answer that is an error is one here too, in Docker's words.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        query: &[Pair<'_>],
        headers: &Headers,
        payload: Payload<'_>,
    ) -> Result<Answer<'_>, Failure> {
        let path = self.path(path, query)?;
        let answer = self.client()?.send(method, &path, headers, payload)?;
        if answer.head.status >= 400 { Err(daemon_error(answer.into_error())) } else { Ok(answer) }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str, query: &[Pair<'_>]) -> Result<Answer<'_>, Failure> {
        self.request("GET", path, query, &Headers::new(), Payload::None)
    }

    /// `GET` of a JSON document.
    pub(crate) fn get_json<T: Deserialize>(
        &self,
        path: &str,
        query: &[Pair<'_>],
    ) -> Result<T, Failure> {
        Ok(self.get(path, query)?.json()?)
    }

    /// `POST` without a body.
    pub(crate) fn post(&self, path: &str, query: &[Pair<'_>]) -> Result<Answer<'_>, Failure> {
        self.request("POST", path, query, &Headers::new(), Payload::None)
    }

    /// `POST` of a JSON document.
    pub(crate) fn post_json<T: Serialize + ?Sized>(
        &self,
        path: &str,
        query: &[Pair<'_>],
        body: &T,
    ) -> Result<Answer<'_>, Failure> {
        let text = json::to_string(body);
        self.request("POST", path, query, &Headers::new(), Payload::Json(&text))
    }

    /// `POST` that turns the connection into a raw stream.
    pub(crate) fn upgrade(
        &self,
        path: &str,
        query: &[Pair<'_>],
        payload: Payload<'_>,
    ) -> Result<Upgraded, Failure> {
        let path = self.path(path, query)?;
        // The address is checked first, so that what fails below is the daemon's answer.
        self.client()?.upgrade("POST", &path, &Headers::new(), payload).map_err(|e| {
            match e.kind() {
                Kind::Io | Kind::Unavailable if e.errno().is_some() => e.into(),
                _ if e.message().starts_with("Cannot connect") => e.into(),
                _ => daemon_error(e),
            }
        })
    }

    /// The headers that give the daemon the credentials for the registry of an image.
    ///
    /// # Errors
    /// Those of a credential helper.
    pub(crate) fn registry_auth(&self, domain: &str) -> Result<Headers, Failure> {
        let key = match domain {
            "docker.io" | "index.docker.io" => INDEX_SERVER,
            other => other,
        };
        let credentials = self.config().credentials(key)?.unwrap_or_default();
        let mut headers = Headers::new();
        headers.set("X-Registry-Auth", &credentials.to_header());
        Ok(headers)
    }

    /// The daemon's address, as `docker version` and errors show it.
    pub(crate) fn host(&self) -> Result<String, Failure> {
        Ok(self.client()?.address().to_string())
    }
}

/// The files that were named or found, as TLS takes them.
fn tls_config(files: &TlsFiles) -> Result<Arc<rustls::ClientConfig>> {
    let identity = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
        _ => None,
    };
    let trust = match (&files.ca, files.verify) {
        (_, false) => tls::Trust::Anyone,
        (Some(ca), true) => tls::Trust::Authority(ca),
        (None, true) => tls::Trust::Roots(multi_core::registry::tls::host_store()),
    };
    tls::client_config(trust, identity)
}

/// The daemon's text as Docker's client shows it.
fn daemon_error(e: Error) -> Failure {
    Failure {
        kind: e.kind(),
        ..Failure::new(format_args!("Error response from daemon: {}", e.message()))
    }
}

/// The version both sides speak.
fn negotiated(server: &str) -> String {
    let version = match server {
        // Daemons from before the header.
        "" => OLDEST_API,
        server if number(server) < number(API_VERSION) => server,
        _ => API_VERSION,
    };
    version.to_string()
}

fn number(version: &str) -> (u32, u32) {
    let (major, minor) = version.split_once('.').unwrap_or((version, ""));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_wins() {
        assert_eq!(negotiated("1.41"), "1.41");
        assert_eq!(negotiated("1.99"), API_VERSION);
        assert_eq!(negotiated("1.9"), "1.9");
        assert_eq!(negotiated(""), "1.24");
    }
}
