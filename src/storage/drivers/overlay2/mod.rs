//! `overlay2`: each layer is a directory of its own, and overlayfs lays them over each other.
//!
//! ```text
//! overlay2/<id>/diff        the layer's files, whiteouts in overlayfs's form
//! overlay2/<id>/link        26 letters: the layer's short name
//! overlay2/<id>/lower       short names of the layers below, nearest first: "l/A:l/B"; absent at the bottom
//! overlay2/<id>/work        overlayfs's scratch space; absent at the bottom
//! overlay2/<id>/committed   an empty file: something is stacked on this layer, it is mounted read-only
//! overlay2/<id>/merged      where it is mounted; there only while it is
//! overlay2/l/<short>        -> ../<id>/diff
//! overlay2/.trash/          what is removed and not yet deleted
//! ```
//!
//! Short names exist because mount(2) takes one page of options. When even they do not fit behind the
//! full path of this directory, the mount is made with paths relative to it; 128 short names always fit,
//! which is where Docker's limit comes from.
//!
//! # The way of a run
//!
//! `create_read_write` makes 21 system calls (3 mkdirat, 1 symlinkat, `link` and `lower` at 3 each, 2 for
//! the parent's `committed`, 1 getrandom, 8 to read the parent's files); `get` makes 9, one of them the
//! mount, which takes most of the time (0.15 to 0.25 ms). The last `put` waits while overlayfs writes the
//! backing filesystem out (0.4 to 6 ms, by what else is dirty); `remove` does not wait: it renames the
//! directory with the mount in it, and the trash thread unmounts.
//!
//! Spec: moby `graphdriver/overlay2`; kernel Documentation/filesystems/overlayfs.rst.

mod probe;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use self::probe::Features;
use super::{check_id, not_found};
use crate::base::{At, Error, Result};
use crate::storage::archive::apply::{Whiteouts, apply};
use crate::storage::changes::{self, Layer};
use crate::storage::trash::Trash;
use crate::storage::{Change, Def, Driver, Files, Options, fault};
use crate::sys::mount::{self, MAX_OPTIONS_BYTES, MntFlags, MsFlags};
use crate::sys::random;
use crate::sys::rootfd::Root;

/// Layers that may be below one; Docker's limit.
const MAX_DEPTH: usize = 128;
/// Docker's text for a longer chain.
pub const MAX_DEPTH_EXCEEDED: &str = "max depth exceeded";

/// The entry for the table of drivers.
pub const DEF: Def = Def {
    name: "overlay2",
    options: &[],
    probe: |home| probe::features(home).map(drop),
    open: |home, options| Ok(Arc::new(Overlay2::open(home, options)?)),
};

struct Overlay2 {
    home: PathBuf,
    fd: OwnedFd,
    features: Features,
    trash: Trash,
    /// Users of each mounted layer; the inner lock orders get and put of one layer.
    users: Mutex<HashMap<String, Arc<Mutex<usize>>>>,
    /// Layers that go when they are unmounted.
    fleeting: Mutex<HashSet<String>>,
    /// Whether the path of `home` would be misread among mount options.
    awkward: bool,
}

impl Overlay2 {
    fn open(home: &Path, _options: &Options) -> Result<Overlay2> {
        let home = &fs::canonicalize(home).at(format_args!("opening {}", home.display()))?;
        let features = probe::features(home)?;
        let fd = Root::open(home)?.into_fd();
        let mode = Mode::from_bits_truncate(0o710);
        nix::sys::stat::fchmod(&fd, mode).at("changing mode of overlay2 directory")?;
        ensure_dir(fd.as_fd(), "l", 0o700)?;
        let trash = Trash::open(&home.join(".trash"), Some("merged"))?;
        let awkward = home.as_os_str().as_bytes().iter().any(|b| b":,\\\"".contains(b));
        let home = home.clone();
        Ok(Overlay2 {
            home,
            fd,
            features,
            trash,
            users: Mutex::default(),
            fleeting: Mutex::default(),
            awkward,
        })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<usize>>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fleeting(&self) -> MutexGuard<'_, HashSet<String>> {
        self.fleeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, id: &str) -> Result<OwnedFd> {
        check_id(id)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match nix::fcntl::openat(&self.fd, id, flags, Mode::empty()) {
            Err(Errno::ENOENT) => Err(not_found(id)),
            done => done.at(format_args!("opening layer {id}")),
        }
    }

