//! Files that are archived without their holes.
//!
//! Three ways to say where the pieces lie: in the header block and blocks after it (GNU's type `S`), in pax
//! records (0.0: one pair of records a piece, 0.1: one list), and at the beginning of the content (1.0). What
//! follows is the pieces, one after another. Pieces are in order, do not overlap and end within the
//! file; anything else is refused, as Go does.
//!
//! Spec: GNU tar, "Storing Sparse Files"; Go `archive/tar`, readGNUSparse*.

use std::io::Read;

use super::header::{BLOCK, bad, number};
use crate::base::{At, Error, Result};

/// Most pieces of one file.
const MAX_PIECES: usize = 1 << 18;
const GNU_MAGIC: &[u8; 8] = b"ustar  \0";

/// Offset in the file and length, both in bytes.
pub type Piece = (u64, u64);

/// How a file with holes is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Length of the file, in bytes.
    pub size: u64,
    /// `None`: at the beginning of the content.
    pieces: Option<Vec<Piece>>,
}

impl Sparse {
    /// Reads the header block of type `S`; true if a block with more pieces follows it.
    pub(super) fn from_block(block: &[u8; BLOCK]) -> Result<(Sparse, bool)> {
        if &block[257..265] != GNU_MAGIC {
            return Err(bad("sparse file of an unknown format"));
        }
        let size = field(&block[483..495])?;
        let mut sparse = Sparse { size, pieces: Some(Vec::new()) };
        sparse.add(&block[386..482])?;
        Ok((sparse, block[482] != 0))
    }

    /// Reads a block that follows the header; true if another one does.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<bool> {
        self.add(&block[..504])?;
        Ok(block[504] != 0)
    }

    fn add(&mut self, fields: &[u8]) -> Result<()> {
        let pieces = self.pieces.get_or_insert_default();
        for entry in fields.chunks_exact(24).take_while(|entry| entry[0] != 0) {
            pieces.push((field(&entry[..12])?, field(&entry[12..])?));
        }
        if pieces.len() > MAX_PIECES { Err(bad("too many pieces")) } else { Ok(()) }
    }

    /// What the records of an entry say, and the file's real name; `None` if it is no sparse file.
    pub(super) fn from_records(
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Option<(Sparse, Option<Vec<u8>>)>> {
        let ours = || {
            records.iter().filter_map(|(key, value)| {
                Some((key.strip_prefix(b"GNU.sparse.")?, value.as_slice()))
            })
        };
        let get = |key: &str| {
            let value = ours().rfind(|(k, _)| *k == key.as_bytes())?.1;
            Some(value).filter(|v| !v.is_empty())
        };
        let list = match (get("major"), get("minor"), get("map")) {
            (Some(b"1"), Some(b"0"), _) => None,
            (Some(b"0"), Some(b"0" | b"1"), map) | (None, None, map @ Some(_)) => Some(map),
            (None, None, None) if get("offset").is_some() => Some(None),
            // Versions to come look like what they are in the archive, as in Go.
            _ => return Ok(None),
        };
        let size = get("realsize").or_else(|| get("size"));
        let size = size.map(decimal).transpose()?.ok_or_else(|| bad("sparse file without size"))?;
        let pieces = match list {
            None => None,
            Some(map) => {
                let numbers: Vec<u64> = match map {
                    Some(map) => map.split(|b| *b == b',').map(decimal).collect::<Result<_>>()?,
                    None => {
                        let pairs = ours().filter(|(k, _)| matches!(*k, b"offset" | b"numbytes"));
                        let mut expected = [b"offset".as_slice(), b"numbytes"].into_iter().cycle();
                        pairs
                            .map(|(key, value)| match expected.next() == Some(key) {
                                true => decimal(value),
                                false => Err(bad("pieces of a sparse file")),
                            })
                            .collect::<Result<_>>()?
                    }
                };
                Some(pairs(&numbers)?)
            }
        };
        Ok(Some((Sparse { size, pieces }, get("name").map(<[u8]>::to_vec))))
    }

    /// The pieces, of which `content` brings `left` bytes in all; what their list takes of it is taken
    /// off `left`.
    ///
    /// # Errors
    /// `InvalidParameter` if they are not in order, or the content is not as long as they say.
    pub fn pieces(&self, content: &mut dyn Read, left: &mut u64) -> Result<Vec<Piece>> {
        let pieces = match &self.pieces {
            Some(pieces) => pieces.clone(),
            None => read_list(content, left)?,
        };
        let mut end = 0;
        let mut total = 0u64;
        for (offset, length) in &pieces {
            let next = offset.checked_add(*length).filter(|next| *next <= self.size);
            end = next.filter(|_| *offset >= end).ok_or_else(|| bad("pieces of a sparse file"))?;
            total += length;
        }
        if total == *left { Ok(pieces) } else { Err(bad("length of a sparse file")) }
    }
}

