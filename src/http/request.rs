//! A request as handlers see it.

use std::io::Read;

use super::body::Body;
use super::hangup;
use super::head::RequestHead;
use super::query::{self, Query};
use super::{Conn, Headers};
use crate::base::cancel::Cancel;
use crate::base::json;
use crate::base::{At, Error, Result};

/// Largest JSON body that is taken, in bytes.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// One request; its body is read from the connection as it is asked for.
pub struct Request<'a> {
    /// `GET`, ...
    pub method: String,
    /// The path without the query, percent-decoded.
    pub path: String,
    /// The parameters.
    pub query: Query,
    /// The header fields.
    pub headers: Headers,
    /// The body; also a reader.
    pub body: Body<'a>,
    /// What is wrong with the target, if its path or query cannot be decoded.
    pub defect: Option<Error>,
    pub(super) conn: &'a Conn,
    cancel: Cancel,
    watch: Option<hangup::Guard>,
}

impl<'a> Request<'a> {
    pub(super) fn new(head: RequestHead, conn: &'a Conn, body: Body<'a>) -> Request<'a> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        // An absolute target (`GET http://host/path`) is only sent to proxies, but must be taken.
        let path = match path.strip_prefix("http://") {
            Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => path,
        };
        let mut defect = None;
        let mut keep = |e: Error| {
            defect.get_or_insert(e);
        };
        let path = query::decode(path, false).map_err(&mut keep).unwrap_or_default();
        let query = Query::parse(query).map_err(&mut keep).unwrap_or_default();
        Request {
            method: head.method,
            path,
            query,
            headers: head.headers,
            body,
            defect,
            conn,
            cancel: Cancel::new(),
            watch: None,
        }
    }

    /// A token that is cancelled when the client hangs up. Watching starts with the first call, so
    /// ask before waiting for something, and after the body was read.
    ///
    /// # Errors
    /// `Io` when the connection cannot be watched.
    pub fn cancel(&mut self) -> Result<Cancel> {
        if self.watch.is_none() {
            self.watch = Some(hangup::watch(self.conn, self.cancel.clone())?);
        }
        Ok(self.cancel.clone())
    }

    /// The client wants raw bytes after a `101` answer.
    pub fn wants_upgrade(&self) -> bool {
        self.headers.has_token("Connection", "upgrade") && self.headers.get("Upgrade").is_some()
    }

    /// Stops watching for a hang-up; the connection is about to be given away.
    pub(super) fn unwatch(&mut self) {
        self.watch = None;
    }

    /// The JSON body; `None` if there is none.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts: wrong content type, broken JSON, a value of the wrong
    /// type (naming the field).
    pub fn json<T: json::Deserialize>(&mut self) -> Result<Option<T>> {
        let kind = self.headers.get("Content-Type").unwrap_or_default();
        let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if self.body.is_done() && media.is_empty() {
            return Ok(None);
        }
        if media != "application/json" {
            return Err(match media.as_str() {
                "" => Error::invalid("malformed Content-Type header (): mime: no media type"),
                _ => Error::invalid(format_args!(
                    "unsupported Content-Type header ({kind}): must be 'application/json'"
                )),
            });
        }
        if self.body.is_done() {
            return Ok(None);
        }
        let bytes = self.bytes(MAX_JSON_BYTES)?;
        if bytes.trim_ascii().is_empty() {
            return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
        }
        json::parse(&bytes).map(Some)
    }

    /// The whole body.
    ///
    /// # Errors
    /// `InvalidParameter` if it is longer than `limit` or broken.
    pub fn bytes(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.body)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::from)
            .map_err(|e| e.with_kind(crate::base::Kind::InvalidParameter))
            .at("reading the request body")?;
        if bytes.len() as u64 > limit {
            return Err(Error::invalid(format_args!("request body is larger than {limit} bytes")));
        }
        Ok(bytes)
    }
}
