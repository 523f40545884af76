//! Connections to log servers: names are looked up without the C library, errors are Go's.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::base::{At, Error, Kind, Result};
use crate::http::resolve;
use crate::http::tls::Tls;

/// How long a connection may take where a driver sets no limit: as long as the kernel tries.
pub(super) const PATIENT: Duration = Duration::from_secs(130);
/// How long the last bytes may take to be acknowledged by a peer that is told of the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where a log server listens.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Udp(String, u16),
    Tcp(String, u16),
    /// `name` is who the server has to prove to be.
    Tls {
        host: String,
        port: u16,
        config: Arc<ClientConfig>,
        name: String,
    },
    Unix(PathBuf),
    UnixDatagram(PathBuf),
}

/// A connection.
pub(super) enum Peer {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<Tls>, TcpStream),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

impl Place {
    /// # Errors
    /// `Io` in Go's words: `dial tcp 127.0.0.1:514: connect: connection refused`.
    pub(super) fn dial(&self, limit: Duration) -> Result<Peer> {
        let refused = |network: &str, path: &PathBuf, e: io::Error| {
            Error::from(e).at(format_args!("dial {network} {}: connect", path.display()))
        };
        Ok(match self {
            Place::Udp(host, port) => Peer::Udp(dial_udp(host, *port)?),
            Place::Tcp(host, port) => Peer::Tcp(dial_tcp(host, *port, limit)?),
            Place::Tls { host, port, config, name } => {
                let stream = dial_tcp(host, *port, limit)?;
                let socket = stream.try_clone()?.into();
                Peer::Tls(Box::new(Tls::connect(socket, config.clone(), name)?), stream)
            }
            Place::Unix(path) => {
                Peer::Unix(UnixStream::connect(path).map_err(|e| refused("unix", path, e))?)
            }
            Place::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path).map_err(|e| refused("unixgram", path, e))?;
                Peer::UnixDatagram(socket)
            }
        })
    }
}

fn dial_udp(host: &str, port: u16) -> Result<UdpSocket> {
    let address = resolve::addresses(host, port).at("dial udp")?[0];
    let local: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = UdpSocket::bind((local, 0)).and_then(|socket| {
        socket.connect(address)?;
        Ok(socket)
    });
    connected.at(format_args!("dial udp {address}: connect"))
}

fn dial_tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream> {
    let mut failure = Error::new(Kind::Io, "dial tcp: no address");
    for address in resolve::addresses(host, port).at("dial tcp")? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                // What has no prompt answer must not wait for more to send.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                failure = Error::new(Kind::Io, format_args!("dial tcp {address}: i/o timeout"));
            }
            Err(e) => failure = Error::from(e).at(format_args!("dial tcp {address}: connect")),
        }
    }
    Err(failure)
}

impl Peer {
    /// Sends all of `bytes`; a datagram at once.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Peer::Udp(socket) => socket.send(bytes).map(drop),
            Peer::UnixDatagram(socket) => socket.send(bytes).map(drop),
            Peer::Tcp(stream) => stream.write_all(bytes),
            Peer::Unix(stream) => stream.write_all(bytes),
            Peer::Tls(session, _) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    rest = &rest[session.write(rest)?..];
                }
                Ok(())
            }
        }
    }

    /// Reads from a stream; 0 at its end.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Peer::Udp(_) | Peer::UnixDatagram(_) => Ok(0),
            Peer::Tcp(stream) => stream.read(buffer),
            Peer::Unix(stream) => stream.read(buffer),
            Peer::Tls(session, _) => session.read(buffer),
        }
    }

    /// Bounds every later write and read of a stream.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub(super) fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Peer::Udp(_) | Peer::UnixDatagram(_) => Ok(()),
            Peer::Tcp(stream) | Peer::Tls(_, stream) => {
                stream.set_write_timeout(limit)?;
                stream.set_read_timeout(limit)
            }
            Peer::Unix(stream) => {
                stream.set_write_timeout(limit)?;
                stream.set_read_timeout(limit)
            }
        }
    }

    /// Ends a stream so that the peer gets all of it: closing with something unread would reset the connection.
    pub(super) fn close(mut self) {
        let ended = match &self {
            Peer::Udp(_) | Peer::UnixDatagram(_) => return,
            Peer::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Peer::Unix(stream) => stream.shutdown(Shutdown::Write),
            Peer::Tls(session, stream) => {
                let _ = session.close_notify();
                stream.shutdown(Shutdown::Write)
            }
        };
        if ended.is_err() || self.set_timeout(Some(GOODBYE)).is_err() {
            return;
        }
        let mut buffer = [0; 512];
        while matches!(self.receive(&mut buffer), Ok(1..)) {}
    }
}
