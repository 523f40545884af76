//! Addresses of the Engine API, as `-H` and `DOCKER_HOST` give them.
//!
//! `unix://PATH`, `tcp://HOST:PORT`, `fd://N`, and the short forms `HOST:PORT`, `HOST:`, `:PORT`. The
//! port of tcp is 2375, or 2376 with TLS. A path after a tcp address is put before every request path
//! and is for clients only.

use std::fmt;
use std::path::PathBuf;

use crate::base::{Error, Result};

/// Where the daemon listens and the client connects when nothing is said.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Port of plain tcp.
pub const PLAIN_PORT: u16 = 2375;
/// Port of tcp with TLS.
pub const TLS_PORT: u16 = 2376;

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port; `host` is a name or an address without brackets, `prefix` is empty or `/...`.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path put before every request path.
        prefix: String,
    },
    /// Sockets that systemd passed on: all of them, or the descriptor of this number.
    Inherited(Option<i32>),
}

/// Who will use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The daemon.
    Listen,
    /// A client.
    Connect,
}

impl Address {
    /// Parses the text of one `-H`; the empty text is the default socket, or with TLS, the TLS port
    /// of the loopback address.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(text: &str, side: Side, tls: bool) -> Result<Address> {
        let text = text.trim();
        let port = if tls { TLS_PORT } else { PLAIN_PORT };
        if text.is_empty() {
            return Ok(match (tls, side) {
                (true, Side::Connect) => tcp("127.0.0.1", port, ""),
                _ => Address::Unix(DEFAULT_SOCKET.into()),
            });
        }
        let bad = |why: fmt::Arguments<'_>| {
            Err(Error::invalid(match side {
                Side::Listen => format!("invalid bind address ({text}): {why}"),
                Side::Connect => format!("unable to parse docker host `{text}`: {why}"),
            }))
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match (scheme, side) {
            ("unix", _) if rest.contains("://") => {
                bad(format_args!("invalid unix address: {rest}"))
            }
            ("unix", _) if rest.is_empty() => Ok(Address::Unix(DEFAULT_SOCKET.into())),
            ("unix", _) => Ok(Address::Unix(rest.into())),
            ("fd", Side::Listen) => match rest {
                "" | "*" => Ok(Address::Inherited(None)),
                number => match number.parse::<i32>() {
                    Ok(n) if n >= 3 => Ok(Address::Inherited(Some(n))),
                    _ => bad(format_args!("invalid descriptor '{number}'")),
                },
            },
            ("tcp", _) | ("http" | "https", Side::Connect) => match parse_tcp(rest, side, port) {
                Ok(address) => Ok(address),
                Err(why) => bad(format_args!("{why}")),
            },
            _ => bad(format_args!("unsupported proto '{scheme}'")),
        }
    }
}

fn tcp(host: &str, port: u16, prefix: &str) -> Address {
    Address::Tcp { host: host.into(), port, prefix: prefix.into() }
}

fn parse_tcp(text: &str, side: Side, default_port: u16) -> std::result::Result<Address, String> {
    let (authority, path) = match text.find('/') {
        Some(slash) => text.split_at(slash),
        None => (text, ""),
    };
    let prefix = path.trim_end_matches('/');
    if side == Side::Listen && !path.is_empty() {
        return Err("should not contain a path element".into());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("missing ']' in host")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port),
                None if rest.is_empty() => (host, ""),
                None => return Err(format!("invalid port {rest:?} after host")),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("too many colons in address {authority:?}"));
            }
            Some(parts) => parts,
            None => (authority, ""),
        },
    };
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c)) {
        return Err(format!("invalid host {host:?}"));
    }
    let port = match port {
        "" => default_port,
        text => match text.parse::<u16>() {
            Ok(n) if n > 0 && !text.starts_with('+') => n,
            _ => return Err(format!("invalid port: {text}")),
        },
    };
    let host = match (host, side) {
        // `:PORT` is every address of the daemon's host; `tcp://` alone stays private.
        ("", Side::Listen) if !authority.is_empty() => "0.0.0.0",
        ("", _) => "127.0.0.1",
        _ => host,
    };
    Ok(tcp(host, port, prefix))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host, port, prefix } if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}{prefix}")
            }
            Address::Tcp { host, port, prefix } => write!(f, "tcp://{host}:{port}{prefix}"),
            Address::Inherited(None) => f.write_str("fd://"),
            Address::Inherited(Some(n)) => write!(f, "fd://{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, side: Side, tls: bool) -> String {
        Address::parse(text, side, tls).map_or_else(|e| e.to_string(), |a| a.to_string())
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        for (text, plain, tls) in [
            ("", "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("unix://", "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("unix:///tmp/x.sock", "unix:///tmp/x.sock", "unix:///tmp/x.sock"),
            ("tcp://", "tcp://127.0.0.1:2375", "tcp://127.0.0.1:2376"),
            ("tcp://10.0.0.1", "tcp://10.0.0.1:2375", "tcp://10.0.0.1:2376"),
            ("tcp://h:4243", "tcp://h:4243", "tcp://h:4243"),
            ("0.0.0.0:5555", "tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
            (":5555", "tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
            ("127.0.0.1:", "tcp://127.0.0.1:2375", "tcp://127.0.0.1:2376"),
            ("tcp://[::1]:5555", "tcp://[::1]:5555", "tcp://[::1]:5555"),
            ("[::1]:", "tcp://[::1]:2375", "tcp://[::1]:2376"),
            ("fd://", "fd://", "fd://"),
            ("fd://*", "fd://", "fd://"),
            ("fd://4", "fd://4", "fd://4"),
        ] {
            assert_eq!(shown(text, Side::Listen, false), plain, "{text}");
            assert_eq!(shown(text, Side::Listen, true), tls, "{text}");
        }
        assert_eq!(shown("tcp://h:1/p/q/", Side::Connect, false), "tcp://h:1/p/q");
        assert_eq!(shown(":5555", Side::Connect, false), "tcp://127.0.0.1:5555");
        assert_eq!(shown("", Side::Connect, true), "tcp://127.0.0.1:2376");
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let listen = |text| shown(text, Side::Listen, false);
        assert_eq!(
            listen("tcp://h:1/p"),
            "invalid bind address (tcp://h:1/p): should not contain a path element"
        );
        assert_eq!(listen("udp://h"), "invalid bind address (udp://h): unsupported proto 'udp'");
        assert_eq!(listen("h:x"), "invalid bind address (h:x): invalid port: x");
        assert_eq!(
            listen("unix://unix:///x"),
            "invalid bind address (unix://unix:///x): invalid unix address: unix:///x"
        );
        for bad in ["h:0", "h:65536", "::1", "[::1", "fd://2", "fd://x", "tcp://a b:1"] {
            assert!(Address::parse(bad, Side::Listen, false).is_err(), "{bad}");
        }
        assert!(Address::parse("fd://", Side::Connect, false).is_err());
    }
}
