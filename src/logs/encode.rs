//! One entry as a line of JSON, byte for byte as Docker writes it.
//!
//! Bytes that are no UTF-8 become U+FFFD, one for each. No allocation but what the buffer grows by.

use crate::base::time::Timestamp;

use super::Stream;

/// An instant as text, made once for many entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    bytes: [u8; 32],
    length: u8,
}

impl Stamp {
    /// RFC 3339 with the fraction's trailing zeros left out.
    pub(super) fn new(time: Timestamp) -> Stamp {
        let (y, mo, d, h, mi, s) = time.civil();
        let mut stamp = Stamp { bytes: [0; 32], length: 0 };
        stamp.number(u32::try_from(y).unwrap_or(0), 4);
        for (separator, part) in [(b'-', mo), (b'-', d), (b'T', h), (b':', mi), (b':', s)] {
            stamp.push(separator);
            stamp.number(part, 2);
        }
        if time.nanos != 0 {
            stamp.push(b'.');
            stamp.number(time.nanos, 9);
            while stamp.bytes[usize::from(stamp.length) - 1] == b'0' {
                stamp.length -= 1;
            }
        }
        stamp.push(b'Z');
        stamp
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.length)] = byte;
        self.length += 1;
    }

    /// The last `digits` digits of `n`.
    fn number(&mut self, mut n: u32, digits: u8) {
        let start = usize::from(self.length);
        self.length += digits;
        for at in (start..usize::from(self.length)).rev() {
            self.bytes[at] = b'0' + (n % 10) as u8;
            n /= 10;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Appends an entry. `parts` are the pieces of its text; `ended` adds the newline that ended it; `attrs` is empty or
/// `,"attrs":{..}`.
pub(super) fn entry(
    out: &mut Vec<u8>,
    parts: [&[u8]; 2],
    ended: bool,
    stream: Stream,
    attrs: &[u8],
    time: &Stamp,
) {
    out.extend_from_slice(b"{\"log\":\"");
    for part in parts {
        escape(out, part);
    }
    if ended {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\"",
    });
    out.extend_from_slice(attrs);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Bytes that go into JSON as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut b = 0x20;
    while b < 0x80 {
        plain[b] = !matches!(b as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        b += 1;
    }
    plain
};

/// Appends `text` as the inside of a JSON string, with Go's escapes.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|b| !PLAIN[usize::from(*b)]).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&byte) = rest.first() else { return };
        let taken = match byte {
            b'"' | b'\\' => {
                out.extend_from_slice(&[b'\\', byte]);
                1
            }
            b'\n' => {
                out.extend_from_slice(b"\\n");
                1
            }
            b'\r' => {
                out.extend_from_slice(b"\\r");
                1
            }
            0..0x80 => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                1
            }
            _ => escape_wide(out, rest),
        };
        rest = &rest[taken..];
    }
}

/// Appends the character that `text` starts with, which is not ASCII; how many bytes it took.
fn escape_wide(out: &mut Vec<u8>, text: &[u8]) -> usize {
    let length = character_length(text[0]);
    let character = text.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match character {
        // They end a line in JavaScript, which JSON is often pasted into.
        Some("\u{2028}") => out.extend_from_slice(b"\\u2028"),
        Some("\u{2029}") => out.extend_from_slice(b"\\u2029"),
        Some(character) => out.extend_from_slice(character.as_bytes()),
        None => {
            out.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    length
}

/// Bytes of the UTF-8 character that starts with `first`; 1 for a byte that starts none.
pub(super) fn character_length(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_docker_writes() {
        let mut out = Vec::new();
        let time = Timestamp::parse("2026-11-22T07:03:00.250Z").unwrap();
        entry(
            &mut out,
            [b"a\tb\"<\x1b[0m\xff\xc3\xa9", b"\r"],
            true,
            Stream::Stderr,
            b"",
            &Stamp::new(time),
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"a\\u0009b\\\"\\u003c\\u001b[0m\\ufffd\u{e9}\\r\\n\",\"stream\":\"stderr\",\
             \"time\":\"2026-11-22T07:03:00.25Z\"}\n"
        );
    }

    #[test]
    fn stamps_equal_the_display_of_the_time() {
        for text in
            ["2026-11-22T07:03:00Z", "2026-01-02T00:00:00.000000001Z", "1999-12-31T23:59:59.9Z"]
        {
            let stamp = Stamp::new(Timestamp::parse(text).unwrap());
            assert_eq!(stamp.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn cut_characters_are_replaced_byte_by_byte() {
        let mut out = Vec::new();
        escape(&mut out, b"\xe2\x82x\xf0\x9f\x98\x80\xe2\x80\xa8\xc3");
        assert_eq!(out, b"\\ufffd\\ufffdx\xf0\x9f\x98\x80\\u2028\\ufffd");
    }
}
