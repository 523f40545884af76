//! The driver fluentd: each message as a map in the forward protocol, over TCP, TLS or a unix socket.
//!
//! A server that is away is tried again and again, ever more slowly; meanwhile a blocking log makes its container
//! wait, unless `fluentd-async` lets messages wait in a queue instead.
//!
//! Spec: Docker documentation "Fluentd logging driver"; Fluentd "Forward Protocol Specification v1"; MessagePack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::{At, Error, Kind, Result, base64, bytesize, duration, worker};
use crate::http::tls::{self, Trust};
use crate::registry;
use crate::sys::random;

use super::super::Config;
use super::super::options::{Map, bad_syntax, parse_bool};
use super::super::queue::Queue;
use super::dial::{Peer, Place};
use super::msgpack;
use super::url::Url;
use super::{ATTRIBUTES, Def, Message, Opens, Remote, unknown};

pub(super) const DEF: Def = Def {
    name: "fluentd",
    about: "Forwards messages to a Fluentd server over TCP, TLS or a unix socket.",
    options: &[&OPTIONS, &ATTRIBUTES],
    check,
    opens: Opens::Remote(open),
    default_tag: "{{.ID}}",
};

const OPTIONS: [&str; 9] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];
const DEFAULT_PORT: u16 = 24224;
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_RETRY_WAIT_MS: f64 = 60_000.0;
/// How often somebody who waits looks whether he still should.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(String, u16),
    Tls(String, u16),
    Unix(PathBuf),
}

#[derive(Clone, Debug)]
struct Settings {
    address: Address,
    buffer_limit: u64,
    retry_wait_ms: f64,
    max_retries: u64,
    asynchronous: bool,
    reconnect_interval: Option<Duration>,
    sub_second: bool,
    request_ack: bool,
    write_timeout: Option<Duration>,
}

fn check(options: &Map) -> Result<()> {
    unknown(options, DEF.options, |key| format!("unknown log opt '{key}' for fluentd log driver"))?;
    Settings::parse(options).map(drop)
}

impl Settings {
    fn parse(options: &Map) -> Result<Settings> {
        let text = |key: &str| options.get(key).map(String::as_str).filter(|t| !t.is_empty());
        let flag = |key: &str| text(key).map_or(Ok(false), parse_bool);
        let shown = text("fluentd-address").unwrap_or_default();
        let address = address(shown).at(format_args!("invalid fluentd-address ({shown})"))?;
        let buffer_limit = match text("fluentd-buffer-limit") {
            None => 1024 * 1024,
            Some(text) => bytesize::parse(text)?.unsigned_abs(),
        };
        let retry_wait_ms = match text("fluentd-retry-wait") {
            None => 1000.0,
            Some(text) => (duration::parse_ns(text)? as f64 / 1e6).trunc(),
        };
        let max_retries = match text("fluentd-max-retries") {
            None => i32::MAX as u64,
            Some(text) => max_retries(text)?,
        };
        let reconnect_interval = match text("fluentd-async-reconnect-interval") {
            None => None,
            Some(text) => interval(text)?,
        };
        let write_timeout = match text("fluentd-write-timeout") {
            None => None,
            Some(text) => write_timeout(text)?,
        };
        Ok(Settings {
            address,
            buffer_limit,
            retry_wait_ms,
            max_retries,
            asynchronous: flag("fluentd-async")?,
            reconnect_interval,
            sub_second: flag("fluentd-sub-second-precision")?,
            request_ack: flag("fluentd-request-ack")?,
            write_timeout,
        })
    }

    fn place(&self) -> Result<Place> {
        Ok(match &self.address {
            Address::Tcp(host, port) => Place::Tcp(host.clone(), *port),
            Address::Unix(path) => Place::Unix(path.clone()),
            Address::Tls(host, port) => {
                let trust = Trust::Roots(registry::tls::host_store());
                let (config, name) = (tls::client_config(trust, None)?, host.clone());
                Place::Tls { host: host.clone(), port: *port, config, name }
            }
        })
    }
}

