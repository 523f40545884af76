//! One entry of the list of mounts.
//!
//! A bind mount is taken as a detached tree, gets its flags while nobody can see it, and is then
//! attached to a descriptor (Linux 5.12). Before that kernel it is bound and remounted, where the
//! remount must repeat every flag the source has, or the kernel refuses it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::super::spec::Mount;
use super::options::{self, Options};
use super::{Around, CgroupView, cgroups, copyup, target};
use crate::base::{At, Error, Kind, Result};
use crate::sys::mount::{self, Attributes};
use crate::sys::rootfd::{Root, proc_path};

/// Mounts one entry below `root`, or attaches it if it was `taken` before.
pub(super) fn add(
    root: &Root,
    entry: &Mount,
    taken: Option<OwnedFd>,
    around: &Around,
    cgroup_ready: &mut dyn FnMut() -> Result<CgroupView>,
) -> Result<()> {
    let options = options::parse(&entry.options);
    let target = Path::new(&entry.destination);
    let made = if let Some(tree) = taken {
        attach(root, &tree, target)
    } else if entry.kind == "bind" || options.bind {
        bind(root, Path::new(&entry.source), target, &options)
    } else if entry.kind == "cgroup" || entry.kind == "cgroup2" {
        cgroup_ready().and_then(|view| cgroups::mount(root, target, &options, &view))
    } else {
        filesystem(root, entry, target, &options, around)
    };
    made.map_err(|e| {
        let source = if entry.source.is_empty() { &entry.kind } else { &entry.source };
        let destination = &entry.destination;
        let kind = e.kind();
        let e = e.at(format_args!("error mounting {source:?} to rootfs at {destination:?}"));
        // Docker's CLI shows this hint to people who mix files and directories up.
        if e.errno() == Some(libc::ENOTDIR) || e.errno() == Some(libc::EISDIR) {
            return Error::new(
                kind,
                format_args!(
                    "{e}: unknown: Are you trying to mount a directory onto a file (or vice-versa)? \
                     Check if the specified host path exists and is the expected type"
                ),
            );
        }
        e
    })
}

fn filesystem(
    root: &Root,
    entry: &Mount,
    target: &Path,
    options: &Options,
    around: &Around,
) -> Result<()> {
    // A tmpfs without a mode takes over that of the directory it covers, but not of one that is made for it.
    let has_mode = || options.data.split(',').any(|word| word.starts_with("mode="));
    let takes_over = entry.kind == "tmpfs" && !has_mode() && open(root, target).is_ok();
    let dir = if entry.kind == "proc" || entry.kind == "sysfs" {
        ordinary_dir(root, target)?
    } else {
        target::dir(root, target)?
    };
    let data = match entry.kind.as_str() {
        "tmpfs" if takes_over => {
            let mode = fstat(&dir).at("stat")?.st_mode & 0o7777;
            let comma = if options.data.is_empty() { "" } else { "," };
            format!("{}{comma}mode={mode:o}", options.data)
        }
        _ => options.data.clone(),
    };
    let data = match entry.kind.as_str() {
        // The policy has labels of its own for these.
        "proc" | "sysfs" | "mqueue" => data,
        _ if around.label.is_empty() => data,
        _ if data.is_empty() => format!("context=\"{}\"", around.label),
        _ => format!("{data},context=\"{}\"", around.label),
    };
    let on = proc_path(dir.as_fd());
    let source = Path::new(if entry.source.is_empty() { &entry.kind } else { &entry.source });
    let kind = Some(entry.kind.as_str());
    let data = (!data.is_empty()).then(|| OsStr::new(&data));
    let mut flags = options.set;
    flags.set(MsFlags::MS_RDONLY, flags.contains(MsFlags::MS_RDONLY) && !options.copy_up);
    match nix::mount::mount(Some(source), &on, kind, flags, data) {
        // Who does not own the network or the pid namespace gets no view of his own. With a namespace of
        // its own the container would see other processes than its own in the host's: that stays an error.
        Err(Errno::EPERM)
            if entry.kind == "sysfs" && !around.own_network
                || entry.kind == "proc" && !around.own_pids =>
        {
            let hosts = Path::new(if entry.kind == "proc" { "/proc" } else { "/sys" });
            return bind(root, hosts, target, &Options { recursive: true, ..options.clone() });
        }
        done => done.at(format_args!("mount {}:{}", source.display(), target.display()))?,
    }
    if options.copy_up && entry.kind == "tmpfs" {
        // The descriptor still is the directory below.
        copyup::copy(dir.as_fd(), open(root, target)?.as_fd()).at("copying what it covers")?;
        if options.set.contains(MsFlags::MS_RDONLY) {
            set_read_only(root, target)?;
        }
    }
    if !options.propagation.is_empty() {
        propagate(&open(root, target)?, options)?;
    }
    Ok(())
}

