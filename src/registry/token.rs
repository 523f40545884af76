//! Bearer tokens: how a registry's token server is asked, and for how long its answer is used.
//!
//! Spec: distribution `docs/spec/auth/token.md` and `oauth.md`.

use std::time::{Duration, Instant};

use super::auth::{Challenge, Credentials};
use crate::base::{Error, Result, json};

/// Most bytes of a token server's answer.
pub(super) const ANSWER_MAX: u64 = 1024 * 1024;
/// Tokens that say nothing about it, or too little, are used for so long.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Not used so shortly before its end: the clock of the registry may differ.
const MARGIN: Duration = Duration::from_secs(10);
const CLIENT_ID: &str = "docker";

crate::wire! {
    struct Answer {
        "token" omit token: String,
        "access_token" omit access_token: String,
        "refresh_token" omit refresh_token: String,
        "expires_in" omit expires_in: i64,
    }
}

/// A token and its end.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) value: String,
    pub(super) until: Instant,
    /// A refresh token that stands for the password from now on; empty if there is none.
    pub(super) refresh: String,
}

/// What is to be sent to a token server.
pub(super) struct Request {
    pub(super) url: String,
    /// A form to be posted; `None` asks with GET.
    pub(super) form: Option<String>,
    /// Whether the account's name and password go along.
    pub(super) basic: bool,
}

impl Token {
    /// Reads the answer of a token server.
    ///
    /// # Errors
    /// `Io` if there is no token in it.
    pub(super) fn parse(body: &[u8], now: Instant) -> Result<Token> {
        let answer: Answer = json::parse(body).map_err(|e| {
            Error::new(crate::base::Kind::Io, format_args!("unable to decode token response: {e}"))
        })?;
        let value = if answer.token.is_empty() { answer.access_token } else { answer.token };
        // It goes into a header: nothing that could end the line.
        if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::new(
                crate::base::Kind::Io,
                "authorization server did not include a token in the response",
            ));
        }
        let lifetime = Duration::from_secs(u64::try_from(answer.expires_in).unwrap_or(0));
        let lifetime = lifetime.clamp(LIFETIME_MIN, Duration::from_secs(86_400)) - MARGIN;
        Ok(Token { value, until: now + lifetime, refresh: answer.refresh_token })
    }
}

/// The request that gets a token for `scopes`, as `challenge` demands. With `offline` a refresh token
/// is asked for as well.
///
/// # Errors
/// `Io` if the challenge names no usable server.
pub(super) fn request(
    challenge: &Challenge,
    credentials: &Credentials,
    scopes: &[String],
    offline: bool,
) -> Result<Request> {
    let realm = challenge.get("realm");
    if !realm.starts_with("https://") && !realm.starts_with("http://") {
        return Err(Error::new(
            crate::base::Kind::Io,
            format_args!("no usable realm in the registry's token challenge: {realm:?}"),
        ));
    }
    let service = challenge.get("service");
    let mut fields = Vec::new();
    if !service.is_empty() {
        fields.push(("service", service));
    }
    if !credentials.identity_token.is_empty() {
        let joined = scopes.join(" ");
        fields.push(("scope", &joined));
        fields.push(("client_id", CLIENT_ID));
        fields.push(("grant_type", "refresh_token"));
        fields.push(("refresh_token", &credentials.identity_token));
        return Ok(Request { url: realm.into(), form: Some(encode(&fields)), basic: false });
    }
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    if !credentials.username.is_empty() {
        fields.push(("account", &credentials.username));
        if offline {
            fields.push(("offline_token", "true"));
        }
    }
    fields.push(("client_id", CLIENT_ID));
    let separator = if realm.contains('?') { '&' } else { '?' };
    let url = format!("{realm}{separator}{}", encode(&fields));
    Ok(Request { url, form: None, basic: !credentials.username.is_empty() })
}

/// Fields as a query or a form (`application/x-www-form-urlencoded`).
fn encode(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for b in value.bytes() {
            match b {
                b'a'..=b'z'
                | b'A'..=b'Z'
                | b'0'..=b'9'
                | b'-'
                | b'_'
                | b'.'
                | b'~'
                | b':'
                | b'/'
                | b',' => {
                    out.push(b as char);
                }
                b' ' => out.push('+'),
                b => out.push_str(&format!("%{b:02X}")),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::challenges;

    fn challenge(realm: &str) -> Challenge {
        let header = format!("Bearer realm=\"{realm}\",service=\"reg istry\"");
        challenges([header.as_str()].into_iter()).remove(0)
    }

    #[test]
    fn anonymous_users_name_and_password_and_refresh_tokens_ask_differently() {
        let scopes = ["repository:a/b:pull,push".to_string()];
        let ask = |c: &Credentials| request(&challenge("https://x/t"), c, &scopes, false).unwrap();
        let anonymous = ask(&Credentials::default());
        assert_eq!(
            anonymous.url,
            "https://x/t?service=reg+istry&scope=repository:a/b:pull,push&client_id=docker"
        );
        assert!(!anonymous.basic && anonymous.form.is_none());
        let named = ask(&Credentials::basic("m&e", "secret"));
        assert!(named.basic && named.url.contains("account=m%26e"), "{}", named.url);
        assert!(!named.url.contains("secret"));
        let refresh = ask(&Credentials { identity_token: "r".into(), ..Credentials::default() });
        assert_eq!(refresh.url, "https://x/t");
        assert!(refresh.form.unwrap().ends_with("grant_type=refresh_token&refresh_token=r"));
        let bad = request(&challenge("ftp://x"), &Credentials::default(), &scopes, false);
        assert!(bad.is_err());
    }

    #[test]
    fn both_names_of_the_token_are_known() {
        let now = Instant::now();
        let parse = |text: &str| Token::parse(text.as_bytes(), now);
        assert_eq!(parse(r#"{"token":"a"}"#).unwrap().value, "a");
        let t = parse(r#"{"access_token":"b","expires_in":300}"#).unwrap();
        assert_eq!((t.value.as_str(), t.until - now), ("b", Duration::from_secs(290)));
        assert_eq!(
            parse(r#"{"token":"a","expires_in":1}"#).unwrap().until - now,
            LIFETIME_MIN - MARGIN
        );
        for bad in ["", "{}", r#"{"token":"a\r\nX: y"}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
