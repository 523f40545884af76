//! `vfs`: each layer is a whole copy of its parent with its own changes made in it. Slow and large, but
//! works on every filesystem.
//!
//! ```text
//! vfs/dir/<id>    the layer's root
//! vfs/.trash/     what is removed and not yet deleted
//! ```
//!
//! Copies share their blocks where the filesystem can (copy_file_range makes reflinks on btrfs and xfs).
//!
//! Spec: moby `graphdriver/vfs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{check_id, not_found};
use crate::base::{At, Error, Result};
use crate::storage::archive::apply::{Whiteouts, apply};
use crate::storage::changes::{self, Layer};
use crate::storage::copy;
use crate::storage::trash::Trash;
use crate::storage::{Change, Def, Driver, Files, fault};
use crate::sys::mount;
use crate::sys::rootfd::Root;

/// The entry for the table of drivers.
pub const DEF: Def = Def {
    name: "vfs",
    options: &[],
    probe: |_| Ok(()),
    open: |home, _| Ok(Arc::new(Vfs::open(home)?)),
};

struct Vfs {
    dir: PathBuf,
    trash: Trash,
}

impl Vfs {
    fn open(home: &Path) -> Result<Vfs> {
        let dir = home.join("dir");
        fs::create_dir_all(&dir).at(format_args!("creating {}", dir.display()))?;
        let private = fs::Permissions::from_mode(0o710);
        fs::set_permissions(home, private)
            .at(format_args!("changing mode of {}", home.display()))?;
        Ok(Vfs { dir, trash: Trash::open(&home.join(".trash"), None)? })
    }

    fn path(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        let path = self.dir.join(id);
        if path.is_dir() { Ok(path) } else { Err(not_found(id)) }
    }

    fn root(&self, id: &str) -> Result<Root> {
        Root::open(&self.path(id)?)
    }

    fn below(&self, parent: Option<&str>) -> Result<Vec<Root>> {
        parent.into_iter().map(|p| self.root(p)).collect()
    }
}

impl Driver for Vfs {
    fn name(&self) -> &'static str {
        "vfs"
    }

    fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn create(&self, id: &str, parent: Option<&str>) -> Result<()> {
        check_id(id)?;
        let parent = parent.map(|p| self.root(p)).transpose()?;
        let path = self.dir.join(id);
        match fs::create_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::conflict(format_args!("layer {id} exists already")));
            }
            done => done.at(format_args!("creating layer {id}"))?,
        }
        fault::step();
        let fill = || {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode).at("changing mode")?;
            match &parent {
                Some(parent) => copy::tree(parent, &Root::open(&path)?),
                None => Ok(()),
            }
        };
        fill().at(format_args!("creating layer {id}")).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.trash.take(&path);
        })
    }

    fn create_read_write(
        &self,
        id: &str,
        parent: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<()> {
        if !options.is_empty() {
            return Err(Error::invalid("--storage-opt is not supported for vfs"));
        }
        self.create(id, parent)
    }

    fn set_parent(&self, id: &str, _parent: &str) -> Result<()> {
        Err(Error::unsupported(format_args!("layer {id} was copied from its parent")))
    }

    fn remove(&self, id: &str) -> Result<()> {
        check_id(id)?;
        self.trash.take(&self.dir.join(id))
    }

    fn get(&self, id: &str, _mount_label: &str) -> Result<PathBuf> {
        self.path(id)
    }

    fn put(&self, id: &str) -> Result<()> {
        check_id(id)
    }

    fn exists(&self, id: &str) -> bool {
        self.path(id).is_ok()
    }

    fn metadata(&self, _id: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn apply_diff(&self, id: &str, _parent: Option<&str>, tar: &mut dyn Read) -> Result<u64> {
        apply(&self.root(id)?, tar, Whiteouts::Remove)
    }

    fn diff(&self, id: &str, parent: Option<&str>, out: &mut dyn Write) -> Result<()> {
        changes::write(&self.root(id)?, Layer::Copy, &self.below(parent)?, out)
    }

    fn changes(&self, id: &str, parent: Option<&str>) -> Result<Vec<Change>> {
        changes::changes(&self.root(id)?, Layer::Copy, &self.below(parent)?)
    }

    fn diff_size(&self, id: &str, parent: Option<&str>) -> Result<u64> {
        changes::changed_size(&self.root(id)?, Layer::Copy, &self.below(parent)?)
    }

    fn files(&self, id: &str) -> Result<Files> {
        Ok(Files { root: self.root(id)?, hold: None })
    }

    fn own_dir(&self, _id: &str) -> Option<PathBuf> {
        None
    }

    fn sync(&self, id: &str) -> Result<()> {
        mount::sync_filesystem(self.root(id)?.as_fd())
    }

    fn independent_layers(&self) -> bool {
        false
    }

    fn cleanup(&self) -> Result<()> {
        self.trash.wait();
        Ok(())
    }
}
