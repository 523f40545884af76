//! What differs between a layer and what is below it.
//!
//! One walk serves all: the layer's own tree against a stack of trees below. In an overlay layer an
//! absent name means "unchanged", and marks say what is gone ([`Layer::Overlay`]); in a full copy an
//! absent name means "deleted" ([`Layer::Copy`]).
//!
//! Two files are the same if mode, owner, device, size, modification time and capabilities are, and two
//! directories without regard to size and time; a directory also counts as modified if something below
//! it is. The root is never listed.
//!
//! Spec: moby `archive.ChangesDirs`, `statDifferent`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::archive::apply::{OVERLAY_OPAQUE, is_whiteout};
use super::archive::write::{Writer, attributes};
use super::{Change, ChangeKind, remove};
use crate::base::{At, Error, Result};
use crate::sys::rootfd::Root;
use crate::sys::xattr;

/// Longest path, in bytes: what no program could open by name is no part of an image.
const MAX_PATH: usize = 4096;

/// How a layer's tree says what it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// By marks; what it does not mention is unchanged.
    Overlay,
    /// By not having it.
    Copy,
}

/// The changes of `layer` against `below` (topmost first), sorted by path.
///
/// # Errors
/// `Io`.
pub fn changes(layer: &Root, kind: Layer, below: &[Root]) -> Result<Vec<Change>> {
    let mut list = Vec::new();
    walk(layer, kind, below, &mut |path, change, _| {
        list.push(Change { path: absolute(path), kind: change });
        Ok(())
    })?;
    Ok(list)
}

/// The changes of `layer` against `below` as a layer's tar stream.
///
/// # Errors
/// `Io`.
pub fn write(layer: &Root, kind: Layer, below: &[Root], out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(out);
    walk(layer, kind, below, &mut |path, _, file| match file {
        None => writer.whiteout(path),
        Some((dir, name, stat)) => writer.add(dir, name, path, stat),
    })?;
    writer.finish().map(drop)
}

/// Everything in the upper directory of an overlay, its marks as whiteout files: the changes of the
/// layer without a look at what is below.
///
/// # Errors
/// `Io`.
pub fn write_upper(upper: &Root, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(out);
    let mut levels = vec![Level::open(upper.as_fd(), Vec::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let Some(stat) = stat(level.dir.as_fd(), &name)? else { continue };
        let path = join(&level.path, &name)?;
        if is_whiteout(&stat) {
            writer.whiteout_like(&path, &stat)?;
            continue;
        }
        writer.add(level.dir.as_fd(), &name, &path, &stat)?;
        if is_dir(&stat) {
            let Some(dir) = open_dir(level.dir.as_fd(), &name)? else { continue };
            if is_opaque(&dir)? {
                writer.opaque(&path, &stat)?;
            }
            levels.push(Level::open(dir.as_fd(), path)?);
        }
    }
    writer.finish().map(drop)
}

/// Bytes of the files in `root`, an inode counted once, directories not at all.
///
/// # Errors
/// `Io`.
pub fn size(root: &Root) -> Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0u64;
    let mut levels = vec![Level::open(root.as_fd(), Vec::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let Some(stat) = stat(level.dir.as_fd(), &name)? else { continue };
        if is_dir(&stat) {
            let path = join(&level.path, &name)?;
            if let Some(dir) = open_dir(level.dir.as_fd(), &name)? {
                levels.push(Level::open(dir.as_fd(), path)?);
            }
        } else if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            total += stat.st_size as u64;
        }
    }
    Ok(total)
}

/// Bytes of the files that [`changes`] lists as added or modified.
///
/// # Errors
/// `Io`.
pub fn changed_size(layer: &Root, kind: Layer, below: &[Root]) -> Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0u64;
    walk(layer, kind, below, &mut |_, _, file| {
        if let Some((_, _, stat)) = file
            && !is_dir(stat)
            && (stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)))
        {
            total += stat.st_size as u64;
        }
        Ok(())
    })?;
    Ok(total)
}

/// A directory at work, with its names in reverse order.
struct Level {
    dir: OwnedFd,
    path: Vec<u8>,
    names: Vec<OsString>,
}

impl Level {
    fn open(dir: BorrowedFd<'_>, path: Vec<u8>) -> Result<Level> {
        let dir = dir.try_clone_to_owned().at("duplicating descriptor")?;
        let mut names: Vec<OsString> = remove::entries(&dir)?.into_iter().map(|e| e.0).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { dir, path, names })
    }
}

/// A file of the layer: its directory, name and status.
type File<'a> = (BorrowedFd<'a>, &'a OsStr, &'a FileStat);
type Visit<'a> = dyn FnMut(&[u8], ChangeKind, Option<File<'_>>) -> Result<()> + 'a;

/// A directory of the layer beside the directories of the same path below it.
struct Pair {
    path: Vec<u8>,
    /// None for the root.
    name: OsString,
    stat: Option<FileStat>,
    own: OwnedFd,
    below: Vec<OwnedFd>,
    /// Whether a name the layer does not have is deleted.
    full: bool,
    /// Reported already: as changed itself, or for the sake of something in it.
    reported: bool,
    /// Names of both, in reverse order; the flag says whether the layer has it.
    names: Vec<(OsString, bool)>,
}

impl Pair {
    fn list(mut self) -> Result<Pair> {
        let mut names = BTreeMap::new();
        if self.full {
            // Upper layers last, so that a whiteout takes away what lower ones have.
            for dir in self.below.iter().rev() {
                for (name, _) in remove::entries(dir)? {
                    if stat(dir.as_fd(), &name)?.is_some_and(|s| is_whiteout(&s)) {
                        names.remove(&name);
                    } else {
                        names.insert(name, false);
                    }
                }
            }
        }
        for (name, _) in remove::entries(&self.own)? {
            names.insert(name, true);
        }
        self.names = names.into_iter().rev().collect();
        Ok(self)
    }
}

