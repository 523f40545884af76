//! Masked and read-only paths.
//!
//! What covers a masked path comes from the host, not from the container: its `/dev/null` may be
//! anything (CVE-2025-31133).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};

use super::mounts;
use crate::base::{At, Kind, Result};
use crate::sys::mount;
use crate::sys::rootfd::{Root, proc_path};

/// Makes each path read-only, with what is mounted below it. Missing ones are passed over.
pub(super) fn protect(root: &Root, paths: &[String]) -> Result<()> {
    for path in paths {
        match mounts::bind_read_only(root, Path::new(path)) {
            Err(e) if is_missing(e.errno()) => {}
            done => done.at(format_args!("making {path} read-only"))?,
        }
    }
    Ok(())
}

/// Covers each path: a file by the null device, a directory by an empty read-only one.
pub(super) fn mask(root: &Root, paths: &[String]) -> Result<()> {
    // One empty directory serves all; made when first needed.
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let target = match root.open_at(Path::new(path), OFlag::O_PATH, 0) {
            Err(e) if is_missing(e.errno()) => continue,
            target => target?,
        };
        let is_dir =
            fstat(&target).at("stat")?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let covered = if is_dir {
            cover_dir(&target, &mut empty)
        } else {
            attach_copy_of(Path::new("/dev/null"), target.as_fd())
        };
        covered.at(format_args!("masking {path}"))?;
    }
    Ok(())
}

fn cover_dir(target: &OwnedFd, empty: &mut Option<OwnedFd>) -> Result<()> {
    if let Some(empty) = empty {
        let copy = mount::open_tree(empty.as_fd(), Path::new(""), false)?;
        return mount::move_mount(copy.as_fd(), target.as_fd(), Path::new(""));
    }
    /// `MOUNT_ATTR_RDONLY`.
    const READ_ONLY: u64 = 1;
    let make = || {
        let context = mount::Context::open("tmpfs")?;
        context.set("source", mount::Value::Text("tmpfs".as_ref()))?;
        context.mount(READ_ONLY)
    };
    match make() {
        Ok(tmpfs) => {
            mount::move_mount(tmpfs.as_fd(), target.as_fd(), Path::new(""))?;
            *empty = Some(tmpfs);
            Ok(())
        }
        Err(e) if e.kind() == Kind::Unsupported => {
            let on = proc_path(target.as_fd());
            let flags = MsFlags::MS_RDONLY;
            nix::mount::mount(
                Some("tmpfs"),
                &on,
                Some("tmpfs"),
                flags,
                Some("nr_blocks=1,nr_inodes=1"),
            )
            .at("mounting tmpfs")
        }
        Err(e) => Err(e),
    }
}

fn attach_copy_of(source: &Path, target: BorrowedFd<'_>) -> Result<()> {
    match mounts::clone_of(source) {
        Ok(copy) => mount::move_mount(copy.as_fd(), target, Path::new("")),
        Err(e) if e.kind() == Kind::Unsupported => {
            let on = proc_path(target);
            nix::mount::mount(Some(source), &on, super::NONE, MsFlags::MS_BIND, super::NONE)
                .at("binding")
        }
        Err(e) => Err(e),
    }
}

fn is_missing(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::ENOTDIR))
}
