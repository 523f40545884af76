//! The layer between an image and a container's own: places for what is mounted into every container,
//! so that mounting them changes neither the image nor the container.
//!
//! Spec: moby `daemon/initlayer/setup_unix.go`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;

use super::lock;
use crate::base::digest::Digest;
use crate::base::{At, Error, Result};
use crate::storage::archive::apply::OVERLAY_OPAQUE;
use crate::storage::{Driver, remove};
use crate::sys::rootfd::{Root, proc_path};
use crate::sys::xattr;

#[derive(Clone, Copy)]
enum Place {
    Dir,
    File,
    Link(&'static str),
}

const PLACES: &[(&str, Place)] = &[
    ("dev/pts", Place::Dir),
    ("dev/shm", Place::Dir),
    ("proc", Place::Dir),
    ("sys", Place::Dir),
    (".dockerenv", Place::File),
    ("etc/resolv.conf", Place::File),
    ("etc/hosts", Place::File),
    ("etc/hostname", Place::File),
    ("dev/console", Place::File),
    ("etc/mtab", Place::Link("/proc/mounts")),
];

/// How many images' init layers are remembered.
const KEPT: usize = 16;

/// What an init layer came to hold on top of an image, so that the next one of the same image is filled
/// without mounting it.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<Option<Digest>, Arc<Vec<Item>>>>);

/// A file of the init layer.
struct Item {
    path: PathBuf,
    stat: FileStat,
    link: OsString,
    opaque: bool,
}

impl Templates {
    /// Fills the new layer `id` on top of the image `chain`.
    pub(super) fn fill(&self, driver: &dyn Driver, id: &str, chain: Option<&Digest>) -> Result<()> {
        let own = driver.own_dir(id);
        let known = lock(&self.0).get(&chain.copied()).cloned();
        if let (Some(own), Some(items)) = (&own, &known) {
            return repeat(&Root::open(own)?, items);
        }
        let root = driver.get(id, "")?;
        let filled = Root::open(&root).and_then(|root| set_up(&root));
        driver.put(id)?;
        filled?;
        if let Some(own) = own {
            let items = Arc::new(snapshot(&Root::open(&own)?)?);
            let mut all = lock(&self.0);
            if all.len() >= KEPT {
                all.clear();
            }
            all.insert(chain.copied(), items);
        }
        Ok(())
    }
}

/// Makes the places in the mounted root. As Docker does, what is no directory in their way is removed.
fn set_up(root: &Root) -> Result<()> {
    for (path, place) in PLACES {
        let path = Path::new(path);
        set_up_one(root, path, *place)
            .at(format_args!("preparing {} in container root", path.display()))?;
    }
    Ok(())
}

fn set_up_one(root: &Root, path: &Path, place: Place) -> Result<()> {
    let mut dir = root.as_fd().try_clone_to_owned().at("duplicating descriptor")?;
    let count = path.iter().count();
    for (i, name) in path.iter().enumerate() {
        match nix::unistd::unlinkat(&dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            // A directory stays (EPERM is what some filesystems say for one).
            Ok(()) | Err(Errno::ENOENT | Errno::EISDIR | Errno::EPERM) => {}
            Err(e) => return Err(e.into()),
        }
        if i + 1 < count || matches!(place, Place::Dir) {
            let mode = Mode::from_bits_truncate(0o755);
            match nix::sys::stat::mkdirat(&dir, name, mode) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            dir = nix::fcntl::openat(&dir, name, flags, Mode::empty())?;
            continue;
        }
        let made = match place {
            Place::Link(target) => nix::unistd::symlinkat(target, &dir, name),
            _ => new_file(&dir, name, 0o755),
        };
        match made {
            // The image has a directory there, which a mount will cover.
            Ok(()) | Err(Errno::EEXIST | Errno::EISDIR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn new_file(dir: &OwnedFd, name: &OsStr, mode: u32) -> nix::Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode)).map(drop)
}

/// Everything in the directory of an init layer, parents first.
fn snapshot(own: &Root) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let dir = own.dir(&path)?;
        for (name, _) in remove::entries(&dir)? {
            let stat =
                nix::sys::stat::fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                    .at("stat")?;
            let mut item =
                Item { path: path.join(&name), stat, link: OsString::new(), opaque: false };
            match kind(&stat) {
                SFlag::S_IFDIR => {
                    let file = proc_path(dir.as_fd()).join(&name);
                    item.opaque = xattr::lget(&file, OsStr::new(OVERLAY_OPAQUE))?.is_some();
                    todo.push(item.path.clone());
                }
                SFlag::S_IFLNK => {
                    item.link =
                        nix::fcntl::readlinkat(&dir, name.as_os_str()).at("reading link")?;
                }
                _ => {}
            }
            items.push(item);
        }
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Makes the same again in the directory of a new init layer.
fn repeat(own: &Root, items: &[Item]) -> Result<()> {
    for item in items {
        repeat_one(own, item)
            .at(format_args!("preparing {} in init layer", item.path.display()))?;
    }
    // Filling a directory changes its time, so times last, the deepest first.
    for item in items.iter().rev().filter(|i| kind(&i.stat) == SFlag::S_IFDIR) {
        let mtime = TimeSpec::new(item.stat.st_mtime, item.stat.st_mtime_nsec as _);
        let flags = UtimensatFlags::NoFollowSymlink;
        nix::sys::stat::utimensat(own, item.path.as_path(), &mtime, &mtime, flags)
            .at("setting times")?;
    }
    Ok(())
}

fn repeat_one(own: &Root, item: &Item) -> Result<()> {
    // Paths are our own names below directories this function made: nothing to resolve.
    let (path, stat) = (item.path.as_path(), &item.stat);
    match kind(stat) {
        SFlag::S_IFDIR => {
            let mode = stat.st_mode & 0o7777;
            // The mode of mkdir is cut by the process's mask; few directories have more than 0755.
            nix::sys::stat::mkdirat(own, path, Mode::from_bits_truncate(mode))?;
            if mode != 0o755 {
                let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
                nix::sys::stat::fchmodat(own, path, Mode::from_bits_truncate(mode), flags)?;
            }
            if item.opaque {
                let file = proc_path(own.as_fd()).join(path);
                xattr::lset(&file, OsStr::new(OVERLAY_OPAQUE), b"y")?;
            }
        }
        SFlag::S_IFLNK => nix::unistd::symlinkat(item.link.as_os_str(), own, path)?,
        SFlag::S_IFREG => {
            let fd = own.as_fd().try_clone_to_owned().at("duplicating descriptor")?;
            new_file(&fd, path.as_os_str(), stat.st_mode & 0o7777)?;
        }
        SFlag::S_IFCHR => nix::sys::stat::mknodat(own, path, SFlag::S_IFCHR, Mode::empty(), 0)?,
        _ => return Err(Error::internal("unexpected file in an init layer")),
    }
    if (stat.st_uid, stat.st_gid) != (0, 0) {
        let (uid, gid) = (Some(stat.st_uid.into()), Some(stat.st_gid.into()));
        nix::unistd::fchownat(own, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
