//! The file format of Docker's database for volumes: as much as is needed to read one bucket, and to write a
//! file with one bucket.
//!
//! ```text
//! page 0, 1   meta: magic, version, page size, root bucket, free list, pages, transaction, checksum
//! others      header: id u64, flags u16, count u16, overflow u32; then elements of 16 bytes
//! branch      position u32, key size u32, page u64
//! leaf        flags u32, position u32, key size u32, value size u32; flag 1 marks a bucket, whose value
//!             is: root page u64, sequence u64, and, if the root is 0, the page itself
//! ```
//!
//! Positions count from the element. All numbers are in the order of the machine, which is little-endian
//! wherever Docker runs.
//!
//! Spec: go.etcd.io/bbolt, file format 2.

use crate::base::{Error, Result};

/// Keys and values, by key.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const META: usize = 64;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META_PAGE: u16 = 4;
const FREE_LIST: u16 = 16;
const IS_BUCKET: u32 = 1;
/// Page size of the files that are written here.
const PAGE: usize = 4096;
/// No tree is deeper; a damaged file may pretend to.
const DEPTH_MAX: usize = 32;

fn damaged() -> Error {
    Error::invalid("the database is damaged")
}

fn part(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    bytes.get(at..).and_then(|rest| rest.get(..length)).ok_or_else(damaged)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<u64> {
    let mut all = [0; 8];
    all[..N].copy_from_slice(part(bytes, at, N)?);
    Ok(u64::from_le_bytes(all))
}

fn size(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|_| damaged())
}

struct Meta {
    page_size: usize,
    root: u64,
    transaction: u64,
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn meta(file: &[u8], at: usize) -> Option<Meta> {
    let meta = part(file, at + HEADER, META).ok()?;
    let four = |at| number::<4>(meta, at).ok();
    let eight = |at| number::<8>(meta, at).ok();
    let fits = four(0)? == u64::from(MAGIC)
        && four(4)? == u64::from(VERSION)
        && eight(56)? == checksum(&meta[..56]);
    let page_size = usize::try_from(four(8)?).ok().filter(|size| *size >= 512)?;
    fits.then_some(Meta { page_size, root: eight(16)?, transaction: eight(48)? })
}

/// What is in the bucket `name` at the top of `file`; nothing if there is no such bucket.
///
/// # Errors
/// `InvalidParameter` for what is no such file.
pub(super) fn read(file: &[u8], name: &str) -> Result<Entries> {
    let first = meta(file, 0);
    // The second one follows the first page, whose size only the first one tells.
    let seconds = match &first {
        Some(first) => vec![first.page_size],
        None => vec![4096, 8192, 16384, 65536],
    };
    let second = seconds.into_iter().find_map(|at| meta(file, at));
    let newest = first.into_iter().chain(second).max_by_key(|meta| meta.transaction);
    let reader = Reader { file, page_size: newest.as_ref().ok_or_else(damaged)?.page_size };
    let mut found = None;
    reader.walk(newest.ok_or_else(damaged)?.root, 0, &mut |key, value, is_bucket| {
        if is_bucket && key == name.as_bytes() {
            found = Some(value.to_vec());
        }
    })?;
    let Some(bucket) = found else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    let mut take = |key: &[u8], value: &[u8], is_bucket: bool| {
        if !is_bucket {
            entries.push((key.to_vec(), value.to_vec()));
        }
    };
    match number::<8>(&bucket, 0)? {
        0 => reader.page(bucket.get(16..).ok_or_else(damaged)?, 0, &mut take)?,
        root => reader.walk(root, 0, &mut take)?,
    }
    Ok(entries)
}

type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8], bool);

struct Reader<'a> {
    file: &'a [u8],
    page_size: usize,
}

impl Reader<'_> {
    fn walk(&self, id: u64, depth: usize, visit: Visit<'_>) -> Result<()> {
        let at = size(id)?.checked_mul(self.page_size).ok_or_else(damaged)?;
        self.page(self.file.get(at..).ok_or_else(damaged)?, depth, visit)
    }

    fn page(&self, page: &[u8], depth: usize, visit: Visit<'_>) -> Result<()> {
        let (flags, count) = (number::<2>(page, 8)?, size(number::<2>(page, 10)?)?);
        if depth > DEPTH_MAX {
            return Err(damaged());
        }
        for i in 0..count {
            let at = HEADER + i * ELEMENT;
            match u16::try_from(flags).unwrap_or(0) {
                LEAF => {
                    let key_at = at + size(number::<4>(page, at + 4)?)?;
                    let key_size = size(number::<4>(page, at + 8)?)?;
                    let key = part(page, key_at, key_size)?;
                    let value = part(page, key_at + key_size, size(number::<4>(page, at + 12)?)?)?;
                    visit(key, value, number::<4>(page, at)? == u64::from(IS_BUCKET));
                }
                BRANCH => self.walk(number::<8>(page, at + 8)?, depth + 1, visit)?,
                _ => return Err(damaged()),
            }
        }
        Ok(())
    }
}

