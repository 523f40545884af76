//! Host names to addresses without the C library, whose resolver loads modules at run time.
//!
//! In this order: address literals, `/etc/hosts`, `localhost`, the name servers of `/etc/resolv.conf`.
//! IPv4 addresses come first. Blocking, bounded by the timeouts of resolv.conf.
//!
//! Spec: hosts(5), resolv.conf(5), RFC 6761 section 6.3.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use super::dns::{self, Reply};
use crate::base::{At, Error, Kind, Result};
use crate::sys;

/// Most name servers that are asked, as in the C library.
const MAX_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

/// Where names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: usize,
}

/// The addresses of `host` with `port`; never empty.
///
/// # Errors
/// `Io` in Go's words: `lookup NAME: no such host`.
pub fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    Ok(lookup(host)?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Connects to the first address of `host` that takes the connection.
///
/// # Errors
/// `Io`: the name is unknown, or the last address's failure.
pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    let mut failure = None;
    for address in addresses(host, port)? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).at("preparing a connection")?;
                return Ok(stream);
            }
            Err(e) => failure = Some(Error::from(e).at(format_args!("dial tcp {address}"))),
        }
    }
    Err(failure.unwrap_or_else(|| no_such_host(host)))
}

/// The addresses of `host`; never empty.
///
/// # Errors
/// `Io` in Go's words.
pub fn lookup(host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![ip]);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut found = from_hosts(&hosts, host);
    let bare = host.trim_end_matches('.').to_ascii_lowercase();
    if found.is_empty() && (bare == "localhost" || bare.ends_with(".localhost")) {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if found.is_empty() {
        let text = fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
        found = from_servers(&parse_config(&text), host)?;
    }
    found.sort_by_key(IpAddr::is_ipv6);
    if found.is_empty() { Err(no_such_host(host)) } else { Ok(found) }
}

fn no_such_host(host: &str) -> Error {
    Error::new(Kind::Io, format_args!("lookup {host}: no such host"))
}

fn from_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
        })
        .collect()
}

fn parse_config(text: &str) -> Config {
    let mut config = Config {
        servers: Vec::new(),
        search: Vec::new(),
        ndots: 1,
        timeout: Duration::from_secs(5),
        attempts: 2,
    };
    for line in text.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") if config.servers.len() < MAX_SERVERS => {
                let ip = words.next().and_then(|w| w.parse::<IpAddr>().ok());
                config.servers.extend(ip.map(|ip| SocketAddr::new(ip, DNS_PORT)));
            }
            Some("search" | "domain") => config.search = words.map(String::from).collect(),
            Some("options") => {
                for (name, value) in words.filter_map(|w| w.split_once(':')) {
                    let Ok(value) = value.parse::<usize>() else { continue };
                    match name {
                        "ndots" => config.ndots = value.min(15),
                        "timeout" => {
                            config.timeout = Duration::from_secs(value.clamp(1, 30) as u64);
                        }
                        "attempts" => config.attempts = value.clamp(1, 5),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if config.servers.is_empty() {
        config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    config
}

/// The full names to try for `host`, in order.
fn candidates(config: &Config, host: &str) -> Vec<String> {
    if host.ends_with('.') {
        return vec![host.to_string()];
    }
    let dots = host.matches('.').count();
    let mut list: Vec<String> = config.search.iter().map(|s| format!("{host}.{s}")).collect();
    let place = if dots >= config.ndots { 0 } else { list.len() };
    list.insert(place, host.to_string());
    list
}

fn from_servers(config: &Config, host: &str) -> Result<Vec<IpAddr>> {
    for name in candidates(config, host) {
        let found = ask_all(config, &name).at(format_args!("lookup {host}"))?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Asks the servers in turn until one knows whether `name` exists.
fn ask_all(config: &Config, name: &str) -> Result<Vec<IpAddr>> {
    let mut failure = Error::new(Kind::Io, "server misbehaving");
    for _ in 0..config.attempts {
        for server in &config.servers {
            match ask(*server, name, config.timeout) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(e) => failure = e.at(format_args!("on {server}")),
            }
        }
    }
    Err(failure)
}

/// Asks one server for both kinds of address; `None` if it does not know.
fn ask(server: SocketAddr, name: &str, timeout: Duration) -> Result<Option<Vec<IpAddr>>> {
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0))?;
    // Connected, so that only this server's packets arrive.
    socket.connect(server)?;
    let random = sys::random::u64();
    let questions = [(random as u16, dns::TYPE_A), ((random >> 16) as u16, dns::TYPE_AAAA)];
    let mut open = Vec::new();
    for (id, kind) in questions {
        let Some(question) = dns::question(id, name, kind) else { return Ok(Some(Vec::new())) };
        socket.send(&question)?;
        open.push(question);
    }
    let deadline = Instant::now() + timeout;
    let (mut found, mut known) = (Vec::new(), false);
    let mut packet = [0u8; 1500];
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // One kind of address answered, the other lost: what there is will do.
            return if known { Ok(Some(found)) } else { Err(timed_out()) };
        }
        socket.set_read_timeout(Some(left))?;
        let n = match socket.recv(&mut packet) {
            Ok(n) => n,
            Err(e) if is_timeout(&e) => continue,
            Err(e) => return Err(e.into()),
        };
        let reply = open
            .iter()
            .enumerate()
            .find_map(|(i, q)| dns::reply(q, &packet[..n]).map(|reply| (i, reply)));
        let Some((i, reply)) = reply else { continue };
        let question = open.remove(i);
        let reply = match reply {
            Reply::Truncated => ask_tcp(server, &question, timeout)?,
            reply => reply,
        };
        match reply {
            Reply::Addresses(list) => {
                known = true;
                found.extend(list);
            }
            Reply::NoSuchName => return Ok(Some(Vec::new())),
            Reply::Truncated | Reply::Failed => {}
        }
    }
    Ok(known.then_some(found))
}

