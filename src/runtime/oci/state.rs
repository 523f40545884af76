//! What is kept of a container between two commands.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::Runtime;
use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result, json};
use crate::cgroup::{self, Cgroup};
use crate::runtime::spec::{OCI_VERSION, Spec, State};
use crate::sys::procfs;

/// Name of the record.
const STATE_FILE: &str = "state.json";
/// The configuration as it was understood.
const CONFIG_FILE: &str = "config.json";
/// Where a created container waits for its start.
pub(super) const START_SOCKET: &str = "start.sock";
/// What callers match to learn that there is no such container.
pub const NO_CONTAINER: &str = "container does not exist";

crate::wire! {
    /// `state.json`.
    pub struct Record {
        "ociVersion" keep oci_version: String,
        "id" keep id: String,
        /// The first process in the pid namespace of the runtime.
        "pid" keep pid: i32,
        /// Field 22 of `/proc/PID/stat`, so that another process with that number is not taken for it.
        "startTime" keep start_time: u64,
        "bundle" keep bundle: String,
        "rootfs" keep rootfs: String,
        "created" keep created: Timestamp,
        /// Who made it, by number.
        "owner" keep owner: u32,
        "cgroup" omit cgroup: Option<cgroup::Record>,
        "annotations" omit annotations: BTreeMap<String, String>,
        /// All processes end with the first.
        "ownPids" omit own_pids: bool,
    }
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its making has not ended, or was cut off.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container, and where it is kept.
#[derive(Debug)]
pub struct Container {
    /// Its directory below the root.
    pub(super) dir: PathBuf,
    /// What is known of it.
    pub record: Record,
}

impl Runtime {
    /// The container `id`.
    ///
    /// # Errors
    /// `NotFound` with a text that callers match; `InvalidParameter` for what is no name.
    pub fn load(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let dir = self.root.join(id);
        let record = match read_optional(&dir.join(STATE_FILE))? {
            Some(bytes) => {
                json::parse(&bytes).at(format_args!("reading state of container {id}"))?
            }
            None if dir.is_dir() => unfinished(&dir, id),
            None => return Err(Error::not_found(NO_CONTAINER)),
        };
        Ok(Container { dir, record })
    }

    /// All containers, by name. One that goes away meanwhile is left out.
    ///
    /// # Errors
    /// `Io` if the root is there but cannot be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at(format_args!("reading {}", self.root.display()))?,
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names.iter().filter_map(|name| self.load(name).ok()).collect())
    }

    /// The directory of a new container, locked by the caller as long as the value lives.
    pub(super) fn claim(&self, id: &str) -> Result<(PathBuf, Flock<File>)> {
        use std::os::unix::fs::DirBuilderExt;
        check_id(id)?;
        let dir = self.root.join(id);
        let make = || fs::DirBuilder::new().mode(0o711).create(&dir);
        let made = match make() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.root)
                    .at(format_args!("creating {}", self.root.display()))?;
                make()
            }
            made => made,
        };
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::conflict("container with given ID already exists"))
            }
            Err(e) => Err(e).at(format_args!("creating {}", dir.display())),
            Ok(()) => {
                let lock = lock(&dir)?;
                Ok((dir, lock))
            }
        }
    }
}

/// What is to be known of a container whose making was cut off: enough to remove it.
fn unfinished(dir: &Path, id: &str) -> Record {
    let spec = read_spec(dir).unwrap_or_default();
    let path = spec.linux.map(|linux| linux.cgroups_path).unwrap_or_default();
    let cgroup = (!path.is_empty()).then(|| Cgroup::at(&path).ok()).flatten();
    Record {
        oci_version: OCI_VERSION.into(),
        id: id.into(),
        cgroup: cgroup.as_ref().map(Cgroup::record),
        ..Record::default()
    }
}

fn read_spec(dir: &Path) -> Result<Spec> {
    let file = dir.join(CONFIG_FILE);
    let bytes = fs::read(&file).at(format_args!("reading {}", file.display()))?;
    json::parse(&bytes)
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let file = File::open(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(NO_CONTAINER),
        _ => Error::from(e).at(format_args!("opening {}", dir.display())),
    })?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, e)| Error::from(e).at(format_args!("locking {}", dir.display())))
}

/// Letters, digits and a few signs, as runc and containerd have it.
fn check_id(id: &str) -> Result<()> {
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
    if !plain || id.is_empty() || id == "." || id == ".." || id.len() > 1024 {
        return Err(Error::invalid(format_args!("invalid container ID format: {id:?}")));
    }
    Ok(())
}