/// A list as text: how many, then offset and length of each, a number a line, filled up to a block.
fn read_list(content: &mut dyn Read, left: &mut u64) -> Result<Vec<Piece>> {
    let mut numbers = Vec::new();
    let mut count: Option<usize> = None;
    let mut line = Vec::new();
    while count.is_none_or(|count| numbers.len() < count) {
        let mut block = [0u8; BLOCK];
        *left = left.checked_sub(BLOCK as u64).ok_or_else(|| bad("list of a sparse file"))?;
        content.read_exact(&mut block).at("reading archive")?;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let value = decimal(&line)?;
            line.clear();
            match count {
                None => {
                    let pieces = usize::try_from(value).ok().filter(|n| *n <= MAX_PIECES);
                    count = Some(2 * pieces.ok_or_else(|| bad("too many pieces"))?);
                }
                Some(_) => numbers.push(value),
            }
            if count == Some(numbers.len()) {
                break;
            }
        }
        if line.len() > BLOCK {
            return Err(bad("list of a sparse file"));
        }
    }
    pairs(&numbers)
}

fn pairs(numbers: &[u64]) -> Result<Vec<Piece>> {
    let chunks = numbers.chunks_exact(2);
    if !chunks.remainder().is_empty() || numbers.len() > 2 * MAX_PIECES {
        return Err(bad("pieces of a sparse file"));
    }
    Ok(chunks.map(|pair| (pair[0], pair[1])).collect())
}

fn field(bytes: &[u8]) -> Result<u64> {
    let value = number(bytes).and_then(|n| u64::try_from(n).ok());
    value.ok_or_else(|| bad("number of a sparse file"))
}

fn decimal(text: &[u8]) -> Result<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    let value = digits.and_then(|t| t.parse::<u64>().ok()).filter(|n| i64::try_from(*n).is_ok());
    value.ok_or_else(|| Error::invalid("invalid tar header: number of a sparse file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs.iter().map(|(k, v)| (format!("GNU.sparse.{k}").into(), (*v).into())).collect()
    }

    #[test]
    fn lists_that_lie_are_refused() {
        for (pairs, content) in [
            (&[("map", "0,4,2,4"), ("size", "9")][..], 8),
            (&[("map", "4,4,0,4"), ("size", "9")], 8),
            (&[("map", "0,4,8,4"), ("size", "9")], 8),
            (&[("map", "0,4,5,4"), ("size", "9")], 9),
            (&[("map", "0,18446744073709551615"), ("size", "9")], 9),
            (&[("map", "0,4,5"), ("size", "9")], 4),
            (&[("map", "0,x"), ("size", "9")], 4),
            (&[("map", "0,4")], 4),
            (&[("offset", "0"), ("offset", "4"), ("size", "9")], 4),
            (&[("major", "1"), ("minor", "0"), ("realsize", "9")], 100),
        ] {
            let wrong = Sparse::from_records(&records(pairs)).and_then(|sparse| {
                let mut left = content;
                sparse.unwrap().0.pieces(&mut [b'1'; 1024].as_slice(), &mut left)
            });
            assert!(wrong.is_err(), "{pairs:?}");
        }
        let later = Sparse::from_records(&records(&[("major", "2"), ("minor", "0")]));
        assert_eq!(later.unwrap(), None);
    }
}
