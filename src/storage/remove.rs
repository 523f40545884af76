//! Removing directory trees that somebody else filled.
//!
//! A container can make a tree deeper than any path or stack, and leave mounts in it. Nothing here
//! recurses, nothing crosses into another mount, and no name is resolved twice. Trees that are too deep
//! are cut into pieces which are moved up and removed one after another.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::base::{At, Error, Result};
use crate::sys::random;

/// Open directories above the one at work; deeper ones are moved up.
const MAX_DEPTH: usize = 64;

/// The entries of a directory and whether each is one itself, in the kernel's order.
///
/// # Errors
/// `Io`.
pub fn entries(dir: &OwnedFd) -> Result<Vec<(OsString, bool)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // A second description, since reading moves the offset of the first.
    let mut dir = Dir::openat(dir, ".", flags, Mode::empty()).at("opening directory")?;
    let mut list = Vec::new();
    for entry in dir.iter() {
        let entry = entry.at("reading directory")?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            list.push((name.to_owned(), entry.file_type() == Some(Type::Directory)));
        }
    }
    Ok(list)
}

/// Removes `name` in `parent`, with all that is in it. No error if it does not exist.
///
/// # Errors
/// `Io`; `EBUSY` if something is mounted in it.
pub fn tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    remove(parent, name).at(format_args!("removing {}", name.display()))
}

/// As [`tree`], for a path of the host.
///
/// # Errors
/// As [`tree`].
pub fn path(path: &Path) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(format_args!("refusing to remove {}", path.display())));
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match nix::fcntl::open(path.parent().unwrap_or(Path::new("/")), flags, Mode::empty()) {
        Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e).at(format_args!("removing {}", path.display())),
        Ok(parent) => tree(parent.as_fd(), name),
    }
}

/// A directory at work: itself, its name in the one above, and its subdirectories yet to be removed.
struct Level {
    dir: OwnedFd,
    name: OsString,
    todo: Vec<OsString>,
}

fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(e) => return Err(e),
    }
    let mut levels = vec![open_level(parent, name)?];
    while let Some(level) = levels.last_mut() {
        let Some(child) = level.todo.pop() else {
            let name = std::mem::take(&mut level.name);
            levels.pop();
            let above = levels.last().map_or(parent, |l| l.dir.as_fd());
            match unlinkat(above, name.as_os_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                // Filled again while it was emptied (or ReadDir missed something): once more.
                Err(Errno::ENOTEMPTY) => levels.push(open_level(above, &name)?),
                Err(e) => return Err(e),
            }
            continue;
        };
        if levels.len() == MAX_DEPTH {
            let (top, deep) = (&levels[0], &levels[MAX_DEPTH - 1]);
            let moved = OsString::from(format!(".deep-{:016x}", random::u64()));
            nix::fcntl::renameat(&deep.dir, child.as_os_str(), &top.dir, moved.as_os_str())?;
            levels[0].todo.push(moved);
        } else {
            let level = match open_level(levels[levels.len() - 1].dir.as_fd(), &child) {
                Err(Errno::ENOENT) => continue,
                done => done?,
            };
            levels.push(level);
        }
    }
    Ok(())
}

/// Opens the directory `name`, removes all in it that is no directory, and lists what is.
fn open_level(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Level, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH);
    let open = || match nix::fcntl::openat2(parent, name, how) {
        // What is mounted there is not ours to empty.
        Err(Errno::EXDEV) => Err(Errno::EBUSY),
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let fd = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
            let device = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).map(|s| s.st_dev);
            if device(fd.as_fd())? == device(parent)? { Ok(fd) } else { Err(Errno::EBUSY) }
        }
        done => done,
    };
    let mut dir = Dir::from_fd(open()?)?;
    let mut todo = Vec::new();
    let fd = dir.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != Some(Type::Directory) {
            match unlinkat(&fd, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                // A directory on a filesystem that does not tell types.
                Err(Errno::EISDIR) => {}
                Err(e) => return Err(e),
            }
        }
        todo.push(OsStr::from_bytes(name.to_bytes()).to_owned());
    }
    Ok(Level { dir: fd, name: name.to_owned(), todo })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount::{self, MntFlags, MsFlags};
    use std::os::fd::AsFd;

    fn scratch() -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("remove-{:016x}", random::u64()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let top = scratch();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let mut dir = nix::fcntl::open(&top, flags, Mode::empty()).unwrap();
        for i in 0..3000 {
            let mode = Mode::from_bits_truncate(0o700);
            nix::sys::stat::mkdirat(&dir, "directory", mode).unwrap();
            nix::sys::stat::mkdirat(&dir, "other", mode).unwrap();
            if i % 100 == 0 {
                let create = OFlag::O_CREAT | OFlag::O_WRONLY;
                nix::fcntl::openat(&dir, "file", create, mode).unwrap();
            }
            dir = nix::fcntl::openat(&dir, "directory", flags, Mode::empty()).unwrap();
        }
        drop(dir);
        path(&top).unwrap();
        assert!(!top.exists());
        path(&top).unwrap();
    }

    #[test]
    fn what_is_mounted_below_is_left_alone() {
        let (top, other) = (scratch(), scratch());
        std::fs::write(other.join("precious"), "x").unwrap();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        // Bind mounts of the same filesystem have the same device number.
        mount::mount(Some(&other), &top.join("a/b"), None, MsFlags::MS_BIND, None).unwrap();
        let e = path(&top).unwrap_err();
        let kept = other.join("precious").exists();
        mount::unmount(&top.join("a/b"), MntFlags::MNT_DETACH).unwrap();
        assert_eq!(e.errno(), Some(libc::EBUSY), "{e}");
        assert!(kept);
        path(&top).unwrap();
        path(&other).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let (top, other) = (scratch(), scratch());
        std::fs::write(other.join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(&other, top.join("link")).unwrap();
        let parent = nix::fcntl::open(&top, OFlag::O_PATH, Mode::empty()).unwrap();
        tree(parent.as_fd(), OsStr::new("link")).unwrap();
        assert!(other.join("precious").exists());
        assert!(entries(&parent).is_ok_and(|e| e.is_empty()));
        path(&top).unwrap();
        path(&other).unwrap();
    }
}
