//! A layer's stream onto a directory.
//!
//! * Names are taken as in Docker's chroot: `/` and `..` end at the root, links on the way to an entry are
//!   followed inside the root, the last component never. The same holds for the targets of hard links.
//! * Whatever is in an entry's place is replaced, except that a directory stays under a directory.
//! * A whiteout hides what lower layers have under its name, never what this layer brings, wherever in
//!   the stream it stands. Two ways: [`Whiteouts::Overlay`] leaves the marks of overlayfs (character
//!   device 0/0, `trusted.overlay.opaque`), [`Whiteouts::Remove`] deletes from a copy of the parent.
//!   In a directory that no lower layer has, overlayfs lists such a mark (as `?`) though it does not find
//!   it; Docker's layers look the same.
//! * Modification times of directories are set at the end, since filling them changes them.
//! * aufs's own files (`.wh..wh.*`) are no content; hard links into `.wh..wh.plnk` are resolved.
//!
//! [`extract`] is the same for archives that are no layers: what `docker cp` moves.
//!
//! Spec: OCI image-spec layer.md, "Applying Changesets", "Whiteouts"; moby `archive.Unpack`,
//! `archive.UnpackLayer`; kernel overlayfs.rst, "whiteouts and opaque directories".

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;

use super::header::{Entry, Kind, Time};
use super::read::Reader;
use super::{COPY_BYTES, WHITEOUT_META_PREFIX, WHITEOUT_OPAQUE, WHITEOUT_PREFIX};
use crate::base::{At, Error, Result};
use crate::storage::remove;
use crate::sys::rootfd::{self, Root};
use crate::sys::xattr;

pub mod extract;

/// What a whiteout does to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// It becomes overlayfs's mark: the directory is an upper layer by itself.
    Overlay,
    /// It deletes: the directory is a copy of the parent.
    Remove,
    /// Nothing: this is no layer, and a name is a name.
    Literal,
}

/// overlayfs's mark of a directory that hides what is below.
pub const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

/// Unpacks the layer `tar` onto `root`; the bytes of files and link targets that it brought.
///
/// # Errors
/// `InvalidParameter` for a stream that is no layer, `Io` for what the host refuses, each with the
/// entry's name. The directory is then half filled.
pub fn apply(root: &Root, tar: &mut dyn Read, whiteouts: Whiteouts) -> Result<u64> {
    let mut target = Target::new(root, whiteouts, Ownership::AsWritten);
    let mut reader = Reader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        target
            .entry(&entry, &mut reader)
            .at(format_args!("unpacking {:?}", String::from_utf8_lossy(&entry.name)))?;
    }
    target.finish()?;
    Ok(target.size)
}

/// Whose the files become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The user's and group's that the archive names.
    AsWritten,
    /// This user's and group's.
    Of(u32, u32),
    /// The calling process's.
    Caller,
}

struct Target<'a> {
    root: &'a Root,
    whiteouts: Whiteouts,
    ownership: Ownership,
    /// The directory the last entry went into: entries come in runs.
    parent: Option<(PathBuf, OwnedFd)>,
    dirs: Vec<(PathBuf, Time, Time)>,
    /// Hashes of the paths this layer brought; needed only where the parent's are beside them.
    brought: HashSet<u64>,
    hash: RandomState,
    buffer: Vec<u8>,
    links_of_aufs: bool,
    size: u64,
}

impl<'a> Target<'a> {
    fn new(root: &'a Root, whiteouts: Whiteouts, ownership: Ownership) -> Target<'a> {
        Target {
            root,
            whiteouts,
            ownership,
            parent: None,
            dirs: Vec::new(),
            brought: HashSet::new(),
            hash: RandomState::new(),
            buffer: vec![0; COPY_BYTES],
            links_of_aufs: false,
            size: 0,
        }
    }

    /// Owner of directories that the archive does not name but needs.
    fn owner_of_missing(&self) -> rootfd::Owner {
        match self.ownership {
            Ownership::AsWritten => Some((0, 0)),
            Ownership::Of(uid, gid) => Some((uid, gid)),
            Ownership::Caller => None,
        }
    }

    /// User and group of `entry`; `None` leaves it to the kernel.
    fn owner_of(&self, entry: &Entry) -> rootfd::Owner {
        match self.ownership {
            Ownership::AsWritten => Some((entry.uid, entry.gid)),
            _ => self.owner_of_missing(),
        }
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        if entry.kind == Kind::Global {
            return Ok(());
        }
        let path = rootfd::clean(Path::new(OsStr::from_bytes(&entry.name)));
        // The root itself has the attributes that all roots have.
        let Some(name) = path.file_name() else { return Ok(()) };
        let first = path.iter().next().unwrap_or_default().as_bytes();
        if self.whiteouts == Whiteouts::Literal {
            return self.make(&path, name, entry, content);
        }
        if first.starts_with(WHITEOUT_META_PREFIX) && first != WHITEOUT_OPAQUE {
            self.links_of_aufs |= first == b".wh..wh.plnk";
            if first != b".wh..wh.plnk" {
                return Ok(());
            }
        } else if name.as_bytes() == WHITEOUT_OPAQUE {
            return self.opaque(path.parent().unwrap_or(Path::new("")));
        } else if name.as_bytes().starts_with(WHITEOUT_META_PREFIX) {
            return Ok(());
        } else if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return self.whiteout(&path, OsStr::from_bytes(hidden), entry);
        }
        self.make(&path, name, entry, content)?;
        if self.whiteouts == Whiteouts::Remove {
            self.brought.insert(self.hash.hash_one(&path));
        }
        Ok(())
    }

