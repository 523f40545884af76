//! `docker cp`: status, archive and extraction of paths in a container.
//!
//! Every path is resolved below the root of a [`View`], links included, so neither the client nor the
//! container leads out. A path is taken as Docker takes it: all but its last part is resolved, so that a
//! link itself can be copied; a trailing slash or `/.` asks for what the link leads to.
//!
//! Spec: moby `daemon/archive_unix.go`, `container/archive.go`; texts of Docker 28.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag};

use super::Container;
use super::view::View;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result};
use crate::engine::Engine;
use crate::runtime::{target, user};
use crate::storage::archive::apply::Ownership;
use crate::storage::archive::apply::extract::{Extract, extract};
use crate::storage::archive::write::Writer;
use crate::storage::tree;
use crate::sys::rootfd::{Root, clean};

/// Longest path that is taken, in bytes; the kernel's own.
const MAX_PATH: usize = 4096;

/// What is known of a path in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path as it was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode`, type bits included.
    pub mode: u32,
    /// Time of the last change of content.
    pub mtime: Timestamp,
    /// For a link: where it leads, as an absolute path in the container without further links.
    pub link_target: String,
}

/// A path in a container, found and ready to be archived.
pub struct Source {
    /// Its status.
    pub stat: PathStat,
    dir: OwnedFd,
    name: OsString,
    archive_name: String,
    /// The directory is one of its mounts.
    _view: View,
}

/// What the client wants of an extraction.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    /// A directory may not replace something else, nor something else a directory.
    pub keep_kinds: bool,
    /// The files become the container's user's.
    pub to_user: bool,
}

impl Source {
    /// Finds `path` in `container`, which the client called `shown`.
    ///
    /// # Errors
    /// `NotFound` with Docker's text; `Io` for a path that leads through what is no directory.
    pub fn find(engine: &Engine, container: &Container, shown: &str, path: &str) -> Result<Source> {
        check(path)?;
        let view = View::open(engine, container)?;
        let find = move || -> Result<Source> {
            let asked = Asked::new(path);
            let (dir, name) = asked.locate(&view.root)?;
            let status = nix::sys::stat::fstatat(&dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .at(format_args!("lstat {}", asked.shown()))?;
            let link_target = match is(&status, SFlag::S_IFLNK) {
                true => {
                    let real = target::follow(&view.root, Path::new(&asked.path))?;
                    Path::new("/").join(real).to_string_lossy().into_owned()
                }
                false => String::new(),
            };
            let stat = PathStat {
                name: asked.base().into(),
                size: status.st_size,
                mode: status.st_mode,
                mtime: Timestamp { secs: status.st_mtime, nanos: status.st_mtime_nsec as u32 },
                link_target,
            };
            let archive_name = asked.base().to_string();
            Ok(Source { stat, dir, name, archive_name, _view: view })
        };
        find().map_err(|e| match e.errno() {
            Some(libc::ENOENT) => not_found(path, shown),
            _ => e,
        })
    }

    /// Writes it as an archive, whose names begin with the last part of the path.
    ///
    /// # Errors
    /// `Io`; whatever `out` gives.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut writer = Writer::new(out);
        tree::add(&mut writer, self.dir.as_fd(), &self.name, self.archive_name.as_bytes())?;
        writer.finish()?.flush().map_err(Error::from)
    }
}

/// Unpacks `archive` in the directory `path` of `container`, which the client called `shown`.
///
/// # Errors
/// `NotFound` with Docker's text; `InvalidParameter` for what is no directory, is read-only or no
/// archive; `Io`. What was unpacked before an error stays.
pub fn put(
    engine: &Engine,
    container: &Container,
    shown: &str,
    path: &str,
    options: PutOptions,
    archive: &mut dyn Read,
) -> Result<()> {
    check(path)?;
    let view = View::open(engine, container)?;
    let asked = Asked::new(path);
    let place = Path::new(&asked.path);
    match view.root.open_at(place, OFlag::O_PATH | OFlag::O_DIRECTORY, 0) {
        Ok(_) => {}
        Err(e) if e.errno() == Some(libc::ENOENT) => return Err(not_found(path, shown)),
        Err(e) if e.errno() == Some(libc::ENOTDIR) => {
            return Err(Error::invalid("extraction point is not a directory"));
        }
        Err(e) => return Err(e),
    }
    let at = target::follow(&view.root, place)?;
    check_writable(container, &at)?;
    let ownership = match options.to_user {
        true => owner(container, &view.root)?,
        false => Ownership::AsWritten,
    };
    let how = Extract { at: &at, ownership, keep_kinds: options.keep_kinds, rename: None };
    extract(&view.root, &how, archive)?;
    engine.container_event(container, "extract-to-dir", &[]);
    Ok(())
}

