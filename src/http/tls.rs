//! TLS 1.2 and 1.3 by rustls and ring, with sessions that one thread reads while another writes.
//!
//! The record state is in a mutex that is never held across a blocking call. A writer encrypts under
//! it and sends under a second lock, so a peer that does not read cannot stop our reading; the second
//! lock is taken first, because records must leave in the order in which they were encrypted.
//!
//! Spec: RFC 8446, RFC 5246. The floor is TLS 1.2.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::base::{At, Error, Result};

/// Largest TLS record with its overhead; what is read from the socket at once.
const RECORD_BYTES: usize = 16 * 1024 + 512;

/// One TLS session over a socket.
pub struct Tls {
    socket: UnixStream,
    state: Mutex<Connection>,
    /// Encrypted bytes on their way out; who holds it writes to the socket.
    sending: Mutex<Vec<u8>>,
    /// Encrypted bytes as they came in; who holds it reads from the socket.
    receiving: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tls {
    /// The server's side of a session on `socket`, with the handshake done.
    ///
    /// # Errors
    /// `Io` when the peer is no TLS client, offers nothing we accept, or fails verification.
    pub fn accept(socket: OwnedFd, config: Arc<ServerConfig>) -> Result<Tls> {
        let session = ServerConnection::new(config).map_err(tls_error).at("starting TLS")?;
        Tls::handshake(socket, Connection::Server(session)).at("TLS handshake")
    }

    /// The client's side of a session on `socket` with the server `name`, with the handshake done.
    ///
    /// # Errors
    /// `Io` when the server cannot be verified or does not answer as it must.
    pub fn connect(socket: OwnedFd, config: Arc<ClientConfig>, name: &str) -> Result<Tls> {
        let server = ServerName::try_from(name.to_string())
            .map_err(|_| Error::invalid(format_args!("invalid server name {name:?}")))?;
        let session =
            ClientConnection::new(config, server).map_err(tls_error).at("starting TLS")?;
        Tls::handshake(socket, Connection::Client(session)).at("TLS handshake")
    }

    fn handshake(socket: OwnedFd, session: Connection) -> Result<Tls> {
        let tls = Tls {
            socket: UnixStream::from(socket),
            state: Mutex::new(session),
            sending: Mutex::new(Vec::new()),
            receiving: Mutex::new(Vec::new()),
        };
        tls.send_pending()?;
        while lock(&tls.state).is_handshaking() {
            if !tls.receive()? {
                return Err(Error::from(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
        }
        Ok(tls)
    }

    /// The socket below the session.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Reads plain text; 0 at the end, whether the peer said goodbye or only closed its socket.
    ///
    /// # Errors
    /// Those of the socket, and `InvalidData` for bytes that are no TLS.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match lock(&self.state).reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // A peer that closes without a notice: HTTP and the stream framing know their ends.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if !self.receive()? {
                return Ok(0);
            }
        }
    }

    /// Writes plain text; returns after the socket took it.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sending = lock(&self.sending);
        let n = {
            let mut state = lock(&self.state);
            // A bounded piece, so that the encrypted copy stays small.
            let piece = &bytes[..bytes.len().min(64 * 1024)];
            let n = state.writer().write(piece)?;
            while state.wants_write() {
                state.write_tls(&mut *sending)?;
            }
            n
        };
        self.send(&mut sending)?;
        Ok(n)
    }

    /// Sends the notice that nothing more will be written.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn close_notify(&self) -> io::Result<()> {
        lock(&self.state).send_close_notify();
        self.send_pending()
    }

    /// Waits for bytes from the peer and decrypts them; false at the end of the stream.
    fn receive(&self) -> io::Result<bool> {
        let mut buffer = lock(&self.receiving);
        buffer.resize(RECORD_BYTES, 0);
        let n = (&self.socket).read(&mut buffer)?;
        let mut answer = false;
        {
            let mut state = lock(&self.state);
            let mut rest = &buffer[..n];
            loop {
                let taken = state.read_tls(&mut rest)?;
                let result = state.process_new_packets();
                answer |= state.wants_write();
                if let Err(e) = result {
                    drop(state);
                    // The alert tells the peer why; that it cannot be told changes nothing.
                    let _ = self.send_pending();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, e));
                }
                if rest.is_empty() || taken == 0 {
                    break;
                }
            }
        }
        drop(buffer);
        if answer {
            self.send_pending()?;
        }
        Ok(n > 0)
    }

    fn send_pending(&self) -> io::Result<()> {
        let mut sending = lock(&self.sending);
        {
            let mut state = lock(&self.state);
            while state.wants_write() {
                state.write_tls(&mut *sending)?;
            }
        }
        self.send(&mut sending)
    }

    fn send(&self, sending: &mut Vec<u8>) -> io::Result<()> {
        let result = (&self.socket).write_all(sending);
        sending.clear();
        sending.shrink_to(RECORD_BYTES);
        result
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn tls_error(e: impl std::fmt::Display) -> Error {
    Error::new(crate::base::Kind::Io, e)
}

/// The certificates of a PEM file.
///
/// # Errors
/// `Io` if it cannot be read, `InvalidParameter` if it holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("could not read certificate {:?}", path.display().to_string());
    let pem = std::fs::read(path).at(what())?;
    let list: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::invalid(e).at(what()))?;
    if list.is_empty() {
        return Err(Error::invalid("no certificate found").at(what()));
    }
    Ok(list)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let what = || format!("could not read key {:?}", path.display().to_string());
    let pem = std::fs::read(path).at(what())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| Error::invalid(e).at(what()))
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(Error::invalid(format_args!(
            "could not read CA certificate {:?}: no usable certificate",
            path.display().to_string()
        )));
    }
    Ok(store)
}

/// What a server presents, and the authority whose clients it takes; without one it takes all.
///
/// # Errors
/// Names the file that cannot be used.
pub fn server_config(
    certificate: &Path,
    key: &Path,
    client_authority: Option<&Path>,
) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(tls_error)?;
    let builder = match client_authority {
        Some(path) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                .build()
                .map_err(tls_error)?,
        ),
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|e| Error::invalid(e).at("could not load X509 key pair"))?;
    Ok(Arc::new(config))
}

/// How a client judges the server.
#[derive(Clone, Debug)]
pub enum Trust<'a> {
    /// Any certificate: `--tls` without `--tlsverify`.
    Anyone,
    /// Certificates that this PEM file vouches for.
    Authority(&'a Path),
    /// These authorities.
    Roots(RootCertStore),
}

/// What a client presents, if anything, and whom it trusts.
///
/// # Errors
/// Names the file that cannot be used.
pub fn client_config(
    trust: Trust<'_>,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(tls_error)?;
    let builder = match trust {
        Trust::Anyone => {
            let verifier = Arc::new(AnyServer::new(&provider()));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Trust::Authority(path) => builder.with_root_certificates(roots(path)?),
        Trust::Roots(store) => builder.with_root_certificates(store),
    };
    let config = match identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|e| Error::invalid(e).at("could not load X509 key pair"))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Takes every certificate but still checks that the peer holds its key.
#[derive(Debug)]
pub struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyServer {
    /// With the signatures that `provider` can check.
    pub fn new(provider: &CryptoProvider) -> AnyServer {
        AnyServer { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
