//! Files that are wholly there or not at all.
//!
//! A record is written beside its place under a name that starts with `.tmp-`, then renamed. With
//! [`Durable::Yes`] the data is on disk before the rename and the rename is on disk before the call
//! returns, so that power loss at any instant leaves the old record or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{At, Result};

/// Prefix of files that an interrupted write leaves; sweepers may remove them.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Whether a write must survive power loss before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Sync the data, rename, sync the directory.
    Yes,
    /// Sync the data and rename; the caller syncs the directory once for all its files.
    Data,
    /// Rename only: atomic against other processes and against the death of this one.
    No,
}

/// Replaces `path` by `bytes` with permission bits `mode`.
///
/// # Errors
/// `Io` that names the path. The old content stays on any error.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!("{TEMPORARY_PREFIX}{name}-{}-{serial}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if durable != Durable::No {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)?;
        if durable == Durable::Yes {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .at(format_args!("writing {}", path.display()))
}

/// Removes what writes of processes that are gone left in `dir`; nothing if it does not exist. Writes of
/// this process are left alone.
pub fn sweep(dir: &Path) {
    let ours = format!("-{}-", std::process::id());
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY_PREFIX) && !name.contains(&ours) {
            // What cannot be removed now is tried again at the next start.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Puts the directory's entries on disk.
///
/// # Errors
/// `Io` that names the path.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).at(format_args!("syncing {}", path.display()))
}

/// The whole file, or `None` if it does not exist.
///
/// # Errors
/// `Io` that names the path, for anything but absence.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at(format_args!("reading {}", path.display())),
    }
}
