//! Tar headers: 512-byte blocks and the extended headers before them, resolved into entries.
//!
//! Understood: v7, ustar with prefix, star, GNU (long names, base-256 numbers) and pax (`path`,
//! `linkpath`, `size`, `uid`, `gid`, `mtime`, `atime`, `SCHILY.xattr.*`). Global pax headers are
//! entries of their own that change nothing, as Docker takes them. Of sparse files the pieces are
//! told, as far as headers hold them.
//!
//! The rules where formats contradict each other are those of Go's `archive/tar`, since its reading is
//! what Docker's tools have made of every image there is: a pax value beats the block, a GNU long name
//! beats both, an empty pax value means none.
//!
//! Spec: POSIX pax, section "ustar Interchange Format"; GNU tar, "Standard"; Go `archive/tar`.

use super::sparse::Sparse;
use crate::base::{Error, Result};

/// Length of a block, in bytes.
pub const BLOCK: usize = 512;
/// Longest extended header, in bytes; Go's limit.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A fifo.
    Fifo,
    /// A pax header for all that follow; carries nothing.
    Global,
    /// A type that layers do not have, with its byte.
    Other(u8),
}

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds, always forward.
    pub nanos: u32,
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Path as it was written.
    pub name: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Permission bits, set-id bits and sticky bit.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Time of the last access, if it was written.
    pub atime: Option<Time>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// How the content is written if its holes are left out.
    pub sparse: Option<Sparse>,
}

/// What a block turned out to be.
#[derive(Debug)]
pub(super) enum Step {
    /// An entry; its content follows.
    Entry(Entry),
    /// An extended header; so many bytes of it follow, for [`Headers::extension`].
    Extension(usize),
    /// A header of more than one block; the next one belongs to it.
    More,
    /// The first block of the end mark.
    Zero,
    /// The end of the archive.
    End,
}

#[derive(Default)]
struct Pax(Vec<(Vec<u8>, Vec<u8>)>);

impl Pax {
    /// The value of `key`; the last one wins, an empty one is none.
    fn get(&self, key: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().rev().find(|(k, _)| k == key.as_bytes())?;
        Some(value.as_slice()).filter(|v| !v.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|v| {
                let text = std::str::from_utf8(v).ok();
                text.and_then(|t| t.parse().ok()).ok_or_else(|| bad(format_args!("{key} value")))
            })
            .transpose()
    }
}

/// The state between blocks: extended headers that wait for their entry.
#[derive(Default)]
pub(super) struct Headers {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    extension: u8,
    /// A sparse file whose pieces go on in the next block.
    unfinished: Option<Box<(Entry, Sparse)>>,
    zero: bool,
}

pub(super) fn bad(what: impl std::fmt::Display) -> Error {
    Error::invalid(format_args!("invalid tar header: {what}"))
}

