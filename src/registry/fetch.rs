//! A file from any URL, with our TLS, proxies and time limits: `docker import URL`.

use std::io::Read;

use ureq::Proxy;
use ureq::http::{Request, Uri, header};

use super::exchange::{REDIRECTS_MAX, follow, header_text, is_redirect};
use super::settings::Settings;
use super::{tls, transport};
use crate::base::cancel::{Cancel, Guard};
use crate::base::{Error, Kind, Result};

/// A download that has begun.
pub struct Fetched {
    /// The content.
    pub body: Box<dyn Read + Send>,
    /// Its length in bytes; 0 if the server did not tell.
    pub length: u64,
}

/// Asks for `url`, following redirects. `cancel` ends the download.
///
/// # Errors
/// `InvalidParameter` for a URL that cannot be used or an answer that is an error, `Io` if the server cannot
/// be reached, `Cancelled`.
pub fn open(settings: &Settings, url: &str, cancel: &Cancel) -> Result<Fetched> {
    let bad = |url: &str| Error::invalid(format_args!("{url:?} is not a URL that can be fetched"));
    let mut uri: Uri = url.parse().map_err(|_| bad(url))?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let agent = transport::agent(
        tls::client_config(&settings.certs_dir.join(authority), true)?,
        settings.resolver.clone(),
        transport::Addresses::default(),
        settings.stall,
        &settings.user_agent,
    );
    let stopped = agent.clone();
    let guard = cancel.on_cancel(move || stopped.shutdown());
    for _ in 0..=REDIRECTS_MAX {
        let scheme = uri.scheme_str().unwrap_or_default().to_string();
        let host = uri.host().unwrap_or_default().to_string();
        if host.is_empty() || !matches!(scheme.as_str(), "http" | "https") {
            return Err(bad(&uri.to_string()));
        }
        let proxy = settings.proxies.for_host(&scheme, &host, transport::port(&uri));
        let proxy = proxy
            .map(Proxy::new)
            .transpose()
            .map_err(|_| Error::invalid("the URL of the HTTP proxy cannot be used"))?;
        let shown = uri.to_string();
        let failed = |e: ureq::Error| match cancel.is_cancelled() {
            true => Error::cancelled(),
            false => Error::new(Kind::Io, format_args!("failed to GET {shown}: {e}")),
        };
        let request =
            Request::builder().uri(&uri).body(()).map_err(|e| failed(ureq::Error::from(e)))?;
        let request = agent.configure_request(request).proxy(proxy).build();
        let response = agent.run(request).map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            let length = header_text(response.headers(), &header::CONTENT_LENGTH);
            let length = length.parse().unwrap_or(0);
            let body = Guarded { inner: response.into_body().into_reader(), _guard: guard };
            return Ok(Fetched { body: Box::new(body), length });
        }
        if !is_redirect(status) {
            return Err(Error::invalid(format_args!("failed to GET {uri} with status {status}")));
        }
        let location = header_text(response.headers(), &header::LOCATION).to_string();
        uri = follow(&uri, &location).ok_or_else(|| bad(&location))?;
    }
    Err(Error::new(Kind::Io, format_args!("Get {url:?}: stopped after {REDIRECTS_MAX} redirects")))
}

/// A body, with what ends it.
struct Guarded<R> {
    inner: R,
    _guard: Guard,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer)
    }
}
