//! Fast removal: a directory is renamed into a trash place, and a thread deletes it later.
//!
//! What is in the trash place belongs to nobody, so a crash at any moment leaves work for the thread of
//! the next start and nothing else. The thread lives only while there is something to delete.
//!
//! A directory may come with a mount in it: unmounting an overlay writes out the filesystem below and
//! takes milliseconds, which whoever removes a container need not wait for.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::remove;
use crate::base::{At, Result, worker};
use crate::sys::mount::{self, MntFlags};
use crate::sys::random;
use crate::sys::rootfd::Root;

#[derive(Default)]
struct State {
    running: bool,
    /// Something came since the thread looked last.
    more: bool,
}

/// A trash place. Clones share it.
#[derive(Clone)]
pub struct Trash {
    dir: PathBuf,
    /// Where in a directory something may be mounted.
    mount_point: Option<&'static str>,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Trash {
    /// Opens the trash place `dir`, making it if needed, and starts to delete what a crash left there.
    /// What is mounted at `mount_point` in a directory is unmounted first.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(dir: &Path, mount_point: Option<&'static str>) -> Result<Trash> {
        let trash = Trash { dir: dir.to_path_buf(), mount_point, shared: Arc::default() };
        match fs::create_dir(dir) {
            Ok(()) => return Ok(trash),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).at(format_args!("creating {}", dir.display())),
        }
        let mut left = fs::read_dir(dir).at(format_args!("listing {}", dir.display()))?;
        if left.next().is_some() {
            trash.start()?;
        }
        Ok(trash)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the name `path`, which must be on the same filesystem. No error if it does not exist.
    ///
    /// # Errors
    /// `Io`.
    pub fn take(&self, path: &Path) -> Result<()> {
        match fs::rename(path, self.dir.join(format!("{:016x}", random::u64()))) {
            Ok(()) => self.start(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).at(format_args!("removing {}", path.display())),
        }
    }

    fn start(&self) -> Result<()> {
        let mut state = self.lock();
        state.more = true;
        if !state.running {
            let trash = self.clone();
            worker::builder("trash").spawn(move || trash.run()).at("starting thread trash")?;
            state.running = true;
        }
        Ok(())
    }

    fn run(&self) {
        // What cannot be deleted is tried again at the next start, not in a circle.
        let mut stuck: HashSet<OsString> = HashSet::new();
        loop {
            {
                let mut state = self.lock();
                if !std::mem::take(&mut state.more) {
                    state.running = false;
                    self.shared.1.notify_all();
                    return;
                }
            }
            if let Err(e) = self.empty(&mut stuck) {
                log::warn!("emptying {}: {e}", self.dir.display());
            }
        }
    }

    fn empty(&self, stuck: &mut HashSet<OsString>) -> Result<()> {
        let root = Root::open(&self.dir)?;
        let fd = root.as_fd().try_clone_to_owned().at("duplicating descriptor")?;
        for (name, _) in remove::entries(&fd)? {
            if stuck.contains(&name) {
                continue;
            }
            if let Some(point) = self.mount_point {
                // Mostly nothing is mounted there; what stays mounted is reported by the removal.
                let _ = mount::unmount(&self.dir.join(&name).join(point), MntFlags::MNT_DETACH);
            }
            if let Err(e) = remove::tree(root.as_fd(), &name) {
                log::warn!("{}: {e}", self.dir.display());
                stuck.insert(name);
            }
        }
        Ok(())
    }

    /// Waits until everything is deleted that can be.
    pub fn wait(&self) {
        let state = self.lock();
        let idle = |s: &mut State| s.running;
        drop(self.shared.1.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_a_crash_are_deleted_at_the_next_start() {
        let top = std::env::temp_dir().join(format!("trash-{:016x}", random::u64()));
        fs::create_dir_all(top.join("layer/a/b")).unwrap();
        fs::create_dir_all(top.join(".trash/left/over")).unwrap();
        let trash = Trash::open(&top.join(".trash"), None).unwrap();
        trash.take(&top.join("layer")).unwrap();
        assert!(!top.join("layer").exists());
        trash.take(&top.join("layer")).unwrap();
        trash.wait();
        assert_eq!(fs::read_dir(top.join(".trash")).unwrap().count(), 0);
        fs::remove_dir_all(&top).unwrap();
    }
}
