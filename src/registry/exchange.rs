//! One request to one place: opening the door, proving who asks, following redirects, trying again.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::auth::{Challenge, Credentials};
use super::client::Client;
use super::failure::{Failure, Refusal, transport_error};
use super::token::{self, Token};
use super::{tls, transport};
use crate::base::cancel::Guard;
use crate::base::{Error, Kind, Result};

pub(super) const REDIRECTS_MAX: usize = 10;
/// A small answer must be complete after so long, however steadily it drips.
const SMALL_LIMIT: Duration = Duration::from_secs(120);

/// An open door to a place.
pub(super) struct Link {
    agent: Agent,
    addresses: transport::Addresses,
    pub(super) challenges: Vec<Challenge>,
    tokens: Mutex<BTreeMap<String, Token>>,
    /// Shuts the connections down when the work is cancelled.
    _guard: Guard,
}

/// One request, before anything is known of where it will end up.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(header::HeaderName, String)>,
    /// What a token must allow; empty for none.
    pub(super) scope: &'a str,
    /// Whether the answer is a small one, which has to be complete soon.
    pub(super) small: bool,
}

impl Client {
    /// Finds out whether a place speaks the protocol and what it demands; once.
    pub(super) fn open(&self, index: usize) -> std::result::Result<Arc<Link>, Failure> {
        let spot = &self.places[index];
        let mut slot = spot.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = &*slot {
            return Ok(link.clone());
        }
        let directory = self.settings.certs_dir.join(&spot.place.authority);
        let addresses = transport::Addresses::default();
        let agent = transport::agent(
            tls::client_config(&directory, spot.place.verify)?,
            self.settings.resolver.clone(),
            addresses.clone(),
            self.settings.stall,
            &self.settings.user_agent,
        );
        let stopped = agent.clone();
        let guard = self.cancel.on_cancel(move || stopped.shutdown());
        let mut link = Link {
            agent,
            addresses,
            challenges: Vec::new(),
            tokens: Mutex::default(),
            _guard: guard,
        };
        let call = Call {
            method: Method::GET,
            url: format!("{}/v2/", spot.place.base()),
            headers: Vec::new(),
            scope: "",
            small: true,
        };
        match self.exchange(index, &link, &call, None) {
            Ok(_) => {}
            Err(Failure::Refused(refusal)) if refusal.status == 401 => {
                link.challenges = refusal.challenges;
            }
            // Some registries guard only the repositories, or hide the door itself.
            Err(Failure::Refused(refusal)) if matches!(refusal.status, 403 | 404) => {}
            Err(failure) => return Err(failure),
        }
        let link = Arc::new(link);
        *slot = Some(link.clone());
        Ok(link)
    }