fn address(text: &str) -> Result<Address> {
    let text = match text {
        "" => "tcp://",
        text => text,
    };
    let url = match text.contains("://") {
        true => Url::parse(text)?,
        false => Url::parse(&format!("tcp://{text}"))?,
    };
    let make = match url.scheme.as_str() {
        "unix" if url.path.trim_start_matches('/').is_empty() => {
            return Err(Error::invalid("path is empty"));
        }
        "unix" => return Ok(Address::Unix(url.path.into())),
        "tcp" => Address::Tcp,
        "tls" => Address::Tls,
        scheme => return Err(Error::invalid(format_args!("unsupported scheme: '{scheme}'"))),
    };
    if !url.path.is_empty() {
        return Err(Error::invalid("should not contain a path element"));
    }
    let (host, port) = url.split_host();
    let port = match port {
        "" => DEFAULT_PORT,
        port => port.parse().map_err(|_| {
            Error::invalid(format_args!(
                "invalid port: strconv.ParseUint: parsing {port:?}: value out of range"
            ))
        })?,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(make(host.into(), port))
}

fn max_retries(text: &str) -> Result<u64> {
    let number: u64 = text.parse().map_err(|_| bad_syntax("ParseUint", text))?;
    if number > u64::from(u32::MAX) {
        let text = format!("strconv.ParseUint: parsing {text:?}: value out of range");
        return Err(Error::invalid(text));
    }
    if number > i32::MAX as u64 {
        return Err(Error::invalid("invalid fluentd-max-retries: value out of range"));
    }
    Ok(number)
}

fn interval(text: &str) -> Result<Option<Duration>> {
    const KEY: &str = "fluentd-async-reconnect-interval";
    let ns = duration::parse_ns(text).at(format_args!("invalid value for {KEY}"))?;
    if ns == 0 {
        return Ok(None);
    }
    if !(100_000_000..=10_000_000_000).contains(&ns) {
        return Err(Error::invalid(format_args!(
            "invalid value for {KEY}: value ({:?}) must be between 100ms and 10s",
            duration::format_ns(ns)
        )));
    }
    Ok(Some(Duration::from_nanos(ns.unsigned_abs())))
}

fn write_timeout(text: &str) -> Result<Option<Duration>> {
    const KEY: &str = "fluentd-write-timeout";
    let ns = duration::parse_ns(text)
        .at(format_args!("invalid value for {KEY}: value must be a duration"))?;
    if ns < 0 {
        return Err(Error::invalid(format_args!(
            "invalid value for {KEY}: value must be a duration that is non-negative"
        )));
    }
    Ok((ns > 0).then(|| Duration::from_nanos(ns.unsigned_abs())))
}

fn open(config: &Config) -> Result<Box<dyn Remote>> {
    let settings = Settings::parse(&config.options)?;
    let container = config.container.clone().unwrap_or_default();
    let place = settings.place()?;
    let mut link =
        Link { settings: settings.clone(), place, peer: None, connected: Instant::now() };
    let link = if settings.asynchronous {
        let queue = Arc::new(Queue::new(settings.buffer_limit));
        let taken = queue.clone();
        let thread = worker::builder("fluentd")
            .spawn(move || send_queued(&mut link, &taken))
            .at("starting thread fluentd")?;
        Way::Queued(queue, Some(thread))
    } else {
        link.connect()?;
        Way::Direct(link)
    };
    Ok(Box::new(Fluentd {
        tag: config.tag.clone(),
        container_id: container.id,
        container_name: container.name,
        attrs: config.attrs.clone(),
        settings,
        link,
    }))
}

struct Fluentd {
    tag: String,
    container_id: String,
    container_name: String,
    attrs: Map,
    settings: Settings,
    link: Way,
}

enum Way {
    Direct(Link),
    Queued(Arc<Queue<Packed>>, Option<JoinHandle<()>>),
}

/// A message as it is sent, and the acknowledgement that it wants.
struct Packed {
    bytes: Vec<u8>,
    ack: Option<String>,
}

impl Fluentd {
    fn pack(&self, message: &Message<'_>) -> Packed {
        let mut record: BTreeMap<&str, &[u8]> = BTreeMap::from([
            ("container_id", self.container_id.as_bytes()),
            ("container_name", self.container_name.as_bytes()),
            ("source", message.stream.name().as_bytes()),
            ("log", message.line),
        ]);
        record.extend(self.attrs.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
        let ordinal = message.partial.map(|p| p.ordinal.to_string()).unwrap_or_default();
        if let Some(partial) = &message.partial {
            record.insert("partial_message", b"true");
            record.insert("partial_id", partial.id.as_bytes());
            record.insert("partial_ordinal", ordinal.as_bytes());
            record.insert("partial_last", if partial.last { b"true" } else { b"false" });
        }
        let ack = self.settings.request_ack.then(|| {
            let random = random::u64().to_le_bytes();
            base64::encode(&[message.time.secs.to_le_bytes(), random].concat())
        });
        let mut bytes = Vec::new();
        msgpack::array(&mut bytes, 4);
        msgpack::text(&mut bytes, self.tag.as_bytes());
        match self.settings.sub_second {
            true => msgpack::event_time(&mut bytes, message.time),
            false => msgpack::integer(&mut bytes, message.time.secs),
        }
        msgpack::map(&mut bytes, record.len());
        for (key, value) in record {
            msgpack::text(&mut bytes, key.as_bytes());
            msgpack::text(&mut bytes, value);
        }
        msgpack::map(&mut bytes, usize::from(ack.is_some()));
        if let Some(ack) = &ack {
            msgpack::text(&mut bytes, b"chunk");
            msgpack::text(&mut bytes, ack.as_bytes());
        }
        Packed { bytes, ack }
    }
}

impl Remote for Fluentd {
    fn send(&mut self, message: &Message<'_>) -> Result<()> {
        let packed = self.pack(message);
        match &mut self.link {
            Way::Direct(link) => link.send(&packed, &|| false),
            // The limit counts messages.
            Way::Queued(queue, _) => match queue.push(packed, 1) {
                true => Ok(()),
                false => Err(Error::new(
                    Kind::Io,
                    format_args!(
                        "fluent#appendBuffer: Buffer full, limit {}",
                        self.settings.buffer_limit
                    ),
                )),
            },
        }
    }

    fn close(&mut self) -> Result<()> {
        match &mut self.link {
            Way::Direct(link) => link.close(),
            Way::Queued(queue, thread) => {
                queue.close();
                if let Some(thread) = thread.take() {
                    // A panic of the thread was reported already.
                    let _ = thread.join();
                }
            }
        }
        Ok(())
    }
}

/// Sends what waits. After the end of the log, what a server that is there still takes.
fn send_queued(link: &mut Link, queue: &Queue<Packed>) {
    while let Some(packed) = queue.pop() {
        if let Some(interval) = link.settings.reconnect_interval
            && link.connected.elapsed() > interval
        {
            link.close();
        }
        // Lost messages are nobody's business here, as in Docker: the queue was the promise.
        let sent = link.send(&packed, &|| queue.is_closed());
        if sent.is_err() && queue.is_closed() {
            break;
        }
    }
    link.close();
}

/// The connection, which is made anew whenever it fails.
struct Link {
    settings: Settings,
    place: Place,
    peer: Option<Peer>,
    connected: Instant,
}

impl Link {
    fn connect(&mut self) -> Result<()> {
        let peer = self.place.dial(DIAL_TIMEOUT)?;
        peer.set_timeout(self.settings.write_timeout)?;
        (self.peer, self.connected) = (Some(peer), Instant::now());
        Ok(())
    }

    fn connect_with_retry(&mut self, hurry: &dyn Fn() -> bool) -> Result<()> {
        for attempt in 0..self.settings.max_retries {
            if self.connect().is_ok() {
                return Ok(());
            }
            if hurry() {
                return Err(Error::new(Kind::Io, "fluent logger is closing"));
            }
            // 0, 1, 1, 2, 3, 5, 7, ... times as long: the growth is cut to whole numbers.
            let growth = 1.5f64.powf(attempt as f64 - 1.0).trunc();
            let wait_ms = (self.settings.retry_wait_ms * growth).clamp(0.0, MAX_RETRY_WAIT_MS);
            let until = Instant::now() + Duration::from_millis(wait_ms as u64);
            while !hurry() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(LOOK));
            }
        }
        Err(Error::new(
            Kind::Io,
            format_args!(
                "could not connect to fluentd after {} retries",
                self.settings.max_retries
            ),
        ))
    }

    fn send(&mut self, packed: &Packed, hurry: &dyn Fn() -> bool) -> Result<()> {
        for _ in 0..self.settings.max_retries {
            if self.peer.is_none() {
                self.connect_with_retry(hurry).at("fluent#write")?;
            }
            if self.try_send(packed).is_ok() {
                return Ok(());
            }
            self.peer = None;
        }
        Err(Error::new(
            Kind::Io,
            format_args!(
                "fluent#write: failed to write after {} attempts",
                self.settings.max_retries
            ),
        ))
    }

    fn try_send(&mut self, packed: &Packed) -> std::io::Result<()> {
        let Some(peer) = &mut self.peer else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        peer.send(&packed.bytes)?;
        let Some(ack) = &packed.ack else { return Ok(()) };
        let (mut answer, mut buffer) = (Vec::new(), [0; 256]);
        loop {
            match msgpack::acknowledged(&answer) {
                msgpack::Answer::Ack(id) if id == ack.as_bytes() => return Ok(()),
                msgpack::Answer::More => {}
                _ => return Err(std::io::ErrorKind::InvalidData.into()),
            }
            match peer.receive(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => answer.extend_from_slice(&buffer[..length]),
            }
        }
    }

    fn close(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;
    use crate::logs::Stream;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        for (pairs, text) in [
            (&[("x", "1")][..], "unknown log opt 'x' for fluentd log driver"),
            (
                &[("fluentd-address", "udp://h:1")],
                "invalid fluentd-address (udp://h:1): unsupported scheme: 'udp'",
            ),
            (&[("fluentd-address", "unix://")], "invalid fluentd-address (unix://): path is empty"),
            (
                &[("fluentd-address", "h:1/x")],
                "invalid fluentd-address (h:1/x): should not contain a path element",
            ),
            (&[("fluentd-buffer-limit", "x")], "invalid size: 'x'"),
            (&[("fluentd-retry-wait", "x")], "time: invalid duration \"x\""),
            (&[("fluentd-max-retries", "-1")], "strconv.ParseUint: parsing \"-1\": invalid syntax"),
            (
                &[("fluentd-max-retries", "4294967295")],
                "invalid fluentd-max-retries: value out of range",
            ),
            (&[("fluentd-async", "x")], "strconv.ParseBool: parsing \"x\": invalid syntax"),
            (
                &[("fluentd-async-reconnect-interval", "11s")],
                "invalid value for fluentd-async-reconnect-interval: value (\"11s\") must be between \
                 100ms and 10s",
            ),
            (
                &[("fluentd-write-timeout", "-1s")],
                "invalid value for fluentd-write-timeout: value must be a duration that is non-negative",
            ),
        ] {
            assert_eq!(check(&map(pairs)).unwrap_err().to_string(), text);
        }
        let settings = Settings::parse(&map(&[("fluentd-address", "h")])).unwrap();
        assert_eq!(settings.address, Address::Tcp("h".into(), 24224));
        assert_eq!(address("").unwrap(), Address::Tcp("127.0.0.1".into(), 24224));
        assert_eq!(address("tls://[::1]:7").unwrap(), Address::Tls("::1".into(), 7));
        assert_eq!(address("unix:///a/b").unwrap(), Address::Unix("/a/b".into()));
    }

    #[test]
    fn messages_are_forwarded_and_sent_again_until_they_are_acknowledged() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let config = Config {
            options: map(&[
                ("fluentd-address", &address),
                ("fluentd-request-ack", "true"),
                ("fluentd-retry-wait", "1ms"),
            ]),
            tag: "t".into(),
            attrs: map(&[("k", "v")]),
            ..Config::default()
        };
        let peer = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for acknowledge in [false, true] {
                let (mut stream, _) = server.accept().unwrap();
                let mut buffer = [0; 1000];
                let length = stream.read(&mut buffer).unwrap();
                seen.push(buffer[..length].to_vec());
                if acknowledge {
                    let at = length - 24;
                    let answer = [b"\x81\xa3ack\xb8", &buffer[at..length]].concat();
                    stream.write_all(&answer).unwrap();
                    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
                }
            }
            seen
        });
        let mut driver = open(&config).unwrap();
        let time = Timestamp::from_secs(5);
        driver.send(&Message { time, stream: Stream::Stderr, line: b"hi", partial: None }).unwrap();
        driver.close().unwrap();
        let seen = peer.join().unwrap();
        assert_eq!(seen[0], seen[1]);
        let expected: &[u8] = b"\x94\xa1t\x05\x85\xaccontainer_id\xa0\xaecontainer_name\xa0\
            \xa1k\xa1v\xa3log\xa2hi\xa6source\xa6stderr\x81\xa5chunk\xb8";
        assert_eq!(seen[0][..seen[0].len() - 24], *expected);
    }
}
