//! An image's root filesystem, unpacked into a directory as root of a machine or a chroot.
//!
//! The layers are applied one after the other to a directory beside the wanted one, which takes its
//! name when all is well.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use multi_core::base::digest::Digest;
use multi_core::base::file::{TEMPORARY_PREFIX, sync_dir};
use multi_core::base::{At, Error, Result};
use multi_core::registry::pull::{Form, Image, Sink};
use multi_core::storage::archive::apply::{Whiteouts, apply};
use multi_core::storage::remove;
use multi_core::sys::rootfd::Root;

/// A sink that fills a directory.
pub(super) struct RootFs {
    dir: PathBuf,
    temporary: PathBuf,
}

impl RootFs {
    /// A sink for the directory `dir`, which must be empty if it exists.
    pub(super) fn new(dir: &Path) -> RootFs {
        let mut name = OsString::from(TEMPORARY_PREFIX);
        name.push(dir.file_name().unwrap_or_default());
        name.push(format!("-{}", std::process::id()));
        RootFs { dir: dir.to_path_buf(), temporary: dir.with_file_name(name) }
    }

    /// Takes away what was unpacked. For a pull that failed.
    pub(super) fn undo(&self) {
        // It does not exist if the pull failed early.
        let _ = remove::path(&self.temporary);
    }
}

impl Sink for RootFs {
    fn form(&self) -> Form {
        Form::Tar
    }

    fn in_order(&self) -> bool {
        true
    }

    fn begin(&self, _image: &Image) -> Result<usize> {
        let empty = match fs::read_dir(&self.dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => true,
            Err(e) => return Err(e).at(format_args!("reading {}", self.dir.display())),
        };
        if !empty {
            return Err(Error::conflict(format_args!(
                "directory {} is not empty",
                self.dir.display()
            )));
        }
        fs::create_dir(&self.temporary)
            .at(format_args!("creating {}", self.temporary.display()))?;
        Ok(0)
    }

    fn fill(&self, _image: &Image, _index: usize, stream: &mut dyn Read) -> Result<Option<Digest>> {
        let root = Root::open(&self.temporary)?;
        apply(&root, stream, Whiteouts::Remove)?;
        Ok(None)
    }

    fn commit(&self, _image: &Image, _index: usize) -> Result<()> {
        Ok(())
    }

    fn abandon(&self, _image: &Image, _index: usize) {}

    fn finish(&self, _image: &Image) -> Result<bool> {
        fs::rename(&self.temporary, &self.dir)
            .at(format_args!("renaming {}", self.temporary.display()))?;
        sync_dir(match self.dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        })?;
        Ok(true)
    }
}
