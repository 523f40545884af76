//! What can go wrong between us and a registry, and Docker's words for it.
//!
//! Spec: distribution `errcode` package; OCI distribution-spec, section "Error Codes".

use std::io::Read;
use std::time::Duration;

use ureq::http::{Response, StatusCode};

use super::auth::{self, Challenge};
use super::reference::Reference;
use crate::base::{Error, Kind, json};

/// Most bytes that are read of the body of a refusal.
const BODY_MAX: u64 = 64 * 1024;
/// A server that asks for a longer pause is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

crate::wire! {
    struct Body {
        "errors" omit errors: Vec<Item>,
        "details" omit details: String,
    }
}

crate::wire! {
    struct Item {
        "code" omit code: String,
        "message" omit message: String,
    }
}

/// A request that did not bring what it was for.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// There was no answer, or none that could be read to its end.
    Transport(Error),
    /// The registry refused.
    Refused(Refusal),
    /// It makes no sense to try again or elsewhere.
    Fatal(Error),
}

/// A refusal as the registry explained it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// In lower case with blanks: `manifest unknown`; empty if the registry gave none.
    code: String,
    message: String,
    pub(super) challenges: Vec<Challenge>,
    pub(super) retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Fatal(error)
    }
}

impl Failure {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Failure::Transport(_) => true,
            Failure::Refused(r) => {
                matches!(r.status, 408 | 425 | 429) || (r.status >= 500 && r.status != 501)
            }
            Failure::Fatal(_) => false,
        }
    }

    /// How long the server asks us to wait before the next attempt.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Refused(r) => r.retry_after,
            _ => None,
        }
    }

    /// The error for users, in the words that Docker has for a pull of `reference`.
    pub(super) fn into_error(self, reference: &Reference) -> Error {
        let refusal = match self {
            Failure::Transport(e) | Failure::Fatal(e) => return e,
            Failure::Refused(refusal) => refusal,
        };
        let text = refusal.text();
        match refusal.code.as_str() {
            "denied" => Error::not_found(format_args!(
                "pull access denied for {}, repository does not exist or may require \
                 'docker login': {text}",
                reference.familiar_name()
            )),
            "manifest unknown" => Error::not_found(format_args!(
                "manifest for {} not found: {text}",
                reference.familiar()
            )),
            "name unknown" => Error::not_found(format_args!(
                "repository {} not found: {text}",
                reference.familiar_name()
            )),
            _ => Error::new(Kind::Io, text),
        }
    }

    /// The error for users where no image is concerned.
    pub(super) fn into_plain_error(self) -> Error {
        match self {
            Failure::Transport(e) | Failure::Fatal(e) => e,
            Failure::Refused(refusal) => Error::new(Kind::Io, refusal.text()),
        }
    }
}

impl Refusal {
    /// Reads the rest of an answer whose status says no.
    pub(super) fn read(response: Response<ureq::Body>) -> Refusal {
        let status = response.status();
        let header =
            |name: &str| response.headers().get_all(name).iter().filter_map(|v| v.to_str().ok());
        let challenges = auth::challenges(header("www-authenticate"));
        let retry_after = header("retry-after")
            .next()
            .and_then(|v| v.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let mut body = Vec::new();
        // A body that breaks off explains as much as was received of it.
        let _ = response.into_body().into_reader().take(BODY_MAX).read_to_end(&mut body);
        let (code, message) = explain(status, &challenges, &body);
        Refusal { status: status.as_u16(), code, message, challenges, retry_after }
    }

    /// `code: message`, or what there is of it.
    pub(super) fn text(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => message.to_string(),
            (code, message) => format!("{code}: {message}"),
        }
    }
}

