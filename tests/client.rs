//! The client against a daemon made of a script: which requests it makes, in which order, on how many
//! connections, and what it makes of the answers.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request as it came.
#[derive(Clone, Debug)]
struct Request {
    /// Method and target: `POST /v1.51/containers/create?name=x`.
    line: String,
    headers: String,
    body: String,
    connection: usize,
}

/// What the daemon answers.
enum Answer {
    /// Status, reason and a JSON body.
    Json(&'static str, String),
    /// A raw stream after `101`, then the end of the connection.
    Raw(Vec<u8>),
}

/// A daemon on a socket in a directory of its own.
struct Daemon {
    dir: PathBuf,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Daemon {
    /// Answers `_ping` itself, and everything else by `script`, which gets the request's line without
    /// the version and how often that line came before.
    fn start(version: &'static str, script: fn(&str, usize) -> Answer) -> Daemon {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("multi-client-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("sock")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (stream, record) = (stream.unwrap(), record.clone());
                thread::spawn(move || serve(stream, version, script, &record, connection));
            }
        });
        Daemon { dir, seen }
    }

    fn docker(&self, words: &[&str]) -> Output {
        let host = format!("unix://{}", self.dir.join("sock").display());
        let mut all = vec!["docker", "-H", &host];
        all.extend(words);
        run(&self.dir, &all)
    }

    fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|r| r.line.clone()).collect()
    }

    fn request(&self, part: &str) -> Request {
        let seen = self.seen.lock().unwrap();
        seen.iter().find(|r| r.line.contains(part)).unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn run(home: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_multi"))
        .args(words)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn serve(
    stream: UnixStream,
    version: &str,
    script: fn(&str, usize) -> Answer,
    record: &Mutex<Vec<Request>>,
    connection: usize,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_string();
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") && headers != "\r\n" {
            if reader.read_line(&mut headers).unwrap() == 0 {
                return;
            }
        }
        let length = headers
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let before = {
            let mut seen = record.lock().unwrap();
            let before = seen.iter().filter(|r| r.line == line).count();
            seen.push(Request { line: line.clone(), headers, body, connection });
            before
        };
        let head = format!("Api-Version: {version}\r\nOSType: linux\r\n");
        if line.ends_with("/_ping") {
            write!(writer, "HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n").unwrap();
            continue;
        }
        match script(&line.replacen(&format!("/v{version}"), "", 1), before) {
            Answer::Json(status, text) => {
                // Head and body apart, as a wait is answered.
                let length = text.len();
                write!(
                    writer,
                    "HTTP/1.1 {status}\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                )
                .unwrap();
                let _ = writer.write_all(text.as_bytes());
            }
            Answer::Raw(bytes) => {
                write!(
                    writer,
                    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                )
                .unwrap();
                let _ = writer.write_all(&bytes);
                return;
            }
        }
    }
}

fn ok(text: &str) -> Answer {
    Answer::Json("200 OK", text.to_string())
}

fn error(status: &'static str, message: &str) -> Answer {
    Answer::Json(status, format!("{{\"message\":\"{message}\"}}"))
}

fn frames() -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, text) in [(1u8, "to stdout\n"), (2, "to stderr\n")] {
        out.extend([kind, 0, 0, 0]);
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// A daemon on which everything works; containers end with status 3.
fn good(line: &str, _: usize) -> Answer {
    match line {
        l if l.contains("/containers/create") => Answer::Json(
            "201 Created",
            r#"{"Id":"0123456789ab","Warnings":["mind the gap"]}"#.into(),
        ),
        l if l.contains("/attach") => Answer::Raw(frames()),
        l if l.contains("/wait") => ok(r#"{"StatusCode":3}"#),
        l if l.ends_with("/start") && l.contains("/exec/") => Answer::Raw(frames()),
        l if l.ends_with("/start") => Answer::Json("204 No Content", String::new()),
        l if l.contains("/containers/c1/exec") => {
            Answer::Json("201 Created", r#"{"Id":"e1"}"#.into())
        }
        l if l.contains("/exec/e1/json") => ok(r#"{"ID":"e1","ExitCode":5}"#),
        l => error("500 Internal Server Error", &format!("unexpected {l}")),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_attaches_and_waits_before_it_starts() {
    let daemon = Daemon::start("1.51", good);
    let output = daemon.docker(&["run", "--rm", "--name", "n", "x", "true"]);
    assert_eq!(text(&output.stdout), "to stdout\n");
    assert_eq!(text(&output.stderr), "WARNING: mind the gap\nto stderr\n");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        daemon.lines(),
        [
            "HEAD /_ping",
            "POST /v1.51/containers/create?name=n",
            "POST /v1.51/containers/0123456789ab/attach?stream=1&stdout=1&stderr=1",
            "POST /v1.51/containers/0123456789ab/wait?condition=removed",
            "POST /v1.51/containers/0123456789ab/start",
        ]
    );
    let create = daemon.request("/create");
    assert!(create.body.contains(r#""AutoRemove":true"#), "{}", create.body);
    assert!(create.body.contains(r#""Cmd":["true"]"#), "{}", create.body);
    assert!(create.headers.contains("Content-Type: application/json"));
    assert!(daemon.request("/attach").headers.contains("Upgrade: tcp"));
}

#[test]
fn a_detached_run_prints_the_id_over_one_connection() {
    let daemon = Daemon::start("1.51", good);
    let output = daemon.docker(&["run", "-d", "x"]);
    assert_eq!(text(&output.stdout), "0123456789ab\n");
    assert_eq!(output.status.code(), Some(0));
    let seen = daemon.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|r| r.connection == 0), "{seen:?}");
}

#[test]
fn older_daemons_are_spoken_to_in_their_version() {
    let daemon = Daemon::start("1.41", good);
    daemon.docker(&["create", "x"]);
    assert_eq!(daemon.lines(), ["HEAD /_ping", "POST /v1.41/containers/create"]);
}

#[test]
fn a_missing_image_is_pulled_and_the_create_repeated() {
    let daemon = Daemon::start("1.51", |line, before| match line {
        l if l.contains("/containers/create") && before == 0 => {
            error("404 Not Found", "No such image: x:latest")
        }
        l if l.contains("/images/create") => ok(
            "{\"status\":\"Pulling from library/x\",\"id\":\"latest\"}\r\n{\"status\":\"Done\"}\r\n",
        ),
        l => good(l, before),
    });
    let output = daemon.docker(&["create", "x"]);
    assert_eq!(text(&output.stdout), "0123456789ab\n");
    assert_eq!(
        text(&output.stderr),
        "Unable to find image 'x:latest' locally\nlatest: Pulling from library/x\nDone\nWARNING: mind the gap\n"
    );
    assert_eq!(
        daemon.lines()[1..],
        [
            "POST /v1.51/containers/create",
            "POST /v1.51/images/create?fromImage=x&tag=latest",
            "POST /v1.51/containers/create",
        ]
    );
    assert!(daemon.request("/images/create").headers.contains("X-Registry-Auth: e30="));
}

#[test]
fn never_pulling_is_an_error_of_the_daemon() {
    let daemon = Daemon::start("1.51", |_, _| error("404 Not Found", "No such image: x:latest"));
    let output = daemon.docker(&["run", "--pull", "never", "x"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "docker: Error response from daemon: No such image: x:latest\n\nRun 'docker run --help' for more information\n"
    );
    assert_eq!(daemon.lines().len(), 2);
}

#[test]
fn a_command_that_is_not_there_exits_127_after_the_removal() {
    let daemon = Daemon::start("1.51", |line, before| match line {
        l if l.ends_with("/start") => {
            error("400 Bad Request", "exec: \\\"nope\\\": executable file not found in $PATH")
        }
        l => good(l, before),
    });
    let output = daemon.docker(&["run", "--rm", "x", "nope"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).contains(
        "docker: Error response from daemon: exec: \"nope\": executable file not found in $PATH\n"
    ));
}

#[test]
fn exec_makes_three_requests_and_takes_the_exit_code() {
    let daemon = Daemon::start("1.51", good);
    let output = daemon.docker(&["exec", "-e", "A=b", "c1", "sh", "-c", "x"]);
    assert_eq!(text(&output.stdout), "to stdout\n");
    assert_eq!(text(&output.stderr), "to stderr\n");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        daemon.lines()[1..],
        ["POST /v1.51/containers/c1/exec", "POST /v1.51/exec/e1/start", "GET /v1.51/exec/e1/json",]
    );
    let exec = daemon.request("/c1/exec").body;
    assert!(
        exec.contains(r#""Env":["A=b"]"#) && exec.contains(r#""Cmd":["sh","-c","x"]"#),
        "{exec}"
    );
}

#[test]
fn several_containers_are_stopped_and_told_in_order() {
    let daemon = Daemon::start("1.51", |line, _| match line {
        l if l.contains("/b/") => error("404 Not Found", "No such container: b"),
        _ => Answer::Json("204 No Content", String::new()),
    });
    let output = daemon.docker(&["stop", "-t", "5", "a", "b", "c"]);
    assert_eq!(text(&output.stdout), "a\nc\n");
    assert_eq!(text(&output.stderr), "Error response from daemon: No such container: b\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(daemon.lines().contains(&"POST /v1.51/containers/a/stop?t=5".to_string()));
}

#[test]
fn a_cidfile_is_written_and_not_left_behind_by_a_failure() {
    let daemon = Daemon::start("1.51", |line, before| match line {
        l if l.contains("name=bad") => error("409 Conflict", "in use"),
        l => good(l, before),
    });
    let path = daemon.dir.join("cid");
    let file = path.to_str().unwrap();
    daemon.docker(&["create", "--cidfile", file, "--name", "bad", "x"]);
    assert!(!path.exists());
    daemon.docker(&["create", "--cidfile", file, "x"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789ab");
    let again = daemon.docker(&["create", "--cidfile", file, "x"]);
    assert!(text(&again.stderr).starts_with("container ID file found, make sure"));
}

#[test]
fn logs_and_lists_are_taken_apart() {
    let daemon = Daemon::start("1.51", |line, _| match line {
        l if l.contains("/logs") => Answer::Json("200 OK", text(&frames())),
        l if l.contains("/c1/json") => ok(r#"{"Id":"c1","Config":{"Tty":false}}"#),
        l if l.contains("/containers/json") => ok("[]"),
        l if l.contains("/images/json") => ok("[]"),
        l => error("404 Not Found", &format!("No such thing: {l}")),
    });
    let output = daemon.docker(&["logs", "--tail", "3", "c1"]);
    assert_eq!(text(&output.stdout), "to stdout\n");
    assert_eq!(text(&output.stderr), "to stderr\n");
    assert!(
        daemon.lines().contains(&"GET /v1.51/containers/c1/logs?stdout=1&stderr=1&tail=3".into())
    );
    let output = daemon.docker(&["ps", "-a", "-f", "name=x"]);
    assert_eq!(
        text(&output.stdout),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    );
    let filters =
        "GET /v1.51/containers/json?all=1&filters=%7B%22name%22%3A%7B%22x%22%3Atrue%7D%7D";
    assert!(daemon.lines().contains(&filters.to_string()), "{:?}", daemon.lines());
    let output = daemon.docker(&["images"]);
    assert_eq!(text(&output.stdout), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n");
    let output = daemon.docker(&["inspect", "nope"]);
    assert_eq!(text(&output.stdout), "[]\n");
    assert_eq!(text(&output.stderr), "Error: No such object: nope\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_absent_daemon_is_named() {
    let host = "unix:///nonexistent/multi.sock";
    let output = run(Path::new("/"), &["docker", "-H", host, "ps"]);
    assert_eq!(
        text(&output.stderr),
        format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?\n")
    );
    assert_eq!(output.status.code(), Some(1));
    let output = run(Path::new("/"), &["docker", "-H", host, "run", "x"]);
    assert_eq!(output.status.code(), Some(125));
}
