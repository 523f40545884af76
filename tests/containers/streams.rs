//! Streams whose readers are slow, stuck or gone, and those of browsers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::{eventually, output, text};
use crate::{Cli, with_both};

/// More than any pipe, queue and socket buffer on the way holds.
const LINES: usize = 200_000;

impl Cli<'_> {
    fn logged(&self, name: &str) -> String {
        let told = output(&mut self.command(&["logs", name]));
        text(&told.stdout)
    }
}

#[test]
fn a_reader_that_stops_holds_the_program_up_and_nothing_else() {
    with_both(|cli| {
        let words = ["run", "--name", "stuck", "busybox", "seq", &LINES.to_string()];
        let mut reader = cli.command(&words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "1");
        // It waits, and is looked into and entered all the same; its log has what was written so far.
        assert_eq!(cli.inspect("stuck", "{{.State.Status}}"), "running");
        assert_eq!(cli.run(&["exec", "stuck", "echo", "in"]), "in\n");
        assert!(cli.logged("stuck").starts_with("1\n2\n3\n"));
        for n in 2..=LINES {
            assert_eq!(lines.next().unwrap().unwrap(), n.to_string());
        }
        assert!(lines.next().is_none());
        assert!(reader.wait().unwrap().success());
        let all: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
        assert!(cli.logged("stuck") == all);
        cli.run(&["rm", "stuck"]);
    });
}

#[test]
fn a_reader_that_dies_takes_nothing_with_it() {
    with_both(|cli| {
        let script = format!("seq {LINES}; echo end; exec sleep 600");
        let words = ["create", "--name", "dies", "busybox", "sh", "-c", &script];
        cli.run(&words);
        let attach = |words: &[&str]| cli.command(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = attach(&["start", "-a", "dies"]);
        first.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
        // A second one comes in the middle; neither reads, both die. What the second one could read is
        // held up by the first one, so nothing says when it is there.
        let mut second = attach(&["attach", "dies"]);
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(cli.inspect("dies", "{{.State.Status}}"), "running");
        second.kill().unwrap();
        second.wait().unwrap();
        let all: String = (1..=LINES).map(|n| format!("{n}\n")).collect::<String>() + "end\n";
        eventually("the whole output", || (cli.logged("dies") == all).then_some(()));
        cli.run(&["rm", "-f", "dies"]);
    });
}

#[test]
fn attaching_shows_what_was_said_before_and_several_see_the_same() {
    with_both(|cli| {
        let script = "echo before; while read x; do echo got $x; done; exec sleep 600";
        cli.run(&["run", "-d", "-i", "--name", "many", "busybox", "sh", "-c", script]);
        eventually("the first line", || (cli.logged("many") == "before\n").then_some(()));
        let mut clients: Vec<_> =
            (0..3).map(|_| Raw::attach(cli, "many", "logs=1&stream=1&stdin=1&stdout=1")).collect();
        let until = |client: &mut Raw, line: &str| {
            let mut seen = String::new();
            while !seen.ends_with(line) {
                let (stream, bytes) = client.frame();
                assert_eq!(stream, 1);
                seen.push_str(&text(&bytes));
            }
            seen
        };
        // Whoever hears the answer to his own line hears everything from then on.
        for (number, client) in clients.iter_mut().enumerate() {
            client.stream.write_all(format!("{number}\n").as_bytes()).unwrap();
            let seen = until(client, &format!("got {number}\n"));
            assert!(seen.starts_with("before\n"), "{seen}");
        }
        // It was not the one client whose end ends the input of the program: `run -d -i`.
        clients[1].stream.shutdown(std::net::Shutdown::Write).unwrap();
        clients[2].stream.write_all(b"two\n").unwrap();
        for client in &mut clients {
            until(client, "got two\n");
        }
        // Only what was said: the stream ends by itself.
        let mut told = Raw::attach(cli, "many", "logs=1&stdout=1");
        let mut all = String::new();
        while let Some((_, bytes)) = told.next() {
            all.push_str(&text(&bytes));
        }
        assert_eq!(all, "before\ngot 0\ngot 1\ngot 2\ngot two\n");
        cli.run(&["rm", "-f", "many"]);
    });
}

/// A connection that was taken over.
struct Raw {
    stream: UnixStream,
}

impl Raw {
    fn request(cli: &Cli, head: &str) -> Raw {
        let mut stream = UnixStream::connect(cli.daemon.socket()).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut raw = Raw { stream };
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    fn attach(cli: &Cli, name: &str, query: &str) -> Raw {
        let head = format!(
            "POST /v1.51/containers/{name}/attach?{query} HTTP/1.1\r\nHost: x\r\n\
             Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        Raw::request(cli, &head)
    }

    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.bytes(1));
        }
        text(&head)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame of Docker's stream format, or `None` at the end.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        Some((head[0], self.bytes(length)))
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        self.next().expect("the stream goes on")
    }

    /// The next frame of a WebSocket: kind and payload.
    fn websocket_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2);
        let length = match head[1] {
            126 => u16::from_be_bytes(self.bytes(2).try_into().unwrap()).into(),
            127 => u64::from_be_bytes(self.bytes(8).try_into().unwrap()) as usize,
            length => length.into(),
        };
        (head[0], self.bytes(length))
    }

    fn send_websocket(&mut self, first: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        self.stream.write_all(&frame).unwrap();
    }
}

