//! The content of one blob as a stream that heals itself and cannot lie.
//!
//! A connection that is cut is opened again where it broke, with a closed range (`bytes=N-M`): open
//! ranges are what some servers and proxies get wrong. A server that answers with the whole blob (200)
//! is read from its start and what was seen already is passed over. The end of the stream is reported
//! only after length and digest were found right; everything else is an error.
//!
//! Spec: OCI distribution-spec 1.1, "Pulling blobs"; RFC 9110 section 14.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::BodyReader;
use ureq::http::{Response, StatusCode, header};

use super::client::Client;
use super::exchange::header_text;
use super::failure::Failure;
use super::manifest::Descriptor;
use super::reference::Reference;
use crate::base::digest::{Digest, Hasher};
use crate::base::{At, Error, Kind, Result};

/// Progress of so many bytes makes the count of attempts start anew.
const PROGRESS_BYTES: u64 = 256 * 1024;
/// A connection that brings less than this in [`DRIP_WINDOW`] is cut by us.
const DRIP_BYTES: u64 = 16 * 1024;
const DRIP_WINDOW: Duration = Duration::from_secs(120);

/// A blob being read.
pub struct Blob<'a> {
    client: &'a Client,
    reference: &'a Reference,
    digest: Digest,
    size: u64,
    urls: &'a [String],
    position: u64,
    hasher: Hasher,
    body: Option<BodyReader<'static>>,
    /// Whether the server told how long this body is.
    measured: bool,
    failures: u32,
    /// Where the last failure happened.
    failed_at: u64,
    window: (Instant, u64),
    verified: bool,
    /// Why there will be no more bytes; reading on says so again.
    failed: Option<Error>,
}

