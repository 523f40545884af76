//! The client's side of the Engine API: requests, streams and taken over connections.
//!
//! Connections that are free are kept and used again; one that turns out to be dead is replaced once,
//! if the request can be sent again. A tcp host may be behind an HTTP proxy: plain requests are sent to
//! it whole, TLS and taken over connections go through `CONNECT`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;

use super::address::Address;
use super::body::{Decoder, LAST_CHUNK, put_chunk};
use super::head::{Buffer, ResponseHead, read_response};
use super::proxy::{self, Proxy};
use super::tls::Tls;
use super::{Conn, Headers, resolve};
use crate::base::json::{self, Value, ValueExt};
use crate::base::{At, Error, Kind, Result};

/// Time for a TCP connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest error body that is read, in bytes.
const MAX_ERROR_BYTES: u64 = 1 << 20;

/// What is sent with a request.
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// JSON.
    Json(&'a str),
    /// A stream of this content type, sent in chunks.
    Stream(&'static str, &'a mut dyn Read),
}

/// A client of one daemon.
pub struct Client {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    proxy: Option<Proxy>,
    /// Sent with every request: `User-Agent` and what the user configured.
    headers: Headers,
    idle: Mutex<Vec<Conn>>,
}

/// An answer; reading it reads its body.
pub struct Answer<'a> {
    /// The head.
    pub head: ResponseHead,
    client: &'a Client,
    conn: Option<Conn>,
    ahead: Buffer,
    decoder: Decoder,
    reusable: bool,
}

/// A connection of one's own, after the head of the answer.
pub struct Upgraded {
    /// The head: `101` or `200`, and the type of the stream.
    pub head: ResponseHead,
    /// The connection.
    pub conn: Conn,
    /// What came after the head already; read it before the connection.
    pub preread: Vec<u8>,
}

impl Client {
    /// A client for `address`; connects when the first request is made.
    ///
    /// # Errors
    /// `InvalidParameter` for an unusable proxy variable or an address that only a daemon can use.
    pub fn new(
        address: Address,
        tls: Option<Arc<ClientConfig>>,
        headers: Headers,
    ) -> Result<Client> {
        let proxy = match &address {
            Address::Tcp { host, port, .. } => {
                proxy::for_host(host, *port, |name| std::env::var(name).ok())?
            }
            Address::Unix(_) => None,
            Address::Inherited(_) => {
                return Err(Error::invalid(format_args!("cannot connect to {address}")));
            }
        };
        Ok(Client::with_proxy(address, tls, headers, proxy))
    }

    /// A client that goes through `proxy`, whatever the environment says.
    pub fn with_proxy(
        address: Address,
        tls: Option<Arc<ClientConfig>>,
        headers: Headers,
        proxy: Option<Proxy>,
    ) -> Client {
        Client { address, tls, proxy, headers, idle: Mutex::default() }
    }

