//! Device nodes and links in a `/dev` that was mounted for the container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::super::defaults::{DEV_LINKS, DEVICES};
use super::super::spec::Device;
use super::options::Options;
use super::{NONE, mounts, target};
use crate::base::{At, Error, Result};
use crate::sys::rootfd::Root;

/// Makes the devices every container has, those of the configuration, and the usual links.
pub(super) fn make_all(root: &Root, extra: &[Device]) -> Result<()> {
    let dev = root.dir(Path::new("/dev"))?;
    for (path, major, minor) in DEVICES {
        let name = path.trim_start_matches("/dev/");
        let number = makedev(u64::from(*major), u64::from(*minor));
        make(root, &dev, name, path, SFlag::S_IFCHR, 0o666, number)?;
    }
    // Those of ours are there already; the link for terminals leads to the container's own.
    let is_ours = |path: &str| path == "/dev/ptmx" || DEVICES.iter().any(|(own, ..)| *own == path);
    for device in extra.iter().filter(|device| !is_ours(&device.path)) {
        make_extra(root, device)?;
    }
    for (name, target) in DEV_LINKS {
        match nix::unistd::symlinkat(*target, &dev, *name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(Error::from(e).at(format_args!("linking /dev/{name}"))),
        }
    }
    Ok(())
}

fn make_extra(root: &Root, device: &Device) -> Result<()> {
    let kind = match device.kind.as_str() {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        kind => return Err(Error::invalid(format_args!("invalid device type {kind:?}"))),
    };
    let path = Path::new(&device.path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Err(Error::invalid(format_args!("invalid device path {:?}", device.path)));
    };
    let dir = target::dir(root, parent)?;
    let number = |n: i64| {
        u64::try_from(n).map_err(|_| Error::invalid(format_args!("invalid device number {n}")))
    };
    let device_number = makedev(number(device.major)?, number(device.minor)?);
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    make(root, &dir, name, &device.path, kind, mode, device_number)?;
    let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
    if owner != (0, 0) {
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(&dir, name, Some(uid), Some(gid), flags)
            .at(format_args!("giving {} its owner", device.path))?;
    }
    Ok(())
}

fn make(
    root: &Root,
    dir: &OwnedFd,
    name: &str,
    path: &str,
    kind: SFlag,
    mode: u32,
    number: u64,
) -> Result<()> {
    match mknodat(dir.as_fd(), name, kind, Mode::from_bits_truncate(mode), number) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        // Without CAP_MKNOD, or on a filesystem without devices: the host's own node.
        Err(Errno::EPERM) => {
            mounts::bind(root, Path::new(path), Path::new(path), &Options::default())
        }
        Err(e) => Err(Error::from(e).at(format_args!("creating device {path}"))),
    }
}

/// Makes `/dev/console` the terminal with this number. Runs in the container's root.
///
/// # Errors
/// `Io`.
pub(in super::super) fn bind_console(number: u32) -> Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let mode = Mode::from_bits_truncate(0o620);
    drop(nix::fcntl::open("/dev/console", flags, mode).at("creating /dev/console")?);
    let slave = format!("/dev/pts/{number}");
    nix::mount::mount(Some(slave.as_str()), "/dev/console", NONE, MsFlags::MS_BIND, NONE)
        .at("binding /dev/console")
}
