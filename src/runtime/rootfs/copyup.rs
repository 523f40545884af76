//! Filling a tmpfs with what it covers: the mount option `tmpcopyup`, which podman uses for `/run` and the
//! like of a read-only container.
//!
//! The directory is the image's, so everything goes by descriptors and no link is followed.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::base::{At, Error, Result};
use crate::sys::rootfd::proc_path;

/// Deepest tree that is copied.
const DEPTH_MAX: usize = 100;

/// Copies what is in the directory `from` into the directory `to`.
///
/// # Errors
/// `Io` that names the file; ENOSPC where the tmpfs is too small.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    tree(from, to, 0)
}

fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::from_errno(libc::ELOOP));
    }
    for entry in std::fs::read_dir(proc_path(from)).at("reading directory")? {
        let name = entry.at("reading directory")?.file_name();
        let at = || format!("copying {}", name.display());
        let stat = fstatat(from, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).at(at())?;
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            mkdirat(to, name.as_os_str(), Mode::S_IRWXU).at(at())?;
            let open = |dir| open(dir, &name, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
            tree(open(from)?.as_fd(), open(to)?.as_fd(), depth + 1)?;
        } else if kind == SFlag::S_IFREG {
            let mut source = File::from(open(from, &name, OFlag::O_RDONLY)?);
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let mut target = File::from(open(to, &name, flags)?);
            std::io::copy(&mut source, &mut target).at(at())?;
        } else if kind == SFlag::S_IFLNK {
            let text = readlinkat(from, name.as_os_str()).at(at())?;
            symlinkat(text.as_os_str(), to, name.as_os_str()).at(at())?;
        } else {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            mknodat(to, name.as_os_str(), kind, mode, stat.st_rdev).at(at())?;
        }
        own(to, &name, &stat, kind).at(at())?;
    }
    Ok(())
}

/// Gives the copy the owner and the mode of the original.
fn own(dir: BorrowedFd<'_>, name: &std::ffi::OsStr, stat: &FileStat, kind: SFlag) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind != SFlag::S_IFLNK {
        let path = proc_path(dir).join(name);
        let mode = std::fs::Permissions::from_mode(stat.st_mode & 0o7777);
        std::fs::set_permissions(path, mode)?;
    }
    Ok(())
}

fn open(dir: BorrowedFd<'_>, name: &std::ffi::OsStr, flags: OFlag) -> Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::from_bits_truncate(0o600))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_links_and_modes_come_along() {
        let top = std::env::temp_dir().join(format!("multi-copyup-{}", std::process::id()));
        let (from, to) = (top.join("from"), top.join("to"));
        fs::create_dir_all(from.join("dir")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("dir/file"), "text").unwrap();
        fs::set_permissions(from.join("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        symlink("/etc", from.join("link")).unwrap();
        let open = |path| File::open(path).unwrap();
        copy(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        let mode = fs::metadata(to.join("dir/file")).unwrap().permissions().mode();
        let (text, link) = (fs::read(to.join("dir/file")).unwrap(), fs::read_link(to.join("link")));
        fs::remove_dir_all(&top).unwrap();
        assert_eq!((text.as_slice(), mode & 0o7777), (&b"text"[..], 0o4711));
        assert_eq!(link.unwrap(), std::path::Path::new("/etc"));
    }
}
