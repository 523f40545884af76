//! Volumes: directories that outlive containers, below `<data root>/volumes/<name>/_data`.
//!
//! A volume exists when its `_data` does; there is no other record, so a data root that Docker made is
//! taken as it is and given back as it is. A volume goes by the rename of its directory; what an
//! interrupted removal leaves is swept when the store is opened.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::{At, Error, Result, file};

/// Prefix of directories of removed volumes that still wait for their deletion.
const TRASH_PREFIX: &str = ".removed-";
/// The part of a volume that containers see.
const DATA: &str = "_data";

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The directory that is mounted.
    pub path: PathBuf,
}

/// The volumes of one data root.
pub struct Store {
    dir: PathBuf,
    /// Held while a volume is made or removed.
    changing: Mutex<()>,
}

impl Store {
    /// Opens the store and sweeps what interrupted removals left.
    ///
    /// # Errors
    /// `Io` if the directory cannot be made.
    pub fn open(data_root: &Path) -> Result<Store> {
        let dir = data_root.join("volumes");
        let what = || format!("opening volumes {}", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o701).create(&dir).at(what())?;
        for entry in fs::read_dir(&dir).at(what())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TRASH_PREFIX) {
                discard(&entry.path());
            }
        }
        Ok(Store { dir, changing: Mutex::new(()) })
    }

    /// The volume `name`, made if it does not exist. It is on disk when this returns.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text for a malformed name; `Io`.
    pub fn ensure(&self, name: &str) -> Result<Volume> {
        check_name(name)?;
        let volume = self.volume(name);
        if volume.path.is_dir() {
            return Ok(volume);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let what = || format!("create {name}");
        let outer = self.dir.join(name);
        for (path, mode) in [(&outer, 0o701), (&volume.path, 0o755)] {
            match fs::DirBuilder::new().mode(mode).create(path) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e).at(what()),
                _ => {}
            }
        }
        file::sync_dir(&outer)?;
        file::sync_dir(&self.dir)?;
        Ok(volume)
    }

    /// Removes the volume `name`; the caller knows that nobody uses it.
    ///
    /// # Errors
    /// `NotFound` with Docker's text; `Io`.
    pub fn remove(&self, name: &str) -> Result<()> {
        let missing = || Error::not_found(format_args!("get {name}: no such volume"));
        check_name(name).map_err(|_| missing())?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let trash = self.dir.join(format!("{TRASH_PREFIX}{name}"));
        match fs::rename(self.dir.join(name), &trash) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(missing()),
            result => result.at(format_args!("remove {name}"))?,
        }
        discard(&trash);
        Ok(())
    }

    fn volume(&self, name: &str) -> Volume {
        Volume { name: name.into(), path: self.dir.join(name).join(DATA) }
    }
}

fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let fits = name.len() >= 2
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )))
}

fn discard(path: &Path) {
    if let Err(e) = fs::remove_dir_all(path) {
        log::warn!("removing the left-over {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path =
                std::env::temp_dir().join(format!("multi-volume-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_volume_keeps_its_data_until_it_is_removed() {
        let scratch = Scratch::new("life");
        let store = Store::open(&scratch.0).unwrap();
        let volume = store.ensure("data").unwrap();
        fs::write(volume.path.join("f"), "x").unwrap();
        assert_eq!(store.ensure("data").unwrap(), volume);
        assert!(volume.path.join("f").exists());
        store.remove("data").unwrap();
        assert!(!volume.path.exists());
        assert_eq!(store.remove("data").unwrap_err().to_string(), "get data: no such volume");
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let scratch = Scratch::new("names");
        let store = Store::open(&scratch.0).unwrap();
        for bad in ["..", "a/b", "", "a", ".hidden", "a\0b"] {
            assert!(store.ensure(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_an_interrupted_removal_left_is_swept() {
        let scratch = Scratch::new("sweep");
        let left = scratch.0.join("volumes").join(".removed-x");
        fs::create_dir_all(left.join(DATA)).unwrap();
        Store::open(&scratch.0).unwrap();
        assert!(!left.exists());
    }
}
