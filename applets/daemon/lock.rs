//! One daemon for one data root and one pidfile, by locks that the kernel drops with the process: what a
//! killed daemon leaves never keeps another from starting.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use multi_core::base::{At, Error, Result};
use nix::fcntl::{Flock, FlockArg};

/// The locked pidfile; removed at the end.
pub(super) struct PidFile {
    path: PathBuf,
    _file: Flock<File>,
}

impl PidFile {
    /// Locks `path` and writes our process id.
    ///
    /// # Errors
    /// `Conflict` that names the file if another daemon holds it; `Io`.
    pub(super) fn take(path: &Path) -> Result<PidFile> {
        let what = || {
            format!(
                "failed to start daemon, ensure docker is not running or delete {}",
                path.display()
            )
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).at(format_args!("creating {}", parent.display()))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .at(format_args!("opening pidfile {}", path.display()))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                return Err(Error::conflict(format_args!(
                    "process with PID {} is still running",
                    pid.trim()
                ))
                .at(what()));
            }
            Err((_, e)) => return Err(Error::from(e).at(what())),
        };
        refuse_foreign(&mut file).at(what())?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .at(format_args!("writing pidfile {}", path.display()))?;
        Ok(PidFile { path: path.into(), _file: file })
    }
}

/// Docker's own daemon takes no lock. A pid in the file counts if that process is a `dockerd`.
fn refuse_foreign(file: &mut File) -> Result<()> {
    let mut text = String::new();
    file.read_to_string(&mut text).at("reading the pidfile")?;
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(()) };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() == "dockerd" && pid != std::process::id() {
        return Err(Error::conflict(format_args!("process with PID {pid} is still running")));
    }
    Ok(())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Best effort: a file without a lock is no obstacle.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks a directory for this process.
///
/// # Errors
/// `Conflict` that names the directory if another daemon uses it; `Io`.
pub(super) fn directory(path: &Path) -> Result<Flock<File>> {
    let file = File::open(path).at(format_args!("opening {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
        nix::errno::Errno::EWOULDBLOCK => Error::conflict(format_args!(
            "the data root {} is used by another daemon",
            path.display()
        )),
        e => Error::from(e).at(format_args!("locking {}", path.display())),
    })
}
