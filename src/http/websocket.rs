//! WebSockets, the server's end: the handshake, and frames in both directions.
//!
//! Data frames are passed on as they come, piece by piece, so that no length that a client names is ever
//! held in memory; only control frames, of 125 bytes at most, are collected. Which kind a client's data
//! frames are does not matter: the bytes are a stream.
//!
//! Spec: RFC 6455.

use super::Headers;
use crate::base::{Error, Result, base64, sha1};

/// What the server adds to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CONTROL_MAX: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The connection was used as it was meant to be.
pub const NORMAL: u16 = 1000;
/// The client broke the rules.
pub const PROTOCOL_ERROR: u16 = 1002;

/// Checks a handshake and adds the answer's fields to `answer`.
///
/// # Errors
/// `InvalidParameter` for anything but a WebSocket handshake of version 13.
pub fn accept(request: &Headers, answer: &mut Headers) -> Result<()> {
    let is_websocket =
        request.has_token("Upgrade", "websocket") && request.has_token("Connection", "upgrade");
    if !is_websocket {
        return Err(Error::invalid("not websocket protocol"));
    }
    if request.get("Sec-WebSocket-Version") != Some("13") {
        answer.set("Sec-WebSocket-Version", "13");
        return Err(Error::invalid("missing or bad WebSocket Version"));
    }
    let key = request.get("Sec-WebSocket-Key").unwrap_or_default().trim();
    if base64::decode(key).is_none_or(|bytes| bytes.len() != 16) {
        return Err(Error::invalid("challenge/response mismatch"));
    }
    answer.set("Connection", "Upgrade");
    answer.set("Upgrade", "websocket");
    let digest = sha1::digest(format!("{key}{GUID}").as_bytes());
    answer.set("Sec-WebSocket-Accept", &base64::encode(&digest));
    // Clients that offer one protocol want it to be chosen; of several none is ours.
    if let Some(one) = request.get("Sec-WebSocket-Protocol")
        && !one.contains(',')
    {
        answer.set("Sec-WebSocket-Protocol", one);
    }
    Ok(())
}

/// What came from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of the stream.
    Data(Vec<u8>),
    /// To be answered with [`pong`].
    Ping(Vec<u8>),
    /// The end; to be answered with [`close`]. Nothing that comes after it counts.
    Close,
}

/// The frame whose payload is being read.
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the payload that were read.
    done: u64,
    length: u64,
}

/// Takes a client's frames apart.
#[derive(Default)]
pub struct Decoder {
    /// A head that is not whole yet.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// The payload of a control frame.
    control: Vec<u8>,
    /// A message whose last frame has not come.
    fragmented: bool,
    closed: bool,
}