impl Container {
    /// Keeps other commands that change it away as long as the value lives.
    ///
    /// # Errors
    /// `NotFound` if it was removed meanwhile.
    pub(super) fn lock(&self) -> Result<Flock<File>> {
        lock(&self.dir)
    }

    /// Writes the record.
    pub(super) fn save(&self) -> Result<()> {
        let text = json::to_string_plain(&self.record);
        write_atomic(&self.dir.join(STATE_FILE), text.as_bytes(), 0o600, Durable::No)
    }

    /// Keeps the configuration.
    pub(super) fn save_spec(dir: &Path, spec: &Spec) -> Result<()> {
        let file = dir.join(CONFIG_FILE);
        fs::write(&file, json::to_string_plain(spec)).at(format_args!("writing {}", file.display()))
    }

    /// The configuration that was kept.
    pub(super) fn spec(&self) -> Result<Spec> {
        read_spec(&self.dir)
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Option<Cgroup> {
        self.record.cgroup.as_ref().map(Cgroup::from_record)
    }

    /// Whether its first process lives.
    pub(super) fn is_alive(&self) -> bool {
        self.record.pid != 0
            && procfs::life(self.record.pid)
                .is_ok_and(|(state, time)| time == self.record.start_time && !"ZX".contains(state))
    }

    /// Where it is in its life now.
    pub fn status(&self) -> Status {
        if self.record.pid == 0 {
            return Status::Creating;
        }
        if !self.is_alive() {
            return Status::Stopped;
        }
        if self.dir.join(START_SOCKET).exists() {
            return Status::Created;
        }
        match self.cgroup().is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false)) {
            true => Status::Paused,
            false => Status::Running,
        }
    }

    /// What hooks are told.
    pub(super) fn state(&self, status: Status) -> State {
        State {
            oci_version: OCI_VERSION.into(),
            id: self.record.id.clone(),
            status: status.word().into(),
            pid: if status == Status::Stopped { 0 } else { self.record.pid },
            bundle: self.record.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }

    /// Stops all its processes where they are, or lets them go on.
    ///
    /// # Errors
    /// `Conflict` if it does not run or, to go on, is not paused; those of the freezer.
    pub fn set_paused(&self, paused: bool) -> Result<()> {
        let _lock = self.lock()?;
        let status = self.status();
        let fits = match paused {
            true => matches!(status, Status::Running | Status::Created),
            false => status == Status::Paused,
        };
        if !fits {
            let what = if paused { "running" } else { "paused" };
            return Err(Error::conflict(format_args!(
                "container not {what}: it is {}",
                status.word()
            )));
        }
        let Some(cgroup) = self.cgroup() else {
            return Err(Error::unsupported("the container has no cgroup to pause it by"));
        };
        if paused { cgroup.freeze() } else { cgroup.thaw() }
    }

    /// Changes limits.
    ///
    /// # Errors
    /// `Conflict` if it has ended; those of the cgroup.
    pub fn update(&self, resources: &cgroup::resources::LinuxResources) -> Result<()> {
        let _lock = self.lock()?;
        if self.status() == Status::Stopped {
            return Err(Error::conflict("container not running"));
        }
        let Some(cgroup) = self.cgroup() else {
            return Err(Error::unsupported("the container has no cgroup to limit it by"));
        };
        cgroup.update(resources)
    }

    /// Its processes by number.
    ///
    /// # Errors
    /// `Io` of the cgroup.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.cgroup() {
            Some(cgroup) => cgroup.pids(),
            None if self.is_alive() => Ok(vec![self.record.pid]),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["a", "A-1_b.c+d", "..."] {
            check_id(id).unwrap();
        }
    }

    #[test]
    fn a_name_is_claimed_once_and_lists_once() {
        let root = std::env::temp_dir().join(format!("multi-oci-{}", std::process::id()));
        let runtime = Runtime::new(&root, true);
        assert_eq!(runtime.load("x").unwrap_err().message(), NO_CONTAINER);
        let (dir, lock) = runtime.claim("x").unwrap();
        assert!(runtime.claim("x").is_err());
        drop(lock);
        // Cut off before its record was written.
        assert_eq!(runtime.load("x").unwrap().status(), Status::Creating);
        let record = Record {
            id: "x".into(),
            pid: std::process::id() as i32,
            start_time: procfs::start_time(std::process::id() as i32).unwrap(),
            ..Record::default()
        };
        let mut container = Container { dir, record };
        container.save().unwrap();
        assert_eq!(runtime.list().unwrap()[0].status(), Status::Running);
        container.record.start_time += 1;
        assert_eq!(container.status(), Status::Stopped);
        fs::remove_dir_all(&root).unwrap();
        assert!(runtime.list().unwrap().is_empty());
    }
}
