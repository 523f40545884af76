//! Files of a directory as a tar stream that depends on them alone.
//!
//! ustar headers, with a pax header before those that say more than ustar can: long or non-ASCII names,
//! large ids and sizes, extended attributes. Times are whole seconds and access times are left out, as
//! Docker writes layers. Sockets are left out. The second and further names of an inode become hard
//! links to the first.
//!
//! Spec: POSIX pax; moby `archive.FileInfoHeader`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::header::{BLOCK, Kind};
use super::read::padding;
use super::{COPY_BYTES, WHITEOUT_OPAQUE, WHITEOUT_PREFIX};
use crate::base::{At, Error, Result};
use crate::sys::{rootfd, xattr};

/// Largest number that seven octal digits hold.
const MAX_ID: u32 = 0o777_7777;
/// Largest number that eleven octal digits hold.
const MAX_SIZE: u64 = 0o777_7777_7777;

/// What a header says of an entry.
#[derive(Clone, Debug)]
pub struct Meta<'a> {
    /// What it is.
    pub kind: Kind,
    /// Path without a leading slash; directories end in one.
    pub name: &'a [u8],
    /// Target of a link.
    pub link: &'a [u8],
    /// Permission and set-id bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow.
    pub size: u64,
    /// Modification time in whole seconds since the epoch.
    pub mtime: i64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Meta<'a> {
    /// A regular file of root's, mode 0644, from 1970.
    pub fn file(name: &'a [u8], size: u64) -> Meta<'a> {
        Meta {
            kind: Kind::File,
            name,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            mtime: 0,
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// Writes an archive.
pub struct Writer<W> {
    out: W,
    /// First path of every inode with several names.
    seen: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts an archive in `out`.
    pub fn new(out: W) -> Writer<W> {
        Writer { out, seen: HashMap::new(), buffer: vec![0; COPY_BYTES] }
    }

    /// Writes the file `name` in `dir`, whose status is `stat`, under the archive's path `path`.
    ///
    /// # Errors
    /// `Io` that names the path.
    pub fn add(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        stat: &FileStat,
    ) -> Result<()> {
        let what = || format!("archiving {:?}", String::from_utf8_lossy(path));
        self.add_file(dir, name, path, stat).map_err(|e| e.at(what()))
    }

    fn add_file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
        stat: &FileStat,
    ) -> Result<()> {
        let format = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let mut path = path.to_vec();
        let kind = match format {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Dir,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFCHR => Kind::Char,
            SFlag::S_IFBLK => Kind::Block,
            SFlag::S_IFIFO => Kind::Fifo,
            _ => return Ok(()),
        };
        if kind == Kind::Dir {
            path.push(b'/');
        }
        let mut meta = Meta {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime as _,
            ..Meta::file(&path, 0)
        };
        if kind != Kind::Dir && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&inode).cloned() {
                meta.kind = Kind::HardLink;
                meta.link = &first;
                return self.header(&meta);
            }
            self.seen.insert(inode, path.clone());
        }
        meta.xattrs = attributes(dir, name)?;
        match kind {
            Kind::File => {
                meta.size = stat.st_size as u64;
                let flags =
                    OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let fd = nix::fcntl::openat(dir, name, flags, Mode::empty()).at("opening")?;
                self.entry(&meta, &mut std::fs::File::from(fd))
            }
            Kind::Symlink => {
                let target = nix::fcntl::readlinkat(dir, name).at("reading link")?;
                meta.link = target.as_bytes();
                self.header(&meta)
            }
            Kind::Char | Kind::Block => {
                let device = stat.st_rdev as _;
                meta.device =
                    (nix::sys::stat::major(device) as u32, nix::sys::stat::minor(device) as u32);
                self.header(&meta)
            }
            _ => self.header(&meta),
        }
    }

    /// Starts an entry with `meta.size` bytes of content; [`Content::finish`] ends it.
    ///
    /// # Errors
    /// `Io`.
    pub fn start(&mut self, meta: &Meta<'_>) -> Result<Content<'_, W>> {
        self.header(meta)?;
        Ok(Content { writer: self, size: meta.size, left: meta.size })
    }

    /// Writes the file that says that `path` is gone.
    ///
    /// # Errors
    /// `Io`.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let name = whiteout_name(path);
        self.header(&Meta { mode: 0, ..Meta::file(&name, 0) })
    }

    /// As [`Writer::whiteout`], with owner and time of overlayfs's mark `stat`, as Docker writes it.
    ///
    /// # Errors
    /// `Io`.
    pub fn whiteout_like(&mut self, path: &[u8], stat: &FileStat) -> Result<()> {
        let name = whiteout_name(path);
        self.header(&Meta {
            mode: 0o600,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime as _,
            ..Meta::file(&name, 0)
        })
    }

    /// Writes the file that says that the directory `path` hides what is below it.
    ///
    /// # Errors
    /// `Io`.
    pub fn opaque(&mut self, path: &[u8], stat: &FileStat) -> Result<()> {
        let name = [path, b"/", WHITEOUT_OPAQUE].concat();
        self.header(&Meta {
            mode: stat.st_mode & 0o777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            ..Meta::file(&name, 0)
        })
    }

    /// Writes an entry with exactly `meta.size` bytes of `content`. What the content is short of is made
    /// up with zeros, since a file may shrink while it is read.
    ///
    /// # Errors
    /// `Io`.
    pub fn entry(&mut self, meta: &Meta<'_>, content: &mut dyn Read) -> Result<()> {
        self.header(meta)?;
        let mut left = meta.size;
        let mut ended = false;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = &mut self.buffer[..most];
            let n = match content.read(piece) {
                _ if ended => {
                    piece.fill(0);
                    most
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).at("reading"),
            };
            ended |= n == 0;
            self.out.write_all(&self.buffer[..n]).at("writing archive")?;
            left -= n as u64;
        }
        self.pad(meta.size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let zeros = [0u8; BLOCK];
        self.out.write_all(&zeros[..padding(size) as usize]).at("writing archive")
    }

    /// Gives the stream back without an end mark, for an archive that failed.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Writes the end mark and gives the stream back.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK]).at("writing archive")?;
        Ok(self.out)
    }

    /// Writes the header of `meta`; its content must follow, padded to whole blocks.
    fn header(&mut self, meta: &Meta<'_>) -> Result<()> {
        let mut records = Vec::new();
        let mut record = |key: &[u8], value: &[u8]| pax_record(&mut records, key, value);
        let (prefix, name) = match split_name(meta.name) {
            Some(split) => split,
            None => {
                record(b"path", meta.name);
                (&b""[..], &meta.name[..meta.name.len().min(100)])
            }
        };
        if meta.link.len() > 100 || !meta.link.is_ascii() {
            record(b"linkpath", meta.link);
        }
        for (key, id) in [(b"uid", meta.uid), (b"gid", meta.gid)] {
            if id > MAX_ID {
                record(key, id.to_string().as_bytes());
            }
        }
        if meta.size > MAX_SIZE {
            record(b"size", meta.size.to_string().as_bytes());
        }
        if meta.mtime < 0 || meta.mtime as u64 > MAX_SIZE {
            record(b"mtime", meta.mtime.to_string().as_bytes());
        }
        for (key, value) in &meta.xattrs {
            record(&[b"SCHILY.xattr.", key.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let mut header = block(b"PaxHeaders.0", records.len() as u64, b'x');
            seal(&mut header);
            self.out.write_all(&header).at("writing archive")?;
            self.out.write_all(&records).at("writing archive")?;
            self.pad(records.len() as u64)?;
        }
        let kind = match meta.kind {
            Kind::File | Kind::Global => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Char => b'3',
            Kind::Block => b'4',
            Kind::Dir => b'5',
            Kind::Fifo => b'6',
            Kind::Other(kind) => kind,
        };
        let mut header = block(name, meta.size.min(MAX_SIZE), kind);
        octal(&mut header[100..108], u64::from(meta.mode));
        octal(&mut header[108..116], u64::from(meta.uid.min(MAX_ID)));
        octal(&mut header[116..124], u64::from(meta.gid.min(MAX_ID)));
        octal(&mut header[136..148], (meta.mtime.max(0) as u64).min(MAX_SIZE));
        put(&mut header[157..257], meta.link);
        octal(&mut header[329..337], u64::from(meta.device.0));
        octal(&mut header[337..345], u64::from(meta.device.1));
        put(&mut header[345..500], prefix);
        seal(&mut header);
        self.out.write_all(&header).at("writing archive")
    }
}

/// The content of an entry that is being written.
pub struct Content<'a, W> {
    writer: &'a mut Writer<W>,
    size: u64,
    left: u64,
}

