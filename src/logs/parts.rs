//! The files of one log: their names, opening them, and finding a part again after it moved.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::base::time::Timestamp;
use crate::base::{At, Result};

/// Most parts that are looked for; more than anybody keeps.
const MAX_PARTS: u32 = 1000;

/// `log.3`.
pub(super) fn plain(path: &Path, n: u32) -> PathBuf {
    with_suffix(path, &format!(".{n}"))
}

/// `log.3.gz`.
pub(super) fn gzipped(path: &Path, n: u32) -> PathBuf {
    with_suffix(path, &format!(".{n}.gz"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// A part of a log, opened: it stays readable when it is renamed or removed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    pub(super) inode: u64,
    pub(super) gzipped: bool,
    /// When it was last written to, by its entries or by the file system.
    pub(super) last_time: Option<Timestamp>,
}

impl Part {
    fn open(path: &Path, gzipped: bool) -> io::Result<Option<Part>> {
        // The directory is the daemon's own, yet a link or a FIFO in it must do no harm.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let mut file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let last_time = if gzipped {
            gzip_last_time(&mut file)?
        } else {
            Some(Timestamp { secs: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 })
        };
        Ok(Some(Part { file, inode: metadata.ino(), gzipped, last_time }))
    }

    /// Its text from the start.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read>> {
        use std::io::{Seek, SeekFrom};
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(if self.gzipped {
            Box::new(MultiGzDecoder::new(BufReader::new(file)))
        } else {
            Box::new(file)
        })
    }
}

/// The time in the header that the writer's compression puts there.
fn gzip_last_time(file: &mut File) -> io::Result<Option<Timestamp>> {
    let mut head = [0u8; 256];
    let n = read_up_to(file, &mut head)?;
    const EXTRA: u8 = 4;
    let head = &head[..n];
    let text = match head {
        [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, low, high, rest @ ..] if flags & EXTRA != 0 => {
            rest.get(..usize::from(u16::from_le_bytes([*low, *high])))
        }
        _ => None,
    };
    let value = text
        .and_then(|text| text.strip_prefix(b"{\"lastTime\":\""))
        .and_then(|text| text.strip_suffix(b"\"}"))
        .and_then(|text| std::str::from_utf8(text).ok());
    Ok(value.and_then(|text| Timestamp::parse(text).ok()).filter(|time| !time.is_zero()))
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// The inode that the log's own name has now.
pub(super) fn current_inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|m| m.ino())
}

/// All parts, the newest (the log itself) first. A rotation meanwhile makes it look again, so that none is
/// left out or found twice.
///
/// # Errors
/// `Io` that names the path.
pub(super) fn open_all(path: &Path) -> Result<Vec<Part>> {
    loop {
        let before = current_inode(path);
        let parts = open_once(path).at(format_args!("opening {}", path.display()))?;
        if current_inode(path) == before {
            return Ok(parts);
        }
    }
}

fn open_once(path: &Path) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Part::open(path, false)?.into_iter().collect();
    for n in 1..MAX_PARTS {
        // While it is being compressed a part has both names; the plain one goes last.
        let part = match Part::open(&plain(path, n), false)? {
            Some(part) => part,
            None => match Part::open(&gzipped(path, n), true)? {
                Some(part) => part,
                None => break,
            },
        };
        parts.push(part);
    }
    Ok(parts)
}
