//! Requests to one registry: where they go, who they come from, and how often they are tried.
//!
//! A [`Client`] belongs to one piece of work (a pull, a login). It knows the places that may serve the
//! registry's repositories (mirrors first, https before http) and settles on the first that answers.
//! Cancelling the work shuts all its connections down, so that no call blocks any longer.
//!
//! Credentials go to the registry itself and to the token server that it names, never to mirrors, and
//! never to another host that a redirect leads to.
//!
//! Spec: OCI distribution-spec 1.1, sections "Pulling manifests", "Pulling blobs".

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, Proxy};

use super::auth::{Challenge, Credentials};
use super::failure::{Failure, Refusal, transport_error};
use super::manifest::{self, Raw};
use super::reference::Reference;
use super::settings::{Place, Settings};
use super::token::{self, Token};
use super::{tls, transport};
use crate::base::cancel::{Cancel, Guard};
use crate::base::digest::Digest;
use crate::base::{Error, Kind, Result};

/// Most bytes of a manifest, as in Docker and containerd.
pub const MANIFEST_MAX: u64 = 4 * 1024 * 1024;
const REDIRECTS_MAX: usize = 10;
/// A small answer must be complete after so long, however steadily it drips.
const SMALL_LIMIT: Duration = Duration::from_secs(120);

/// A conversation with one registry.
pub struct Client {
    pub(super) settings: Settings,
    domain: String,
    credentials: Credentials,
    pub(super) cancel: Cancel,
    places: Vec<Spot>,
    /// The place that served the last manifest; blobs are asked for there first.
    active: Mutex<usize>,
}

/// A place, and what was learned about it.
struct Spot {
    place: Place,
    link: Mutex<Option<Arc<Link>>>,
}

/// An open door to a place.
struct Link {
    agent: Agent,
    addresses: transport::Addresses,
    challenges: Vec<Challenge>,
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
    /// A client of the registry `domain`. Nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidParameter` for settings that cannot be used.
    pub fn new(
        settings: &Settings,
        domain: &str,
        credentials: &Credentials,
        cancel: &Cancel,
    ) -> Result<Client> {
        let places = settings.places(domain)?;
        Ok(Client {
            settings: settings.clone(),
            domain: domain.to_string(),
            credentials: credentials.clone(),
            cancel: cancel.clone(),
            places: places
                .into_iter()
                .map(|place| Spot { place, link: Mutex::new(None) })
                .collect(),
            active: Mutex::new(0),
        })
    }

    /// Fetches the manifest that `reference` names: by its digest if it has one, else by its tag.
    /// The bytes are checked against the digest.
    ///
    /// # Errors
    /// `NotFound` for what the registry does not have or does not show, `Io` for everything between us
    /// and it, in Docker's words.
    pub fn manifest(&self, reference: &Reference) -> Result<Raw> {
        let mut last = None;
        for index in 0..self.places.len() {
            match self.manifest_at(index, reference) {
                Ok(raw) => {
                    *self.active.lock().unwrap_or_else(PoisonError::into_inner) = index;
                    return Ok(raw);
                }
                Err(failure) => {
                    self.cancel.check()?;
                    let mirror = self.places[index].place.mirror;
                    let answered = !matches!(failure, Failure::Transport(_));
                    let failure = self.better(last.take(), failure, index);
                    if answered && !mirror {
                        return Err(failure.into_error(reference));
                    }
                    last = Some(failure);
                }
            }
        }
        Err(last.map_or_else(|| Error::internal("no place to ask"), |f| f.into_error(reference)))
    }

    /// Of the failures of https and of http for the same registry, the one that tells more: a server
    /// that speaks TLS but does not like us says nothing of use to plain HTTP.
    fn better(&self, before: Option<Failure>, now: Failure, index: usize) -> Failure {
        let spoke_tls =
            matches!(&before, Some(Failure::Transport(e)) if e.message().contains("tls:"));
        let useless = match &now {
            Failure::Transport(_) => true,
            Failure::Refused(refusal) => refusal.status == 400,
            Failure::Fatal(_) => false,
        };
        match before {
            Some(before) if spoke_tls && useless && self.places[index].place.scheme == "http" => {
                before
            }
            _ => now,
        }
    }

