//! Going into the container's root where the host's root cannot be put aside: it is a ramfs or tmpfs that
//! the kernel itself unpacked (an initramfs), below which there is nothing.
//!
//! The container's root is moved onto `/` instead, as switch_root(8) does. Three things then differ from
//! pivot_root, which lets go of the host's tree:
//!
//! * `..` does not lead out, as a mount that covers the very root of another has nothing above it;
//! * the host's other mounts would stay below it. They are unmounted in this namespace: a `/proc` or `/sys`
//!   without masks among them would also allow the container to mount more of these (the kernel asks for
//!   one that is wholly visible);
//! * the files of the ramfs itself stay. Only who may unmount the container's root, with CAP_SYS_ADMIN, can
//!   come back to them.
//!
//! Spec: pivot_root(2), EINVAL; kernel documentation `ramfs-rootfs-initramfs`.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::{chroot, fchdir};

use super::NONE;
use crate::base::{At, Error, Result};

/// Whether the root that `host` is lies in memory. Other reasons for EINVAL stay errors.
pub(super) fn is_root(host: impl AsFd) -> bool {
    /// `RAMFS_MAGIC`, which libc does not name.
    const RAMFS: u64 = 0x8584_58f6;
    fstatfs(host).is_ok_and(|found| {
        let kind = found.filesystem_type();
        kind == TMPFS_MAGIC || kind.0 as u64 & 0xffff_ffff == RAMFS
    })
}

/// Moves the mount `root`, which is the working directory, onto the root that `host` is, and goes there.
/// With `keep_hosts` the host's mounts stay: they are shared, so that unmounting one would unmount the
/// host's own.
pub(super) fn move_onto(host: impl AsFd, root: impl AsFd, keep_hosts: bool) -> Result<()> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", number(&root)))
        .at("finding the place of the root")?;
    let text = std::fs::read("/proc/self/mountinfo").at("reading /proc/self/mountinfo")?;
    if !places(&text).any(|place| place == Path::new("/")) {
        // A directory that somebody went to with chroot: from a mount on top of it `..` does lead out.
        return Err(Error::from(Errno::EINVAL).at("moving the root: / is no mount"));
    }
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE).at("moving the root")?;
    if !keep_hosts {
        // From here on `/` is the host's still, but for who goes there anew.
        fchdir(&host).at("changing to the old root")?;
        for place in others(&text, &name).iter().rev() {
            match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // It went with the one that it was mounted on, or lies below another.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(e) => return Err(e).at(format_args!("unmounting /{}", place.display())),
            }
        }
        fchdir(&root).at("changing to the root")?;
    }
    chroot(".").at("changing root")
}

fn number(fd: impl AsFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_fd().as_raw_fd()
}

/// The mount points outside `root`, in the order of mounting, relative to `/`.
fn others(mountinfo: &[u8], root: &Path) -> Vec<PathBuf> {
    places(mountinfo)
        .filter(|place| place != Path::new("/") && !place.starts_with(root))
        .filter_map(|place| Some(place.strip_prefix("/").ok()?.to_path_buf()))
        .collect()
}

fn places(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    mountinfo.split(|b| *b == b'\n').filter_map(|line| {
        let field = line.split(|b| *b == b' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescape(field))))
    })
}

/// Undoes the octal escapes of blanks, tabs, line ends and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = rest
            .get(1..4)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mounts_are_those_outside_the_root() {
        let text = b"1 0 0:1 / / rw - rootfs rootfs rw\n\
                     2 1 0:2 / /proc rw - proc proc rw\n\
                     3 1 0:3 / /a\\040b rw - tmpfs x rw\n\
                     4 1 0:4 / /data/merged rw - overlay o rw\n\
                     5 4 0:5 / /data/merged/proc rw - proc proc rw\n\
                     6 1 0:6 / /data/merged2 rw - tmpfs x rw\n";
        let found = others(text, Path::new("/data/merged"));
        assert_eq!(found, ["proc", "a b", "data/merged2"].map(PathBuf::from));
    }
}
