//! The driver syslog: a datagram or a line for each message, in one of four formats.
//!
//! A connection that fails is made anew once for each message, as in Docker; a server that is away loses what is
//! sent meanwhile.
//!
//! Spec: Docker documentation "Syslog logging driver"; RFC 3164, RFC 5424, RFC 5425.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::http::tls::{self, Trust};
use crate::registry;
use crate::sys::localtime;

use super::super::attributes::host_name;
use super::super::options::Map;
use super::super::{Config, Stream};
use super::dial::{PATIENT, Peer, Place};
use super::url::Url;
use super::{ATTRIBUTES, Def, Message, Opens, Remote, unknown};

pub(super) const DEF: Def = Def {
    name: "syslog",
    about: "Sends messages to a syslog server over UDP, TCP, TLS or a local socket.",
    options: &[&OPTIONS, &ATTRIBUTES],
    check,
    opens: Opens::Remote(open),
    default_tag: "{{.ID}}",
};

const OPTIONS: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "syslog-format",
];

/// By their numbers.
const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];
const DAEMON: u8 = 3;
const SEVERITY_ERROR: u8 = 3;
const SEVERITY_INFO: u8 = 6;
const DEFAULT_PORT: u16 = 514;
/// Where a local syslog listens when no address is given.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// RFC 3164 without the host, as for a local server.
    Unix,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

/// Where messages go.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Local,
    Unix(PathBuf),
    UnixDatagram(PathBuf),
    Udp(String, u16),
    Tcp(String, u16),
    TcpTls(String, u16),
}

fn check(options: &Map) -> Result<()> {
    unknown(options, DEF.options, |key| format!("unknown log opt '{key}' for syslog log driver"))?;
    let text = |key: &str| options.get(key).map_or("", String::as_str);
    address(text("syslog-address"))?;
    facility(text("syslog-facility"))?;
    format(text("syslog-format")).map(drop)
}

fn address(text: &str) -> Result<Address> {
    if text.is_empty() {
        return Ok(Address::Local);
    }
    let url = Url::parse(text)?;
    if let "unix" | "unixgram" = url.scheme.as_str() {
        let path = PathBuf::from(&url.path);
        if let Err(e) = std::fs::metadata(&path) {
            let e = Error::from(e).at(format_args!("stat {}", path.display()));
            return Err(e.with_kind(Kind::InvalidParameter));
        }
        return Ok(match url.scheme.as_str() {
            "unix" => Address::Unix(path),
            _ => Address::UnixDatagram(path),
        });
    }
    let (host, port) = url.split_host();
    let make = match url.scheme.as_str() {
        "udp" => Address::Udp,
        "tcp" => Address::Tcp,
        "tcp+tls" => Address::TcpTls,
        scheme => return Err(Error::invalid(format_args!("unsupported scheme: '{scheme}'"))),
    };
    let port = match port {
        "" => DEFAULT_PORT,
        port => port.parse().map_err(|_| {
            Error::invalid(format_args!(
                "dial {}: address {port}: invalid port",
                go_network(&url.scheme)
            ))
        })?,
    };
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(make(host.into(), port))
}

/// What Go calls the network of a scheme.
fn go_network(scheme: &str) -> &str {
    if scheme == "tcp+tls" { "tcp" } else { scheme }
}

fn facility(text: &str) -> Result<u8> {
    let local = || text.strip_prefix("local")?.parse::<u8>().ok().filter(|n| *n < 8);
    let number = match text {
        "" => Some(DAEMON),
        name => (FACILITIES.iter().position(|f| *f == name).map(|n| n as u8))
            .or_else(|| local().map(|n| 16 + n))
            .or_else(|| name.parse().ok().filter(|n| *n <= 23)),
    };
    number.ok_or_else(|| Error::invalid("invalid syslog facility"))
}

fn format(text: &str) -> Result<Format> {
    Ok(match text {
        "" => Format::Unix,
        "rfc3164" => Format::Rfc3164,
        "rfc5424" => Format::Rfc5424,
        "rfc5424micro" => Format::Rfc5424Micro,
        _ => return Err(Error::invalid("Invalid syslog format")),
    })
}

