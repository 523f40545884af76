//! Requests of the Engine API as bytes, for tests that need to know what came of one that was cut off.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{PATIENCE, text};

/// Sends one request and returns status and body; `None` if the daemon died meanwhile.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("{method} {path} hangs"),
        result => result.ok()?,
    };
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // Without its last byte an answer says nothing about what was done.
    if let Some(length) = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")) {
        (body.len() == length.parse::<usize>().ok()?).then_some(())?;
    }
    Some((head.split(' ').nth(1)?.parse().ok()?, body.into()))
}
