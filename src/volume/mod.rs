//! Volumes: directories that outlive containers, below `<data root>/volumes`.
//!
//! ```text
//! volumes/<name>/_data           what containers see, or where a volume with options is mounted
//! volumes/<name>/opts.json       Docker's mount options, see [`options`]; absent without any
//! volumes/<name>/metadata.json   labels and options, see [`metadata`]; absent without any
//! volumes/metadata.db            Docker's own record of the latter, see [`handover`]
//! volumes/.creating-*, .removed-*   unfinished work, swept after the next start
//! ```
//!
//! A volume exists when its directory does: it comes by one rename, whole, and goes by one. Nothing is
//! read when the store is opened, so a start takes no longer for more volumes.
//!
//! In memory there is only what is in use: who refers to a volume (containers that exist, so that it is not
//! removed) and who has it mounted (containers that run). Each volume has a lock of its own for what may
//! take long, such as the mount of a network file system; the map of volumes is locked for moments only.
//!
//! Spec: moby `volume/local`, `volume/service`.

mod bolt;
mod handover;
mod lock;
pub mod metadata;
mod mounting;
pub mod options;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::file::{self, Durable};
use crate::base::json::TextMap;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result};
use crate::storage::{changes, fault, remove};
use crate::sys::rootfd::Root;
use crate::sys::{mount, random};

use lock::Slots;
use metadata::Metadata;
use options::Options;

/// The only driver there is.
pub const LOCAL: &str = "local";
/// The label of volumes that nobody named: those that `prune` removes unless it is told to take all.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
/// Prefix of directories of removed volumes that still wait for their deletion.
const TRASH_PREFIX: &str = ".removed-";
/// Prefix of directories of volumes that are being made.
const TEMPORARY_PREFIX: &str = ".creating-";
/// The part of a volume that containers see.
const DATA: &str = "_data";

/// One volume, with everything that is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The directory that is mounted.
    pub path: PathBuf,
    /// When its directory was made.
    pub created: Timestamp,
    /// Labels.
    pub labels: TextMap,
    /// Options of the driver, as they were given.
    pub options: TextMap,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// The name; a random one if it is empty, and the volume is then an anonymous one.
    pub name: &'a str,
    /// The driver; empty is the local one.
    pub driver: &'a str,
    /// Options of the driver.
    pub options: &'a TextMap,
    /// Labels.
    pub labels: &'a TextMap,
    /// Whether it must survive power loss from the moment it is there.
    pub durable: Durable,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The name.
    pub name: String,
    /// The directory that is mounted.
    pub path: PathBuf,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// The volumes of one data root.
pub struct Store {
    dir: PathBuf,
    slots: Slots,
    /// What unfinished work of the last process left.
    left_over: Mutex<Vec<PathBuf>>,
}

