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

use std::sync::{Arc, Mutex, PoisonError};

use ureq::Body;
use ureq::http::{Method, Response, header};

use super::auth::Credentials;
use super::exchange::{Call, Link, header_text, read_all};
use super::failure::Failure;
use super::manifest::{self, Raw};
use super::reference::Reference;
use super::settings::{Place, Settings};
use crate::base::cancel::Cancel;
use crate::base::digest::Digest;
use crate::base::{Error, Kind, Result};

/// Most bytes of a manifest, as in Docker and containerd.
pub const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

/// A conversation with one registry.
pub struct Client {
    pub(super) settings: Settings,
    pub(super) domain: String,
    pub(super) credentials: Credentials,
    pub(super) cancel: Cancel,
    pub(super) places: Vec<Spot>,
    /// The place that served the last manifest; blobs are asked for there first.
    active: Mutex<usize>,
}

/// A place, and what was learned about it.
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) link: Mutex<Option<Arc<Link>>>,
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
                    let text = match refusal.challenges.iter().any(|c| c.scheme == "basic") {
                        true => {
                            format!("login attempt to {url} failed with status: 401 Unauthorized")
                        }
                        false => format!("Get \"{url}\": {}", refusal.text()),
                    };
                    return Err(Error::new(Kind::Unauthorized, text));
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
