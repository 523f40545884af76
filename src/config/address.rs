//! The address forms of `-H` and `DOCKER_HOST`, for the daemon and for the client.
//!
//! | written | meaning |
//! |---|---|
//! | empty | the default: the unix socket; with TLS on the daemon, port 2376 of the loopback |
//! | `unix://PATH`, `unix://` | the socket at PATH, the default socket |
//! | `tcp://HOST:PORT`, `HOST:PORT` | that address |
//! | `tcp://HOST`, `HOST:`, `tcp://` | port 2375, with TLS 2376; without a host the loopback |
//! | `:PORT`, `tcp://:PORT` | daemon: all addresses; client: the loopback |
//! | `tcp://HOST:PORT/PREFIX` | client: PREFIX goes before every request path |
//! | `fd://`, `fd://N` | daemon: all sockets passed in by the service manager, or descriptor N |
//!
//! Spec: `dockerd` reference 1.12 "Daemon socket option", rows S031-S048.

use crate::base::{Error, Result};

/// Docker's socket.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Port of the API without and with TLS.
const PORTS: [u16; 2] = [2375, 2376];

/// Which end an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Addresses to listen on.
    Daemon,
    /// An address to connect to.
    Client,
}

/// An address in its full form: `unix:///path`, `tcp://host:port[/prefix]`, `fd://[n]`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn normalize(text: &str, side: Side, tls: bool) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(match (side, tls) {
            (Side::Daemon, true) => format!("tcp://127.0.0.1:{}", PORTS[1]),
            _ => format!("unix://{DEFAULT_SOCKET}"),
        });
    }
    match text.split_once("://").unwrap_or(("tcp", text)) {
        ("unix", "") => Ok(format!("unix://{DEFAULT_SOCKET}")),
        ("unix", path) if path.contains("://") => {
            Err(Error::invalid(format_args!("invalid proto, expected unix: {path}")))
        }
        ("unix", path) => Ok(format!("unix://{path}")),
        ("tcp", address) => tcp(text, address, side, tls),
        ("fd", number) if side == Side::Daemon => {
            // `fd://*` is an old spelling of all of them.
            let number = if number == "*" { "" } else { number };
            if !number.is_empty() && number.parse::<u16>().map_or(true, |n| n < 3) {
                return Err(Error::invalid(format_args!("invalid bind address format: {text}")));
            }
            Ok(format!("fd://{number}"))
        }
        _ => Err(Error::invalid(format_args!("invalid bind address format: {text}"))),
    }
}

fn tcp(text: &str, address: &str, side: Side, tls: bool) -> Result<String> {
    let bad = || Error::invalid(format_args!("invalid bind address format: {text}"));
    let (authority, prefix) = match address.find('/') {
        Some(slash) => address.split_at(slash),
        None => (address, ""),
    };
    if authority.contains(['@', '?', '#', ' ']) || (side == Side::Daemon && prefix.len() > 1) {
        return Err(bad());
    }
    let (host, port) = split_port(authority).ok_or_else(bad)?;
    let port = match port {
        None | Some("") => PORTS[usize::from(tls)],
        Some(digits) => digits.parse().map_err(|_| bad())?,
    };
    let host = match (host, side) {
        // `:PORT` on the daemon means every address, but `tcp://` alone stays private.
        ("", Side::Daemon) if authority.len() > 1 => "0.0.0.0",
        ("", _) | ("localhost", Side::Daemon) => "127.0.0.1",
        (host, _) => host,
    };
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_string(),
    };
    let prefix = prefix.trim_end_matches('/');
    Ok(format!("tcp://{host}:{port}{prefix}"))
}

/// Host without brackets, and the text after its colon if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail {
            "" => Some((host, None)),
            _ => Some((host, Some(tail.strip_prefix(':')?))),
        };
    }
    match authority.split_once(':') {
        // Two colons without brackets: an IPv6 address alone cannot be told from one with a port.
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_of_the_daemon_is_read() {
        for (text, plain, tls) in [
            ("", "unix:///var/run/docker.sock", "tcp://127.0.0.1:2376"),
            ("unix://", "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("unix:///tmp/s", "unix:///tmp/s", "unix:///tmp/s"),
            ("tcp://1.2.3.4:4243", "tcp://1.2.3.4:4243", "tcp://1.2.3.4:4243"),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375", "tcp://1.2.3.4:2376"),
            ("1.2.3.4:", "tcp://1.2.3.4:2375", "tcp://1.2.3.4:2376"),
            ("tcp://", "tcp://127.0.0.1:2375", "tcp://127.0.0.1:2376"),
            ("0.0.0.0:5555", "tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
            (":5555", "tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
            ("tcp://:5555", "tcp://0.0.0.0:5555", "tcp://0.0.0.0:5555"),
            ("localhost:1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1"),
            ("tcp://[::1]:7", "tcp://[::1]:7", "tcp://[::1]:7"),
            ("tcp://[::1]", "tcp://[::1]:2375", "tcp://[::1]:2376"),
            ("fd://", "fd://", "fd://"),
            ("fd://*", "fd://", "fd://"),
            ("fd://3", "fd://3", "fd://3"),
        ] {
            assert_eq!(normalize(text, Side::Daemon, false).unwrap(), plain, "{text}");
            assert_eq!(normalize(text, Side::Daemon, true).unwrap(), tls, "{text}");
        }
    }

    #[test]
    fn the_client_has_the_loopback_and_a_prefix() {
        for (text, full) in [
            (":5555", "tcp://127.0.0.1:5555"),
            ("tcp://h:1/a/b/", "tcp://h:1/a/b"),
            ("tcp://h/p", "tcp://h:2375/p"),
            ("localhost:1", "tcp://localhost:1"),
        ] {
            assert_eq!(normalize(text, Side::Client, false).unwrap(), full);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in [
            "foo://x",
            "tcp://h:p",
            "tcp://h:99999",
            "tcp://a:b:c",
            "tcp://u@h:1",
            "fd://x",
            "fd://2",
        ] {
            let e = normalize(text, Side::Daemon, false).unwrap_err().to_string();
            assert_eq!(e, format!("invalid bind address format: {text}"));
        }
        assert!(normalize("tcp://h:1/prefix", Side::Daemon, false).is_err());
        assert!(normalize("fd://", Side::Client, false).is_err());
    }
}
