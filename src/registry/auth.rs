//! Who asks: credentials as clients send them, and the challenges with which registries ask for them.
//!
//! Secrets are never printed: `Debug` shows only that there are some.
//!
//! Spec: Engine API, section "Authentication" (`X-Registry-Auth`); RFC 9110 section 11.6.1.

use std::fmt;

use crate::base::{Error, Result, base64, json};

crate::wire! {
    struct WireCredentials {
        "username" omit username: String,
        "password" omit password: String,
        "auth" omit auth: String,
        "email" omit email: String,
        "serveraddress" omit server_address: String,
        "identitytoken" omit identity_token: String,
        "registrytoken" omit registry_token: String,
    }
}

/// What a user may prove to a registry; all empty is an anonymous user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the account.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The registry that they are for.
    pub server_address: String,
    /// A refresh token, used in place of name and password.
    pub identity_token: String,
    /// A bearer token to be sent as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_anonymous() { "Credentials(none)" } else { "Credentials(...)" })
    }
}

impl Credentials {
    /// A name and a password.
    pub fn basic(username: &str, password: &str) -> Credentials {
        Credentials {
            username: username.into(),
            password: password.into(),
            ..Credentials::default()
        }
    }

    /// Whether there is nothing to prove.
    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    /// Reads the header `X-Registry-Auth`: base64 of a JSON object. An empty header is anonymous.
    ///
    /// # Errors
    /// `InvalidParameter` if it is neither; the text does not quote it.
    pub fn from_header(header: &str) -> Result<Credentials> {
        let bad = |why: &str| Error::invalid(format_args!("invalid X-Registry-Auth header: {why}"));
        if header.is_empty() {
            return Ok(Credentials::default());
        }
        let bytes = base64::decode(header)
            .ok_or_else(|| bad("must be a valid base64url-encoded string"))?;
        Credentials::from_json(&bytes).map_err(|_| bad("must be a valid JSON object"))
    }

    /// Reads the JSON object that is in the header, in the body of `POST /auth` and in config files.
    ///
    /// # Errors
    /// `InvalidParameter` if it is none.
    pub fn from_json(bytes: &[u8]) -> Result<Credentials> {
        let wire: WireCredentials = json::parse(bytes)?;
        let mut credentials = Credentials {
            username: wire.username,
            password: wire.password,
            server_address: wire.server_address,
            identity_token: wire.identity_token,
            registry_token: wire.registry_token,
        };
        if credentials.username.is_empty()
            && let Some((name, password)) = decode_auth(&wire.auth)
        {
            (credentials.username, credentials.password) = (name, password);
        }
        Ok(credentials)
    }

    /// The header `X-Registry-Auth` for these credentials.
    pub fn to_header(&self) -> String {
        let wire = WireCredentials {
            username: self.username.clone(),
            password: self.password.clone(),
            server_address: self.server_address.clone(),
            identity_token: self.identity_token.clone(),
            registry_token: self.registry_token.clone(),
            ..WireCredentials::default()
        };
        base64::encode_url(json::to_string_plain(&wire).as_bytes())
    }

    /// The value of an `Authorization` header of scheme `Basic`.
    pub(super) fn basic_header(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password);
        format!("Basic {}", base64::encode(pair.as_bytes()))
    }
}

/// Takes the `auth` member of a config file apart: base64 of `name:password`.
pub fn decode_auth(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(base64::decode(auth)?).ok()?;
    let (name, password) = text.split_once(':')?;
    // Old clients padded the pair with zero bytes.
    Some((name.to_string(), password.trim_end_matches('\0').to_string()))
}

/// One scheme that a server offers in `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// `basic`, `bearer`, in lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The parameter `name`, which is in lower case; empty if it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }
}

/// Reads the values of `WWW-Authenticate`. What is malformed is left out.
pub(super) fn challenges<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    headers.filter_map(parse_challenge).collect()
}

fn parse_challenge(header: &str) -> Option<Challenge> {
    let header = header.trim();
    let (scheme, mut rest) = header.split_once(' ').unwrap_or((header, ""));
    let mut challenge = Challenge { scheme: scheme.to_ascii_lowercase(), parameters: Vec::new() };
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let Some((key, after)) = rest.split_once('=') else { break };
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find([',', ' ']).unwrap_or(after.len());
                (after[..end].to_string(), &after[end..])
            }
        };
        challenge.parameters.push((key.trim().to_ascii_lowercase(), value));
        rest = after;
    }
    (!challenge.scheme.is_empty()).then_some(challenge)
}

/// The text up to the closing quote, with escapes taken away, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut out, mut escaped) = (String::new(), false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => {
                out.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((out, &text[i + 1..])),
            _ => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips_and_hides_in_debug() {
        let c = Credentials::basic("user", "p:ä<>");
        assert_eq!(Credentials::from_header(&c.to_header()).unwrap(), c);
        assert!(!format!("{c:?}").contains("user"));
        assert!(Credentials::from_header("").unwrap().is_anonymous());
        // What the CLI sends for an anonymous user.
        assert!(Credentials::from_header("e30=").unwrap().is_anonymous());
        for bad in ["!", "Zm9v"] {
            let e = Credentials::from_header(bad).unwrap_err().to_string();
            assert!(e.starts_with("invalid X-Registry-Auth header: must be"), "{e}");
        }
    }

    #[test]
    fn the_pair_of_a_config_file_is_taken_apart() {
        let json = format!(r#"{{"auth":"{}"}}"#, base64::encode(b"me:a:b"));
        assert_eq!(
            Credentials::from_json(json.as_bytes()).unwrap(),
            Credentials::basic("me", "a:b")
        );
    }

    #[test]
    fn challenges_are_read() {
        let bearer = r#"Bearer realm="https://auth.x/token",service="registry.x",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        let list = challenges([bearer, "Basic realm=\"a \\\"b\\\"\"", "basic", ""].into_iter());
        assert_eq!(list.len(), 3);
        assert_eq!(list[0].scheme, "bearer");
        assert_eq!(list[0].get("realm"), "https://auth.x/token");
        assert_eq!(list[0].get("scope"), "repository:a/b:pull,push");
        assert_eq!(list[0].get("error"), "insufficient_scope");
        assert_eq!(list[1].get("realm"), "a \"b\"");
        assert_eq!(list[2].get("realm"), "");
        assert!(challenges(["Bearer realm=\"unclosed"].into_iter()).is_empty());
    }
}
