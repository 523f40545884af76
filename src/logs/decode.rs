//! Lines of a log back into entries.
//!
//! What Docker and [`super::encode`] write is read by hand: keys in any order, no allocation but the
//! buffer for the text. A line that is no entry (cut by a crash, or somebody else's) is skipped.

use crate::base::time::{Timestamp, from_civil};

use super::Stream;
use super::format::Decoded;

/// Reads one line into `text`; `None` if it is no entry.
pub(super) fn line<'a>(line: &'a [u8], text: &mut Vec<u8>) -> Option<Decoded<'a>> {
    text.clear();
    // Power loss can leave a hole of zeros where a write was under way.
    let zeros = line.iter().position(|b| *b != 0)?;
    let mut cursor = Cursor { bytes: &line[zeros..], at: 0 };
    let (mut time, mut stream, mut attrs) = (None, Stream::Stdout, &line[..0]);
    cursor.expect(b'{')?;
    loop {
        cursor.expect(b'"')?;
        let key = cursor.raw_string()?;
        cursor.expect(b':')?;
        match key {
            b"log" => {
                cursor.expect(b'"')?;
                cursor.string(text)?;
            }
            b"stream" => {
                cursor.expect(b'"')?;
                if cursor.raw_string()? == b"stderr" {
                    stream = Stream::Stderr;
                }
            }
            b"time" => {
                cursor.expect(b'"')?;
                time = Some(parse_time(cursor.raw_string()?)?);
            }
            b"attrs" => attrs = cursor.skip_value()?,
            _ => drop(cursor.skip_value()?),
        }
        match cursor.next_token()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    Some(Decoded { time: time?, stream, attrs })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.next()? {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                byte => return Some(byte),
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_token()? == byte).then_some(())
    }

    /// The inside of a string without looking at escapes, after its opening quote.
    fn raw_string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => return Some(&self.bytes[start..self.at - 1]),
                b'\\' => drop(self.next()?),
                _ => {}
            }
        }
    }

    /// Appends the text of a string, after its opening quote.
    fn string(&mut self, text: &mut Vec<u8>) -> Option<()> {
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|b| *b == b'"' || *b == b'\\')?;
            text.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Some(());
            }
            match self.next()? {
                b'n' => text.push(b'\n'),
                b'r' => text.push(b'\r'),
                b't' => text.push(b'\t'),
                b'b' => text.push(8),
                b'f' => text.push(12),
                b'u' => {
                    let mut utf8 = [0; 4];
                    text.extend_from_slice(self.unicode()?.encode_utf8(&mut utf8).as_bytes());
                }
                other @ (b'"' | b'\\' | b'/') => text.push(other),
                _ => return None,
            }
        }
    }

    /// The character of `\uXXXX`, or of a pair of surrogates; half a pair is U+FFFD, as in Go.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) || !self.bytes[self.at..].starts_with(b"\\u") {
            return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 2;
        let second = self.hex4()?;
        if (0xdc00..0xe000).contains(&second) {
            return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        self.at = before;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |n, digit| Some(n << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Passes over any value and returns it.
    fn skip_value(&mut self) -> Option<&'a [u8]> {
        let first = self.next_token()?;
        let start = self.at - 1;
        match first {
            b'"' => drop(self.raw_string()?),
            b'{' | b'[' => {
                let mut depth = 1;
                while depth > 0 {
                    match self.next()? {
                        b'"' => drop(self.raw_string()?),
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                }
            }
            _ => {
                while !matches!(self.bytes.get(self.at)?, b',' | b'}' | b']') {
                    self.at += 1;
                }
            }
        }
        Some(&self.bytes[start..self.at])
    }
}

/// The form that is written here without detours, every other RFC 3339 form by the general parser.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    fast_time(text).or_else(|| Timestamp::parse(std::str::from_utf8(text).ok()?).ok())
}

fn fast_time(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| -> Option<u32> {
        text.get(from..to)?
            .iter()
            .try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(at, byte)| text.get(*at) == Some(byte)) {
        return None;
    }
    let nanos = match text.get(19..)? {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            number(20, 20 + digits.len())? * 10u32.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    let (y, mo, d) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, mi, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    Some(Timestamp { secs: from_civil(i64::from(y), mo, d, h, mi, s)?, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Vec<u8>, Stream, String, Vec<u8>)> {
        let mut text = Vec::new();
        let decoded = line(bytes, &mut text)?;
        Some((text, decoded.stream, decoded.time.to_string(), decoded.attrs.to_vec()))
    }

    #[test]
    fn entries_are_read_whatever_the_order_of_keys() {
        let expected = Some((
            b"a\"\n\xc3\xa9\xf0\x9f\x98\x80".to_vec(),
            Stream::Stderr,
            "2026-11-22T07:03:00.25Z".to_string(),
            b"{\"k\":\"}\"}".to_vec(),
        ));
        for text in [
            r#"{"log":"a\"\n\u00e9\ud83d\ude00","stream":"stderr","attrs":{"k":"}"},"time":"2026-11-22T07:03:00.250Z"}"#,
            r#" { "time" : "2026-11-22T09:03:00.25+02:00", "x":[1,{"y":"]"}], "n":null, "attrs":{"k":"}"},
               "stream":"stderr", "log":"a\"\n\u00e9\ud83d\ude00" } "#,
        ] {
            assert_eq!(read(text.as_bytes()), expected);
            assert_eq!(read(&[b"\0\0\0", text.as_bytes()].concat()), expected);
        }
    }

    #[test]
    fn every_cut_of_a_line_is_skipped_without_panic() {
        let text = br#"{"log":"a\u00e9\ud83d\ude00b","stream":"stdout","attrs":{"a":"b"},"time":"2026-11-22T07:03:00Z"}"#;
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), None, "{end}");
        }
        for at in 0..text.len() {
            for byte in [0, b'"', b'{', b'}', b'\\', 0xff] {
                let mut changed = text.to_vec();
                changed[at] = byte;
                let _ = read(&changed);
            }
        }
    }
}