    fn merged(&self, id: &str) -> PathBuf {
        self.home.join(id).join("merged")
    }

    fn diff_root(&self, id: &str) -> Result<Root> {
        self.dir(id)?;
        Root::open(&self.home.join(id).join("diff"))
    }

    /// The `lower` file of a layer on top of `parent`.
    fn lower_of(&self, parent: &str) -> Result<String> {
        let dir = self.dir(parent)?;
        let link = read(dir.as_fd(), "link")?
            .ok_or_else(|| Error::internal(format_args!("layer {parent} has no link file")))?;
        let lower = match read(dir.as_fd(), "lower")? {
            Some(below) => format!("l/{link}:{below}"),
            None => format!("l/{link}"),
        };
        if lower.split(':').count() > MAX_DEPTH {
            return Err(Error::unsupported(MAX_DEPTH_EXCEEDED));
        }
        Ok(lower)
    }

    fn make(&self, id: &str, parent: Option<&str>) -> Result<()> {
        check_id(id)?;
        match make_dir(self.fd.as_fd(), id, 0o710) {
            Err(Errno::EEXIST) => {
                return Err(Error::conflict(format_args!("layer {id} exists already")));
            }
            done => done.at(format_args!("creating layer {id}"))?,
        }
        fault::step();
        let made = self.fill(id, parent).at(format_args!("creating layer {id}"));
        if made.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(id);
        }
        made
    }

    fn fill(&self, id: &str, parent: Option<&str>) -> Result<()> {
        let dir = self.dir(id)?;
        make_dir(dir.as_fd(), "diff", 0o755).at("creating diff")?;
        let link = short_name();
        // The file first: whoever removes a half-made layer learns the link from it.
        write(dir.as_fd(), "link", &link)?;
        fault::step();
        let target = format!("../{id}/diff");
        nix::unistd::symlinkat(target.as_str(), &self.fd, format!("l/{link}").as_str())
            .at("creating link")?;
        fault::step();
        match parent {
            Some(parent) => self.stack(&dir, parent),
            None => Ok(()),
        }
    }

    /// Puts the layer in `dir` on top of `parent`.
    fn stack(&self, dir: &OwnedFd, parent: &str) -> Result<()> {
        let lower = self.lower_of(parent)?;
        ensure_dir(dir.as_fd(), "work", 0o700)?;
        let committed = format!("{parent}/committed");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        nix::fcntl::openat(&self.fd, committed.as_str(), flags, mode).at("marking parent")?;
        fault::step();
        write(dir.as_fd(), "lower", &lower)
    }

    /// The diff directories of the layers below, nearest first.
    fn below(&self, id: &str) -> Result<Vec<PathBuf>> {
        let dir = self.dir(id)?;
        let Some(lower) = read(dir.as_fd(), "lower")? else { return Ok(Vec::new()) };
        let resolve = |short: &str| {
            let target = nix::fcntl::readlinkat(&self.fd, short)
                .at(format_args!("reading link {short} of layer {id}"))?;
            let target = Path::new(&target);
            Ok(self.home.join(target.strip_prefix("..").unwrap_or(target)))
        };
        lower.split(':').map(resolve).collect()
    }

    /// Whether `parent` is what `id` is stacked on.
    fn is_parent(&self, id: &str, parent: Option<&str>) -> Result<bool> {
        let below = self.below(id)?;
        Ok(below.first().map(|d| d.as_path())
            == parent.map(|p| self.home.join(p).join("diff")).as_deref())
    }

    fn mount(&self, id: &str, dir: &OwnedFd, lower: &str, label: &str) -> Result<PathBuf> {
        let committed = nix::fcntl::openat(
            dir,
            "committed",
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let read_only = match committed {
            Ok(_) => true,
            Err(Errno::ENOENT) => false,
            Err(e) => return Err(e).at("reading committed"),
        };
        // Unmounting an overlay writes its whole backing filesystem back, unless it is volatile (5.10).
        let volatile = self.features.volatile && self.fleeting().contains(id);
        if volatile {
            // The mark of an earlier mount would refuse this one. What it warns of is what we want.
            let _ = fs::remove_dir_all(self.home.join(id).join("work").join("work/incompat"));
        }
        let data = |base: &str| {
            let lowers = lower.split(':').map(|l| format!("{base}{l}")).collect::<Vec<_>>();
            let lowers = lowers.join(":");
            let features = &self.features.options;
            let volatile = if volatile { "volatile," } else { "" };
            let mut data = match read_only {
                true => format!("{features}lowerdir={base}{id}/diff:{lowers}"),
                false => format!(
                    "{features}{volatile}lowerdir={lowers},upperdir={base}{id}/diff,workdir={base}{id}/work"
                ),
            };
            if !label.is_empty() {
                data = format!("{data},context=\"{label}\"");
            }
            data
        };
        let merged = self.merged(id);
        ensure_dir(dir.as_fd(), "merged", 0o700)?;
        let home = self.home.to_string_lossy();
        let absolute = data(&format!("{home}/"));
        let flags = MsFlags::empty();
        let source = Path::new("overlay");
        let result = if !self.awkward && absolute.len() <= MAX_OPTIONS_BYTES {
            let data = OsString::from(absolute);
            mount::mount(Some(source), &merged, Some("overlay"), flags, Some(&data))
        } else {
            let relative = OsString::from(data(""));
            if relative.len() > MAX_OPTIONS_BYTES {
                return Err(Error::unsupported(format_args!(
                    "cannot mount layer, mount label too large {}",
                    relative.len()
                )));
            }
            mount::mount_from(self.fd.as_fd(), "overlay", &merged, "overlay", flags, &relative)
        };
        result.at(format_args!("error creating overlay mount to {}", merged.display()))?;
        fault::step();
        Ok(merged)
    }

    fn unmount(&self, id: &str) -> Result<()> {
        let merged = self.merged(id);
        match mount::unmount(&merged, MntFlags::MNT_DETACH) {
            Err(e) if !matches!(e.errno(), Some(libc::EINVAL | libc::ENOENT)) => return Err(e),
            _ => {}
        }
        // Without its mount point the mount also goes from namespaces that got a copy of it.
        let _ = fs::remove_dir(&merged);
        Ok(())
    }

    fn is_mounted(&self, id: &str) -> bool {
        mount::filesystem_magic(&self.merged(id)).is_ok_and(|m| m == mount::OVERLAYFS_MAGIC)
    }

    /// Runs `look` on the mounted roots of `id` and `parent`.
    fn with_mounted<R>(
        &self,
        id: &str,
        parent: Option<&str>,
        look: impl FnOnce(&Root, &[Root]) -> Result<R>,
    ) -> Result<R> {
        let mut mounted: Vec<&str> = Vec::new();
        let mut open = |id| {
            let path = self.get(id, "")?;
            mounted.push(id);
            Root::open(&path)
        };
        let result = match (open(id), parent.map(open).transpose()) {
            (Ok(layer), Ok(below)) => look(&layer, below.as_slice()),
            (Err(e), _) | (_, Err(e)) => Err(e),
        };
        for id in mounted {
            self.put(id)?;
        }
        result
    }
}

