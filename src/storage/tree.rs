//! A file, or a directory with all below it, as a tar stream: `docker cp`, `docker export`.
//!
//! Names come in the order of their bytes, so the stream depends on the files alone. What vanishes while
//! it is read, as in a running container, is left out.
//!
//! Spec: moby `archive.TarWithOptions`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::archive::write::Writer;
use super::remove;
use crate::base::{At, Error, Result};
use crate::sys::rootfd::Root;

/// Longest path, in bytes: what no program could open by name is not archived.
const MAX_PATH: usize = 4096;

/// Writes the file `name` of `dir` under the archive's path `path`; a directory with all in it. An empty
/// `path` leaves the directory itself out and puts what is in it at the top.
///
/// # Errors
/// `Io` that names the path; ENOENT if there is no such file.
pub fn add<W: Write>(
    writer: &mut Writer<W>,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    path: &[u8],
) -> Result<()> {
    let status = nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .at(format_args!("lstat {}", name.display()))?;
    if !path.is_empty() {
        // Writing the name of a directory adds a slash.
        let path = if is_dir(&status) { path.strip_suffix(b"/").unwrap_or(path) } else { path };
        writer.add(dir, name, path, &status)?;
    }
    if is_dir(&status)
        && let Some(fd) = open_dir(dir, name)?
    {
        below(writer, fd, path)?;
    }
    Ok(())
}

/// Writes all that is in `root`, without itself, as a whole archive.
///
/// # Errors
/// `Io`.
pub fn write(root: &Root, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(out);
    let top = root.as_fd().try_clone_to_owned().at("duplicating descriptor")?;
    below(&mut writer, top, b"")?;
    writer.finish().map(drop)
}

/// A directory at work, with its names in reverse order.
struct Level {
    dir: OwnedFd,
    path: Vec<u8>,
    names: Vec<OsString>,
}

impl Level {
    fn open(dir: OwnedFd, path: Vec<u8>) -> Result<Level> {
        let mut names: Vec<OsString> = remove::entries(&dir)?.into_iter().map(|e| e.0).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { dir, path, names })
    }
}

fn below<W: Write>(writer: &mut Writer<W>, dir: OwnedFd, path: &[u8]) -> Result<()> {
    let mut levels = vec![Level::open(dir, path.to_vec())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, &name)?;
        let status = match nix::sys::stat::fstatat(&level.dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)
        {
            Ok(status) => status,
            Err(Errno::ENOENT) => continue,
            Err(e) => {
                return Err(e).at(format_args!("lstat {}", String::from_utf8_lossy(&path)));
            }
        };
        match writer.add(level.dir.as_fd(), &name, &path, &status) {
            // Files are opened before anything of them is written.
            Err(e) if e.errno() == Some(libc::ENOENT) => continue,
            done => done?,
        }
        if is_dir(&status)
            && let Some(fd) = open_dir(level.dir.as_fd(), &name)?
        {
            levels.push(Level::open(fd, path)?);
        }
    }
    Ok(())
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

fn join(dir: &[u8], name: &OsStr) -> Result<Vec<u8>> {
    let separator: &[u8] = if dir.is_empty() || dir.ends_with(b"/") { b"" } else { b"/" };
    let path = [dir, separator, name.as_bytes()].concat();
    if path.len() > MAX_PATH {
        return Err(Error::from_errno(libc::ENAMETOOLONG)
            .at(format_args!("archiving {:?}", String::from_utf8_lossy(&path[..100]))));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::archive::read::Reader;
    use super::*;
    use std::fs;
    use std::path::Path;

    fn names(stream: &[u8]) -> Vec<String> {
        let mut reader = Reader::new(stream);
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            names.push(String::from_utf8(entry.name).unwrap());
        }
        names
    }

    #[test]
    fn a_tree_goes_under_the_name_it_is_given() {
        let top = std::env::temp_dir().join(format!("tree-{:x}", crate::sys::random::u64()));
        fs::create_dir_all(top.join("d/sub")).unwrap();
        fs::write(top.join("d/b"), "b").unwrap();
        fs::write(top.join("d/sub/a"), "a").unwrap();
        let root = Root::open(&top).unwrap();
        let under = |path: &str| {
            let mut writer = Writer::new(Vec::new());
            add(&mut writer, root.as_fd(), OsStr::new("d"), path.as_bytes()).unwrap();
            names(&writer.finish().unwrap())
        };
        assert_eq!(under("x"), ["x/", "x/b", "x/sub/", "x/sub/a"]);
        assert_eq!(under("."), ["./", "./b", "./sub/", "./sub/a"]);
        assert_eq!(under("/"), ["/", "/b", "/sub/", "/sub/a"]);
        let mut all = Vec::new();
        write(&Root::open(&top).unwrap(), &mut all).unwrap();
        assert_eq!(names(&all), ["d/", "d/b", "d/sub/", "d/sub/a"]);
        let none = Path::new("nothing").as_os_str();
        let missing = add(&mut Writer::new(Vec::new()), root.as_fd(), none, b"x").unwrap_err();
        assert_eq!(missing.errno(), Some(libc::ENOENT));
        fs::remove_dir_all(&top).unwrap();
    }
}