    /// The daemon's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and reads the head of the answer, whatever its status. `path` starts with a
    /// slash and may have a query.
    ///
    /// # Errors
    /// `Unavailable` when the daemon cannot be reached, with Docker's text; `Io` when it stops
    /// answering.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &Headers,
        mut payload: Payload<'_>,
    ) -> Result<Answer<'_>> {
        let repeatable = !matches!(payload, Payload::Stream(..));
        let head = |payload: &Payload<'_>| self.head(method, path, headers, payload);
        let pooled = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(conn) = pooled.filter(|_| repeatable) {
            // The daemon may have closed it or been restarted; then a new connection is made.
            if let Ok(answer) = self.exchange(conn, method, &head(&payload), &mut payload) {
                return Ok(answer);
            }
        }
        let conn = self.connect(false)?;
        let head = head(&payload);
        self.exchange(conn, method, &head, &mut payload)
    }

    /// Like [`Client::send`], but an answer of 400 or more is an error with the daemon's message.
    ///
    /// # Errors
    /// Those of `send`, and what the daemon answered, with the kind that its status stands for.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &Headers,
        payload: Payload<'_>,
    ) -> Result<Answer<'_>> {
        let answer = self.send(method, path, headers, payload)?;
        if answer.head.status >= 400 { Err(answer.into_error()) } else { Ok(answer) }
    }

    /// Asks for a raw connection (`Upgrade: tcp`), which is then the caller's own.
    ///
    /// # Errors
    /// Those of [`Client::call`].
    pub fn upgrade(
        &self,
        method: &str,
        path: &str,
        headers: &Headers,
        payload: Payload<'_>,
    ) -> Result<Upgraded> {
        let mut all = headers.clone();
        all.set("Connection", "Upgrade");
        all.set("Upgrade", "tcp");
        let mut payload = payload;
        let conn = self.connect(true)?;
        let head = self.head_in(method, path, &all, &payload, false);
        let mut answer = self.exchange(conn, method, &head, &mut payload)?;
        match (answer.head.status, answer.conn.take()) {
            (101 | 200, Some(conn)) => {
                let preread = answer.ahead.take();
                let none = ResponseHead {
                    status: 0,
                    reason: String::new(),
                    minor: 1,
                    headers: Headers::new(),
                };
                Ok(Upgraded { head: std::mem::replace(&mut answer.head, none), conn, preread })
            }
            (_, conn) => {
                answer.conn = conn;
                Err(answer.into_error())
            }
        }
    }

    fn head(&self, method: &str, path: &str, headers: &Headers, payload: &Payload<'_>) -> Vec<u8> {
        self.head_in(method, path, headers, payload, self.proxy.is_some() && self.tls.is_none())
    }

    fn head_in(
        &self,
        method: &str,
        path: &str,
        headers: &Headers,
        payload: &Payload<'_>,
        absolute: bool,
    ) -> Vec<u8> {
        let (host, prefix) = match &self.address {
            Address::Tcp { host, port, prefix } if host.contains(':') => {
                (format!("[{host}]:{port}"), prefix.as_str())
            }
            Address::Tcp { host, port, prefix } => (format!("{host}:{port}"), prefix.as_str()),
            // The name that Docker's client uses for sockets.
            _ => ("api.moby.localhost".to_string(), ""),
        };
        let origin = if absolute { format!("http://{host}") } else { String::new() };
        let mut all = Headers::new();
        all.add("Host", &host);
        for (name, value) in self.headers.iter().chain(headers.iter()) {
            all.set(name, value);
        }
        if absolute && let Some(authorization) = self.proxy_authorization() {
            all.set("Proxy-Authorization", &authorization);
        }
        match payload {
            Payload::None if method == "GET" || method == "HEAD" => {}
            Payload::None => all.set("Content-Length", "0"),
            Payload::Json(text) => {
                all.set("Content-Type", "application/json");
                all.set("Content-Length", &text.len().to_string());
            }
            Payload::Stream(kind, _) => {
                all.set("Content-Type", kind);
                all.set("Transfer-Encoding", "chunked");
            }
        }
        let mut out = Vec::with_capacity(512);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{method} {origin}{prefix}{path} HTTP/1.1\r\n");
        all.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    fn exchange(
        &self,
        conn: Conn,
        method: &str,
        head: &[u8],
        payload: &mut Payload<'_>,
    ) -> Result<Answer<'_>> {
        let sent = send_request(&conn, head, payload);
        let mut ahead = Buffer::default();
        // A daemon that refuses a body answers and closes while it is being sent: its answer says
        // more than our broken pipe.
        let head = match (read_final(&conn, &mut ahead), &sent) {
            (Ok(head), _) => head,
            (Err(_), Err(e)) => {
                return Err(Error::new(Kind::Io, e).at("error during connect"));
            }
            (Err(e), Ok(())) => return Err(e.at("error during connect")),
        };
        let decoder = Decoder::new(head.framing(method)?);
        let reusable =
            sent.is_ok() && head.minor >= 1 && !head.headers.has_token("Connection", "close");
        Ok(Answer { head, client: self, conn: Some(conn), ahead, decoder, reusable })
    }

    fn proxy_authorization(&self) -> Option<String> {
        let credentials = &self.proxy.as_ref()?.credentials;
        (!credentials.is_empty())
            .then(|| format!("Basic {}", crate::base::base64::encode(credentials.as_bytes())))
    }

    /// A new connection; `tunnel` demands one that carries bytes both ways.
    fn connect(&self, tunnel: bool) -> Result<Conn> {
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|e| self.unreachable(&e.into()))?;
                Ok(Conn::plain(stream.into()))
            }
            Address::Tcp { host, port, .. } => {
                let (to_host, to_port) =
                    self.proxy.as_ref().map_or((host.as_str(), *port), |p| (&p.host, p.port));
                let stream = resolve::connect(to_host, to_port, CONNECT_TIMEOUT)
                    .map_err(|e| self.unreachable(&e))?;
                let conn = Conn::plain(stream.try_clone().at("duplicating a connection")?.into());
                if self.proxy.is_some() && (tunnel || self.tls.is_some()) {
                    self.tunnel(&conn, host, *port)?;
                }
                match &self.tls {
                    None => Ok(conn),
                    Some(config) => {
                        let session = Tls::connect(stream.into(), config.clone(), host)
                            .at("error during connect")?;
                        Ok(Conn::tls(session))
                    }
                }
            }
            Address::Inherited(_) => Err(Error::internal("a client cannot inherit sockets")),
        }
    }

    fn tunnel(&self, conn: &Conn, host: &str, port: u16) -> Result<()> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = self.proxy_authorization() {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        (&mut &*conn).write_all(request.as_bytes()).at("asking the proxy")?;
        let mut ahead = Buffer::default();
        let head = read_response(conn, &mut ahead).at("asking the proxy")?;
        if head.status != 200 || !ahead.unread().is_empty() {
            return Err(Error::new(
                Kind::Unavailable,
                format_args!("proxy refused the connection: {} {}", head.status, head.reason),
            ));
        }
        Ok(())
    }

    /// Docker's words for a daemon that is not there.
    fn unreachable(&self, cause: &Error) -> Error {
        let address = &self.address;
        match cause.errno() {
            Some(libc::EACCES | libc::EPERM) => Error::new(
                Kind::Forbidden,
                format_args!(
                    "permission denied while trying to connect to the Docker daemon socket at {address}"
                ),
            ),
            Some(libc::ENOENT | libc::ECONNREFUSED) | None => Error::new(
                Kind::Unavailable,
                format_args!(
                    "Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
                ),
            ),
            _ => Error::new(Kind::Unavailable, cause).at("error during connect"),
        }
    }
}