/// Whether files may be put below `at`: the nearest volume says so, or else the root.
fn check_writable(container: &Container, at: &Path) -> Result<()> {
    let at = Path::new("/").join(at);
    let data = container.data();
    let points = data.record.mount_points.values();
    let volume = points
        .filter(|point| matches!(point.kind.as_str(), "bind" | "volume"))
        .filter(|point| at.starts_with(&point.destination))
        .max_by_key(|point| point.destination.len());
    match volume {
        Some(volume) if !volume.rw => Err(Error::invalid("mounted volume is marked read-only")),
        None if data.host.readonly_rootfs => {
            Err(Error::invalid("container rootfs is marked read-only"))
        }
        _ => Ok(()),
    }
}

/// The container's user; files keep their owners if it names none.
fn owner(container: &Container, root: &Root) -> Result<Ownership> {
    let name = container.data().record.config.user.clone();
    if name.is_empty() {
        return Ok(Ownership::AsWritten);
    }
    let user = user::lookup(root.as_fd(), &name, &[])?;
    Ok(Ownership::Of(user.uid, user.gid))
}

fn check(path: &str) -> Result<()> {
    if path.contains('\0') || path.len() >= MAX_PATH {
        return Err(Error::invalid("invalid path in the container"));
    }
    Ok(())
}

fn not_found(path: &str, container: &str) -> Error {
    Error::new(
        Kind::NotFound,
        format_args!("Could not find the file {path} in container {container}"),
    )
}

fn is(status: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == kind
}

/// A path as it was asked for.
struct Asked {
    /// Without a leading slash, `..` and empty parts taken out.
    path: PathBuf,
    /// What stood after the last part.
    tail: Tail,
}

#[derive(Clone, Copy, PartialEq)]
enum Tail {
    None,
    Slash,
    Dot,
}

impl Asked {
    fn new(path: &str) -> Asked {
        let tail = match path.trim_end_matches('/').rsplit('/').next() {
            Some(".") => Tail::Dot,
            _ if path.ends_with('/') => Tail::Slash,
            _ => Tail::None,
        };
        Asked { path: clean(Path::new(path)), tail }
    }

    fn shown(&self) -> String {
        let tail = match self.tail {
            Tail::None => "",
            Tail::Slash => "/",
            Tail::Dot if self.path.as_os_str().is_empty() => ".",
            Tail::Dot => "/.",
        };
        match self.path.as_os_str().is_empty() && self.tail == Tail::Slash {
            true => "/".into(),
            false => format!("{}{tail}", Path::new("/").join(&self.path).display()),
        }
    }

    /// The last part as Go's `filepath.Base` gives it.
    fn base(&self) -> &str {
        match (self.tail, self.path.file_name().and_then(OsStr::to_str)) {
            (Tail::Dot, _) => ".",
            (_, Some(name)) => name,
            (_, None) => "/",
        }
    }

    /// The directory of the last part, and that part: for a trailing slash the directory itself.
    fn locate(&self, root: &Root) -> Result<(OwnedFd, OsString)> {
        let parent = self.path.parent();
        match (self.tail, parent, self.path.file_name()) {
            (Tail::None, Some(parent), Some(name)) => {
                let dir = root.open_at(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
                Ok((dir, name.to_owned()))
            }
            _ => {
                let dir = root
                    .open_at(&self.path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
                    .map_err(|e| match e.errno() {
                        Some(libc::ENOTDIR) => Error::from_errno(libc::ENOTDIR)
                            .at(format_args!("lstat {}", self.shown())),
                        _ => e,
                    })?;
                Ok((dir, ".".into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_what_is_meant() {
        for (path, clean, base, shown) in [
            ("/etc", "etc", "etc", "/etc"),
            ("etc/", "etc", "etc", "/etc/"),
            ("/etc/.", "etc", ".", "/etc/."),
            ("/etc/./", "etc", ".", "/etc/."),
            ("/../..//etc", "etc", "etc", "/etc"),
            ("/", "", "/", "/"),
            (".", "", ".", "/."),
            ("/a/..", "", "/", "/"),
        ] {
            let asked = Asked::new(path);
            assert_eq!(asked.path, Path::new(clean), "{path}");
            assert_eq!((asked.base(), asked.shown().as_str()), (base, shown), "{path}");
        }
    }
}