fn open(config: &Config) -> Result<Box<dyn Remote>> {
    let text = |key: &str| config.options.get(key).map_or("", String::as_str);
    let format = format(text("syslog-format"))?;
    let address = address(text("syslog-address"))?;
    // RFC 5425 counts bytes where the records of TLS say nothing of messages.
    let counted = matches!(address, Address::TcpTls(..))
        && matches!(format, Format::Rfc5424 | Format::Rfc5424Micro);
    let places = match address {
        Address::Local => {
            let datagrams = LOCAL.iter().map(|path| Place::UnixDatagram(path.into()));
            datagrams.chain(LOCAL.iter().map(|path| Place::Unix(path.into()))).collect()
        }
        Address::Unix(path) => vec![Place::Unix(path)],
        Address::UnixDatagram(path) => vec![Place::UnixDatagram(path)],
        Address::Udp(host, port) => vec![Place::Udp(host, port)],
        Address::Tcp(host, port) => vec![Place::Tcp(host, port)],
        Address::TcpTls(host, port) => {
            let (config, name) = (tls_config(&config.options)?, host.clone());
            vec![Place::Tls { host, port, config, name }]
        }
    };
    let mut syslog = Syslog {
        places,
        peer: None,
        facility: facility(text("syslog-facility"))?,
        format,
        counted,
        host: host_name(),
        tag: config.tag.clone(),
        out: Vec::new(),
    };
    syslog.connect()?;
    Ok(Box::new(syslog))
}

fn tls_config(options: &Map) -> Result<Arc<ClientConfig>> {
    let path = |key: &str| options.get(key).filter(|text| !text.is_empty()).map(Path::new);
    let trust = if options.contains_key("syslog-tls-skip-verify") {
        Trust::Anyone
    } else {
        let mut roots = registry::tls::host_store();
        if let Some(authority) = path("syslog-tls-ca-cert") {
            let certificates =
                tls::certificates(authority).map_err(|e| in_gos_words(e, authority))?;
            roots.add_parsable_certificates(certificates);
        }
        Trust::Roots(roots)
    };
    tls::client_config(trust, path("syslog-tls-cert").zip(path("syslog-tls-key")))
}

/// What Docker says of an authority that cannot be used.
fn in_gos_words(e: Error, path: &Path) -> Error {
    let shown = path.display();
    match std::fs::File::open(path) {
        Ok(_) => e,
        Err(cause) => Error::from(cause).at(format_args!(
            "could not read CA certificate {:?}: open {shown}",
            shown.to_string()
        )),
    }
}

struct Syslog {
    /// To be tried in turn.
    places: Vec<Place>,
    peer: Option<Peer>,
    facility: u8,
    format: Format,
    counted: bool,
    host: String,
    tag: String,
    out: Vec<u8>,
}

impl Syslog {
    fn connect(&mut self) -> Result<&mut Peer> {
        self.peer = None;
        let mut failure = None;
        for place in &self.places {
            match place.dial(PATIENT) {
                Ok(peer) => return Ok(self.peer.insert(peer)),
                Err(e) => failure = Some(e),
            }
        }
        Err(match failure {
            Some(e) if self.places.len() == 1 => e,
            _ => Error::new(Kind::Io, "Unix syslog delivery error"),
        })
    }

    /// The message as it is sent, in `self.out`.
    fn write(&mut self, message: &Message<'_>) {
        let severity = match message.stream {
            Stream::Stdout => SEVERITY_INFO,
            Stream::Stderr => SEVERITY_ERROR,
        };
        let priority = self.facility << 3 | severity;
        let (host, tag, pid) = (&self.host, &self.tag, std::process::id());
        let head = match self.format {
            Format::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(message.time)),
            Format::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(message.time))
            }
            Format::Rfc5424 => {
                let time = rfc3339(message.time, false);
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
            Format::Rfc5424Micro => {
                let time = rfc3339(message.time, true);
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        self.out.clear();
        if self.counted {
            let length = head.len() + message.line.len() + 1;
            self.out.extend_from_slice(format!("{length} ").as_bytes());
        }
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(message.line);
        self.out.push(b'\n');
    }
}

