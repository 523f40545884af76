//! The driver gelf: JSON in datagrams, compressed and in chunks, or over TCP with a NUL byte after each message.
//!
//! Spec: Docker documentation "Graylog Extended Format logging driver"; GELF payload specification 1.1.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::base::{At, Error, Kind, Result, json};
use crate::sys::random;

use super::super::attributes::host_name;
use super::super::encode::escape;
use super::super::options::{Map, parse_int};
use super::super::{Config, Stream};
use super::dial::{PATIENT, Peer, Place};
use super::url::Url;
use super::{ATTRIBUTES, Def, Message, Opens, Remote, unknown};

pub(super) const DEF: Def = Def {
    name: "gelf",
    about: "Sends messages to a GELF endpoint, such as Graylog or Logstash, over UDP or TCP.",
    options: &[&OPTIONS, &ATTRIBUTES],
    check,
    opens: Opens::Remote(open),
    default_tag: "{{.ID}}",
};

const OPTIONS: [&str; 5] = [
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];
/// Longest datagram, and what of a chunk is not its header.
const CHUNK: usize = 1420;
const CHUNK_DATA: usize = CHUNK - 12;
const MAX_CHUNKS: usize = 128;
const LEVEL_ERROR: u8 = 3;
const LEVEL_INFO: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zlib,
    None,
}

fn check(options: &Map) -> Result<()> {
    let (scheme, ..) = address(options)?;
    let is_udp = scheme == "udp";
    let unknown_value = |key: &str, value: &str| {
        Error::invalid(format_args!(
            "unknown value {value:?} for log opt {key:?} for gelf log driver"
        ))
    };
    for (key, value) in options {
        match key.as_str() {
            "gelf-compression-level" | "gelf-compression-type" if !is_udp => {
                return Err(Error::invalid("compression is only supported on UDP"));
            }
            "gelf-compression-level" if !is_level(value) => return Err(unknown_value(key, value)),
            "gelf-compression-type" => {
                packing(value).ok_or_else(|| unknown_value(key, value))?;
            }
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => {
                if is_udp {
                    return Err(Error::invalid(format_args!("{key:?} is only valid for TCP")));
                }
                if !parse_int(value).is_ok_and(|n| n >= 0) {
                    return Err(Error::invalid(format_args!("{key:?} must be a positive integer")));
                }
            }
            _ => {}
        }
    }
    unknown(options, DEF.options, |key| format!("unknown log opt {key:?} for gelf log driver"))
}

fn is_level(text: &str) -> bool {
    parse_int(text).is_ok_and(|level| (-1..=9).contains(&level))
}

/// Scheme, host and port.
fn address(options: &Map) -> Result<(String, String, u16)> {
    let text = options.get("gelf-address").map_or("", String::as_str);
    if text.is_empty() {
        return Err(Error::invalid("gelf-address is a required parameter"));
    }
    let url = Url::parse(text)?;
    if !matches!(url.scheme.as_str(), "udp" | "tcp") {
        return Err(Error::invalid("gelf: endpoint needs to be TCP or UDP"));
    }
    let (host, port) = url.split_host();
    let port = port
        .parse()
        .map_err(|_| Error::invalid("gelf: please provide gelf-address as proto://host:port"))?;
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((url.scheme.clone(), host.into(), port))
}

fn packing(text: &str) -> Option<Packing> {
    match text {
        "gzip" => Some(Packing::Gzip),
        "zlib" => Some(Packing::Zlib),
        "none" => Some(Packing::None),
        _ => None,
    }
}

fn open(config: &Config) -> Result<Box<dyn Remote>> {
    let options = &config.options;
    let (scheme, host, port) = address(options)?;
    let number = |key: &str, default: i64| options.get(key).map_or(Ok(default), |n| parse_int(n));
    let place = match scheme.as_str() {
        "udp" => Place::Udp(host.clone(), port),
        _ => Place::Tcp(host.clone(), port),
    };
    let level = number("gelf-compression-level", 1)?;
    let peer = place.dial(PATIENT).map_err(|e| {
        let endpoint = super::url::join_host_port(&host, port);
        Error::new(Kind::Io, format_args!("gelf: cannot connect to GELF endpoint: {endpoint} {e}"))
    })?;
    Ok(Box::new(Gelf {
        place,
        peer: Some(peer),
        packing: options
            .get("gelf-compression-type")
            .map_or(Some(Packing::Gzip), |t| packing(t))
            .unwrap_or(Packing::Gzip),
        level: u32::try_from(level).map_or(Compression::default(), Compression::new),
        reconnects: number("gelf-tcp-max-reconnect", 3)?,
        delay: Duration::from_secs(number("gelf-tcp-reconnect-delay", 1)?.unsigned_abs()),
        host: json::quote(&host_name()),
        extra: extra(config),
        out: Vec::new(),
    }))
}