impl Headers {
    /// Takes the next header block.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<Step> {
        if let Some(unfinished) = self.unfinished.take() {
            let (entry, mut sparse) = *unfinished;
            let more = sparse.extend(block)?;
            return Ok(self.sparse(entry, sparse, more));
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(if std::mem::replace(&mut self.zero, true) {
                Step::End
            } else {
                Step::Zero
            });
        }
        if self.zero {
            return Err(bad("data after a block of zeros"));
        }
        check_sum(block)?;
        let size = number(&block[124..136]).and_then(|n| u64::try_from(n).ok());
        let size = size.filter(|n| *n <= i64::MAX as u64 - 1024).ok_or_else(|| bad("size"))?;
        let kind = block[156];
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            if size > MAX_EXTENSION {
                return Err(bad(format_args!("extended header of {size} bytes")));
            }
            self.extension = kind;
            return Ok(Step::Extension(size as usize));
        }
        let entry = self.entry(block, size)?;
        if block[156] == b'S' {
            let (sparse, more) = Sparse::from_block(block)?;
            return Ok(self.sparse(entry, sparse, more));
        }
        Ok(Step::Entry(entry))
    }

    /// Whether the stream must go on: it is in the middle of a header.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    fn sparse(&mut self, entry: Entry, sparse: Sparse, more: bool) -> Step {
        if more {
            self.unfinished = Some(Box::new((entry, sparse)));
            return Step::More;
        }
        Step::Entry(Entry { sparse: Some(sparse), ..entry })
    }

    /// Takes the content of an extended header; a global one is an entry.
    pub(super) fn extension(&mut self, data: Vec<u8>) -> Result<Option<Entry>> {
        let text = |data: &[u8]| data.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        match self.extension {
            b'L' => self.long_name = Some(text(&data)),
            b'K' => self.long_link = Some(text(&data)),
            b'x' => self.pax = parse_pax(&data)?,
            _ => {
                parse_pax(&data)?;
                return Ok(Some(Entry {
                    kind: Kind::Global,
                    name: b"pax_global_header".to_vec(),
                    link: Vec::new(),
                    mode: 0,
                    uid: 0,
                    gid: 0,
                    size: 0,
                    mtime: Time::default(),
                    atime: None,
                    device: (0, 0),
                    xattrs: Vec::new(),
                    sparse: None,
                }));
            }
        }
        Ok(None)
    }

    fn entry(&mut self, block: &[u8; BLOCK], size: u64) -> Result<Entry> {
        let pax = std::mem::take(&mut self.pax);
        let mut name = block_name(block);
        if let Some(path) = pax.get("path") {
            name = path.to_vec();
        }
        let mut link = text_of(&block[157..257]).to_vec();
        if let Some(path) = pax.get("linkpath") {
            link = path.to_vec();
        }
        name = self.long_name.take().filter(|n| !n.is_empty()).unwrap_or(name);
        link = self.long_link.take().filter(|n| !n.is_empty()).unwrap_or(link);
        let kind = match block[156] {
            0 if name.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            b'S' => Kind::File,
            other => Kind::Other(other),
        };
        let size = pax.number("size")?.unwrap_or(size);
        // Links and devices may carry the size of what they mean; no content follows.
        let size = if matches!(kind, Kind::File | Kind::Other(_)) { size } else { 0 };
        if size > i64::MAX as u64 - 1024 {
            return Err(bad("size"));
        }
        let field = |range: std::ops::Range<usize>, what: &str| {
            number(&block[range]).ok_or_else(|| bad(what))
        };
        // Negative ids are those of systems that count "nobody" as -2; they wrap as in Go's int.
        let id = |n: i64| n as u32;
        let uid = pax.number::<i64>("uid")?.map_or_else(|| field(108..116, "uid"), Ok)?;
        let gid = pax.number::<i64>("gid")?.map_or_else(|| field(116..124, "gid"), Ok)?;
        let mtime = match pax.get("mtime") {
            Some(text) => parse_time(text).ok_or_else(|| bad("mtime value"))?,
            None => Time { secs: field(136..148, "mtime")?, nanos: 0 },
        };
        let atime = pax.get("atime").map(|t| parse_time(t).ok_or_else(|| bad("atime value")));
        let device = match kind {
            Kind::Char | Kind::Block => {
                (id(field(329..337, "device")?), id(field(337..345, "device")?))
            }
            _ => (0, 0),
        };
        let mut sparse = None;
        if kind == Kind::File
            && block[156] != b'S'
            && let Some((found, real_name)) = Sparse::from_records(&pax.0)?
        {
            sparse = Some(found);
            name = real_name.unwrap_or(name);
        }
        let mode = (field(100..108, "mode")? & 0o7777) as u32;
        let atime = atime.transpose()?;
        let xattrs = pax
            .0
            .into_iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(b"SCHILY.xattr.")?.to_vec(), v)))
            .collect();
        Ok(Entry {
            kind,
            name,
            link,
            mode,
            uid: id(uid),
            gid: id(gid),
            size,
            mtime,
            atime,
            device,
            xattrs,
            sparse,
        })
    }
}

