//! What the kernel and the backing filesystem can, found by trying.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::base::{At, Error, Result};
use crate::storage::remove;
use crate::sys::mount::{self, MntFlags, MsFlags};
use crate::sys::random;

/// Prefix of the directories the trial leaves if it is killed.
const PREFIX: &str = ".probe-";

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Features {
    /// Docker's name of the filesystem the layers are on.
    pub(super) backing: &'static str,
    /// Options that keep overlayfs to what Docker's layers mean, each with its comma.
    pub(super) options: String,
    /// Whether an upper directory tells all there is to tell about a layer.
    pub(super) native_diff: bool,
    /// Whether a mount can do without flushes.
    pub(super) volatile: bool,
}

/// Tries the driver in `dir`.
///
/// # Errors
/// `Unsupported` with the reason.
pub(super) fn features(dir: &Path) -> Result<Features> {
    let magic = mount::filesystem_magic(dir)?;
    let backing = mount::filesystem_name(magic);
    if magic == mount::OVERLAYFS_MAGIC {
        return Err(Error::unsupported(format_args!(
            "'overlay2' is not supported over {backing}: backing file system is unsupported for this graph driver"
        )));
    }
    sweep(dir)?;
    let trial = dir.join(format!("{PREFIX}{:016x}", random::u64()));
    let result = trial_mount(&trial, backing);
    // Unmounted already, unless that failed: then nothing is removed.
    remove::path(&trial)?;
    let volatile = match result {
        // The daemon must come up for what is there already, and for whoever wants to make room.
        Err(e) if is_full(&e) && dir.join("l").exists() => {
            log::warn!("{}: no room to try overlayfs; taken to work as before", dir.display());
            false
        }
        result => result?,
    };
    Ok(Features { backing, options: options(), native_diff: parameter("redirect_dir"), volatile })
}

/// Whether there was no room for the trial. An overlay that cannot make its work directory is read-only.
fn is_full(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS))
}

/// Removes the trials of processes that were killed; one may still be mounted.
fn sweep(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at(format_args!("reading {}", dir.display()))?.flatten() {
        if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            let _ = mount::unmount(&entry.path().join("merged"), MntFlags::MNT_DETACH);
            remove::path(&entry.path())?;
        }
    }
    Ok(())
}

fn parameter(name: &str) -> bool {
    Path::new("/sys/module/overlay/parameters").join(name).exists()
}

/// Features of overlayfs that would make an upper directory mean something only together with its
/// kernel are switched off where the kernel knows them. `index` would refuse layers used twice.
fn options() -> String {
    let known = ["index", "metacopy", "redirect_dir"].into_iter().filter(|name| parameter(name));
    known.map(|name| format!("{name}=off,")).collect()
}

/// Whether a mount can be volatile. That is tried first: unmounting any other overlay writes the whole
/// backing filesystem back, which may take seconds on a busy host, and a daemon starts with this trial.
fn trial_mount(trial: &Path, backing: &str) -> Result<bool> {
    for dir in ["one", "two", "upper", "work", "merged"] {
        fs::create_dir_all(trial.join(dir)).at("preparing a trial of overlayfs")?;
    }
    fs::write(trial.join("one/file"), "").at("preparing a trial of overlayfs")?;
    check_types(trial, backing)?;
    let volatile = mount_trial(trial, "volatile,").is_ok();
    if !volatile {
        mount_trial(trial, "").map_err(|e| match is_full(&e) {
            true => e,
            false => {
                Error::unsupported(format_args!("overlay is not supported over {backing}: {e}"))
            }
        })?;
    }
    // A file of a lower layer can be hidden only where whiteouts can be made.
    if trial.join("upper/file").symlink_metadata().is_ok() {
        return Ok(volatile);
    }
    Err(Error::unsupported(format_args!("whiteouts are not supported over {backing}")))
}

/// Mounts the trial with further `options`, each with its comma, and removes a file of the lower layer.
fn mount_trial(trial: &Path, options: &str) -> Result<()> {
    let data = OsString::from(format!("{options}lowerdir=two:one,upperdir=upper,workdir=work"));
    let home = fs::File::open(trial).at("opening trial directory")?;
    let merged = trial.join("merged");
    let fd = std::os::fd::AsFd::as_fd(&home);
    mount::mount_from(fd, "overlay", &merged, "overlay", MsFlags::empty(), &data)?;
    let hidden = match fs::remove_file(merged.join("file")) {
        // An earlier trial did it.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.at("removing a file"),
    };
    mount::unmount(&merged, MntFlags::MNT_DETACH)?;
    hidden
}

/// overlayfs merges directories by the type in their entries.
fn check_types(dir: &Path, backing: &str) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::open(dir, flags, Mode::empty()).at("listing trial directory")?;
    for entry in listing.iter() {
        let entry = entry.at("listing trial directory")?;
        let name: OsString = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." && entry.file_type().is_none() {
            let hint = if backing == "xfs" {
                " Reformat the filesystem with ftype=1 to enable d_type support."
            } else {
                ""
            };
            return Err(Error::unsupported(format_args!(
                "overlay2: the backing {backing} filesystem is formatted without d_type support, \
                 which leads to incorrect behavior.{hint} Backing filesystems without d_type \
                 support are not supported."
            )));
        }
    }
    Ok(())
}