fn walk(layer: &Root, kind: Layer, below: &[Root], visit: &mut Visit<'_>) -> Result<()> {
    let duplicate = |r: &Root| r.as_fd().try_clone_to_owned().at("duplicating descriptor");
    let root = Pair {
        path: Vec::new(),
        name: OsString::new(),
        stat: None,
        own: duplicate(layer)?,
        below: below.iter().map(duplicate).collect::<Result<_>>()?,
        full: kind == Layer::Copy,
        reported: true,
        names: Vec::new(),
    };
    let mut levels = vec![root.list()?];
    while let Some(level) = levels.last_mut() {
        let Some((name, own)) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, &name)?;
        let status = if own { stat(level.own.as_fd(), &name)? } else { None };
        let marked = kind == Layer::Overlay && status.is_some_and(|s| is_whiteout(&s));
        let older = lookup(&level.below, &name)?;
        let Some(status) = status.filter(|_| !marked) else {
            if older.is_some() {
                report_parents(&mut levels, visit)?;
                visit(&path, ChangeKind::Delete, None)?;
            }
            continue;
        };
        let change = match &older {
            None => Some(ChangeKind::Add),
            Some(old) => {
                differs(level.own.as_fd(), &name, &status, old)?.then_some(ChangeKind::Modify)
            }
        };
        let dir = if is_dir(&status) { open_dir(level.own.as_fd(), &name)? } else { None };
        if let Some(change) = change {
            report_parents(&mut levels, visit)?;
            let level = &levels[levels.len() - 1];
            visit(&path, change, Some((level.own.as_fd(), &name, &status)))?;
        }
        if let Some(own) = dir {
            let opaque = kind == Layer::Overlay && is_opaque(&own)?;
            let pair = Pair {
                path,
                name,
                stat: Some(status),
                own,
                below: older.map(|o| o.dirs).unwrap_or_default(),
                full: kind == Layer::Copy || opaque,
                reported: change.is_some(),
                names: Vec::new(),
            };
            levels.push(pair.list()?);
        }
    }
    Ok(())
}

/// Directories on the way to a change are modified, even if only in what they hold.
fn report_parents(levels: &mut [Pair], visit: &mut Visit<'_>) -> Result<()> {
    for i in 0..levels.len() {
        if levels[i].reported {
            continue;
        }
        levels[i].reported = true;
        let (above, level) = (&levels[i - 1], &levels[i]);
        if let Some(stat) = &level.stat {
            let file = (above.own.as_fd(), level.name.as_os_str(), stat);
            visit(&level.path, ChangeKind::Modify, Some(file))?;
        }
    }
    Ok(())
}

/// What is below under a name: the file that shows, and the directories that are merged.
struct Older {
    dir: OwnedFd,
    stat: FileStat,
    dirs: Vec<OwnedFd>,
}

fn lookup(below: &[OwnedFd], name: &OsStr) -> Result<Option<Older>> {
    let mut found: Option<Older> = None;
    for dir in below {
        let Some(status) = stat(dir.as_fd(), name)? else { continue };
        if is_whiteout(&status) {
            break;
        }
        if !is_dir(&status) {
            if found.is_none() {
                let dir = dir.try_clone().at("duplicating descriptor")?;
                found = Some(Older { dir, stat: status, dirs: Vec::new() });
            }
            break;
        }
        let Some(child) = open_dir(dir.as_fd(), name)? else { continue };
        let opaque = is_opaque(&child)?;
        match &mut found {
            Some(older) => older.dirs.push(child),
            None => {
                let dir = dir.try_clone().at("duplicating descriptor")?;
                found = Some(Older { dir, stat: status, dirs: vec![child] });
            }
        }
        if opaque {
            break;
        }
    }
    Ok(found)
}

fn differs(dir: BorrowedFd<'_>, name: &OsStr, new: &FileStat, old: &Older) -> Result<bool> {
    let o = &old.stat;
    if (new.st_mode, new.st_uid, new.st_gid, new.st_rdev)
        != (o.st_mode, o.st_uid, o.st_gid, o.st_rdev)
    {
        return Ok(true);
    }
    if !is_dir(new) {
        // A filesystem or archive that keeps whole seconds makes no difference.
        let same_nanos =
            new.st_mtime_nsec == o.st_mtime_nsec || new.st_mtime_nsec == 0 || o.st_mtime_nsec == 0;
        if new.st_size != o.st_size || new.st_mtime != o.st_mtime || !same_nanos {
            return Ok(true);
        }
    }
    Ok(attributes(dir, name)? != attributes(old.dir.as_fd(), name)?)
}

fn stat(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileStat>> {
    match nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        // Removed while we look: a running container changes its files.
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e).at(format_args!("stat {}", name.display())),
    }
}

fn open_dir(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match nix::fcntl::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(e) => Err(e).at(format_args!("opening {}", name.display())),
    }
}

fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn is_opaque(dir: &OwnedFd) -> Result<bool> {
    let mark = xattr::fget(dir.as_fd(), OsStr::new(OVERLAY_OPAQUE))?;
    Ok(mark.as_deref() == Some(b"y"))
}

fn join(dir: &[u8], name: &OsStr) -> Result<Vec<u8>> {
    let separator: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    let path = [dir, separator, name.as_bytes()].concat();
    if path.len() > MAX_PATH {
        return Err(Error::from_errno(libc::ENAMETOOLONG)
            .at(format_args!("walking {:?}", String::from_utf8_lossy(&path[..100]))));
    }
    Ok(path)
}

fn absolute(path: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec([b"/", path].concat()))
}