fn text_of(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// The name in the block, with the prefix of ustar and star.
fn block_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text_of(&block[..100]);
    // GNU's magic is "ustar  \0": what follows its device numbers is no prefix.
    let prefix = match (&block[257..263], &block[508..512]) {
        (b"ustar\0", b"tar\0") => text_of(&block[345..476]),
        (b"ustar\0", _) => text_of(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// The sum over the block with the sum's own field as spaces; old systems summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let stated = number(&block[148..156]);
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (i, b) in block.iter().enumerate() {
        let b = if (148..156).contains(&i) { b' ' } else { *b };
        unsigned += i64::from(b);
        signed += i64::from(b as i8);
    }
    if stated == Some(unsigned) || stated == Some(signed) { Ok(()) } else { Err(bad("checksum")) }
}

/// A number field: octal text, or base-256 with the top bit set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let mut value = i64::from(first & 0x7f);
        if first & 0x40 != 0 {
            // Two's complement, sign in the second bit of the field.
            value -= 0x80;
        }
        for b in rest {
            value = value.checked_mul(256)?.checked_add(i64::from(*b))?;
        }
        return Some(value);
    }
    let text = field.trim_ascii();
    let start = text.iter().position(|b| *b != 0 && *b != b' ').unwrap_or(text.len());
    let text = text_of(&text[start..]).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    let (text, sign) = text.strip_prefix(b"-").map_or((text, 1), |t| (t, -1));
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()?.checked_mul(sign)
}

/// Records `<length> <key>=<value>\n`, where length counts the whole record.
fn parse_pax(data: &[u8]) -> Result<Pax> {
    let mut pax = Pax::default();
    let mut rest = data;
    // Some writers fill up with zeros.
    while !rest.iter().all(|b| *b == 0) {
        let wrong = || bad("pax record");
        let space = rest.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let length: usize = std::str::from_utf8(&rest[..space])
            .ok()
            .filter(|t| t.len() <= 8)
            .and_then(|t| t.parse().ok())
            .ok_or_else(wrong)?;
        if length <= space + 1 || length > rest.len() {
            return Err(wrong());
        }
        let record = rest[space + 1..length].strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        // A zero byte would cut a path short for the kernel but not for our checks.
        let is_path = matches!(key, b"path" | b"linkpath");
        if key.is_empty() || key.contains(&0) || (is_path && value.contains(&0)) {
            return Err(wrong());
        }
        pax.0.push((key.to_vec(), value.to_vec()));
        rest = &rest[length..];
    }
    Ok(pax)
}

/// `[-]seconds[.fraction]`.
fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = nine.parse().ok()?;
    let secs: i64 = if whole.is_empty() || whole == "-" { 0 } else { whole.parse().ok()? };
    if whole.starts_with('-') && nanos > 0 {
        return Some(Time { secs: secs.checked_sub(1)?, nanos: 1_000_000_000 - nanos });
    }
    Some(Time { secs, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"00008\0\0\0", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn times_keep_their_fraction_on_both_sides_of_1970() {
        assert_eq!(parse_time(b"1.5"), Some(Time { secs: 1, nanos: 500_000_000 }));
        assert_eq!(parse_time(b"-1.25"), Some(Time { secs: -2, nanos: 750_000_000 }));
        assert_eq!(parse_time(b"7"), Some(Time { secs: 7, nanos: 0 }));
        assert_eq!(parse_time(b"1.x"), None);
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        assert_eq!(parse_pax(b"9 a=bcde\n\0\0").unwrap().get("a"), Some(&b"bcde"[..]));
        for data in [
            &b"x"[..],
            b"0 a=b\n",
            b"99 a=b\n",
            b"6 a=bc",
            b"5 ab\n",
            b"99999999999 a=b\n",
            b"11 path=a\0b\n",
            b"5 =ab\n",
        ] {
            assert!(parse_pax(data).is_err(), "{data:?}");
        }
    }
}