impl Remote for Syslog {
    fn send(&mut self, message: &Message<'_>) -> Result<()> {
        if message.line.is_empty() {
            return Ok(());
        }
        self.write(message);
        let out = std::mem::take(&mut self.out);
        let sent = self.peer.as_mut().is_some_and(|peer| peer.send(&out).is_ok());
        let result = if sent {
            Ok(())
        } else {
            self.connect().and_then(|peer| peer.send(&out).map_err(Error::from))
        };
        self.out = out;
        result
    }

    fn close(&mut self) -> Result<()> {
        if let Some(peer) = self.peer.take() {
            peer.close();
        }
        Ok(())
    }
}

/// The time on this host's clocks and its distance from UTC in seconds.
fn local(time: Timestamp) -> (Timestamp, i64) {
    let (offset, _) = localtime::zone_at(time.secs);
    (Timestamp { secs: time.secs + offset, ..time }, offset)
}

/// `Jan  2 15:04:05`.
fn stamp(time: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, month, day, hour, minute, second) = local(time).0.civil();
    let month = MONTHS[(month as usize).clamp(1, 12) - 1];
    format!("{month} {day:>2} {hour:02}:{minute:02}:{second:02}")
}

fn rfc3339(time: Timestamp, micro: bool) -> String {
    let (here, offset) = local(time);
    let (y, mo, d, h, mi, s) = here.civil();
    let fraction = if micro { format!(".{:06}", time.nanos / 1000) } else { String::new() };
    let zone = match offset {
        0 => "Z".to_string(),
        _ => {
            let sign = if offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() / 60 % 60)
        }
    };
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        for (pairs, text) in [
            (&[("x", "1")][..], "unknown log opt 'x' for syslog log driver"),
            (&[("syslog-address", "http://x")], "unsupported scheme: 'http'"),
            (&[("syslog-address", "localhost:514")], "unsupported scheme: 'localhost'"),
            (
                &[("syslog-address", "unix:///nosuch/socket")],
                "stat /nosuch/socket: no such file or directory",
            ),
            (&[("syslog-facility", "24")], "invalid syslog facility"),
            (&[("syslog-facility", "local8")], "invalid syslog facility"),
            (&[("syslog-format", "x")], "Invalid syslog format"),
        ] {
            assert_eq!(check(&map(pairs)).unwrap_err().to_string(), text);
        }
        let all = [("syslog-tls-skip-verify", "1"), ("syslog-facility", "local3"), ("tag", "t")];
        assert!(check(&map(&all)).is_ok());
        assert_eq!(facility("local7").unwrap(), 23);
        assert_eq!(facility("ftp").unwrap(), 11);
        assert_eq!(address("udp://h").unwrap(), Address::Udp("h".into(), 514));
        assert_eq!(address("tcp+tls://[::1]:1").unwrap(), Address::TcpTls("::1".into(), 1));
    }

    #[test]
    fn messages_are_byte_for_byte_dockers() {
        let time = Timestamp { secs: 1_767_323_045, nanos: 123_456_789 };
        let line = Message { time, stream: Stream::Stderr, line: b"oops", partial: None };
        let pid = std::process::id();
        let (offset, _) = localtime::zone_at(time.secs);
        let written = |format, counted| {
            let mut syslog = Syslog {
                places: Vec::new(),
                peer: None,
                facility: 16,
                format,
                counted,
                host: "box".into(),
                tag: "t".into(),
                out: Vec::new(),
            };
            syslog.write(&line);
            String::from_utf8(syslog.out).unwrap()
        };
        assert_eq!(
            written(Format::Rfc3164, false),
            format!("<131>{} box t[{pid}]: oops\n", stamp(time))
        );
        assert_eq!(written(Format::Unix, false), format!("<131>{} t[{pid}]: oops\n", stamp(time)));
        if offset == 0 {
            assert_eq!(stamp(time), "Jan  2 03:04:05");
            let text = format!("<131>1 2026-01-02T03:04:05.123456Z box t {pid} t - oops\n");
            assert_eq!(written(Format::Rfc5424Micro, false), text);
            let counted = format!("{} {text}", text.len());
            assert_eq!(written(Format::Rfc5424Micro, true), counted);
        }
    }
}
