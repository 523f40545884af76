//! Connections to registries: our addresses, our TLS and our time limits under ureq's HTTP/1.1.
//!
//! Redirects are not followed here, because whether credentials go along is for the client to decide.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    TcpConnector, Transport, TransportAdapter,
};
use ureq::{Agent, Error, config::Config};

use super::resolve::Resolve;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the buffers of one connection, in each direction.
const BUFFER_BYTES: usize = 32 * 1024;

/// The addresses that host names led to last, for error texts.
pub(super) type Addresses = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// A pool of connections with one set of TLS settings. A peer that says nothing for `stall` is given up.
pub(super) fn agent(
    tls: Arc<ClientConfig>,
    resolver: Arc<dyn Resolve>,
    addresses: Addresses,
    stall: Duration,
    user_agent: &str,
) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(user_agent)
        .accept_encoding("identity")
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .timeout_connect(Some(CONNECT_LIMIT.min(stall)))
        .timeout_per_read(Some(stall))
        .timeout_per_write(Some(stall))
        .timeout_recv_response(Some(stall))
        .build();
    let connector =
        ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(Tls(tls));
    Agent::with_parts(config, connector, Lookup { resolver, addresses })
}

#[derive(Debug)]
struct Lookup {
    resolver: Arc<dyn Resolve>,
    addresses: Addresses,
}

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let port = port(uri);
        let found = self.resolver.resolve(host).map_err(|e| Error::Io(e.into()))?;
        let mut addresses = self.empty();
        for address in found {
            if addresses.try_push(SocketAddr::new(address, port)).is_err() {
                break;
            }
        }
        let first = addresses.first().ok_or(Error::HostNotFound)?;
        let mut last = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(format!("{host}:{port}"), *first);
        drop(last);
        Ok(addresses)
    }
}

/// The port of a URL, by its scheme if it names none.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(bare).map_err(|_| Error::Tls("invalid host name"))?;
        let connection = ClientConnection::new(self.0.clone(), name).map_err(Error::Rustls)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, socket);
        // The whole handshake now, so that its errors are told from those of the exchange.
        stream.conn.complete_io(&mut stream.sock)?;
        let buffers = LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES);
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        use std::io::Write;
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        use std::io::Read;
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