impl<W: Write> Write for Content<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("content is longer than its header says"));
        }
        let n = self.writer.out.write(bytes)?;
        self.left -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.out.flush()
    }
}

impl<W: Write> Content<'_, W> {
    /// Ends the entry.
    ///
    /// # Errors
    /// `Internal` if the content is shorter than its header says; `Io`.
    pub fn finish(self) -> Result<()> {
        if self.left != 0 {
            return Err(Error::internal("content is shorter than its header says"));
        }
        self.writer.pad(self.size)
    }
}

fn whiteout_name(path: &[u8]) -> Vec<u8> {
    let slash = path.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
    [&path[..slash], WHITEOUT_PREFIX, &path[slash..]].concat()
}

fn block(name: &[u8], size: u64, kind: u8) -> [u8; BLOCK] {
    let mut header = [0u8; BLOCK];
    put(&mut header[..100], name);
    for range in [100..108, 108..116, 116..124, 136..148, 329..337, 337..345] {
        octal(&mut header[range], 0);
    }
    octal(&mut header[124..136], size);
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Octal digits and a zero byte.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    put(field, format!("{value:0digits$o}\0").as_bytes());
}

fn seal(header: &mut [u8; BLOCK]) {
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    put(&mut header[148..156], format!("{sum:06o}\0 ").as_bytes());
}

/// Prefix and name of ustar, if it can say `name`.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    // Bytes that are not UTF-8 fit no pax record; a ustar name takes any.
    if !name.is_ascii() && std::str::from_utf8(name).is_ok() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let slash = (1..name.len() - 1)
        .rfind(|i| name[*i] == b'/' && *i <= 155 && name.len() - i - 1 <= 100)?;
    Some((&name[..slash], &name[slash + 1..]))
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn pax_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The attributes that belong to the file and not to the host: capabilities and those of users.
pub(crate) fn attributes(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = rootfd::proc_path(dir.as_fd()).join(name);
    let mut keys = xattr::llist(&path)?;
    keys.retain(|k| {
        k == b"security.capability" || (k.starts_with(b"user.") && !k.starts_with(b"user.overlay."))
    });
    keys.sort_unstable();
    let mut list = Vec::new();
    for key in keys {
        if let Some(value) = xattr::lget(&path, OsStr::from_bytes(&key))? {
            list.push((key, value));
        }
    }
    Ok(list)
}