impl Client {
    /// The blob that `descriptor` names, in the repository of `reference`. The first request is sent
    /// by the first read.
    ///
    /// # Errors
    /// `InvalidParameter` for a malformed descriptor.
    pub fn blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> Result<Blob<'a>> {
        Ok(Blob {
            client: self,
            reference,
            digest: descriptor.parsed_digest()?,
            size: descriptor.length()?,
            urls: &descriptor.urls,
            position: 0,
            hasher: Hasher::new(),
            body: None,
            measured: false,
            failures: 0,
            failed_at: 0,
            window: (Instant::now(), 0),
            verified: false,
            failed: None,
        })
    }

    /// The whole of a small blob.
    ///
    /// # Errors
    /// As [`Blob`]'s, and `InvalidParameter` if it is longer than `limit`.
    pub fn blob_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>> {
        if descriptor.length()? > limit {
            return Err(Error::invalid(format_args!(
                "{} is {} bytes long, more than {limit}",
                descriptor.digest, descriptor.size
            )));
        }
        let mut bytes = Vec::new();
        self.blob(reference, descriptor)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Blob<'_> {
    /// Length in bytes, as the manifest promises it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens the blob at the current position.
    fn open(&mut self) -> std::result::Result<BodyReader<'static>, Failure> {
        let mut outcome =
            self.client.open_blob(self.reference, &self.digest, self.position, self.size);
        if let Err(Failure::Refused(refusal)) = &outcome
            && refusal.status == 404
        {
            for url in self.urls {
                outcome = self.client.open_foreign(url);
                if outcome.is_ok() {
                    break;
                }
            }
        }
        let response = outcome?;
        let status = response.status();
        let from = match status {
            StatusCode::PARTIAL_CONTENT => self.range_start(&response)?,
            _ => 0,
        };
        let length = response.body().content_length();
        self.measured = length.is_some();
        if let Some(length) = length
            && length != self.size - from
        {
            return Err(self.wrong_length(from + length));
        }
        let mut reader = response.into_body().into_reader();
        // The server starts over: what was seen already is passed over.
        let mut rest = self.position - from;
        let mut buffer = [0u8; 8192];
        while rest > 0 {
            self.client.cancel.check()?;
            let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            match reader.read(&mut buffer[..want]) {
                Ok(0) => return Err(self.cut("unexpected EOF")),
                Ok(n) => rest -= n as u64,
                Err(e) => return Err(self.cut(e)),
            }
        }
        Ok(reader)
    }

    /// Where a partial answer starts; it must be where we asked, and end where the blob ends.
    fn range_start(&self, response: &Response<ureq::Body>) -> std::result::Result<u64, Failure> {
        let text = header_text(response.headers(), &header::CONTENT_RANGE);
        let expected = format!("bytes {}-{}/", self.position, self.size - 1);
        let total = text.strip_prefix(&expected);
        if total.is_some_and(|t| t == "*" || t.parse() == Ok(self.size)) {
            return Ok(self.position);
        }
        Err(Failure::Fatal(Error::new(
            Kind::Io,
            format_args!(
                "the registry answered with the range {text:?} in place of \"{expected}{}\"",
                self.size
            ),
        )))
    }

    fn wrong_length(&self, length: u64) -> Failure {
        Failure::Fatal(Error::new(
            Kind::Io,
            format_args!("the registry sends {length} bytes, the manifest says {}", self.size),
        ))
    }

    fn cut(&self, cause: impl std::fmt::Display) -> Failure {
        Failure::Transport(Error::new(
            Kind::Io,
            format_args!(
                "the connection broke after {} of {} bytes: {cause}",
                self.position, self.size
            ),
        ))
    }

    /// Counts a failure and waits, or gives up.
    fn recover(&mut self, failure: Failure) -> Result<()> {
        self.client.cancel.check()?;
        if self.position >= self.failed_at + PROGRESS_BYTES {
            self.failures = 0;
        }
        self.failed_at = self.position;
        self.failures += 1;
        if !failure.is_temporary() || self.failures >= self.client.settings.max_attempts {
            return Err(match failure {
                Failure::Refused(refusal) if refusal.status == 404 => {
                    Error::new(Kind::Io, "unknown blob")
                }
                failure => failure.into_error(self.reference),
            });
        }
        self.client.pause(self.failures, &failure)
    }

    /// Whether the connection brings so little that it is not worth waiting.
    fn drips(&mut self) -> bool {
        let (since, from) = self.window;
        if since.elapsed() < DRIP_WINDOW {
            return false;
        }
        let brought = self.position - from;
        self.window = (Instant::now(), self.position);
        brought < DRIP_BYTES
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            self.client.cancel.check()?;
            let left = self.size - self.position;
            if left == 0 {
                return self.finish().map(|()| 0);
            }
            let mut body = match self.body.take() {
                Some(body) => body,
                None => match self.open() {
                    Ok(body) => {
                        self.window = (Instant::now(), self.position);
                        body
                    }
                    Err(failure) => {
                        self.recover(failure)?;
                        continue;
                    }
                },
            };
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let failure = match body.read(&mut buf[..want]) {
                Ok(0) => self.cut("unexpected EOF"),
                Ok(n) => {
                    self.hasher.update(&buf[..n]);
                    self.position += n as u64;
                    if !self.drips() {
                        self.body = Some(body);
                    }
                    return Ok(n);
                }
                Err(e) => self.cut(e),
            };
            self.recover(failure)?;
        }
    }

    /// Checks what can be checked only at the end.
    fn finish(&mut self) -> Result<()> {
        if self.verified {
            return Ok(());
        }
        if let Some(mut body) = self.body.take()
            && !self.measured
            && matches!(body.read(&mut [0u8]), Ok(1))
        {
            return Err(Error::new(
                Kind::Io,
                format_args!(
                    "the registry sends more than the {} bytes of the manifest",
                    self.size
                ),
            ));
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        if digest != self.digest {
            return Err(Error::new(
                Kind::Io,
                format_args!("filesystem layer verification failed for digest {}", self.digest),
            ));
        }
        self.verified = true;
        Ok(())
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        let digest = self.digest;
        let filled = self.fill(buf).at(format_args!("fetching {digest}"));
        filled.inspect_err(|e| self.failed = Some(e.clone())).map_err(io::Error::from)
    }
}
