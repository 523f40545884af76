//! As much of MessagePack as the forward protocol needs.
//!
//! Spec: MessagePack specification; Fluentd "Forward Protocol Specification v1", "EventTime Ext Format".

use crate::base::time::Timestamp;

/// The start of an array of `length` items, at most 15.
pub(super) fn array(out: &mut Vec<u8>, length: usize) {
    out.push(0x90 | length as u8);
}

/// The start of a map of `length` pairs.
pub(super) fn map(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..16) => out.push(0x80 | short),
        _ => {
            out.push(0xde);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
}

/// A string, whatever its bytes.
pub(super) fn text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 256..65536 => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// A number.
pub(super) fn integer(out: &mut Vec<u8>, n: i64) {
    match i32::try_from(n) {
        Ok(short @ 0..128) => out.push(short as u8),
        Ok(middle) => {
            out.push(0xd2);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        Err(_) => {
            out.push(0xd3);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}

/// An instant with its nanoseconds, as fluentd knows it since 0.14.
pub(super) fn event_time(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&[0xd7, 0]);
    out.extend_from_slice(&(time.secs as u32).to_be_bytes());
    out.extend_from_slice(&time.nanos.to_be_bytes());
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// It has the message of that id.
    Ack(&'a [u8]),
    /// Not all of it is there.
    More,
    /// It is none.
    Nonsense,
}

/// Reads `{"ack": id}`.
pub(super) fn acknowledged(bytes: &[u8]) -> Answer<'_> {
    const HEAD: &[u8] = b"\x81\xa3ack";
    if bytes.len() < HEAD.len() + 2 {
        return if HEAD.starts_with(&bytes[..bytes.len().min(HEAD.len())]) {
            Answer::More
        } else {
            Answer::Nonsense
        };
    }
    let Some(value) = bytes.strip_prefix(HEAD) else { return Answer::Nonsense };
    let (length, rest) = match value {
        [short @ 0xa0..0xc0, rest @ ..] => (usize::from(short & 0x1f), rest),
        [0xd9, length, rest @ ..] => (usize::from(*length), rest),
        _ => return Answer::Nonsense,
    };
    rest.get(..length).map_or(Answer::More, Answer::Ack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let head = |length: usize| {
            let mut out = Vec::new();
            text(&mut out, &vec![b'x'; length]);
            out.truncate(out.len() - length);
            out
        };
        assert_eq!(head(31), [0xbf]);
        assert_eq!(head(32), [0xd9, 32]);
        assert_eq!(head(256), [0xda, 1, 0]);
        assert_eq!(head(65536), [0xdb, 0, 1, 0, 0]);
        let mut out = Vec::new();
        map(&mut out, 15);
        map(&mut out, 16);
        assert_eq!(out, [0x8f, 0xde, 0, 16]);
        out.clear();
        integer(&mut out, 127);
        integer(&mut out, 1_767_323_045);
        event_time(&mut out, Timestamp { secs: 1, nanos: 2 });
        assert_eq!(out, b"\x7f\xd2\x69\x57\x35\xa5\xd7\0\0\0\0\x01\0\0\0\x02");
    }

    #[test]
    fn answers_are_read_whole_or_refused() {
        let whole = b"\x81\xa3ack\xa2id";
        for cut in 0..whole.len() {
            assert_eq!(acknowledged(&whole[..cut]), Answer::More, "{cut}");
        }
        assert_eq!(acknowledged(whole), Answer::Ack(b"id"));
        assert_eq!(acknowledged(b"\x81\xa3ack\xd9\x01x"), Answer::Ack(b"x"));
        assert_eq!(acknowledged(b"\x82\xa3ack\xa2id"), Answer::Nonsense);
        assert_eq!(acknowledged(b"\x81\xa3ack\xc0\0"), Answer::Nonsense);
    }
}