impl Decoder {
    /// Takes bytes of the connection.
    ///
    /// # Errors
    /// `InvalidParameter` when the client breaks the rules: close with [`PROTOCOL_ERROR`].
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while !self.closed {
            match self.frame.take() {
                None => match self.take_head(&mut bytes)? {
                    Some(frame) => self.frame = Some(frame),
                    None => break,
                },
                Some(frame) => {
                    if !self.payload(frame, &mut bytes, &mut events) {
                        break;
                    }
                }
            }
        }
        Ok(events)
    }

    /// The head of the next frame, once it is whole.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>> {
        loop {
            let needed = match self.head.as_slice() {
                [] | [_] => 2,
                // Its head is shorter than that of any frame that is allowed.
                [_, second, ..] if second & 0x80 == 0 => return Err(bad("a frame is not masked")),
                [_, second, ..] => {
                    let extended = match second & 0x7f {
                        126 => 2,
                        127 => 8,
                        _ => 0,
                    };
                    2 + extended + 4
                }
            };
            if self.head.len() >= 2 && self.head.len() == needed {
                break;
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.head.push(*first);
            *bytes = rest;
        }
        let head = std::mem::take(&mut self.head);
        self.check(&head).map(Some)
    }

    fn check(&mut self, head: &[u8]) -> Result<Frame> {
        let (last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
        if head[0] & 0x70 != 0 {
            return Err(bad("reserved bits are set"));
        }
        let (extended, mask) = head[2..].split_at(head.len() - 6);
        let length = match extended {
            [] => u64::from(head[1] & 0x7f),
            bytes => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        match opcode {
            CONTINUATION if !self.fragmented => return Err(bad("nothing is to be continued")),
            TEXT | BINARY if self.fragmented => return Err(bad("a message is not whole")),
            CONTINUATION | TEXT | BINARY => self.fragmented = !last,
            CLOSE | PING | PONG if !last || length > CONTROL_MAX => {
                return Err(bad("a control frame is too long or not whole"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err(bad("unknown kind of frame")),
        }
        if length >> 63 != 0 {
            return Err(bad("a length is negative"));
        }
        Ok(Frame { opcode, mask: [mask[0], mask[1], mask[2], mask[3]], done: 0, length })
    }

    /// Takes what is there of the payload; false if the frame needs more.
    fn payload(&mut self, mut frame: Frame, bytes: &mut &[u8], events: &mut Vec<Event>) -> bool {
        let left = usize::try_from(frame.length - frame.done).unwrap_or(usize::MAX);
        let (taken, rest) = bytes.split_at(left.min(bytes.len()));
        *bytes = rest;
        let position = frame.done;
        let unmask =
            |(i, byte): (usize, &u8)| byte ^ frame.mask[((position + i as u64) % 4) as usize];
        let plain: Vec<u8> = taken.iter().enumerate().map(unmask).collect();
        frame.done += taken.len() as u64;
        let whole = frame.done == frame.length;
        match frame.opcode {
            CONTINUATION | TEXT | BINARY => {
                if !plain.is_empty() {
                    events.push(Event::Data(plain));
                }
            }
            opcode => {
                self.control.extend_from_slice(&plain);
                if whole {
                    let payload = std::mem::take(&mut self.control);
                    match opcode {
                        CLOSE => {
                            self.closed = true;
                            events.push(Event::Close);
                        }
                        PING => events.push(Event::Ping(payload)),
                        _ => {}
                    }
                }
            }
        }
        if !whole {
            self.frame = Some(frame);
        }
        whole
    }
}

fn bad(what: &str) -> Error {
    Error::invalid(format_args!("websocket: {what}"))
}

/// One frame with bytes of the stream.
pub fn data(binary: bool, bytes: &[u8]) -> Vec<u8> {
    frame(if binary { BINARY } else { TEXT }, bytes)
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

/// The end, with its reason.
pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

fn frame(opcode: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match bytes.len() {
        length @ 0..126 => out.push(length as u8),
        length @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = frame(0, payload);
        out[0] = first;
        out[1] |= 0x80;
        let at = out.len() - payload.len();
        let mask = [7, 0, 255, 9];
        for (byte, i) in out[at..].iter_mut().zip(0..) {
            *byte ^= mask[i % 4];
        }
        out.splice(at..at, mask);
        out
    }

    #[test]
    fn the_answer_to_a_handshake_is_that_of_the_standard() {
        let mut request = Headers::new();
        request.add("Upgrade", "websocket");
        request.add("Connection", "keep-alive, Upgrade");
        request.add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.add("Sec-WebSocket-Version", "13");
        let mut answer = Headers::new();
        accept(&request, &mut answer).unwrap();
        assert_eq!(answer.get("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        request.set("Sec-WebSocket-Version", "8");
        assert!(accept(&request, &mut answer).is_err());
        assert!(accept(&Headers::new(), &mut answer).is_err());
    }

    #[test]
    fn fragments_and_pings_between_them_are_understood_whatever_the_cuts() {
        let long = vec![b'x'; 70_000];
        let mut stream = masked(TEXT, b"hel");
        stream.extend(masked(0x80 | PING, b"p"));
        stream.extend(masked(0x80 | CONTINUATION, b"lo"));
        stream.extend(masked(0x80 | BINARY, &long));
        stream.extend(masked(0x80 | PONG, b""));
        stream.extend(masked(0x80 | CLOSE, b"\x03\xe8"));
        stream.extend(masked(0x80 | TEXT, b"late"));
        for size in [1, 3, 1000, stream.len()] {
            let mut decoder = Decoder::default();
            let (mut data, mut others) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                for event in decoder.feed(piece).unwrap() {
                    match event {
                        Event::Data(bytes) => data.extend(bytes),
                        other => others.push(other),
                    }
                }
            }
            assert!(data == [b"hello", &long[..]].concat(), "{size}");
            assert_eq!(others, [Event::Ping(b"p".to_vec()), Event::Close]);
        }
    }

    #[test]
    fn broken_rules_are_noticed() {
        let huge = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for bad in [
            frame(TEXT, b"unmasked"),
            masked(0x80 | CONTINUATION, b""),
            masked(0xc0 | TEXT, b""),
            masked(0x80 | 3, b""),
            masked(PING, b""),
            masked(0x80 | PING, &[0; 126]),
            [masked(TEXT, b""), masked(TEXT, b"")].concat(),
            huge.to_vec(),
        ] {
            assert!(Decoder::default().feed(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form() {
        assert_eq!(data(false, b"ab"), b"\x81\x02ab");
        assert_eq!(data(true, &[0; 126])[..4], [0x82, 126, 0, 126]);
        assert_eq!(data(true, &[0; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(close(NORMAL), b"\x88\x02\x03\xe8");
    }
}