fn header(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(overflow.to_le_bytes());
    out
}

/// A leaf, in as many pages as it takes.
fn leaf(id: u64, flags: u32, entries: &[(&[u8], &[u8])]) -> Result<Vec<u8>> {
    let too_much = || Error::invalid("too much for one page of the database");
    let count = u16::try_from(entries.len()).map_err(|_| too_much())?;
    let number = |n: usize| u32::try_from(n).map_err(|_| too_much());
    let mut elements = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for (i, (key, value)) in entries.iter().enumerate() {
        let position = (entries.len() - i) * ELEMENT + data.len();
        for field in [flags, number(position)?, number(key.len())?, number(value.len())?] {
            elements.extend(field.to_le_bytes());
        }
        data.extend(*key);
        data.extend(*value);
    }
    let pages = (HEADER + elements.len() + data.len()).div_ceil(PAGE);
    let mut out = header(id, LEAF, count, number(pages - 1)?);
    out.extend(elements);
    out.extend(data);
    out.resize(pages * PAGE, 0);
    Ok(out)
}

/// A file that holds `entries`, which are sorted by key, in the bucket `name`.
///
/// # Errors
/// `InvalidParameter` for more than 65535 entries.
pub(super) fn write(name: &str, entries: &Entries) -> Result<Vec<u8>> {
    const ROOT: u64 = 3;
    const BUCKET: u64 = 4;
    let entries: Vec<_> = entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
    let content = leaf(BUCKET, 0, &entries)?;
    let pages = BUCKET + (content.len() / PAGE) as u64;
    let mut value = BUCKET.to_le_bytes().to_vec();
    value.extend(0u64.to_le_bytes());
    let mut out = Vec::new();
    for transaction in 0..2u64 {
        let mut meta = Vec::new();
        for field in [MAGIC, VERSION, PAGE as u32, 0] {
            meta.extend(field.to_le_bytes());
        }
        // Root page, its sequence, free list, number of pages, transaction.
        for field in [ROOT, 0, 2, pages, transaction] {
            meta.extend(field.to_le_bytes());
        }
        meta.extend(checksum(&meta).to_le_bytes());
        let mut page = header(transaction, META_PAGE, 0, 0);
        page.extend(meta);
        page.resize(PAGE, 0);
        out.extend(page);
    }
    let mut free = header(2, FREE_LIST, 0, 0);
    free.resize(PAGE, 0);
    out.extend(free);
    out.extend(leaf(ROOT, IS_BUCKET, &[(name.as_bytes(), &value)])?);
    out.extend(content);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Entries {
        let entry = |i: usize| (format!("volume{i:05}").into_bytes(), vec![b'v'; i % 300]);
        (0..count).map(entry).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 3, 2000] {
            let entries = many(count);
            let file = write("volumes", &entries).unwrap();
            assert_eq!(read(&file, "volumes").unwrap(), entries);
            assert_eq!(read(&file, "other").unwrap(), []);
        }
        assert!(write("volumes", &many(70_000)).is_err());
    }

    #[test]
    fn damaged_files_are_refused_and_nothing_worse() {
        let file = write("volumes", &many(50)).unwrap();
        for cut in [0, 10, 4096, 3 * 4096 + 5, 4 * 4096 + 20] {
            assert!(read(&file[..cut], "volumes").is_err(), "{cut}");
        }
        // Whatever a byte says, reading ends.
        for at in (3 * 4096..file.len()).step_by(3) {
            let mut bad = file.clone();
            bad[at] ^= 0xff;
            let _ = read(&bad, "volumes");
        }
        let mut first_meta_gone = file.clone();
        first_meta_gone[20] ^= 1;
        assert_eq!(read(&first_meta_gone, "volumes").unwrap(), many(50));
    }
}