/// The fields that all messages have, each with a comma before it.
fn extra(config: &Config) -> String {
    let container = config.container.clone().unwrap_or_default();
    let mut fields: Map = [
        ("_command", container.command),
        ("_container_id", container.id),
        ("_container_name", container.name.trim_start_matches('/').to_string()),
        ("_created", container.created.to_string()),
        ("_image_id", container.image_id),
        ("_image_name", container.image_name),
        ("_tag", config.tag.clone()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into();
    for (key, value) in &config.attrs {
        let key = if key.starts_with('_') { key.clone() } else { format!("_{key}") };
        fields.insert(key, value.clone());
    }
    let pairs = fields.iter().map(|(key, value)| (json::quote(key), json::quote(value)));
    pairs.map(|(key, value)| format!(",{key}:{value}")).collect()
}

struct Gelf {
    place: Place,
    peer: Option<Peer>,
    packing: Packing,
    level: Compression,
    reconnects: i64,
    delay: Duration,
    /// As JSON.
    host: String,
    extra: String,
    out: Vec<u8>,
}

impl Gelf {
    /// The message as JSON, in `self.out`.
    fn write(&mut self, message: &Message<'_>) {
        let level = match message.stream {
            Stream::Stdout => LEVEL_INFO,
            Stream::Stderr => LEVEL_ERROR,
        };
        let seconds = (message.time.unix_nanos() / 1_000_000) as f64 / 1000.0;
        self.out.clear();
        let head = format!("{{\"version\":\"1.1\",\"host\":{},\"short_message\":\"", self.host);
        self.out.extend_from_slice(head.as_bytes());
        escape(&mut self.out, message.line);
        let rest = format!("\",\"timestamp\":{seconds},\"level\":{level}{}}}", self.extra);
        self.out.extend_from_slice(rest.as_bytes());
    }

    fn send_udp(&mut self, bytes: &[u8]) -> Result<()> {
        let packed = self.pack(bytes)?;
        let peer = self.peer.as_mut().ok_or_else(|| Error::internal("the driver is closed"))?;
        if packed.len() <= CHUNK {
            return Ok(peer.send(&packed)?);
        }
        let count = packed.len().div_ceil(CHUNK_DATA);
        let total = u8::try_from(count).ok().filter(|_| count <= MAX_CHUNKS).ok_or_else(|| {
            Error::new(Kind::Io, format_args!("msg too large, would need {count} chunks"))
        })?;
        let id = random::u64().to_be_bytes();
        for (number, data) in (0..total).zip(packed.chunks(CHUNK_DATA)) {
            let chunk = [&[0x1e, 0x0f], &id[..], &[number, total], data].concat();
            peer.send(&chunk).at(format_args!("Write (chunk {number}/{total})"))?;
        }
        Ok(())
    }

    fn pack(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(match self.packing {
            Packing::None => bytes.to_vec(),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), self.level);
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
            Packing::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), self.level);
                encoder.write_all(bytes)?;
                encoder.finish()?
            }
        })
    }

    fn send_tcp(&mut self, bytes: &[u8]) -> Result<()> {
        for _ in 0..=self.reconnects {
            if self.peer.as_mut().is_some_and(|peer| peer.send(bytes).is_ok()) {
                return Ok(());
            }
            std::thread::sleep(self.delay);
            self.peer = self.place.dial(PATIENT).ok();
        }
        Err(Error::new(Kind::Io, "Maximum reconnection attempts was reached; giving up"))
    }
}

impl Remote for Gelf {
    fn send(&mut self, message: &Message<'_>) -> Result<()> {
        if message.line.is_empty() {
            return Ok(());
        }
        self.write(message);
        let mut out = std::mem::take(&mut self.out);
        let result = match self.place {
            Place::Udp(..) => self.send_udp(&out),
            _ => {
                out.push(0);
                self.send_tcp(&out)
            }
        };
        self.out = out;
        result.at("gelf: cannot send GELF message")
    }