#[test]
fn a_browser_attaches_over_a_websocket() {
    let daemon = crate::daemon(&[]);
    let cli = Cli { daemon: &daemon, official: false };
    let script = "echo before; read x; echo got $x; read x; exit 7";
    cli.run(&["run", "-d", "-i", "--name", "ws", "busybox", "sh", "-c", script]);
    eventually("the first line", || (cli.logged("ws") == "before\n").then_some(()));
    let handshake = |version: &str, query: &str| {
        format!(
            "GET /{version}/containers/ws/attach/ws?{query} HTTP/1.1\r\nHost: x\r\n\
             Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let all = "logs=1&stream=1&stdin=1&stdout=1&stderr=1";
    let mut socket = Raw::request(&cli, &handshake("v1.51", all));
    assert_eq!(socket.websocket_frame(), (0x82, b"before\n".to_vec()));
    // An old client gets text, whether it asks for output or not.
    let mut old = Raw::request(&cli, &handshake("v1.24", "stream=1"));
    // A message in two parts, with a ping between them.
    socket.send_websocket(0x01, b"he");
    socket.send_websocket(0x89, b"?");
    socket.send_websocket(0x80, b"llo\n");
    let mut frames = [socket.websocket_frame(), socket.websocket_frame()];
    frames.sort();
    assert_eq!(frames, [(0x82, b"got hello\n".to_vec()), (0x8a, b"?".to_vec())]);
    assert_eq!(old.websocket_frame(), (0x81, b"got hello\n".to_vec()));
    // One that says goodbye is answered, one that breaks the rules is sent away; the rest goes on.
    old.send_websocket(0x88, &1000u16.to_be_bytes());
    assert_eq!(old.websocket_frame(), (0x88, 1000u16.to_be_bytes().to_vec()));
    let mut rude = Raw::request(&cli, &handshake("v1.51", "stream=1&stdout=1"));
    rude.stream.write_all(b"\x81\x02hi").unwrap();
    assert_eq!(rude.websocket_frame(), (0x88, 1002u16.to_be_bytes().to_vec()));
    socket.send_websocket(0x82, b"bye\n");
    assert_eq!(socket.websocket_frame(), (0x88, 1000u16.to_be_bytes().to_vec()));
    assert_eq!(cli.run(&["wait", "ws"]), "7\n");

    let mut plain = UnixStream::connect(daemon.socket()).unwrap();
    plain.write_all(b"GET /containers/ws/attach/ws HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 400 ") && answer.contains("not websocket protocol"), "{answer}");
    cli.run(&["rm", "ws"]);
    cli.nothing_left();
    daemon.stop();
}
