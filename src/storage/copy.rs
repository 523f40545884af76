//! A directory tree copied with everything that makes it the same tree: owners, modes, times, links,
//! devices, extended attributes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;

use crate::base::{At, Result};
use crate::storage::remove;
use crate::sys::rootfd::{self, Root};
use crate::sys::xattr;

const FILE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);
const DIR: OFlag = FILE.union(OFlag::O_DIRECTORY);

/// Copies what is in `from` into the empty directory `to`.
///
/// # Errors
/// `Io` that names the path; what was copied stays.
pub fn tree(from: &Root, to: &Root) -> Result<()> {
    let duplicate = |r: &Root| r.as_fd().try_clone_to_owned().at("duplicating descriptor");
    let mut copy = Copy { to, links: HashMap::new() };
    let mut levels = vec![Level::open(duplicate(from)?, duplicate(to)?, PathBuf::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            // Filling a directory changed its time.
            let stat = nix::sys::stat::fstat(&level.from).at("stat")?;
            let (atime, mtime) = times(&stat);
            nix::sys::stat::futimens(&level.to, &atime, &mtime).at("setting times")?;
            levels.pop();
            continue;
        };
        let path = level.path.join(&name);
        let below = copy.one(level, &name, &path).at(format_args!("copying {}", path.display()))?;
        levels.extend(below);
    }
    let root = nix::sys::stat::fstat(from).at("stat")?;
    own(to.as_fd(), &root)
}

struct Level {
    from: OwnedFd,
    to: OwnedFd,
    path: PathBuf,
    names: Vec<OsString>,
}

impl Level {
    fn open(from: OwnedFd, to: OwnedFd, path: PathBuf) -> Result<Level> {
        let names = remove::entries(&from)?.into_iter().map(|e| e.0).collect();
        Ok(Level { from, to, path, names })
    }
}

struct Copy<'a> {
    to: &'a Root,
    /// Where the first name of an inode with several was copied.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn one(&mut self, level: &Level, name: &OsStr, path: &Path) -> Result<Option<Level>> {
        let (from, to) = (&level.from, &level.to);
        let stat = nix::sys::stat::fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).at("stat")?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            nix::sys::stat::mkdirat(to, name, Mode::from_bits_truncate(0o700)).at("creating")?;
            let open = |at: &OwnedFd| {
                nix::fcntl::openat(at, name, DIR | OFlag::O_RDONLY, Mode::empty()).at("opening")
            };
            let (from_dir, to_dir) = (open(from)?, open(to)?);
            attributes(from.as_fd(), to.as_fd(), name)?;
            own(to_dir.as_fd(), &stat)?;
            return Level::open(from_dir, to_dir, path.to_path_buf()).map(Some);
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev as u64, stat.st_ino as u64);
            if let Some(first) = self.links.get(&inode) {
                let none = AtFlags::empty();
                let linked = nix::unistd::linkat(self.to, first.as_path(), to, name, none);
                return linked.at("linking").map(|()| None);
            }
            self.links.insert(inode, path.to_path_buf());
        }
        if kind == SFlag::S_IFREG {
            let source = nix::fcntl::openat(from, name, FILE | OFlag::O_RDONLY, Mode::empty())
                .at("opening")?;
            let flags = FILE | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let mode = Mode::from_bits_truncate(0o600);
            let target = nix::fcntl::openat(to, name, flags, mode).at("creating")?;
            content(source, &target)?;
            attributes_after_owner(from.as_fd(), to, name, &stat)?;
            return Ok(None);
        }
        if kind == SFlag::S_IFLNK {
            let target = nix::fcntl::readlinkat(from, name).at("reading link")?;
            nix::unistd::symlinkat(target.as_os_str(), to, name).at("creating")?;
        } else {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            nix::sys::stat::mknodat(to, name, kind, mode, stat.st_rdev).at("creating")?;
        }
        attributes_after_owner(from.as_fd(), to, name, &stat)?;
        Ok(None)
    }
}

/// Owner, extended attributes, mode, times, in this order: a change of owner takes capabilities away.
fn attributes_after_owner(
    from: BorrowedFd<'_>,
    to: &OwnedFd,
    name: &OsStr,
    stat: &FileStat,
) -> Result<()> {
    let (uid, gid) = (Some(stat.st_uid.into()), Some(stat.st_gid.into()));
    nix::unistd::fchownat(to, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).at("changing owner")?;
    attributes(from, to.as_fd(), name)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        // It is no link, so following makes no difference.
        let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
        nix::sys::stat::fchmodat(to, name, mode, flags).at("changing mode")?;
    }
    let (atime, mtime) = times(stat);
    let flags = UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(to, name, &atime, &mtime, flags).at("setting times")
}

fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let (from, to) = (rootfd::proc_path(from).join(name), rootfd::proc_path(to).join(name));
    for key in xattr::llist(&from)? {
        let key = OsStr::from_bytes(&key);
        // Labels belong to the place, not to the file.
        if key == "security.selinux" {
            continue;
        }
        if let Some(value) = xattr::lget(&from, key)? {
            match xattr::lset(&to, key, &value) {
                Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => {}
                done => done?,
            }
        }
    }
    Ok(())
}

fn own(fd: BorrowedFd<'_>, stat: &FileStat) -> Result<()> {
    nix::unistd::fchown(fd, Some(stat.st_uid.into()), Some(stat.st_gid.into()))
        .at("changing owner")?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    nix::sys::stat::fchmod(fd, mode).at("changing mode")
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(stat.st_atime, stat.st_atime_nsec as _),
        TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec as _),
    )
}

/// Copies the content; the standard library lets the kernel do it (copy_file_range) where it can.
fn content(source: OwnedFd, target: &OwnedFd) -> Result<()> {
    let mut target = File::from(target.try_clone().at("duplicating descriptor")?);
    std::io::copy(&mut File::from(source), &mut target).map(drop).at("copying content")
}