/// Code and message of a refusal, from the challenge if that is about a token, else from the body.
fn explain(status: StatusCode, challenges: &[Challenge], body: &[u8]) -> (String, String) {
    let denied = "requested access to the resource is denied";
    for challenge in challenges.iter().filter(|c| c.scheme == "bearer") {
        let (code, standard) = match challenge.get("error") {
            "invalid_token" => ("unauthorized", "authentication required"),
            "insufficient_scope" => ("denied", denied),
            _ => continue,
        };
        let description = challenge.get("error_description");
        let message = if description.is_empty() { standard } else { description };
        return (code.into(), message.into());
    }
    if !status.is_client_error() {
        return (String::new(), format!("received unexpected HTTP status: {status}"));
    }
    let parsed = json::parse::<Body>(body);
    if let Ok(Body { errors, details }) = &parsed {
        if let Some(first) = errors.first() {
            let code = first.code.to_ascii_lowercase().replace('_', " ");
            let message = if first.message.is_empty() { &code } else { &first.message };
            return (code.clone(), printable(message));
        }
        if !details.is_empty() {
            let code = match status.as_u16() {
                401 => "unauthorized",
                403 => "denied",
                429 => "toomanyrequests",
                _ => "unknown",
            };
            return (code.into(), printable(details));
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        return ("unauthorized".into(), "authentication required".into());
    }
    let text = printable(&String::from_utf8_lossy(body));
    match parsed {
        Ok(_) => (
            String::new(),
            format!(
                "error parsing HTTP {} response body: no error details found in HTTP response \
                 body: {text:?}",
                status.as_u16()
            ),
        ),
        Err(e) => (
            String::new(),
            format!("error parsing HTTP {} response body: {e}: {text:?}", status.as_u16()),
        ),
    }
}

/// What a stranger wrote, fit for one line of a terminal.
fn printable(text: &str) -> String {
    const LENGTH_MAX: usize = 512;
    let mut out: String = text
        .trim_end()
        .chars()
        .take(LENGTH_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > LENGTH_MAX {
        out.push_str("...");
    }
    out
}

/// The error of a request that had no answer, in the words of Go's HTTP client. `address` is where
/// the host name led, `registry` the name to give to `--insecure-registry`.
pub(super) fn transport_error(
    error: ureq::Error,
    method: &str,
    url: &str,
    address: Option<std::net::SocketAddr>,
    registry: &str,
) -> Error {
    use rustls::{CertificateError as C, Error as R};
    let name = format!("{}{}", &method[..1], method[1..].to_ascii_lowercase());
    let hint =
        format!("; to trust it all the same, start the daemon with --insecure-registry {registry}");
    let dial = address.map(|a| format!("dial tcp {a}: ")).unwrap_or_default();
    let rustls = |e: &R| match e {
        R::InvalidMessage(_) => format!(
            "http: server gave HTTP response to HTTPS client; to use it without TLS, start the \
             daemon with --insecure-registry {registry}"
        ),
        R::InvalidCertificate(c) => {
            let why = match c {
                // An authority of the same name with another key signs badly.
                C::UnknownIssuer | C::BadSignature => {
                    "certificate signed by unknown authority".to_string()
                }
                C::Expired
                | C::NotValidYet
                | C::ExpiredContext { .. }
                | C::NotValidYetContext { .. } => {
                    "certificate has expired or is not yet valid".to_string()
                }
                other => other.to_string(),
            };
            format!("tls: failed to verify certificate: x509: {why}{hint}")
        }
        R::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    };
    let cause = match &error {
        ureq::Error::Rustls(e) => rustls(e),
        ureq::Error::Io(e) => {
            let inner = e.get_ref();
            if let Some(tls) = inner.and_then(|i| i.downcast_ref::<R>()) {
                rustls(tls)
            } else if let Some(ours) = inner.and_then(|i| i.downcast_ref::<Error>()) {
                format!("dial tcp: {ours}")
            } else {
                use std::io::ErrorKind as K;
                match e.kind() {
                    K::ConnectionRefused | K::HostUnreachable | K::NetworkUnreachable => {
                        let text = e
                            .raw_os_error()
                            .map(Error::from_errno)
                            .map_or_else(|| e.to_string(), |e| e.to_string());
                        format!("{dial}connect: {text}")
                    }
                    K::UnexpectedEof => "unexpected EOF".to_string(),
                    _ => e
                        .raw_os_error()
                        .map_or_else(|| e.to_string(), |n| Error::from_errno(n).to_string()),
                }
            }
        }
        ureq::Error::ConnectionFailed => format!("{dial}connect: connection refused"),
        ureq::Error::HostNotFound => "dial tcp: no such host".to_string(),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            format!("{dial}i/o timeout")
        }
        ureq::Error::Timeout(_) => "the registry did not answer in time: i/o timeout".to_string(),
        other => other.to_string(),
    };
    Error::new(Kind::Io, format_args!("{name} \"{url}\": {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, challenge: &str, body: &str) -> Failure {
        let challenges = auth::challenges([challenge].into_iter());
        let status = StatusCode::from_u16(status).unwrap();
        let (code, message) = explain(status, &challenges, body.as_bytes());
        Failure::Refused(Refusal {
            status: status.as_u16(),
            code,
            message,
            challenges,
            retry_after: None,
        })
    }

    #[test]
    fn refusals_have_dockers_words() {
        let image = Reference::parse("debian:nosuch").unwrap();
        let manifest = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let denied = "pull access denied for debian, repository does not exist or may require \
                      'docker login': denied: requested access to the resource is denied";
        for (failure, text) in [
            (
                refusal(404, "", manifest),
                "manifest for debian:nosuch not found: manifest unknown: manifest unknown",
            ),
            (refusal(401, r#"Bearer realm="x",error="insufficient_scope""#, "{}"), denied),
            (
                refusal(
                    403,
                    "",
                    r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                ),
                denied,
            ),
            (
                refusal(
                    404,
                    "",
                    r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#,
                ),
                "repository debian not found: name unknown: repository name not known to registry",
            ),
            (refusal(401, "", ""), "unauthorized: authentication required"),
            (
                refusal(401, "", r#"{"details":"incorrect username or password"}"#),
                "unauthorized: incorrect username or password",
            ),
            (
                refusal(500, "", "boom"),
                "received unexpected HTTP status: 500 Internal Server Error",
            ),
            (
                refusal(404, "", "{}"),
                "error parsing HTTP 404 response body: no error details found in HTTP response \
                 body: \"{}\"",
            ),
        ] {
            assert_eq!(failure.into_error(&image).to_string(), text);
        }
        let e = refusal(404, "", "<html>\x1b[31m").into_error(&image).to_string();
        assert!(e.starts_with("error parsing HTTP 404 response body: invalid JSON"), "{e}");
        assert!(!e.contains('\x1b'), "{e}");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, temporary) in [
            (429, true),
            (500, true),
            (502, true),
            (503, true),
            (404, false),
            (401, false),
            (501, false),
        ] {
            assert_eq!(refusal(status, "", "").is_temporary(), temporary, "{status}");
        }
    }
}