fn send_request(conn: &Conn, head: &[u8], payload: &mut Payload<'_>) -> io::Result<()> {
    let mut conn = conn;
    match payload {
        Payload::None => conn.write_all(head),
        Payload::Json(text) => conn.write_all(&[head, text.as_bytes()].concat()),
        Payload::Stream(_, source) => {
            conn.write_all(head)?;
            let mut buffer = vec![0u8; 64 * 1024];
            let mut chunk = Vec::new();
            loop {
                let n = match source.read(&mut buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    result => result?,
                };
                if n == 0 {
                    return conn.write_all(LAST_CHUNK);
                }
                chunk.clear();
                put_chunk(&mut chunk, &buffer[..n]);
                conn.write_all(&chunk)?;
            }
        }
    }
}

/// The head of the final answer; interim ones (`100 Continue`) are passed over.
fn read_final(conn: &Conn, ahead: &mut Buffer) -> Result<ResponseHead> {
    loop {
        let head = read_response(conn, ahead)?;
        if head.status == 101 || head.status >= 200 {
            return Ok(head);
        }
    }
}

impl Answer<'_> {
    /// The whole body.
    ///
    /// # Errors
    /// `Io` when the connection ends early.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read_to_end(&mut out).at("reading the response")?;
        Ok(out)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// `Io` when the connection ends early; `InvalidParameter` for a body of another shape.
    pub fn json<T: json::Deserialize>(self) -> Result<T> {
        json::parse(&self.bytes()?).at("reading the response")
    }

    /// The error that this answer stands for.
    pub fn into_error(mut self) -> Error {
        let mut body = Vec::new();
        // What came before a broken end is still the best text there is.
        let _ = (&mut self).take(MAX_ERROR_BYTES).read_to_end(&mut body);
        let kind = match self.head.status {
            400 => Kind::InvalidParameter,
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            501 => Kind::NotImplemented,
            503 => Kind::Unavailable,
            _ => Kind::Internal,
        };
        let message = json::parse::<Value>(&body)
            .ok()
            .and_then(|v| v.get("message").and_then(|m| m.as_str().map(String::from)))
            .unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_string());
        if message.is_empty() {
            return Error::new(kind, format_args!("request returned {}", self.head.status));
        }
        Error::new(kind, message)
    }

    /// Ends the connection of a stream that is not read to its end, from any thread.
    pub fn conn(&self) -> Option<Conn> {
        self.conn.clone()
    }
}

impl Read for Answer<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(conn) = &self.conn else { return Ok(0) };
        self.decoder.read(conn, &mut self.ahead, out)
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // A last chunk that is there already is taken in, so that the connection is at a request.
        let mut end = [0u8; 1];
        if self.reusable && !self.decoder.is_done() && !self.ahead.unread().is_empty() {
            let _ = self.read(&mut end);
        }
        if let Some(conn) = self.conn.take()
            && self.reusable
            && self.decoder.is_done()
            && self.ahead.unread().is_empty()
        {
            self.client.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}

impl Read for Upgraded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.preread.is_empty() {
            return (&mut &self.conn).read(out);
        }
        let n = out.len().min(self.preread.len());
        out[..n].copy_from_slice(&self.preread[..n]);
        self.preread.drain(..n);
        Ok(n)
    }
}