fn is_timeout(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}

fn timed_out() -> Error {
    Error::new(Kind::Io, "i/o timeout")
}

fn ask_tcp(server: SocketAddr, question: &[u8], timeout: Duration) -> Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes();
    stream.write_all(&[&length, question].concat())?;
    let mut length = [0u8; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0u8; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(dns::reply(question, &message).unwrap_or(Reply::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_need_no_server() {
        assert_eq!(lookup("192.0.2.7").unwrap(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(lookup("[::1]").unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(lookup("localhost").unwrap()[0].is_loopback());
        assert!(lookup("a.localhost").unwrap()[0].is_loopback());
    }

    #[test]
    fn hosts_lines_match_any_of_their_names() {
        let text = "# x\n127.0.0.1 localhost\n192.0.2.1\tReg.example reg # old\nbad reg\n::5 reg\n";
        let found = from_hosts(text, "REG");
        assert_eq!(found, ["192.0.2.1".parse::<IpAddr>().unwrap(), "::5".parse().unwrap()]);
        assert!(from_hosts(text, "old").is_empty());
    }

    #[test]
    fn resolv_conf_is_read_as_the_library_reads_it() {
        let config = parse_config(
            "nameserver 192.0.2.1\nnameserver bad\nnameserver 2001:db8::1\nsearch a b\noptions ndots:2 timeout:1 rotate\n",
        );
        assert_eq!(config.servers.len(), 2);
        assert_eq!(config.timeout, Duration::from_secs(1));
        assert_eq!(candidates(&config, "x.y"), ["x.y.a", "x.y.b", "x.y"]);
        assert_eq!(candidates(&config, "x.y.z"), ["x.y.z", "x.y.z.a", "x.y.z.b"]);
        assert_eq!(candidates(&config, "x."), ["x."]);
        assert_eq!(parse_config("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    fn serve_one(answers: Vec<(u16, Option<[u8; 4]>)>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut packet = [0u8; 512];
            for (code, ip) in answers {
                let (n, peer) = socket.recv_from(&mut packet).unwrap();
                let mut reply = packet[..n].to_vec();
                let kind = reply[n - 3];
                reply[2..4].copy_from_slice(&(0x8180u16 | code).to_be_bytes());
                if let Some(ip) = ip.filter(|_| kind == 1) {
                    reply[7] = 1;
                    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                    reply.extend_from_slice(&ip);
                }
                socket.send_to(&reply, peer).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_server_that_fails_is_followed_by_the_next() {
        let bad = serve_one(vec![(2, None), (2, None)]);
        let good = serve_one(vec![(0, Some([192, 0, 2, 9])), (0, None)]);
        let mut config = parse_config("");
        config.servers = vec![bad, good];
        let found = from_servers(&config, "x.example").unwrap();
        assert_eq!(found, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_name_that_does_not_exist_is_empty_not_an_error() {
        let server = serve_one(vec![(3, None), (3, None)]);
        let mut config = parse_config("");
        config.servers = vec![server];
        assert!(from_servers(&config, "x.example").unwrap().is_empty());
    }
}
