//! Credentials of registries: in the file, or with a program named `docker-credential-NAME`.
//!
//! `credHelpers` names a program for one registry, `credsStore` for all others; without them the
//! file itself keeps `base64(user:password)`. A helper reads the registry's name (or JSON) on standard
//! input and answers JSON on standard output.
//!
//! Spec: docker-credential-helpers README, "Credential Helpers Protocol".

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::ClientConfig;
use crate::base::{At, Error, Result, base64};
use crate::registry::auth::Credentials;

/// User name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";
/// What helpers answer when they know nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

impl ClientConfig {
    /// The credentials for a registry, by its key: `host[:port]`, or
    /// `https://index.docker.io/v1/` for Docker Hub.
    ///
    /// # Errors
    /// `Io` or `InvalidParameter` from a helper program.
    pub fn credentials(&self, key: &str) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(key) {
            return from_helper(helper, key);
        }
        let Some(auths) = self.members.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        let found = match auths.get(key) {
            Some(entry) => Some(entry),
            // Old files have URLs as keys.
            None => auths.iter().find(|(k, _)| hostname(k) == key).map(|(_, entry)| entry),
        };
        found.map(|entry| decode(key, entry)).transpose().map(|c| c.filter(|c| !is_empty(c)))
    }

    /// All credentials of the file and of `credsStore`'s registries that the file names, by key.
    ///
    /// # Errors
    /// As [`ClientConfig::credentials`].
    pub fn all_credentials(&self) -> Result<Vec<(String, Credentials)>> {
        let mut keys: Vec<&String> = Vec::new();
        for part in ["auths", "credHelpers"] {
            let members = self.members.get(part).and_then(Value::as_object);
            keys.extend(members.into_iter().flatten().map(|(key, _)| key));
        }
        keys.sort();
        keys.dedup();
        let mut all = Vec::new();
        for key in keys {
            if let Some(credentials) = self.credentials(key)? {
                all.push((key.clone(), credentials));
            }
        }
        Ok(all)
    }

    /// Keeps credentials for a registry, in the file or with its helper, and saves the file.
    ///
    /// # Errors
    /// `Io`; `Conflict` if the file could not be read before.
    pub fn store_credentials(&mut self, key: &str, credentials: &Credentials) -> Result<()> {
        let entry = match self.helper(key) {
            Some(helper) => {
                let (user, secret) = match credentials.identity_token.as_str() {
                    "" => (credentials.username.as_str(), credentials.password.as_str()),
                    token => (TOKEN_USER, token),
                };
                let request = json!({ "ServerURL": key, "Username": user, "Secret": secret });
                run_helper(helper, "store", &request.to_string())?;
                // Docker leaves an empty entry, which lists the registry.
                json!({})
            }
            None => encode(credentials),
        };
        let auths = self.members.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        auths[key] = entry;
        self.save()
    }

    /// Forgets the credentials for a registry; whether there were any in the file.
    ///
    /// # Errors
    /// As [`ClientConfig::store_credentials`].
    pub fn erase_credentials(&mut self, key: &str) -> Result<bool> {
        if let Some(helper) = self.helper(key) {
            run_helper(helper, "erase", key)?;
        }
        let auths = self.members.get_mut("auths").and_then(Value::as_object_mut);
        let known = auths.is_some_and(|a| a.remove(key).is_some());
        if known {
            self.save()?;
        }
        Ok(known)
    }

    /// Whether credentials of that registry are kept in the file, unencrypted.
    pub fn stores_in_file(&self, key: &str) -> bool {
        self.helper(key).is_none()
    }

    /// Name of the helper for a registry, without `docker-credential-`.
    fn helper(&self, key: &str) -> Option<&str> {
        let own = self.members.get("credHelpers").and_then(|h| h.get(key)).and_then(Value::as_str);
        own.or_else(|| Some(self.text("credsStore"))).filter(|name| !name.is_empty())
    }

    pub(super) fn check_auths(&self) -> Result<()> {
        let auths = self.members.get("auths").and_then(Value::as_object);
        for (key, entry) in auths.into_iter().flatten() {
            decode(key, entry)?;
        }
        Ok(())
    }
}

fn is_empty(c: &Credentials) -> bool {
    c.username.is_empty() && c.identity_token.is_empty() && c.registry_token.is_empty()
}

/// `https://host/v1/` as `host`.
fn hostname(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn decode(key: &str, entry: &Value) -> Result<Credentials> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let mut credentials = Credentials {
        username: text("username"),
        password: text("password"),
        server_address: key.to_string(),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
    };
    let auth = text("auth");
    if !auth.is_empty() {
        let bytes = base64::decode(&auth)
            .ok_or_else(|| Error::invalid(format_args!("illegal base64 data in auth of {key}")))?;
        let pair = String::from_utf8_lossy(&bytes);
        let (user, password) = pair
            .split_once(':')
            .filter(|(user, _)| !user.is_empty())
            .ok_or_else(|| Error::invalid("Invalid auth configuration file"))?;
        credentials.username = user.to_string();
        credentials.password = password.trim_matches('\0').to_string();
    }
    Ok(credentials)
}

fn encode(credentials: &Credentials) -> Value {
    let mut entry = Map::new();
    if !credentials.username.is_empty() {
        let pair = format!("{}:{}", credentials.username, credentials.password);
        entry.insert("auth".into(), base64::encode(pair.as_bytes()).into());
    }
    if !credentials.identity_token.is_empty() {
        entry.insert("identitytoken".into(), credentials.identity_token.clone().into());
    }
    if !credentials.registry_token.is_empty() {
        entry.insert("registrytoken".into(), credentials.registry_token.clone().into());
    }
    Value::Object(entry)
}

fn from_helper(helper: &str, key: &str) -> Result<Option<Credentials>> {
    let Some(answer) = run_helper(helper, "get", key)? else { return Ok(None) };
    let answer: Value = serde_json::from_str(&answer)
        .map_err(Error::invalid)
        .at(format_args!("reading the answer of docker-credential-{helper}"))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut credentials = Credentials { server_address: key.to_string(), ..Credentials::default() };
    if text("Username") == TOKEN_USER {
        credentials.identity_token = text("Secret").to_string();
    } else {
        credentials.username = text("Username").to_string();
        credentials.password = text("Secret").to_string();
    }
    Ok(Some(credentials).filter(|c| !is_empty(c)))
}

/// Longest answer of a helper that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// What the helper prints; `None` if it knows no such credentials. Blocks until it ends.
fn run_helper(helper: &str, action: &str, input: &str) -> Result<Option<String>> {
    let program = format!("docker-credential-{helper}");
    let context = || format!("error getting credentials - running {program}");
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format_args!(
                "exec: \"{program}\": executable file not found in $PATH"
            )),
            _ => e.into(),
        })
        .at(context())?;
    // A helper may end without reading; what it answers counts.
    let mut stdin = child.stdin.take().expect("cannot fail: stdin is piped");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let mut answer = String::new();
    let stdout = child.stdout.take().expect("cannot fail: stdout is piped");
    let read = stdout.take(MAX_ANSWER).read_to_string(&mut answer);
    let status = child.wait().at(context())?;
    read.at(context())?;
    match status.success() {
        true => Ok(Some(answer)),
        false if answer.trim() == NOT_FOUND => Ok(None),
        false => Err(Error::new(
            crate::base::Kind::Io,
            format_args!("{}: {status}, out: `{}`", context(), answer.trim()),
        )),
    }
}