    /// The directory above `path`, made if it is missing.
    fn parent_of(&mut self, path: &Path) -> Result<OwnedFd> {
        let dir = path.parent().unwrap_or(Path::new(""));
        if let Some((have, fd)) = &self.parent
            && have == dir
        {
            return fd.try_clone().at("duplicating descriptor");
        }
        let owner = self.owner_of_missing();
        let fd = match self.root.create_dir_all(dir, 0o755, owner) {
            Err(e) if e.errno() == Some(libc::ENOTDIR) => {
                self.replace_whiteouts(dir)?;
                self.root.create_dir_all(dir, 0o755, owner)?
            }
            done => done?,
        };
        if self.whiteouts == Whiteouts::Remove {
            for above in dir.ancestors() {
                self.brought.insert(self.hash.hash_one(above));
            }
        }
        let clone = fd.try_clone().at("duplicating descriptor")?;
        self.parent = Some((dir.to_path_buf(), fd));
        Ok(clone)
    }

    /// A directory whose name this layer whited out comes back when something is put below it.
    fn replace_whiteouts(&mut self, dir: &Path) -> Result<()> {
        let mut path = PathBuf::new();
        for name in dir {
            path.push(name);
            let Some((above, name)) = self.root.parent(&path)? else { continue };
            if stat(&above, &name)?.is_some_and(|s| is_whiteout(&s)) {
                nix::unistd::unlinkat(
                    &above,
                    name.as_os_str(),
                    nix::unistd::UnlinkatFlags::NoRemoveDir,
                )
                .at("removing whiteout")?;
                nix::sys::stat::mkdirat(&above, name.as_os_str(), Mode::from_bits_truncate(0o755))
                    .at("making directory")?;
                self.mark_opaque(&open_dir(&above, &name)?)?;
            }
        }
        Ok(())
    }

    fn mark_opaque(&self, dir: &OwnedFd) -> Result<()> {
        match self.whiteouts {
            Whiteouts::Overlay => xattr::fset(dir.as_fd(), OsStr::new(OVERLAY_OPAQUE), b"y"),
            Whiteouts::Remove | Whiteouts::Literal => Ok(()),
        }
    }

    /// `dir` hides all that lower layers have in it.
    fn opaque(&mut self, dir: &Path) -> Result<()> {
        let fd = self.parent_of(&dir.join("x"))?;
        match self.whiteouts {
            Whiteouts::Remove => self.remove_older(dir, fd),
            Whiteouts::Overlay | Whiteouts::Literal => self.mark_opaque(&fd),
        }
    }