    /// [`Client::send`], tried again with growing pauses while the failure may pass.
    pub(super) fn send_patiently(
        &self,
        index: usize,
        link: &Link,
        call: &Call<'_>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let mut attempt = 1;
        loop {
            match self.send(index, link, call) {
                Err(failure) if failure.is_temporary() && attempt < self.settings.max_attempts => {
                    self.pause(attempt, &failure)?;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Waits before attempt number `attempt` + 1.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(super) fn pause(&self, attempt: u32, failure: &Failure) -> Result<()> {
        let growing = self.settings.pause.saturating_mul(1 << (attempt - 1).min(5));
        if self.cancel.wait(failure.retry_after().unwrap_or(growing)) {
            return Err(Error::cancelled());
        }
        Ok(())
    }

    /// Sends with the authorization that the place demands. A refusal for lack of it is answered with
    /// a fresh token once.
    pub(super) fn send(
        &self,
        index: usize,
        link: &Link,
        call: &Call<'_>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let authorization = self.authorization(index, link, &link.challenges, call)?;
        let outcome = self.exchange(index, link, call, authorization.as_deref());
        let Err(Failure::Refused(refusal)) = &outcome else { return outcome };
        let usable = |c: &&Challenge| matches!(c.scheme.as_str(), "basic" | "bearer");
        if refusal.status != 401 || !refusal.challenges.iter().any(|c| usable(&c)) {
            return outcome;
        }
        let stale = refusal.challenges.iter().any(|c| c.get("error") == "invalid_token");
        if authorization.is_some() && !stale {
            return outcome;
        }
        link.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(call.scope);
        match self.authorization(index, link, &refusal.challenges, call)? {
            Some(fresh) => self.exchange(index, link, call, Some(&fresh)),
            None => outcome,
        }
    }

    /// The `Authorization` header for a call, if the place wants one.
    fn authorization(
        &self,
        index: usize,
        link: &Link,
        challenges: &[Challenge],
        call: &Call<'_>,
    ) -> std::result::Result<Option<String>, Failure> {
        let anonymous = Credentials::default();
        let mirror = self.places[index].place.mirror;
        let credentials = if mirror { &anonymous } else { &self.credentials };
        if !credentials.registry_token.is_empty() {
            return Ok(Some(format!("Bearer {}", credentials.registry_token)));
        }
        let offers = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        if let Some(challenge) = offers("bearer") {
            // Held while the token is fetched: the others that need the same one wait for it.
            let mut tokens = link.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = tokens.get(call.scope)
                && token.until > Instant::now()
            {
                return Ok(Some(format!("Bearer {}", token.value)));
            }
            let scopes: Vec<String> =
                if call.scope.is_empty() { Vec::new() } else { vec![call.scope.to_string()] };
            let token = self.fetch_token(index, link, challenge, credentials, &scopes, false)?;
            let header = format!("Bearer {}", token.value);
            tokens.insert(call.scope.to_string(), token);
            return Ok(Some(header));
        }
        if offers("basic").is_some() {
            if credentials.username.is_empty() {
                let name = title(&call.method);
                return Err(Failure::Fatal(Error::new(
                    Kind::Io,
                    format_args!("{name} \"{}\": no basic auth credentials", call.url),
                )));
            }
            return Ok(Some(credentials.basic_header()));
        }
        Ok(None)
    }

    pub(super) fn fetch_token(
        &self,
        index: usize,
        link: &Link,
        challenge: &Challenge,
        credentials: &Credentials,
        scopes: &[String],
        offline: bool,
    ) -> std::result::Result<Token, Failure> {
        let request = token::request(challenge, credentials, scopes, offline)?;
        let secret = request.basic || request.form.is_some();
        if secret && self.places[index].place.scheme == "https" && request.url.starts_with("http:")
        {
            return Err(Failure::Fatal(Error::new(
                Kind::Io,
                format_args!(
                    "registry {} sends its users to a token server without TLS; credentials are \
                     not sent there",
                    self.domain
                ),
            )));
        }
        let mut call = Call {
            method: if request.form.is_some() { Method::POST } else { Method::GET },
            url: request.url,
            headers: Vec::new(),
            scope: "",
            small: true,
        };
        if request.form.is_some() {
            let kind = "application/x-www-form-urlencoded".to_string();
            call.headers.push((header::CONTENT_TYPE, kind));
        }
        let basic = request.basic.then(|| credentials.basic_header());
        let form = request.form.unwrap_or_default();
        let response = self.exchange_with(index, link, &call, basic.as_deref(), form.as_bytes())?;
        let body = read_all(response.into_body(), token::ANSWER_MAX, "the token")?;
        Ok(Token::parse(&body, Instant::now())?)
    }

    /// One request and the redirects that follow it, without a body.
    pub(super) fn exchange(
        &self,
        index: usize,
        link: &Link,
        call: &Call<'_>,
        authorization: Option<&str>,
    ) -> std::result::Result<Response<Body>, Failure> {
        self.exchange_with(index, link, call, authorization, &[])
    }

    fn exchange_with(
        &self,
        index: usize,
        link: &Link,
        call: &Call<'_>,
        authorization: Option<&str>,
        body: &[u8],
    ) -> std::result::Result<Response<Body>, Failure> {
        let bad = |url: &str| {
            Failure::Fatal(Error::new(
                Kind::Io,
                format_args!("the registry named the URL {url:?}, which cannot be used"),
            ))
        };
        let first: Uri = call.url.parse().map_err(|_| bad(&call.url))?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let host = url.host().filter(|h| !h.is_empty()).ok_or_else(|| bad(&url.to_string()))?;
            let scheme = url.scheme_str().unwrap_or_default();
            if !matches!(scheme, "http" | "https") {
                return Err(bad(&url.to_string()));
            }
            let mut request = ureq::http::Request::builder().method(&call.method).uri(&url);
            for (name, value) in &call.headers {
                request = request.header(name, value);
            }
            let port = transport::port(&url);
            let at_home = (scheme, host, port)
                == (
                    first.scheme_str().unwrap_or_default(),
                    first.host().unwrap_or_default(),
                    transport::port(&first),
                );
            if let Some(authorization) = authorization.filter(|_| at_home) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let proxy = self.settings.proxies.for_host(scheme, host, port).map(Proxy::new);
            let proxy = proxy.transpose().map_err(|_| {
                Failure::Fatal(Error::invalid("the URL of the HTTP proxy cannot be used"))
            })?;
            let failed = |error: ureq::Error| {
                if self.cancel.is_cancelled() {
                    return Failure::Fatal(Error::cancelled());
                }
                let known = link.addresses.lock().unwrap_or_else(PoisonError::into_inner);
                let address = known.get(&format!("{host}:{port}")).copied();
                let name = self.places[index].place.authority.as_str();
                let text = url.to_string();
                // What a redirect leads to may be signed: its query is a secret.
                let shown =
                    if at_home { &text } else { text.split('?').next().unwrap_or_default() };
                Failure::Transport(transport_error(
                    error,
                    call.method.as_str(),
                    shown,
                    address,
                    name,
                ))
            };
            let limit = call.small.then_some(SMALL_LIMIT);
            let outcome = if call.method == Method::POST {
                let request = request.body(body).map_err(|e| failed(e.into()))?;
                let request = link
                    .agent
                    .configure_request(request)
                    .proxy(proxy)
                    .timeout_per_call(limit)
                    .build();
                link.agent.run(request)
            } else {
                let request = request.body(()).map_err(|e| failed(e.into()))?;
                let request = link
                    .agent
                    .configure_request(request)
                    .proxy(proxy)
                    .timeout_per_call(limit)
                    .build();
                link.agent.run(request)
            };
            let response = outcome.map_err(failed)?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if !is_redirect(status) || call.method == Method::POST {
                return Err(Failure::Refused(Refusal::read(response)));
            }
            let location = header_text(response.headers(), &header::LOCATION).to_string();
            url = follow(&url, &location).ok_or_else(|| bad(&location))?;
        }
        Err(Failure::Fatal(Error::new(
            Kind::Io,
            format_args!(
                "{} \"{}\": stopped after {REDIRECTS_MAX} redirects",
                title(&call.method),
                call.url
            ),
        )))
    }
}

/// The name of a method as Go's HTTP client writes it in errors.
fn title(method: &Method) -> &'static str {
    match *method {
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::HEAD => "Head",
        _ => "Get",
    }
}

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// The URL that `location` means, seen from `from`.
pub(super) fn follow(from: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty() {
        return None;
    }
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let path = if location.starts_with('/') {
        location.to_string()
    } else {
        let directory = from.path().rsplit_once('/').map_or("", |(d, _)| d);
        format!("{directory}/{location}")
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

/// The whole body, if it is no longer than `limit`.
pub(super) fn read_all(
    body: Body,
    limit: u64,
    what: &str,
) -> std::result::Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = body.into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| {
        Failure::Transport(Error::new(Kind::Io, format_args!("reading {what}: {e}")))
    })?;
    if bytes.len() as u64 > limit {
        return Err(Failure::Fatal(Error::new(
            Kind::Io,
            format_args!("{what} is longer than {limit} bytes"),
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_were_given() {
        let from: Uri = "https://reg:5000/v2/a/blobs/x?q".parse().unwrap();
        for (location, url) in [
            ("http://cdn/x?sig=1#frag", "http://cdn/x?sig=1"),
            ("/y?z", "https://reg:5000/y?z"),
            ("y", "https://reg:5000/v2/a/blobs/y"),
            ("//cdn/x", "https://cdn/x"),
        ] {
            assert_eq!(follow(&from, location).unwrap().to_string(), url);
        }
        assert!(follow(&from, "").is_none());
    }
}
