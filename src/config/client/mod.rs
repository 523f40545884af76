//! The client's configuration: `~/.docker/config.json`, credentials, the daemon to talk to.
//!
//! The file belongs to its user and to other programs too: it is kept as it was read, and what this
//! program does not know survives a save. It is written whole, by rename, readable by the user alone.
//! Where it does not exist, `~/.dockercfg` of the oldest clients is read.
//!
//! Spec: Docker CLI `config.json` reference; rows S202, S203.

mod credentials;
mod endpoint;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use endpoint::{Connection, Endpoint, TlsFiles, endpoint};

use super::paths;
use crate::base::file::{self, Durable};
use crate::base::{At, Error, Result};

/// The user's configuration file.
#[derive(Debug, Default)]
pub struct ClientConfig {
    dir: PathBuf,
    members: Map<String, Value>,
    /// Whether the file could not be understood and therefore must not be overwritten.
    broken: bool,
}

/// The proxy variables that containers get, and their keys in the file.
const PROXIES: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

impl ClientConfig {
    /// Reads the file below `dir`; without it the configuration is empty.
    ///
    /// A file that cannot be understood gives an empty configuration and a warning to print on
    /// standard error, with its newline: commands that need nothing of it go on.
    pub fn load(dir: &Path) -> (ClientConfig, Option<String>) {
        let path = dir.join("config.json");
        let empty = || ClientConfig { dir: dir.into(), ..ClientConfig::default() };
        let read = |path: &Path| -> Result<Option<Map<String, Value>>> {
            let Some(bytes) = file::read_optional(path)? else { return Ok(None) };
            if bytes.trim_ascii().is_empty() {
                return Ok(Some(Map::new()));
            }
            serde_json::from_slice(&bytes).map(Some).map_err(Error::invalid)
        };
        let warn = |path: &Path, e: &Error| {
            Some(format!("WARNING: Error parsing config file ({}): {e}\n", path.display()))
        };
        match read(&path) {
            Ok(Some(members)) => {
                let config = ClientConfig { members, ..empty() };
                match config.check() {
                    Ok(()) => (config, None),
                    Err(e) => (ClientConfig { broken: true, ..empty() }, warn(&path, &e)),
                }
            }
            Ok(None) => {
                let old = paths::home().join(".dockercfg");
                match read(&old) {
                    Ok(None) => (empty(), None),
                    Ok(Some(auths)) => {
                        let members = Map::from_iter([("auths".into(), Value::Object(auths))]);
                        let config = ClientConfig { members, ..empty() };
                        match config.check() {
                            Ok(()) => (config, None),
                            Err(e) => (empty(), warn(&old, &e)),
                        }
                    }
                    Err(e) => (empty(), warn(&old, &e)),
                }
            }
            Err(e) => (ClientConfig { broken: true, ..empty() }, warn(&path, &e)),
        }
    }

    /// The directory that the configuration, contexts and certificates lie in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A text of the file, such as `psFormat`, `imagesFormat` or `detachKeys`; empty if it is not set.
    pub fn text(&self, key: &str) -> &str {
        self.members.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Filters for all commands that prune: `pruneFilters`, without those that are no pairs.
    pub fn prune_filters(&self) -> Vec<(String, String)> {
        let all = self.members.get("pruneFilters").and_then(Value::as_array);
        let pair = |value: &Value| {
            let (name, value) = value.as_str()?.split_once('=')?;
            Some((name.to_string(), value.to_string()))
        };
        all.into_iter().flatten().filter_map(pair).collect()
    }

    /// Headers to send with every request to the daemon. `User-Agent` is not the user's to choose.
    pub fn http_headers(&self) -> BTreeMap<String, String> {
        let mut headers = self.texts("HttpHeaders");
        headers.retain(|name, _| !name.eq_ignore_ascii_case("user-agent"));
        headers
    }

    /// Environment variables about proxies that new containers get, upper and lower case, for a
    /// daemon at `host`.
    pub fn proxies(&self, host: &str) -> BTreeMap<String, String> {
        let all = self.members.get("proxies").and_then(Value::as_object);
        let Some(proxies) = all.and_then(|p| p.get(host).or_else(|| p.get("default"))) else {
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for (key, name) in PROXIES {
            if let Some(value) = proxies.get(key).and_then(Value::as_str).filter(|v| !v.is_empty())
            {
                variables.insert(name.to_string(), value.to_string());
                variables.insert(name.to_ascii_lowercase(), value.to_string());
            }
        }
        variables
    }

    fn texts(&self, key: &str) -> BTreeMap<String, String> {
        let members = self.members.get(key).and_then(Value::as_object);
        let pair = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_string()));
        members.into_iter().flatten().filter_map(pair).collect()
    }

    /// # Errors
    /// A member with the wrong type, or credentials that cannot be decoded.
    fn check(&self) -> Result<()> {
        for (key, value) in &self.members {
            let fits = match key.as_str() {
                "auths" | "credHelpers" | "HttpHeaders" | "proxies" => value.is_object(),
                "credsStore" | "psFormat" | "imagesFormat" | "detachKeys" | "currentContext" => {
                    value.is_string()
                }
                _ => true,
            };
            if !fits && !value.is_null() {
                return Err(Error::invalid(format_args!("wrong type in field {key}")));
            }
        }
        self.check_auths()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// `Conflict` if the file on disk was not understood: it may hold what the user still needs.
    fn save(&self) -> Result<()> {
        let path = self.dir.join("config.json");
        if self.broken {
            return Err(Error::conflict(format_args!(
                "{} is not valid and is not overwritten; repair it or move it away",
                path.display()
            )));
        }
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&self.dir).at(format_args!("creating {}", self.dir.display()))?;
        // A link to a file elsewhere stays a link.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(&self.members, &mut writer).map_err(Error::internal)?;
        file::write_atomic(&path, &text, 0o600, Durable::Yes)
    }
}

#[cfg(test)]
mod tests;