impl Driver for Overlay2 {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn status(&self) -> Vec<(String, String)> {
        [
            ("Backing Filesystem", self.features.backing.to_string()),
            ("Supports d_type", "true".to_string()),
            ("Using metacopy", "false".to_string()),
            ("Native Overlay Diff", self.features.native_diff.to_string()),
            ("userxattr", "false".to_string()),
        ]
        .map(|(k, v)| (k.to_string(), v))
        .to_vec()
    }

    fn create(&self, id: &str, parent: Option<&str>) -> Result<()> {
        self.make(id, parent)
    }

    fn create_read_write(
        &self,
        id: &str,
        parent: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<()> {
        if let Some(key) = options.keys().next() {
            return Err(Error::invalid(match key.to_ascii_lowercase().as_str() {
                "size" => "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
                    .to_string(),
                _ => format!("Unknown option {key}"),
            }));
        }
        self.make(id, parent)
    }

    fn set_parent(&self, id: &str, parent: &str) -> Result<()> {
        let dir = self.dir(id)?;
        self.stack(&dir, parent).at(format_args!("stacking layer {id}"))
    }

    fn remove(&self, id: &str) -> Result<()> {
        let dir = match self.dir(id) {
            Err(e) if e.kind() == crate::base::Kind::NotFound => return Ok(()),
            done => done?,
        };
        self.fleeting().remove(id);
        self.users().remove(id);
        if let Some(link) = read(dir.as_fd(), "link")?
            && !link.is_empty()
        {
            let path = format!("l/{}", link.replace('/', ""));
            let flag = nix::unistd::UnlinkatFlags::NoRemoveDir;
            match nix::unistd::unlinkat(&self.fd, path.as_str(), flag) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e).at(format_args!("removing link of layer {id}")),
            }
        }
        fault::step();
        self.trash.take(&self.home.join(id))
    }

    fn get(&self, id: &str, mount_label: &str) -> Result<PathBuf> {
        let dir = self.dir(id)?;
        // The bottom layer alone is its own root.
        let Some(lower) = read(dir.as_fd(), "lower")? else {
            return Ok(self.home.join(id).join("diff"));
        };
        let users = self.users().entry(id.to_string()).or_default().clone();
        let mut count = users.lock().unwrap_or_else(PoisonError::into_inner);
        if *count == 0 && !self.is_mounted(id) {
            let mounted = self.mount(id, &dir, &lower, mount_label);
            if mounted.is_err() {
                let _ = fs::remove_dir(self.merged(id));
            }
            mounted?;
        }
        *count += 1;
        Ok(self.merged(id))
    }

    fn will_be_removed(&self, id: &str) {
        self.fleeting().insert(id.to_string());
    }

    fn put(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let Some(users) = self.users().get(id).cloned() else {
            return if self.is_mounted(id) { self.unmount(id) } else { Ok(()) };
        };
        let mut count = users.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_sub(1);
        if *count > 0 {
            return Ok(());
        }
        let result = self.unmount(id);
        // Whoever waits for this lock found the entry before: it stays valid, only the next one to look
        // makes a new one when nobody holds it.
        let mut all = self.users();
        if Arc::strong_count(&users) == 2 {
            all.remove(id);
        }
        result
    }

    fn exists(&self, id: &str) -> bool {
        self.dir(id).is_ok()
    }

    fn metadata(&self, id: &str) -> BTreeMap<String, String> {
        let mut data = BTreeMap::new();
        let Ok(below) = self.below(id) else { return data };
        let dir = self.home.join(id);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        if !below.is_empty() {
            let below: Vec<String> = below.into_iter().map(text).collect();
            data.insert("LowerDir".to_string(), below.join(":"));
        }
        for (key, name) in [("MergedDir", "merged"), ("UpperDir", "diff"), ("WorkDir", "work")] {
            data.insert(key.to_string(), text(dir.join(name)));
        }
        data
    }

    fn apply_diff(&self, id: &str, _parent: Option<&str>, tar: &mut dyn Read) -> Result<u64> {
        apply(&self.diff_root(id)?, tar, Whiteouts::Overlay)
    }

    fn diff(&self, id: &str, parent: Option<&str>, out: &mut dyn Write) -> Result<()> {
        if self.is_parent(id, parent)? && self.features.native_diff {
            return changes::write_upper(&self.diff_root(id)?, out);
        }
        self.with_mounted(id, parent, |layer, below| changes::write(layer, Layer::Copy, below, out))
    }

    fn changes(&self, id: &str, parent: Option<&str>) -> Result<Vec<Change>> {
        if self.is_parent(id, parent)? && self.features.native_diff {
            let below = self.below(id)?;
            let below: Vec<Root> = below.iter().map(|p| Root::open(p)).collect::<Result<_>>()?;
            return changes::changes(&self.diff_root(id)?, Layer::Overlay, &below);
        }
        self.with_mounted(id, parent, |layer, below| changes::changes(layer, Layer::Copy, below))
    }

    fn diff_size(&self, id: &str, parent: Option<&str>) -> Result<u64> {
        if self.is_parent(id, parent)? {
            return changes::size(&self.diff_root(id)?);
        }
        self.with_mounted(id, parent, |layer, below| {
            changes::changed_size(layer, Layer::Copy, below)
        })
    }

    fn files(&self, id: &str) -> Result<Files> {
        Ok(Files { root: self.diff_root(id)?, hold: None })
    }

    fn own_dir(&self, id: &str) -> Option<PathBuf> {
        Some(self.home.join(id).join("diff"))
    }

    fn sync(&self, _id: &str) -> Result<()> {
        mount::sync_filesystem(self.fd.as_fd())
    }

    fn independent_layers(&self) -> bool {
        true
    }

    fn cleanup(&self) -> Result<()> {
        self.users().clear();
        // Mounts in the trash are its own thread's.
        self.trash.wait();
        let mut result = Ok(());
        let mounted = mount::table()?.into_iter().filter(|m| m.target.starts_with(&self.home));
        for info in mounted.filter(|m| m.target != self.home) {
            let unmounted = mount::unmount(&info.target, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&info.target);
            if result.is_ok() {
                result = unmounted;
            }
        }
        result
    }
}

