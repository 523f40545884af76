//! The driver splunk: batches of JSON events to an HTTP event collector, with a connection for each batch.
//!
//! Events that cannot be sent wait, and are tried again with the next batch; when too many wait, the oldest batch is
//! lost. The size of batches and the like are set by variables in the daemon's environment, as in Docker.
//!
//! Decision: proxies of the environment are not used.
//!
//! Spec: Docker documentation "Splunk logging driver"; Splunk "Format events for HTTP Event Collector".

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::RootCertStore;

use crate::base::{At, Error, Kind, Result, duration, json, worker};
use crate::http::tls::{self, Trust};
use crate::registry;
use crate::sys::random;

use super::super::Config;
use super::super::attributes::host_name;
use super::super::encode::escape;
use super::super::options::{Map, bad_syntax, parse_bool};
use super::dial::{Peer, Place};
use super::url::Url;
use super::{ATTRIBUTES, Def, Message, Opens, Remote, unknown};

pub(super) const DEF: Def = Def {
    name: "splunk",
    about: "Sends messages to a Splunk HTTP event collector.",
    options: &[&OPTIONS, &ATTRIBUTES],
    check,
    opens: Opens::Remote(open),
    default_tag: "{{.ID}}",
};

const OPTIONS: [&str; 13] = [
    "splunk-url",
    "splunk-token",
    "splunk-source",
    "splunk-sourcetype",
    "splunk-index",
    "splunk-capath",
    "splunk-caname",
    "splunk-insecureskipverify",
    "splunk-format",
    "splunk-verify-connection",
    "splunk-gzip",
    "splunk-gzip-level",
    "splunk-index-acknowledgment",
];
const PATH: &str = "/services/collector/event/1.0";
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// Longest answer that is read, and how much of it is shown.
const ANSWER_MAX: usize = 64 * 1024;
const SHOWN: usize = 1024;

