//! `/dev/shm` of containers that lend it to others (`--ipc shareable`) or borrow it.
//!
//! A private one is a mount that only the container has. One that is lent must be seen by the daemon, so it
//! is a tmpfs at `<container>/mounts/shm` for as long as the container runs; borrowers bind it, and keep it
//! when its owner ends. `ShmPath` of the record says where it is, for the owner as for borrowers.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Container, modes};
use crate::base::{At, Error, Result};
use crate::engine::Engine;

const DESTINATION: &str = "/dev/shm";

/// Mounts what is lent, and records where the container's memory is on the host.
///
/// # Errors
/// `InvalidParameter`, `Conflict` for a lender that does not run or does not lend; `Io`.
pub fn prepare(engine: &Engine, container: &Container) -> Result<()> {
    let host = container.data().host.clone();
    let path = match host.ipc_mode.as_str() {
        "private" | "none" => None,
        "host" => {
            fs::metadata(DESTINATION).map_err(|_| {
                Error::invalid("/dev/shm is not mounted, but must be for --ipc=host")
            })?;
            Some(PathBuf::from(DESTINATION))
        }
        "shareable" | "" => {
            let (covered, label) = {
                let record = &container.data().record;
                (record.mount_points.contains_key(DESTINATION), record.mount_label.clone())
            };
            let covered = covered || host.tmpfs.contains_key(DESTINATION);
            if covered { None } else { Some(lend(container, host.shm_size, &label)?) }
        }
        _ => modes::ipc_donor(engine, &host)?
            .map(|donor| PathBuf::from(&donor.data().record.shm_path)),
    };
    container.data().record.shm_path =
        path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(())
}

/// Whether `donor`, which the client calls `reference`, lends its memory.
///
/// # Errors
/// `InvalidParameter` if it does not.
pub fn check_shareable(donor: &Container, reference: &str) -> Result<()> {
    let path = donor.data().record.shm_path.clone();
    if !path.is_empty() && Path::new(&path).is_dir() {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "container {reference}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )))
}

/// Unmounts what the container lent.
///
/// # Errors
/// `Io`.
pub fn release(container: &Container) -> Result<()> {
    if !matches!(container.data().host.ipc_mode.as_str(), "shareable" | "") {
        return Ok(());
    }
    let path = place(container);
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(e) => Err(e).at(format_args!("unmounting {}", path.display())),
    }
}

fn place(container: &Container) -> PathBuf {
    container.dir.join("mounts/shm")
}

fn lend(container: &Container, bytes: i64, label: &str) -> Result<PathBuf> {
    let path = place(container);
    // What a run left that nobody saw the end of.
    release(container)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .at(format_args!("creating {}", path.display()))?;
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut data = format!("mode=1777,size={bytes}");
    if !label.is_empty() {
        data = format!("{data},context=\"{label}\"");
    }
    mount(Some("shm"), &path, Some("tmpfs"), flags, Some(data.as_str()))
        .at("mounting shm tmpfs")?;
    Ok(path)
}