impl Store {
    /// Opens the store. What Docker recorded since it had this data root last is taken over.
    ///
    /// # Errors
    /// `Io` if the directory cannot be made.
    pub fn open(data_root: &Path) -> Result<Store> {
        let dir = data_root.join("volumes");
        let what = || format!("opening volumes {}", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o701).create(&dir).at(what())?;
        let mut left_over = Vec::new();
        for entry in fs::read_dir(&dir).at(what())?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TRASH_PREFIX) || name.starts_with(TEMPORARY_PREFIX) {
                left_over.push(entry.path());
            }
        }
        file::sweep(&dir);
        handover::take_over(&dir);
        Ok(Store { dir, slots: Slots::default(), left_over: Mutex::new(left_over) })
    }

    /// Ends what the last process did not: deletes directories of volumes that are gone, unmounts volumes
    /// that nobody [uses](Store::use_mounted) any more. Failures are logged: the next start tries again.
    pub fn sweep(&self) {
        for path in std::mem::take(&mut *lock::lock(&self.left_over)) {
            discard(&path);
        }
        self.unmount_unused();
    }

    /// The volume that is asked for, made if it does not exist; what exists keeps its labels and options.
    /// It is not removed while `holder`, the id of a container, refers to it: [`Store::release`] ends
    /// that. A volume without a holder may go at once.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for malformed names and options; `NotFound` for a driver
    /// that is not there; `Io`. Nothing is left of a volume that could not be made.
    pub fn create(&self, asked: &Create<'_>, holder: Option<&str>) -> Result<Created> {
        let (name, labels);
        let (name, labels) = if asked.name.is_empty() {
            name = random::id();
            let mut own = asked.labels.clone();
            own.insert(ANONYMOUS_LABEL.into(), String::new());
            labels = own;
            (name.as_str(), &labels)
        } else {
            (asked.name, asked.labels)
        };
        let what = || format!("create {name}");
        check_driver(asked.driver).at(what())?;
        let slot = self.slots.get(name);
        let _busy = slot.begin();
        let path = self.data(name);
        // Names that cannot be are never looked up: they would leave the directory.
        check_name(name).at(what())?;
        let is_new = !self.dir.join(name).is_dir();
        if is_new {
            let options = Options::parse(asked.options).at(what())?;
            if options.quota.size_bytes > 0 {
                let e = Error::invalid("quota size requested but no quota support");
                return Err(e.at(what()));
            }
            let metadata = Metadata::new(name, labels, asked.options);
            self.make(name, &options, &metadata, asked.durable).at(what())?;
        } else if !path.is_dir() {
            // Somebody took it away by hand.
            make_data(&path).at(what())?;
        }
        if let Some(holder) = holder {
            slot.hold(holder);
        }
        Ok(Created { name: name.into(), path, is_new })
    }

    /// Writes everything under another name and renames it.
    fn make(
        &self,
        name: &str,
        options: &Options,
        metadata: &Metadata,
        durable: Durable,
    ) -> Result<()> {
        let temporary = self.dir.join(format!("{TEMPORARY_PREFIX}{}", random::id()));
        let each = if durable == Durable::Yes { Durable::Data } else { Durable::No };
        let write = || -> Result<()> {
            fs::DirBuilder::new().mode(0o701).create(&temporary)?;
            fault::step();
            make_data(&temporary.join(DATA))?;
            options.save(&temporary, each)?;
            fault::step();
            metadata.save(&temporary, each)?;
            if durable == Durable::Yes {
                file::sync_dir(&temporary)?;
            }
            fault::step();
            fs::rename(&temporary, self.dir.join(name))?;
            fault::step();
            if durable == Durable::Yes { file::sync_dir(&self.dir) } else { Ok(()) }
        };
        write().inspect_err(|_| discard(&temporary))
    }

    /// The volume `name`.
    ///
    /// # Errors
    /// `NotFound` with Docker's text.
    pub fn get(&self, name: &str) -> Result<Volume> {
        let missing = || Error::not_found(format_args!("get {name}: no such volume"));
        check_name(name).map_err(|_| missing())?;
        self.read(name)?.ok_or_else(missing)
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.dir).at("listing volumes")?.flatten() {
            if let Ok(name) = entry.file_name().into_string()
                && check_name(&name).is_ok()
            {
                volumes.extend(self.read(&name)?);
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    fn read(&self, name: &str) -> Result<Option<Volume>> {
        let dir = self.dir.join(name);
        let stat = match fs::symlink_metadata(&dir) {
            Ok(stat) if stat.is_dir() => stat,
            Ok(_) => return Ok(None),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound) => return Ok(None),
            Err(e) => return Err(e).at(format_args!("reading volume {name}")),
        };
        let metadata = Metadata::load(&dir);
        let created = Timestamp { secs: stat.ctime(), nanos: 0 };
        Ok(Some(Volume {
            name: name.into(),
            path: dir.join(DATA),
            created,
            labels: metadata.labels.unwrap_or_default(),
            options: metadata.options.unwrap_or_default(),
        }))
    }

    /// Bytes of the files in `volume`.
    ///
    /// # Errors
    /// `Io`.
    pub fn size(&self, volume: &Volume) -> Result<u64> {
        changes::size(&Root::open(&volume.path)?)
    }

    /// Removes the volume `name` with all that is in it.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` while containers refer to it, with Docker's texts; `Io`, also when
    /// something is mounted in its place: it is then still there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let missing = || Error::not_found(format_args!("get {name}: no such volume"));
        check_name(name).map_err(|_| missing())?;
        let slot = self.slots.get(name);
        let mut busy = slot.begin();
        if !self.dir.join(name).is_dir() {
            return Err(missing());
        }
        let holders = slot.holders();
        if !holders.is_empty() {
            return Err(Error::conflict(format_args!(
                "remove {name}: volume is in use - [{}]",
                holders.join(", ")
            )));
        }
        let what = || format!("remove {name}");
        busy.users.clear();
        self.unmount_if_ours(name).at(what())?;
        let path = self.data(name);
        if mount::is_mount_point(&path)? {
            let busy = Error::from_errno(libc::EBUSY);
            return Err(busy
                .at(format_args!("error removing volume path '{}'", path.display()))
                .at(what()));
        }
        let trash = self.dir.join(format!("{TRASH_PREFIX}{}", random::id()));
        fs::rename(self.dir.join(name), &trash).at(what())?;
        fault::step();
        file::sync_dir(&self.dir)?;
        fault::step();
        discard(&trash);
        Ok(())
    }

    /// Checks what [`Store::create`] would check, and gives the directory that the volume has or would have.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn check(&self, asked: &Create<'_>) -> Result<PathBuf> {
        let what = || format!("create {}", asked.name);
        check_driver(asked.driver).at(what())?;
        check_name(asked.name).at(what())?;
        Ok(self.data(asked.name))
    }

    /// Says that the container `holder` refers to `name`, whether the volume is there or not.
    pub fn hold(&self, name: &str, holder: &str) {
        self.slots.get(name).hold(holder);
    }

    /// The container `holder` does not refer to `name` any more.
    pub fn release(&self, name: &str, holder: &str) {
        self.slots.get(name).release(holder);
    }

    /// The containers that refer to `name`.
    pub fn holders(&self, name: &str) -> Vec<String> {
        self.slots.get(name).holders()
    }

    /// Leaves Docker a record of labels and options, should it get this data root next.
    pub fn close(&self) {
        match self.list() {
            Ok(volumes) => handover::hand_over(&self.dir, &volumes),
            Err(e) => log::warn!("recording the labels of volumes for Docker: {e}"),
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(DATA)
    }
}

fn make_data(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .at(format_args!("error while creating volume data path '{}'", path.display()))
}

/// # Errors
/// `NotFound` with Docker's text for any but the local driver: there are no plugins.
fn check_driver(driver: &str) -> Result<()> {
    match driver {
        "" | LOCAL => Ok(()),
        other => Err(Error::new(
            Kind::NotFound,
            format_args!("error looking up volume plugin {other}: plugin \"{other}\" not found"),
        )),
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    let mut bytes = name.bytes();
    let fits = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "\"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )))
}

fn discard(path: &Path) {
    if let Err(e) = remove::path(path) {
        log::warn!("removing the left-over {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests;