fn make_dir(at: BorrowedFd<'_>, name: &str, mode: u32) -> nix::Result<()> {
    nix::sys::stat::mkdirat(at, name, Mode::from_bits_truncate(mode))
}

fn ensure_dir(at: BorrowedFd<'_>, name: &str, mode: u32) -> Result<()> {
    match make_dir(at, name, mode) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e).at(format_args!("creating the layer's directory {name}")),
    }
}

/// The whole of a small file; `None` if it does not exist.
fn read(dir: BorrowedFd<'_>, name: &str) -> Result<Option<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = match nix::fcntl::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(e).at(format_args!("opening {name}")),
    };
    // 128 names of 29 bytes fit; one read instead of a stat, a read and a read to see the end.
    let mut buffer = [0u8; 4096];
    let n = nix::unistd::read(&fd, &mut buffer).at(format_args!("reading {name}"))?;
    let text = std::str::from_utf8(&buffer[..n])
        .map_err(|_| Error::internal(format_args!("file {name} of a layer is damaged")))?;
    Ok(Some(text.trim_end().to_string()))
}

fn write(dir: BorrowedFd<'_>, name: &str, text: &str) -> Result<()> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    let fd = nix::fcntl::openat(dir, name, flags, mode).at(format_args!("creating {name}"))?;
    let written = nix::unistd::write(&fd, text.as_bytes()).at(format_args!("writing {name}"))?;
    if written == text.len() { Ok(()) } else { Err(Error::from_errno(libc::ENOSPC)) }
        .at(format_args!("writing {name}"))
}

/// 26 letters and digits, as Docker makes them: base 32 of random bits.
fn short_name() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0u8; 26];
    random::fill(&mut bytes);
    bytes.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect()
}
