//! Which daemon to talk to, and how: flags, environment, context.
//!
//! First of: `--context`, `-H`, `DOCKER_HOST`, `DOCKER_CONTEXT`, `currentContext` of the file, the
//! default socket. A context is a directory `contexts/meta/<sha256 of its name>` with `meta.json`, and
//! its certificates in `contexts/tls/<same>/docker`.
//!
//! Spec: Docker CLI "Environment variables", "docker context"; rows S037, S039, S046-S051.

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ClientConfig;
use crate::base::digest::Digest;
use crate::base::{At, Error, Result, file};
use crate::config::paths;
use crate::http::address::{Address, Side};

/// What the client's global flags say about the daemon.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `-H`, as often as it was given.
    pub hosts: Vec<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `--tls`.
    pub tls: Option<bool>,
    /// `--tlsverify`.
    pub tls_verify: Option<bool>,
    /// `--tlscacert`.
    pub tls_ca: Option<String>,
    /// `--tlscert`.
    pub tls_cert: Option<String>,
    /// `--tlskey`.
    pub tls_key: Option<String>,
}

/// The daemon to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub host: Address,
    /// How to speak TLS on tcp; `None` is plain.
    pub tls: Option<TlsFiles>,
    /// Name of the context, `default` without one.
    pub context: String,
    /// The API version that `DOCKER_API_VERSION` pins, without `v`.
    pub api_version: Option<String>,
}

/// The files of TLS, and whether the server is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities; none is the host's own set.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether the server's certificate must be valid for the host.
    pub verify: bool,
}

/// Finds the daemon.
///
/// # Errors
/// `InvalidParameter` or `NotFound` with the whole of Docker's text, to be printed as it is.
pub fn endpoint(flags: &Connection, config: &ClientConfig) -> Result<Endpoint> {
    let variable = |name: &str| env::var(name).ok().filter(|v| !v.is_empty());
    resolve(flags, config, &variable)
}

/// [`endpoint`] with the environment as an argument.
pub(super) fn resolve(
    flags: &Connection,
    config: &ClientConfig,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Endpoint> {
    if flags.context.is_some() && !flags.hosts.is_empty() {
        return Err(Error::invalid(
            "conflicting options: cannot specify both --host and --context",
        ));
    }
    let initializing = "Failed to initialize: unable to resolve docker endpoint";
    let host = || variable("DOCKER_HOST");
    let current = || Some(config.text("currentContext").to_string()).filter(|c| !c.is_empty());
    let context = match &flags.context {
        Some(name) => name.clone(),
        None if !flags.hosts.is_empty() || host().is_some() => "default".into(),
        None => variable("DOCKER_CONTEXT").or_else(current).unwrap_or_else(|| "default".into()),
    };
    let version = variable("DOCKER_API_VERSION");
    let api_version = version.map(|v| v.trim_start_matches('v').to_string());
    if context != "default" {
        let (host, tls) = read_context(config.dir(), &context).at(initializing)?;
        return Ok(Endpoint { host, tls, context, api_version });
    }
    if flags.hosts.len() > 1 {
        return Err(Error::invalid("Specify only one -H").at(initializing));
    }
    let verify = flags.tls_verify.unwrap_or(variable("DOCKER_TLS_VERIFY").is_some());
    let tls = verify
        // As in Docker, `--tlsverify=false` asks for TLS too.
        || flags.tls_verify.is_some()
        || flags.tls.unwrap_or(variable("DOCKER_TLS").is_some());
    let text = flags.hosts.first().cloned().or_else(host).unwrap_or_default();
    let host = Address::parse(&text, Side::Connect, tls).at(initializing)?;
    let files = tls.then(|| {
        let dir = match variable("DOCKER_CERT_PATH") {
            Some(dir) => PathBuf::from(dir),
            None => config.dir().to_path_buf(),
        };
        let [ca, cert, key] = paths::tls_files(&dir);
        // A default file counts if it exists; the authorities also if they must.
        let choose = |flag: &Option<String>, default: PathBuf, needed: bool| match flag {
            Some(path) => Some(PathBuf::from(path)),
            None => (needed || default.exists()).then_some(default),
        };
        TlsFiles {
            ca: choose(&flags.tls_ca, ca, verify),
            cert: choose(&flags.tls_cert, cert, false),
            key: choose(&flags.tls_key, key, false),
            verify,
        }
    });
    Ok(Endpoint { host, tls: files, context, api_version })
}

/// Host and TLS of a stored context.
fn read_context(dir: &Path, name: &str) -> Result<(Address, Option<TlsFiles>)> {
    let id = Digest::of(name.as_bytes());
    let contexts = dir.join("contexts");
    let path = contexts.join("meta").join(id.hex()).join("meta.json");
    let bytes = file::read_optional(&path)?.ok_or_else(|| {
        Error::not_found(format_args!(
            "context {name:?}: context not found: open {}: no such file or directory",
            path.display()
        ))
    })?;
    let meta: Value = serde_json::from_slice(&bytes)
        .map_err(Error::invalid)
        .at(format_args!("reading {}", path.display()))?;
    let endpoint = &meta["Endpoints"]["docker"];
    let host = endpoint["Host"].as_str().unwrap_or_default();
    let skip = endpoint["SkipTLSVerify"].as_bool().unwrap_or(false);
    let files = paths::tls_files(&contexts.join("tls").join(id.hex()).join("docker"))
        .map(|path| path.exists().then_some(path));
    let tls = skip || files.iter().any(Option::is_some);
    let host = Address::parse(host, Side::Connect, tls).at(format_args!("context {name:?}"))?;
    let [ca, cert, key] = files;
    Ok((host, tls.then_some(TlsFiles { ca, cert, key, verify: !skip })))
}
