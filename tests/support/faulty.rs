//! A registry in this process that serves what it is given and misbehaves as it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use multi_core::base::base64;
use multi_core::base::digest::Digest;

use super::images::TestImage;

/// A way to answer wrongly. `n` counts bytes of the body.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, these headers, this body.
    Status(u16, Vec<(String, String)>, String),
    /// Go elsewhere; the path of the request is appended.
    Redirect(String),
    /// The last byte is another one.
    WrongBytes,
    /// The head promises everything, the connection ends after `n` bytes.
    CutAfter(usize),
    /// The connection ends before the head.
    CutHead,
    /// The head promises `n` bytes more than there are, and they come.
    Longer(usize),
    /// The head promises `n` bytes less than there are.
    Shorter(usize),
    /// No length is told, and bytes come until the client has enough.
    Endless,
    /// Header lines come until the client has enough.
    EndlessHead,
    /// `n` bytes, then nothing.
    StallAfter(usize),
    /// No answer at all.
    StallHead,
    /// The whole blob, whatever range was asked for.
    IgnoreRange,
    /// A partial answer that starts one byte too late.
    WrongRange,
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How the registry wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    Open,
    /// A token from `/token`, which wants this name and password unless they are empty.
    Token(String, String),
}

#[derive(Default)]
struct State {
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    faults: Vec<(String, Fault, usize)>,
    requests: Vec<Request>,
    guard: Option<Guard>,
    tokens: usize,
    streams: Vec<TcpStream>,
}

