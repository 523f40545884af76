//! The Engine API from outside: negotiation, common header fields, error bodies, events.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use multi_core::api::Api;
use multi_core::base::worker::Worker;
use multi_core::engine::Engine;
use multi_core::engine::settings::{Live, Settings};
use multi_core::http::address::Address;
use multi_core::http::listen::{Listener, Options};
use multi_core::http::server::serve;
use multi_core::{net, registry};

/// Long enough for a loaded machine; only ever reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon {
    dir: PathBuf,
    engine: Arc<Engine>,
    _worker: Worker,
}

impl Daemon {
    fn start(cors: &str) -> Daemon {
        let name = format!("api-{:x}", multi_core::sys::random::u64());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let engine = {
            let driver = multi_core::storage::open("vfs", &dir, &[]).unwrap();
            let store = multi_core::image::Store::open(&dir, driver).unwrap();
            let bridge = "none".to_string();
            let network = net::Config { bridge, ..net::Config::default() };
            let net = net::Controller::open(network, &dir, &dir).unwrap();
            let settings =
                Settings { data_root: dir.clone(), exec_root: dir.clone(), ..Settings::default() };
            let (live, registries) = (Live::default(), registry::Settings::default());
            Engine::open(settings, live, Arc::new(store), registries, Arc::new(net)).unwrap()
        };
        engine.restore().unwrap();
        let address = Address::Unix(dir.join("s"));
        let listener = Listener::bind(&address, &Options::default()).unwrap().pop().unwrap();
        let worker = serve(listener, Arc::new(Api::new(engine.clone(), cors))).unwrap();
        Daemon { dir, engine, _worker: worker }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.join("s")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = self.connect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.engine.shut_down();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn has(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "{part:?} is not in {answer}");
    }
}

#[test]
fn ping_carries_what_clients_negotiate_with() {
    let daemon = Daemon::start("");
    let answer = daemon.ask("GET", "/_ping");
    has(
        &answer,
        &[
            "HTTP/1.1 200 OK\r\n",
            "Api-Version: 1.51\r\n",
            "Ostype: linux\r\n",
            "Docker-Experimental: false\r\n",
            "Builder-Version: 1\r\n",
            "Swarm: inactive\r\n",
            "Cache-Control: no-cache, no-store, must-revalidate\r\n",
            "Server: Docker/",
            "\r\n\r\nOK",
        ],
    );
    let head = daemon.ask("HEAD", "/v1.24/_ping");
    has(&head, &["200 OK", "Content-Length: 0\r\n", "Api-Version: 1.51"]);
    assert!(head.ends_with("\r\n\r\n") && !head.contains("Access-Control"));
}

#[test]
fn versions_outside_the_range_are_refused_in_dockers_words() {
    let daemon = Daemon::start("");
    has(
        &daemon.ask("GET", "/v1.24/version"),
        &["200 OK", r#""ApiVersion":"1.51","MinAPIVersion":"1.24""#],
    );
    has(
        &daemon.ask("GET", "/v1.52/version"),
        &[
            "400 Bad Request",
            r#"{"message":"client version 1.52 is too new. Maximum supported API version is 1.51"}"#,
        ],
    );
    has(
        &daemon.ask("GET", "/v1.18/version"),
        &["400 Bad Request", "text/plain", "\r\n\r\nclient version 1.18 is too old."],
    );
}

#[test]
fn what_is_not_there_says_so() {
    let daemon = Daemon::start("");
    has(&daemon.ask("GET", "/nowhere"), &["404 Not Found", r#"{"message":"page not found"}"#]);
    has(&daemon.ask("POST", "/v1.51/_ping"), &["404 Not Found"]);
    has(&daemon.ask("POST", "/build"), &["501 Not Implemented", "message"]);
    has(
        &daemon.ask("GET", "/v1.51/services"),
        &[
            "503 Service Unavailable",
            r#"This node is not a swarm manager. Use \"docker swarm init\" or"#,
        ],
    );
    has(&daemon.ask("GET", "/events?since=nonsense"), &["400 Bad Request", "nonsense"]);
    has(&daemon.ask("GET", "/events?filters=%zz"), &["400 Bad Request", "invalid URL escape"]);
    has(&daemon.ask("GET", "/events?filters=[]"), &["400 Bad Request", "invalid filter"]);
    has(
        &daemon.ask("GET", "/events?since=20&until=10"),
        &["`since` time (20) cannot be after `until` time (10)"],
    );
}

#[test]
fn browsers_are_let_in_only_when_configured() {
    let daemon = Daemon::start("http://ui.example");
    for method in ["GET", "OPTIONS"] {
        let answer = daemon.ask(method, "/info");
        has(&answer, &["200 OK", "Access-Control-Allow-Origin: http://ui.example\r\n"]);
    }
    let closed = Daemon::start("");
    assert!(!closed.ask("OPTIONS", "/info").contains("Access-Control"));
}

#[test]
fn events_come_from_the_past_and_as_they_happen() {
    let daemon = Daemon::start("");
    let name = |n: &str| BTreeMap::from([("name".to_string(), n.to_string())]);
    daemon.engine.events.publish("container", "start", "c1", name("first"));
    daemon.engine.events.publish("image", "pull", "i1", name("img"));
    // Both form of times, and a range that is over: the answer ends by itself.
    let over = daemon.ask("GET", "/events?since=0&until=1.5");
    assert!(over.ends_with("\r\n\r\n0\r\n\r\n"), "{over}");

    let mut stream = daemon.connect();
    let filters = "%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D";
    let request =
        format!("GET /v1.51/events?since=0&filters={filters} HTTP/1.1\r\nHost: d\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let seen = read_until(&mut stream, "\"c1\"");
    assert!(seen.contains("\"status\":\"start\"") && !seen.contains("i1"), "{seen}");
    daemon.engine.events.publish("container", "die", "c2", name("second"));
    let seen = read_until(&mut stream, "timeNano");
    has(
        &seen,
        &[
            r#""Type":"container","Action":"die","Actor":{"ID":"c2","Attributes":{"name":"second"}}"#,
            r#""scope":"local","time":"#,
        ],
    );
    drop(stream);
    // The subscription goes when the client does.
    let start = std::time::Instant::now();
    while daemon.engine.events.listeners() > 0 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0u8; 4096];
    while !seen.contains(text) {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended: {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    seen
}