fn check(options: &Map) -> Result<()> {
    unknown(options, DEF.options, |key| format!("unknown log opt '{key}' for splunk log driver"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Inline,
    Json,
    Raw,
}

/// Where events go, and how.
struct Collector {
    place: Place,
    /// As in the request, and in errors.
    host: String,
    url: String,
    token: String,
    gzip: Option<Compression>,
    acknowledge: bool,
}

/// What the daemon's environment sets.
#[derive(Clone, Copy)]
struct Sizes {
    frequency: Duration,
    batch: usize,
    most: usize,
    channel: usize,
}

fn open(config: &Config) -> Result<Box<dyn Remote>> {
    let options = &config.options;
    let collector = collector(options)?;
    if flag(options, "splunk-verify-connection", true)? {
        collector.verify()?;
    }
    let format = match options.get("splunk-format").map_or("inline", String::as_str) {
        "inline" => Format::Inline,
        "json" => Format::Json,
        "raw" => Format::Raw,
        other => {
            return Err(Error::invalid(format_args!(
                "unknown format specified {other}, supported formats are inline, json and raw"
            )));
        }
    };
    let sizes = Sizes::of(|name| std::env::var(name).ok());
    let shared = Arc::new(Shared::default());
    let taken = shared.clone();
    let worker = worker::builder("splunk")
        .spawn(move || work(&taken, &collector, sizes))
        .at("starting thread splunk")?;
    Ok(Box::new(Splunk { shared, worker: Some(worker), sizes, events: Events::of(config, format) }))
}

fn flag(options: &Map, key: &str, default: bool) -> Result<bool> {
    options.get(key).map_or(Ok(default), |text| parse_bool(text))
}

fn collector(options: &Map) -> Result<Collector> {
    let needed = |key: &str| {
        options.get(key).ok_or_else(|| Error::invalid(format_args!("splunk: {key} is expected")))
    };
    let text = needed("splunk-url")?;
    let url = Url::parse(text).map_err(|_| {
        Error::invalid(format_args!("splunk: failed to parse {text} as url value in splunk-url"))
    })?;
    let is_tls = url.scheme == "https";
    if !(is_tls || url.scheme == "http") || !matches!(url.path.as_str(), "" | "/") || url.has_more {
        return Err(Error::invalid(
            "splunk: expected format scheme://dns_name_or_ip:port for splunk-url",
        ));
    }
    let token = needed("splunk-token")?.clone();
    let (host, port) = url.split_host();
    let port = match port {
        "" if is_tls => 443,
        "" => 80,
        port => port
            .parse()
            .map_err(|_| Error::invalid(format_args!("dial tcp: address {port}: invalid port")))?,
    };
    let skip = flag(options, "splunk-insecureskipverify", false)?;
    let place = if is_tls {
        let trust = match options.get("splunk-capath") {
            _ if skip => Trust::Anyone,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(tls::certificates(Path::new(path))?);
                Trust::Roots(roots)
            }
            None => Trust::Roots(registry::tls::host_store()),
        };
        let name = options.get("splunk-caname").map_or(host, String::as_str).to_string();
        Place::Tls { host: host.into(), port, config: tls::client_config(trust, None)?, name }
    } else {
        Place::Tcp(host.into(), port)
    };
    let gzip = flag(options, "splunk-gzip", false)?;
    let level = match options.get("splunk-gzip-level") {
        None => -1,
        Some(text) => gzip_level(text)?,
    };
    let level = u32::try_from(level).map_or(Compression::default(), Compression::new);
    Ok(Collector {
        place,
        host: url.host.clone(),
        url: format!("{}://{}{PATH}", url.scheme, url.host),
        token,
        gzip: gzip.then_some(level),
        acknowledge: flag(options, "splunk-index-acknowledgment", false)?,
    })
}

fn gzip_level(text: &str) -> Result<i32> {
    let level: i32 = text.parse().map_err(|_| bad_syntax("ParseInt", text))?;
    if !(-1..=9).contains(&level) {
        return Err(Error::invalid(format_args!(
            "not supported level '{text}' for splunk-gzip-level (supported values between -1 and 9)"
        )));
    }
    Ok(level)
}

impl Sizes {
    /// A value that cannot be read counts as none, as in Docker.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Sizes {
        let number = |name: &str, default: usize| {
            let text = variable(&format!("SPLUNK_LOGGING_DRIVER_{name}"));
            text.and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let frequency = variable("SPLUNK_LOGGING_DRIVER_POST_MESSAGES_FREQUENCY")
            .and_then(|text| duration::parse_ns(&text).ok())
            .map_or(Duration::from_secs(5), |ns| Duration::from_nanos(ns.unsigned_abs()));
        Sizes {
            frequency,
            batch: number("POST_MESSAGES_BATCH_SIZE", 1000).max(1),
            most: number("BUFFER_MAX", 10_000),
            channel: number("CHANNEL_SIZE", 4000),
        }
    }
}

/// What makes events of messages.
struct Events {
    format: Format,
    tag: String,
    attrs: Map,
    /// The end of every event, from the host on.
    rest: String,
}

impl Events {
    fn of(config: &Config, format: Format) -> Events {
        let options = &config.options;
        // An empty tag is the way to have none.
        let no_tag = options.get("tag").is_some_and(String::is_empty);
        let mut rest = format!(",\"host\":{}", json::quote(&host_name()));
        for (key, name) in [
            ("splunk-source", "source"),
            ("splunk-sourcetype", "sourcetype"),
            ("splunk-index", "index"),
        ] {
            if let Some(value) = options.get(key).filter(|value| !value.is_empty()) {
                rest.push_str(&format!(",\"{name}\":{}", json::quote(value)));
            }
        }
        rest.push('}');
        let tag = if no_tag { String::new() } else { config.tag.clone() };
        Events { format, tag, attrs: config.attrs.clone(), rest }
    }

    /// One event as JSON; `None` for a message that the collector would not take.
    fn event(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        let mut out = b"{\"event\":".to_vec();
        match self.format {
            Format::Raw => {
                if message.line.trim_ascii().is_empty() {
                    return None;
                }
                let mut prefix = String::new();
                if !self.tag.is_empty() {
                    prefix = format!("{} ", self.tag);
                }
                for (key, value) in &self.attrs {
                    prefix.push_str(&format!("{key}={value} "));
                }
                out.push(b'"');
                escape(&mut out, prefix.as_bytes());
                escape(&mut out, message.line);
                out.push(b'"');
            }
            Format::Inline | Format::Json => {
                out.extend_from_slice(b"{\"line\":");
                let is_json = self.format == Format::Json
                    && serde_json::from_slice::<serde::de::IgnoredAny>(message.line).is_ok();
                if is_json {
                    out.extend_from_slice(message.line);
                } else {
                    out.push(b'"');
                    escape(&mut out, message.line);
                    out.push(b'"');
                }
                let source = format!(",\"source\":\"{}\"", message.stream.name());
                out.extend_from_slice(source.as_bytes());
                if !self.tag.is_empty() {
                    let tag = format!(",\"tag\":{}", json::quote(&self.tag));
                    out.extend_from_slice(tag.as_bytes());
                }
                if !self.attrs.is_empty() {
                    let attrs = format!(",\"attrs\":{}", json::to_string(&self.attrs));
                    out.extend_from_slice(attrs.as_bytes());
                }
                out.push(b'}');
            }
        }
        let seconds = message.time.unix_nanos() as f64 / 1e9;
        out.extend_from_slice(format!(",\"time\":\"{seconds:.6}\"{}", self.rest).as_bytes());
        Some(out)
    }
}

/// Events on their way to the thread that sends them.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Vec<u8>>,
    closed: bool,
    /// The last request failed.
    stuck: bool,
    /// To be told with the next message.
    failure: Option<Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Splunk {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    sizes: Sizes,
    events: Events,
}

impl Remote for Splunk {
    fn send(&mut self, message: &Message<'_>) -> Result<()> {
        let Some(event) = self.events.event(message) else { return Ok(()) };
        let mut state = self.shared.lock();
        // Who writes faster than the collector takes has to wait, but not for one that is away.
        while state.events.len() >= self.sizes.channel && !state.stuck {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.events.push_back(event);
        if state.events.len().is_multiple_of(self.sizes.batch) {
            self.shared.changed.notify_all();
        }
        if state.events.len() > self.sizes.most + self.sizes.batch {
            state.events.pop_front();
            return Err(Error::new(Kind::Io, "splunk: too many messages wait to be sent"));
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    fn close(&mut self) -> Result<()> {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(worker) = self.worker.take() {
            // A panic of the thread was reported already.
            let _ = worker.join();
        }
        let mut state = self.shared.lock();
        match (state.events.len(), state.failure.take()) {
            (0, _) => Ok(()),
            (left, Some(e)) => Err(e.at(format_args!("{left} messages were not sent"))),
            (left, None) => Err(Error::internal(format_args!("{left} messages were not sent"))),
        }
    }
}

/// Sends a batch when there is one, and what there is now and then.
fn work(shared: &Shared, collector: &Collector, sizes: Sizes) {
    let mut due = sizes.batch;
    loop {
        let tick = Instant::now() + sizes.frequency;
        let mut state = shared.lock();
        while !state.closed && state.events.len() < due {
            let left = tick.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let closed = state.closed;
        drop(state);
        let sent = post_all(shared, collector, sizes);
        if closed {
            return;
        }
        // What failed is tried again with the next batch or the next tick.
        due = if sent { sizes.batch } else { shared.lock().events.len() + sizes.batch };
    }
}

/// Sends what waits, in batches. False if a request failed.
fn post_all(shared: &Shared, collector: &Collector, sizes: Sizes) -> bool {
    loop {
        let batch: Vec<Vec<u8>> = {
            let mut state = shared.lock();
            let count = state.events.len().min(sizes.batch);
            state.events.drain(..count).collect()
        };
        if batch.is_empty() {
            return true;
        }
        let result = collector.post(&batch);
        let mut state = shared.lock();
        state.stuck = result.is_err();
        shared.changed.notify_all();
        if let Err(e) = result {
            state.failure = Some(e);
            if state.events.len() + batch.len() < sizes.most || state.closed {
                for event in batch.into_iter().rev() {
                    state.events.push_front(event);
                }
            }
            return false;
        }
    }
}

impl Collector {
    fn verify(&self) -> Result<()> {
        let at = || format!("Options {:?}", self.url);
        let (status, body) = self.request("OPTIONS", "", &[]).at(at())?;
        check_status(status, &body, "failed to verify connection")
    }

    fn post(&self, events: &[Vec<u8>]) -> Result<()> {
        let mut headers = format!("Authorization: Splunk {}\r\n", self.token);
        let mut body = events.concat();
        if let Some(level) = self.gzip {
            headers.push_str("Content-Encoding: gzip\r\n");
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(&body)?;
            body = encoder.finish()?;
        }
        if self.acknowledge {
            headers.push_str(&format!("X-Splunk-Request-Channel: {}\r\n", uuid()));
        }
        let at = || format!("Post {:?}", self.url);
        let (status, answer) = self.request("POST", &headers, &body).at(at())?;
        check_status(status, &answer, "failed to send event")
    }

    /// Status line without the version, and the start of the body.
    fn request(&self, method: &str, headers: &str, body: &[u8]) -> Result<(String, Vec<u8>)> {
        let mut peer = self.place.dial(REQUEST)?;
        peer.set_timeout(Some(REQUEST))?;
        let head = format!(
            "{method} {PATH} HTTP/1.1\r\nHost: {}\r\nUser-Agent: multi/{}\r\n{headers}\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.host,
            crate::VERSION,
            body.len()
        );
        peer.send(&[head.as_bytes(), body].concat())?;
        let answer = read_answer(&mut peer);
        peer.close();
        answer
    }
}

fn read_answer(peer: &mut Peer) -> Result<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let nonsense =
            |e: httparse::Error| Error::new(Kind::Io, format_args!("malformed HTTP response: {e}"));
        if let httparse::Status::Complete(head) = response.parse(&bytes).map_err(nonsense)? {
            let status = format!(
                "{} {}",
                response.code.unwrap_or_default(),
                response.reason.unwrap_or_default()
            );
            let length = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
            // Without a length the end of the connection ends it, or what is more than enough.
            let wanted: usize = length.unwrap_or(SHOWN).min(SHOWN);
            if bytes.len() >= head + wanted {
                return Ok((status, bytes[head..][..wanted].to_vec()));
            }
            match peer.receive(&mut buffer)? {
                0 => return Ok((status, bytes[head..].to_vec())),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            continue;
        }
        if bytes.len() > ANSWER_MAX {
            return Err(Error::new(Kind::Io, "malformed HTTP response: the head is too long"));
        }
        match peer.receive(&mut buffer)? {
            0 => return Err(Error::new(Kind::Io, "EOF")),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn check_status(status: String, body: &[u8], what: &str) -> Result<()> {
    if status.starts_with("200 ") || status == "200" {
        return Ok(());
    }
    let body = String::from_utf8_lossy(body);
    Err(Error::new(Kind::Io, format_args!("splunk: {what} - {status} - {body}")))
}

/// A random UUID (RFC 9562 version 4).
fn uuid() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;
    use crate::logs::Stream;
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        let url = ("splunk-url", "http://127.0.0.1:1");
        let token = ("splunk-token", "t");
        for (pairs, text) in [
            (&[][..], "splunk: splunk-url is expected"),
            (&[url], "splunk: splunk-token is expected"),
            (
                &[("splunk-url", "ftp://x")],
                "splunk: expected format scheme://dns_name_or_ip:port for splunk-url",
            ),
            (
                &[("splunk-url", "http://x/path")],
                "splunk: expected format scheme://dns_name_or_ip:port for splunk-url",
            ),
            (
                &[url, token, ("splunk-gzip-level", "10")],
                "not supported level '10' for splunk-gzip-level (supported values between -1 and 9)",
            ),
            (
                &[url, token],
                "Options \"http://127.0.0.1:1/services/collector/event/1.0\": dial tcp 127.0.0.1:1: \
                 connect: connection refused",
            ),
            (
                &[url, token, ("splunk-verify-connection", "false"), ("splunk-format", "x")],
                "unknown format specified x, supported formats are inline, json and raw",
            ),
        ] {
            let config = Config { options: map(pairs), ..Config::default() };
            let e = open(&config).err().unwrap();
            assert_eq!(e.to_string(), text);
        }
        assert_eq!(
            check(&map(&[("x", "1")])).unwrap_err().to_string(),
            "unknown log opt 'x' for splunk log driver"
        );
    }

    #[test]
    fn events_have_dockers_three_formats() {
        let config = Config {
            options: map(&[("splunk-source", "s"), ("splunk-index", "i")]),
            tag: "t".into(),
            attrs: map(&[("k", "v")]),
            ..Config::default()
        };
        let host = json::quote(&host_name());
        let rest = format!(
            ",\"time\":\"1767323045.500000\",\"host\":{host},\"source\":\"s\",\"index\":\"i\"}}"
        );
        for (format, line, event) in [
            (
                Format::Inline,
                "{\"a\":1}",
                r#"{"line":"{\"a\":1}","source":"stderr","tag":"t","attrs":{"k":"v"}}"#,
            ),
            (
                Format::Json,
                "{\"a\":1}",
                r#"{"line":{"a":1},"source":"stderr","tag":"t","attrs":{"k":"v"}}"#,
            ),
            (
                Format::Json,
                "{a}",
                r#"{"line":"{a}","source":"stderr","tag":"t","attrs":{"k":"v"}}"#,
            ),
            (Format::Raw, "x", r#""t k=v x""#),
        ] {
            let time = Timestamp { secs: 1_767_323_045, nanos: 500_000_000 };
            let (stream, line) = (Stream::Stderr, line.as_bytes());
            let message = Message { time, stream, line, partial: None };
            let got = Events::of(&config, format).event(&message).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), format!("{{\"event\":{event}{rest}"));
        }
        let blank =
            Message { time: Timestamp::ZERO, stream: Stream::Stdout, line: b" ", partial: None };
        assert!(Events::of(&config, Format::Raw).event(&blank).is_none());
    }

    #[test]
    fn batches_are_posted_again_until_they_are_taken() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let peer = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for status in ["200 OK", "503 Busy", "200 OK"] {
                let (stream, _) = server.accept().unwrap();
                let mut input = BufReader::new(&stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    input.read_line(&mut line).unwrap();
                    if let Some(text) = line.strip_prefix("Content-Length: ") {
                        length = text.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = vec![0; length];
                input.read_exact(&mut body).unwrap();
                seen.push((head, body));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            seen
        });
        let options = [("splunk-url", &*url), ("splunk-token", "secret"), ("splunk-gzip", "true")];
        let config = Config { options: map(&options), ..Config::default() };
        let collector = collector(&config.options).unwrap();
        collector.verify().unwrap();
        let events = [b"{\"event\":1}".to_vec(), b"{\"event\":2}".to_vec()];
        let e = collector.post(&events).unwrap_err().to_string();
        assert_eq!(e, "splunk: failed to send event - 503 Busy - ok");
        let shared = Shared::default();
        shared.lock().events.extend(events.clone());
        assert!(post_all(&shared, &collector, Sizes::of(|_| None)));
        let seen = peer.join().unwrap();
        assert!(seen[0].0.starts_with("OPTIONS /services/collector/event/1.0 HTTP/1.1\r\n"));
        assert!(seen[2].0.contains("\r\nAuthorization: Splunk secret\r\n"));
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&seen[2].1[..]).read_to_end(&mut body).unwrap();
        assert_eq!(body, events.concat());
    }
}