    /// Removes from `dir` what this layer did not bring.
    fn remove_older(&mut self, dir: &Path, fd: OwnedFd) -> Result<()> {
        self.parent = None;
        let mut todo = vec![(dir.to_path_buf(), fd)];
        while let Some((path, fd)) = todo.pop() {
            for (name, _) in remove::entries(&fd)? {
                let child = path.join(&name);
                if !self.brought.contains(&self.hash.hash_one(&child)) {
                    remove::tree(fd.as_fd(), &name)?;
                } else if stat(&fd, &name)?.is_some_and(|s| is_dir(&s)) {
                    let fd = open_dir(&fd, &name)?;
                    todo.push((child, fd));
                }
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path, hidden: &OsStr, entry: &Entry) -> Result<()> {
        // ".wh..." would mean the parent directory.
        if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
            return Err(Error::invalid("whiteout without a name"));
        }
        let parent = self.parent_of(path)?;
        let target = path.with_file_name(hidden);
        let there = stat(&parent, hidden)?;
        match (self.whiteouts, there) {
            (Whiteouts::Overlay, None) => {
                let mode = Mode::empty();
                nix::sys::stat::mknodat(&parent, hidden, SFlag::S_IFCHR, mode, 0)
                    .at("making whiteout")?;
                let (uid, gid) = (Some(entry.uid.into()), Some(entry.gid.into()));
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                nix::unistd::fchownat(&parent, hidden, uid, gid, flags).at("changing owner")
            }
            // This layer brought it, so only what is below is hidden.
            (Whiteouts::Overlay, Some(s)) if is_dir(&s) => {
                self.mark_opaque(&open_dir(&parent, hidden)?)
            }
            (Whiteouts::Overlay, Some(_)) | (Whiteouts::Remove, None) => Ok(()),
            (Whiteouts::Literal, _) => Ok(()),
            (Whiteouts::Remove, Some(s)) => {
                if !self.brought.contains(&self.hash.hash_one(&target)) {
                    self.parent = None;
                    remove::tree(parent.as_fd(), hidden)
                } else if is_dir(&s) {
                    let fd = open_dir(&parent, hidden)?;
                    self.remove_older(&target, fd)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn make(
        &mut self,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<()> {
        let parent = self.parent_of(path)?;
        match entry.kind {
            Kind::Dir => self.directory(&parent, path, name, entry),
            Kind::File => self.file(&parent, name, entry, content),
            Kind::HardLink => self.hard_link(&parent, name, entry),
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.place(&parent, name, |p| nix::unistd::symlinkat(target, p, name))?;
                self.size += entry.link.len() as u64;
                self.attributes(&parent, name, entry)
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::Char => SFlag::S_IFCHR,
                    Kind::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let device = nix::sys::stat::makedev(entry.device.0.into(), entry.device.1.into());
                let mode = Mode::from_bits_truncate(entry.mode);
                self.place(&parent, name, |p| {
                    nix::sys::stat::mknodat(p, name, kind, mode, device)
                })?;
                self.attributes(&parent, name, entry)
            }
            Kind::Other(kind) => {
                Err(Error::invalid(format_args!("unhandled tar header type {kind}")))
            }
            Kind::Global => Ok(()),
        }
    }

    /// Runs `make`, and again after removing what is in the way. True if that was a whiteout.
    fn place<T>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        make: impl Fn(&OwnedFd) -> nix::Result<T>,
    ) -> Result<(T, bool)> {
        match make(parent) {
            Err(Errno::EEXIST | Errno::EISDIR | Errno::ELOOP) => {
                let was_whiteout = self.clear(parent, name)?;
                Ok((make(parent).at("replacing")?, was_whiteout))
            }
            done => Ok((done.at("making")?, false)),
        }
    }

    /// Removes `name`, whatever it is; whether it was a whiteout.
    fn clear(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<bool> {
        let Some(there) = stat(parent, name)? else { return Ok(false) };
        let kind = SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR || kind == SFlag::S_IFLNK {
            // The remembered directory may have been reached through it.
            self.parent = None;
        }
        if kind == SFlag::S_IFREG && there.st_nlink == 1 && self.whiteouts == Whiteouts::Overlay {
            self.size = self.size.saturating_sub(there.st_size as u64);
        }
        remove::tree(parent.as_fd(), name)?;
        Ok(self.whiteouts == Whiteouts::Overlay && is_whiteout(&there))
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<()> {
        let mode = Mode::from_bits_truncate(entry.mode);
        match nix::sys::stat::mkdirat(parent, name, mode) {
            Err(Errno::EEXIST) if stat(parent, name)?.is_some_and(|s| is_dir(&s)) => {}
            Err(Errno::EEXIST) => {
                let was_whiteout = self.clear(parent, name)?;
                nix::sys::stat::mkdirat(parent, name, mode).at("making directory")?;
                if was_whiteout {
                    self.mark_opaque(&open_dir(parent, name)?)?;
                }
            }
            done => done.at("making directory")?,
        }
        let fd = open_dir(parent, name)?;
        set_open(&fd, entry, self.owner_of(entry))?;
        self.dirs.push((path.to_path_buf(), access_time(entry), entry.mtime));
        // What comes next is probably in it.
        self.parent = Some((path.to_path_buf(), fd));
        Ok(())
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let (fd, _) = self.place(parent, name, |p| nix::fcntl::openat(p, name, flags, mode))?;
        let mut file = File::from(fd);
        match &entry.sparse {
            None => {
                self.copy(&mut file, entry.size, content)?;
                self.size += entry.size;
            }
            Some(sparse) => {
                let mut left = entry.size;
                for (offset, length) in sparse.pieces(content, &mut left)? {
                    file.seek(SeekFrom::Start(offset)).at("writing")?;
                    self.copy(&mut file, length, content)?;
                }
                file.set_len(sparse.size).at("writing")?;
                self.size += sparse.size;
            }
        }
        let fd = OwnedFd::from(file);
        set_open(&fd, entry, self.owner_of(entry))?;
        let (atime, mtime) = (spec(access_time(entry)), spec(entry.mtime));
        nix::sys::stat::futimens(&fd, &atime, &mtime).at("setting times")
    }

    fn copy(&mut self, file: &mut File, length: u64, content: &mut dyn Read) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let n = match content.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(Error::invalid("unexpected EOF")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            file.write_all(&self.buffer[..n]).at("writing")?;
            left -= n as u64;
        }
        Ok(())
    }

    fn hard_link(&mut self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<()> {
        let target = Path::new(OsStr::from_bytes(&entry.link));
        let wrong =
            || format!("invalid hardlink target {:?}", String::from_utf8_lossy(&entry.link));
        let Some((dir, target)) = self.root.parent(target).map_err(|e| e.at(wrong()))? else {
            return Err(Error::invalid(wrong()));
        };
        // A link to itself must not remove its own target.
        if let (Some(a), Some(b)) = (stat(&dir, &target)?, stat(parent, name)?)
            && (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
        {
            return Ok(());
        }
        let none = AtFlags::empty();
        self.place(parent, name, |p| nix::unistd::linkat(&dir, target.as_os_str(), p, name, none))
            .map_err(|e| if e.errno() == Some(libc::ENOENT) { e.at(wrong()) } else { e })?;
        Ok(())
    }

    /// Attributes of what cannot be opened: links, devices, fifos.
    fn attributes(&mut self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<()> {
        if let Some((uid, gid)) = self.owner_of(entry) {
            let (uid, gid) = (Some(uid.into()), Some(gid.into()));
            nix::unistd::fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
                .at("changing owner")?;
        }
        if !entry.xattrs.is_empty() {
            let path = rootfd::proc_path(parent.as_fd()).join(name);
            for (key, value) in wanted(entry) {
                tolerate(xattr::lset(&path, OsStr::from_bytes(key), value))?;
            }
        }
        if entry.kind != Kind::Symlink {
            // It is no link, so following makes no difference; the flag is not implemented everywhere.
            let mode = Mode::from_bits_truncate(entry.mode);
            let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
            nix::sys::stat::fchmodat(parent, name, mode, flags).at("changing mode")?;
        }
        let (atime, mtime) = (spec(access_time(entry)), spec(entry.mtime));
        let flags = UtimensatFlags::NoFollowSymlink;
        nix::sys::stat::utimensat(parent, name, &atime, &mtime, flags).at("setting times")
    }

    fn finish(&mut self) -> Result<()> {
        if self.links_of_aufs {
            remove::tree(self.root.as_fd(), OsStr::new(".wh..wh.plnk"))?;
        }
        for (path, atime, mtime) in self.dirs.drain(..).rev() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            // A later entry may have replaced it.
            let Ok(fd) = self.root.open_at(&path, flags, 0) else { continue };
            nix::sys::stat::futimens(&fd, &spec(atime), &spec(mtime))
                .at(format_args!("setting times of {}", path.display()))?;
        }
        Ok(())
    }
}

/// Owner, attributes and mode, in this order: a change of owner takes set-id bits and capabilities away.
fn set_open(fd: &OwnedFd, entry: &Entry, owner: rootfd::Owner) -> Result<()> {
    if let Some((uid, gid)) = owner {
        nix::unistd::fchown(fd, Some(uid.into()), Some(gid.into())).at("changing owner")?;
    }
    for (key, value) in wanted(entry) {
        tolerate(xattr::fset(fd.as_fd(), OsStr::from_bytes(key), value))?;
    }
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(entry.mode)).at("changing mode")
}

/// The attributes of an entry less those that would speak to overlayfs.
fn wanted(entry: &Entry) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    let ours = |key: &[u8]| {
        key.starts_with(b"trusted.overlay.")
            || key.starts_with(b"user.overlay.")
            || key.contains(&0)
    };
    entry.xattrs.iter().filter(move |(key, _)| !ours(key))
}

/// Filesystems without attributes, and attributes this kernel does not let us set, are no reason to
/// refuse an image, as Docker has it.
fn tolerate(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if matches!(e.errno(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {
            log::warn!("ignored: {e}");
            Ok(())
        }
        done => done,
    }
}

fn spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.secs as _, time.nanos as _)
}

/// Docker takes the later of the two times.
fn access_time(entry: &Entry) -> Time {
    match entry.atime {
        Some(a) if (a.secs, a.nanos) > (entry.mtime.secs, entry.mtime.nanos) => a,
        _ => entry.mtime,
    }
}

fn stat(dir: &OwnedFd, name: &OsStr) -> Result<Option<FileStat>> {
    match nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e).at(format_args!("stat {}", name.display())),
    }
}

fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Whether this is overlayfs's mark of something that is gone.
pub fn is_whiteout(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn open_dir(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dir, name, flags, Mode::empty())
        .at(format_args!("opening {}", name.display()))
}

#[cfg(test)]
mod tests;