/// The directory `target` itself: an image may not lead `/proc` or `/sys` elsewhere by a link.
fn ordinary_dir(root: &Root, target: &Path) -> Result<OwnedFd> {
    match root.open_at(target, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0) {
        Ok(fd) => {
            let mode = fstat(&fd).at("stat")?.st_mode;
            if mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
                return Err(Error::invalid(format_args!(
                    "filesystem {:?} must be mounted on ordinary directory",
                    target.display()
                )));
            }
            Ok(fd)
        }
        Err(e) if e.errno() == Some(libc::ENOENT) => target::dir(root, target),
        Err(e) => Err(e),
    }
}

/// The mount target now on top of `target`.
fn open(root: &Root, target: &Path) -> Result<OwnedFd> {
    root.open_at(target, OFlag::O_PATH, 0)
}

pub(super) fn bind(root: &Root, source: &Path, target: &Path, options: &Options) -> Result<()> {
    let what = || format!("bind {}", source.display());
    let source_fd =
        nix::fcntl::open(source, OFlag::O_PATH | OFlag::O_CLOEXEC, mode0()).at(what())?;
    let is_dir = |fd: &OwnedFd| -> Result<bool> {
        Ok(fstat(fd).at(what())?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
    };
    let target_fd = target_like(root, target, is_dir(&source_fd)?)?;
    if is_dir(&source_fd)? != is_dir(&target_fd)? {
        // What mount(2) says; move_mount(2) only says EINVAL.
        return Err(Error::from_errno(libc::ENOTDIR));
    }
    match bind_detached(&source_fd, &target_fd, options) {
        Err(e) if e.kind() == Kind::Unsupported => {}
        done => return done,
    }
    let flags =
        MsFlags::MS_BIND | if options.recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    let (from, to) = (proc_path(source_fd.as_fd()), proc_path(target_fd.as_fd()));
    nix::mount::mount(Some(&from), &to, super::NONE, flags, super::NONE).at(what())?;
    let mounted = open(root, target)?;
    remount(&mounted, options.set | options.set_recursive, options.clear)?;
    propagate(&mounted, options)
}

/// Attaches a tree that was taken before.
fn attach(root: &Root, tree: &OwnedFd, target: &Path) -> Result<()> {
    let is_dir = |fd: &OwnedFd| -> Result<bool> {
        Ok(fstat(fd).at("stat")?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
    };
    let target_fd = target_like(root, target, is_dir(tree)?)?;
    if is_dir(tree)? != is_dir(&target_fd)? {
        return Err(Error::from_errno(libc::ENOTDIR));
    }
    mount::move_mount(tree.as_fd(), target_fd.as_fd(), Path::new(""))
}

/// What a bind goes onto: what is there, or a new empty file or directory.
fn target_like(root: &Root, target: &Path, is_dir: bool) -> Result<OwnedFd> {
    match open(root, target) {
        Err(e) if e.errno() == Some(libc::ENOENT) => {}
        done => return done,
    }
    if is_dir { target::dir(root, target) } else { target::file(root, target) }
}

/// Binds the directory `source` to a new directory `name` of `dir`, which is ours alone: no link can be on
/// the way, so the steps that guard against them are left out. It is done for a dozen cgroup hierarchies.
pub(super) fn bind_into(dir: &Root, source: &Path, name: &Path, options: &Options) -> Result<()> {
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
    nix::sys::stat::mkdirat(dir, name, mode).at("creating directory")?;
    match detached(AT_FDCWD, source, options) {
        Ok(tree) => mount::move_mount(tree.as_fd(), dir.as_fd(), name),
        Err(e) if e.kind() == Kind::Unsupported => bind(dir, source, name, options),
        Err(e) => Err(e),
    }
}

fn bind_detached(source: &OwnedFd, target: &OwnedFd, options: &Options) -> Result<()> {
    let tree = detached(source.as_fd(), Path::new(""), options)?;
    mount::move_mount(tree.as_fd(), target.as_fd(), Path::new(""))
}

/// A copy of the mount at `path` with the flags and the propagation that are asked for, attached nowhere.
pub(super) fn detached(dir: BorrowedFd<'_>, path: &Path, options: &Options) -> Result<OwnedFd> {
    let tree = mount::open_tree(dir, path, options.recursive)?;
    let change = |set, clear, recursive| {
        let times = options::access_time(set);
        let attributes = Attributes {
            set: options::attributes(set) | times.unwrap_or(0),
            clear: options::attributes(clear)
                | if times.is_some() { options::ACCESS_TIME_MASK } else { 0 },
            ..Attributes::default()
        };
        if attributes.set | attributes.clear == 0 {
            return Ok(());
        }
        mount::set_attributes(tree.as_fd(), Path::new(""), recursive, &attributes)
    };
    change(options.set, options.clear, false)?;
    change(options.set_recursive, options.clear_recursive, true)?;
    for (kind, recursive) in &options.propagation {
        let attributes = Attributes { propagation: kind.bits(), ..Attributes::default() };
        mount::set_attributes(tree.as_fd(), Path::new(""), *recursive, &attributes)?;
    }
    Ok(tree)
}

fn propagate(mounted: &OwnedFd, options: &Options) -> Result<()> {
    for (kind, recursive) in &options.propagation {
        let flags = *kind | if *recursive { MsFlags::MS_REC } else { MsFlags::empty() };
        nix::mount::mount(
            super::NONE,
            &proc_path(mounted.as_fd()),
            super::NONE,
            flags,
            super::NONE,
        )
        .at("changing propagation")?;
    }
    Ok(())
}

/// Changes flags of the mount at `mounted`, keeping those it has.
fn remount(mounted: &OwnedFd, set: MsFlags, clear: MsFlags) -> Result<()> {
    const KEPT: &[(FsFlags, MsFlags)] = &[
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        // Not every C library names it.
        (FsFlags::from_bits_retain(0x1000), MsFlags::MS_RELATIME),
    ];
    let has = fstatvfs(mounted).at("reading mount flags")?.flags();
    let kept = KEPT.iter().filter(|(stat, _)| has.contains(*stat)).map(|(_, flag)| *flag);
    let old: MsFlags = kept.collect();
    let new = (old - clear) | set;
    if new == old {
        return Ok(());
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | new;
    nix::mount::mount(super::NONE, &proc_path(mounted.as_fd()), super::NONE, flags, super::NONE)
        .at("remounting")
}

/// Makes the mount at `path` below `root` read-only; an empty path is the root itself.
pub(super) fn set_read_only(root: &Root, path: &Path) -> Result<()> {
    let mounted = open(root, path)?;
    let attributes = Attributes { set: 1, ..Attributes::default() };
    match mount::set_attributes(mounted.as_fd(), Path::new(""), false, &attributes) {
        Err(e) if e.kind() == Kind::Unsupported => {
            remount(&mounted, MsFlags::MS_RDONLY, MsFlags::empty())
        }
        done => done,
    }
}

/// Binds what is at `path` to itself, so that it has flags of its own, and makes it read-only.
pub(super) fn bind_read_only(root: &Root, path: &Path) -> Result<()> {
    let fd = open(root, path)?;
    let options = Options { set: MsFlags::MS_RDONLY, recursive: true, ..Options::default() };
    match bind_detached(&fd, &fd, &options) {
        Err(e) if e.kind() == Kind::Unsupported => {}
        done => return done,
    }
    let place = proc_path(fd.as_fd());
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    nix::mount::mount(Some(&place), &place, super::NONE, flags, super::NONE).at("binding")?;
    remount(&open(root, path)?, MsFlags::MS_RDONLY, MsFlags::empty())
}

/// A detached copy of the mount of one file or directory, to be attached several times.
pub(super) fn clone_of(path: &Path) -> Result<OwnedFd> {
    mount::open_tree(AT_FDCWD, path, false)
}

fn mode0() -> nix::sys::stat::Mode {
    nix::sys::stat::Mode::empty()
}