pub struct Faulty {
    port: u16,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Faulty {
    pub fn new() -> Faulty {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, stop) =
            (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                shared.lock().unwrap().streams.push(stream.try_clone().unwrap());
                let state = shared.clone();
                std::thread::spawn(move || {
                    // A client that goes away ends the conversation.
                    let _ = serve(&state, &stream, port);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Faulty { port, state, stop, thread: Some(thread) }
    }

    /// `localhost:PORT`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address())
    }

    /// Serves an image as `repository:tag`.
    pub fn add(&self, repository: &str, tag: &str, image: &TestImage) {
        for blob in image.blobs() {
            self.add_blob(blob);
        }
        self.add_manifest(repository, tag, image.media_type(), &image.manifest);
    }

    pub fn add_blob(&self, blob: &[u8]) {
        let digest = Digest::of(blob).to_string();
        self.state.lock().unwrap().blobs.insert(digest, blob.to_vec());
    }

    /// Serves a manifest under a tag and under its digest.
    pub fn add_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        for name in [tag.to_string(), Digest::of(bytes).to_string()] {
            let path = format!("/v2/{repository}/manifests/{name}");
            state.manifests.insert(path, (media_type.into(), bytes.to_vec()));
        }
    }

    /// Makes the next `times` requests whose path contains `part` fail so.
    pub fn fault(&self, part: &str, fault: Fault, times: usize) {
        self.state.lock().unwrap().faults.push((part.into(), fault, times));
    }

    pub fn guard(&self, guard: Guard) {
        self.state.lock().unwrap().guard = Some(guard);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// The requests whose path contains `part`.
    pub fn requests_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|r| r.path.contains(part)).collect()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.state.lock().unwrap().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Answers the requests of one connection until it ends.
fn serve(state: &Mutex<State>, stream: &TcpStream, port: u16) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        let mut locked = state.lock().unwrap();
        locked.requests.push(request.clone());
        let fault = locked
            .faults
            .iter_mut()
            .find(|(part, _, times)| *times > 0 && request.path.contains(part.as_str()))
            .map(|(_, fault, times)| {
                *times -= 1;
                fault.clone()
            });
        let answer = plain_answer(&mut locked, &request, port);
        drop(locked);
        if !answer_with(stream, &mut reader, &request, answer, fault)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mut request = Request { method: method.into(), path: path.into(), headers: HashMap::new() };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length: u64 = request.header("content-length").parse().unwrap_or(0);
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    Ok(Some(request))
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: &str) -> Answer {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What a registry without faults says.
fn plain_answer(state: &mut State, request: &Request, port: u16) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let authorization = request.header("authorization");
    if let Some(Guard::Token(user, password)) = &state.guard {
        if path == "/token" {
            let wanted =
                format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes()));
            if !user.is_empty() && authorization != wanted {
                return Answer::new(401, r#"{"details":"incorrect username or password"}"#);
            }
            state.tokens += 1;
            return Answer::new(
                200,
                &format!(r#"{{"token":"T{}","expires_in":300}}"#, state.tokens),
            );
        }
        if state.tokens == 0 || authorization != format!("Bearer T{}", state.tokens) {
            let challenge = format!(
                "Bearer realm=\"http://localhost:{port}/token\",service=\"faulty\",scope=\"x\""
            );
            let body =
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return Answer::new(401, body).with("WWW-Authenticate", &challenge);
        }
    }
    if path == "/v2/" {
        return Answer::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0");
    }
    if let Some((media_type, bytes)) = state.manifests.get(path) {
        let answer = Answer { status: 200, headers: Vec::new(), body: bytes.clone() };
        return answer
            .with("Content-Type", media_type)
            .with("Docker-Content-Digest", &Digest::of(bytes).to_string());
    }
    let digest = path.rsplit('/').next().unwrap_or_default();
    if let Some(blob) = state.blobs.get(digest) {
        let answer = Answer { status: 200, headers: Vec::new(), body: blob.clone() };
        return answer.with("Content-Type", "application/octet-stream");
    }
    let code = if path.contains("/manifests/") { "MANIFEST_UNKNOWN" } else { "BLOB_UNKNOWN" };
    let message = code.to_ascii_lowercase().replace('_', " ");
    Answer::new(404, &format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

/// Sends an answer, spoiled by `fault`. False ends the connection.
fn answer_with(
    mut stream: &TcpStream,
    reader: &mut BufReader<TcpStream>,
    request: &Request,
    mut answer: Answer,
    fault: Option<Fault>,
) -> std::io::Result<bool> {
    let ranged = !matches!(fault, Some(Fault::IgnoreRange)) && answer.status == 200;
    if let Some((from, to)) = range(request).filter(|_| ranged) {
        let total = answer.body.len();
        let late = usize::from(matches!(fault, Some(Fault::WrongRange)));
        answer = Answer { status: 206, body: answer.body[from + late..=to].to_vec(), ..answer }
            .with("Content-Range", &format!("bytes {}-{to}/{total}", from + late));
    }
    let mut length = answer.body.len();
    match &fault {
        Some(Fault::Status(status, headers, body)) => {
            answer =
                Answer { status: *status, headers: headers.clone(), body: body.clone().into() };
            length = answer.body.len();
        }
        Some(Fault::Redirect(to)) => {
            answer = Answer::new(307, "").with("Location", &format!("{to}{}", request.path));
            length = 0;
        }
        Some(Fault::WrongBytes) => {
            if let Some(last) = answer.body.last_mut() {
                *last ^= 1;
            }
        }
        Some(Fault::Longer(n)) => {
            answer.body.extend(vec![0; *n]);
            length += n;
        }
        Some(Fault::Shorter(n)) => {
            length -= n;
            answer.body.truncate(length);
        }
        Some(Fault::CutHead) => return Ok(false),
        Some(Fault::StallHead) => return wait_for_end(reader),
        Some(Fault::EndlessHead) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                stream.write_all(b"X-Filler: 0123456789012345678901234567890123456789\r\n")?;
            }
        }
        Some(Fault::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            stream.write_all(format!("{length:x}\r\n").as_bytes())?;
            stream.write_all(&answer.body)?;
            stream.write_all(b"\r\n")?;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            loop {
                stream.write_all(chunk.as_bytes())?;
            }
        }
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    match fault {
        Some(Fault::CutAfter(n)) => {
            stream.write_all(&answer.body[..n.min(answer.body.len())])?;
            Ok(false)
        }
        Some(Fault::StallAfter(n)) => {
            stream.write_all(&answer.body[..n.min(answer.body.len())])?;
            wait_for_end(reader)
        }
        _ if request.method == "HEAD" => Ok(true),
        _ => {
            stream.write_all(&answer.body)?;
            Ok(true)
        }
    }
}

/// Says nothing until the client hangs up.
fn wait_for_end(reader: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
    std::io::copy(reader, &mut std::io::sink())?;
    Ok(false)
}

/// The closed range that was asked for.
fn range(request: &Request) -> Option<(usize, usize)> {
    let (from, to) = request.header("range").strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}