    fn close(&mut self) -> Result<()> {
        if let Some(peer) = self.peer.take() {
            peer.close();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::About;
    use super::*;
    use crate::base::time::Timestamp;
    use std::io::Read;
    use std::net::UdpSocket;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        let udp = ("gelf-address", "udp://127.0.0.1:1");
        let tcp = ("gelf-address", "tcp://127.0.0.1:1");
        for (pairs, text) in [
            (&[][..], "gelf-address is a required parameter"),
            (&[("gelf-address", "http://x:1")], "gelf: endpoint needs to be TCP or UDP"),
            (
                &[("gelf-address", "udp://x")],
                "gelf: please provide gelf-address as proto://host:port",
            ),
            (&[udp, ("x", "1")], "unknown log opt \"x\" for gelf log driver"),
            (&[tcp, ("gelf-compression-level", "1")], "compression is only supported on UDP"),
            (
                &[udp, ("gelf-compression-level", "10")],
                "unknown value \"10\" for log opt \"gelf-compression-level\" for gelf log driver",
            ),
            (
                &[udp, ("gelf-compression-type", "zip")],
                "unknown value \"zip\" for log opt \"gelf-compression-type\" for gelf log driver",
            ),
            (
                &[udp, ("gelf-tcp-max-reconnect", "1")],
                "\"gelf-tcp-max-reconnect\" is only valid for TCP",
            ),
            (
                &[tcp, ("gelf-tcp-reconnect-delay", "-1")],
                "\"gelf-tcp-reconnect-delay\" must be a positive integer",
            ),
        ] {
            assert_eq!(check(&map(pairs)).unwrap_err().to_string(), text);
        }
        assert!(check(&map(&[tcp, ("gelf-tcp-max-reconnect", "0"), ("env", "A")])).is_ok());
    }

    #[test]
    fn datagrams_are_packed_and_cut_into_chunks() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        // Text that does not get smaller by compression.
        let noise: String =
            std::iter::repeat_with(|| format!("{:016x}", random::u64())).take(400).collect();
        for packing in ["gzip", "zlib", "none"] {
            for line in ["a <b>\"", &noise] {
                let config = Config {
                    options: map(&[("gelf-address", &address), ("gelf-compression-type", packing)]),
                    tag: "t".into(),
                    attrs: map(&[("k", "v"), ("_u", "w")]),
                    container: Some(About { name: "/n".into(), ..About::default() }),
                    ..Config::default()
                };
                let mut driver = open(&config).unwrap();
                let time = Timestamp { secs: 1_767_323_045, nanos: 120_000_000 };
                let (stream, line) = (Stream::Stdout, line.as_bytes());
                driver.send(&Message { time, stream, line, partial: None }).unwrap();
                let bytes = received(&server);
                let mut text = String::new();
                match packing {
                    "gzip" => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text),
                    "zlib" => flate2::read::ZlibDecoder::new(&bytes[..]).read_to_string(&mut text),
                    _ => (&bytes[..]).read_to_string(&mut text),
                }
                .unwrap();
                let mut shown = Vec::new();
                escape(&mut shown, line);
                let expected = format!(
                    "{{\"version\":\"1.1\",\"host\":{},\"short_message\":\"{}\",\
                     \"timestamp\":1767323045.12,\"level\":6,\"_command\":\"\",\
                     \"_container_id\":\"\",\"_container_name\":\"n\",\
                     \"_created\":\"0001-01-01T00:00:00Z\",\"_image_id\":\"\",\"_image_name\":\"\",\
                     \"_k\":\"v\",\"_tag\":\"t\",\"_u\":\"w\"}}",
                    json::quote(&host_name()),
                    String::from_utf8(shown).unwrap()
                );
                assert_eq!(text, expected, "{packing}");
            }
        }
    }

    /// One message, put together from its chunks.
    fn received(server: &UdpSocket) -> Vec<u8> {
        let (mut whole, mut buffer) = (Vec::new(), [0; 2000]);
        loop {
            let length = server.recv(&mut buffer).unwrap();
            assert!(length <= CHUNK);
            match &buffer[..length] {
                [0x1e, 0x0f, rest @ ..] => {
                    let (number, total) = (rest[8], rest[9]);
                    whole.extend_from_slice(&rest[10..]);
                    if number + 1 == total {
                        return whole;
                    }
                }
                all => return all.to_vec(),
            }
        }
    }
}