    fn manifest_at(
        &self,
        index: usize,
        reference: &Reference,
    ) -> std::result::Result<Raw, Failure> {
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => return Err(Error::internal("a name alone names no manifest").into()),
        };
        let link = self.open(index)?;
        let base = self.places[index].place.base();
        let call = Call {
            method: Method::GET,
            url: format!("{base}/v2/{}/manifests/{wanted}", reference.path()),
            headers: manifest::ACCEPTED
                .iter()
                .map(|t| (header::ACCEPT, (*t).to_string()))
                .collect(),
            scope: &pull_scope(reference),
            small: true,
        };
        let response = self.send_patiently(index, &link, &call)?;
        let name = reference.familiar();
        let kind = header_text(response.headers(), &header::CONTENT_TYPE).to_string();
        let promised = Digest::parse(
            response
                .headers()
                .get("docker-content-digest")
                .and_then(|v| v.to_str().ok())
                .unwrap_or(""),
        )
        .ok();
        let bytes =
            read_all(response.into_body(), MANIFEST_MAX, &format!("the manifest of {name}"))?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = reference.digest().or(promised)
            && expected != digest
        {
            return Err(Failure::Fatal(Error::new(
                Kind::Io,
                format_args!("manifest verification failed for digest {expected}"),
            )));
        }
        let media_type = manifest::media_type(&kind, &bytes, &name)?;
        Ok(Raw { media_type, digest, bytes })
    }

    /// Asks for a blob, or for its closed range from `from` to `size`, at the place that served the
    /// manifest, then at those that come after it.
    pub(super) fn open_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        from: u64,
        size: u64,
    ) -> std::result::Result<Response<Body>, Failure> {
        let first = *self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Err(Failure::Fatal(Error::internal("no place to ask")));
        for index in first..self.places.len() {
            let place = &self.places[index].place;
            if index != first && !self.places[first].place.mirror {
                break;
            }
            let mut headers = Vec::new();
            if from > 0 {
                headers.push((header::RANGE, format!("bytes={from}-{}", size - 1)));
            }
            let call = Call {
                method: Method::GET,
                url: format!("{}/v2/{}/blobs/{digest}", place.base(), reference.path()),
                headers,
                scope: &pull_scope(reference),
                small: false,
            };
            outcome = self.open(index).and_then(|link| self.send(index, &link, &call));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Asks an absolute URL for a blob, without credentials: a foreign layer.
    pub(super) fn open_foreign(&self, url: &str) -> std::result::Result<Response<Body>, Failure> {
        let index = *self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let link = self.open(index)?;
        let call = Call {
            method: Method::GET,
            url: url.to_string(),
            headers: Vec::new(),
            scope: "",
            small: false,
        };
        self.exchange(index, &link, &call, None)
    }

    /// Finds out whether a place speaks the protocol and what it demands; once.
    fn open(&self, index: usize) -> std::result::Result<Arc<Link>, Failure> {
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
    fn send_patiently(
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
    fn send(
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

    fn fetch_token(
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
    fn exchange(
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

    /// Checks the credentials at the registry and returns a refresh token, if it gives one.
    ///
    /// # Errors
    /// `Unauthorized` with Docker's text if they are refused, `Io` if there is no asking.
    pub fn login(&self) -> Result<String> {
        let mut last = None;
        for index in 0..self.places.len() {
            if self.places[index].place.mirror {
                continue;
            }
            match self.login_at(index) {
                Ok(refresh) => return Ok(refresh),
                Err(failure @ Failure::Transport(_)) => {
                    self.cancel.check()?;
                    last = Some(self.better(last.take(), failure, index));
                }
                Err(Failure::Refused(refusal)) if refusal.status == 401 => {
                    let url = format!("{}/v2/", self.places[index].place.base());
                    return Err(Error::new(
                        Kind::Unauthorized,
                        format_args!("Get \"{url}\": {}", refusal.text()),
                    ));
                }
                Err(failure) => return Err(failure.into_plain_error()),
            }
        }
        Err(last.map_or_else(|| Error::internal("no place to ask"), Failure::into_plain_error))
    }

    fn login_at(&self, index: usize) -> std::result::Result<String, Failure> {
        let link = self.open(index)?;
        let call = Call {
            method: Method::GET,
            url: format!("{}/v2/", self.places[index].place.base()),
            headers: Vec::new(),
            scope: "",
            small: true,
        };
        let Some(challenge) = link.challenges.iter().find(|c| c.scheme == "bearer") else {
            self.send(index, &link, &call)?;
            return Ok(String::new());
        };
        let token = self.fetch_token(index, &link, challenge, &self.credentials, &[], true)?;
        self.exchange(index, &link, &call, Some(&format!("Bearer {}", token.value)))?;
        Ok(token.refresh)
    }
}

/// What a token must allow for `reference` to be pulled.
fn pull_scope(reference: &Reference) -> String {
    format!("repository:{}:pull", reference.path())
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

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// The URL that `location` means, seen from `from`.
fn follow(from: &Uri, location: &str) -> Option<Uri> {
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
