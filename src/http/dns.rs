//! Questions to a name server and what its answers say: A and AAAA records.
//!
//! Answers are hostile input: every offset is checked, compressed names are skipped without being
//! followed, and nothing is allocated by a length that the message states.
//!
//! Spec: RFC 1035 section 4, RFC 3596.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Record type of IPv4 addresses.
pub const TYPE_A: u16 = 1;
/// Record type of IPv6 addresses.
pub const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The addresses; none if the name exists without any of the type.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The answer did not fit; ask again over TCP.
    Truncated,
    /// The server cannot or will not tell.
    Failed,
}

/// A question with recursion desired; `None` for a name that cannot be put on the wire.
pub fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(out)
}

/// Reads the answer to `question`; `None` if it answers something else or is malformed.
pub fn reply(question: &[u8], message: &[u8]) -> Option<Reply> {
    let flags = u16_at(message, 2)?;
    let same = message.get(..2)? == question.get(..2)? && flags & 0x8000 != 0;
    // The question comes back as it was sent; servers may change the case of letters.
    let asked = question.get(12..)?;
    let echoed = message.get(12..12 + asked.len())?;
    if !same || u16_at(message, 4)? != 1 || !asked.eq_ignore_ascii_case(echoed) {
        return None;
    }
    match flags & 0xf {
        0 if flags & 0x0200 != 0 => return Some(Reply::Truncated),
        0 => {}
        3 => return Some(Reply::NoSuchName),
        _ => return Some(Reply::Failed),
    }
    let kind = u16_at(asked, asked.len().checked_sub(4)?)?;
    let mut at = 12 + asked.len();
    let mut addresses = Vec::new();
    for _ in 0..u16_at(message, 6)? {
        at = skip_name(message, at)?;
        let (record, class) = (u16_at(message, at)?, u16_at(message, at + 2)?);
        let length = usize::from(u16_at(message, at + 8)?);
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if class != CLASS_IN || record != kind {
            continue;
        }
        match kind {
            TYPE_A => addresses.push(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            TYPE_AAAA => addresses.push(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => {}
        }
    }
    Some(Reply::Addresses(addresses))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends the name.
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length & 0xc0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(question: &[u8], flags: [u8; 2], records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2..4].copy_from_slice(&flags);
        out[7] = records.len() as u8;
        for (kind, data) in records {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn addresses_are_found_behind_an_alias() {
        let q = question(7, "www.example.org", TYPE_A).unwrap();
        let m = answer(&q, [0x81, 0x80], &[(5, b"\x01x\xc0\x10"), (1, &[192, 0, 2, 1])]);
        assert_eq!(reply(&q, &m), Some(Reply::Addresses(vec!["192.0.2.1".parse().unwrap()])));
        let q = question(7, "www.example.org.", TYPE_AAAA).unwrap();
        let m = answer(&q, [0x81, 0x80], &[(28, &[0; 16])]);
        assert_eq!(reply(&q, &m), Some(Reply::Addresses(vec!["::".parse().unwrap()])));
        assert_eq!(reply(&q, &answer(&q, [0x81, 0x83], &[])), Some(Reply::NoSuchName));
        assert_eq!(reply(&q, &answer(&q, [0x83, 0x80], &[])), Some(Reply::Truncated));
        assert_eq!(reply(&q, &answer(&q, [0x81, 0x82], &[])), Some(Reply::Failed));
    }

    #[test]
    fn answers_to_other_questions_and_broken_ones_are_dropped() {
        let q = question(7, "a.b", TYPE_A).unwrap();
        let other = question(8, "a.b", TYPE_A).unwrap();
        assert_eq!(reply(&q, &answer(&other, [0x81, 0x80], &[])), None);
        let whole = answer(&q, [0x81, 0x80], &[(1, &[192, 0, 2, 1])]);
        for n in 0..whole.len() {
            assert_eq!(reply(&q, &whole[..n]), None, "{n} bytes");
        }
        assert_eq!(reply(&q, &answer(&q, [0x81, 0x80], &[(1, &[1, 2, 3])])), None);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for bad in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert!(question(1, bad, TYPE_A).is_none(), "{bad}");
        }
    }
}
