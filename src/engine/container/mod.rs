//! Containers: their states, their locks, and one verb a file.
//!
//! ```text
//!            create::create            start::start                     exit::exited
//!  (nothing) ------------> created ----------------> running ------------------------------> exited
//!                             |                        |  ^                                     |  |
//!                             |          pause/unpause |  | (paused is a mark on running)       |  |
//!                             |                        v  |            start::start             |  |
//!                             |                      running <----------------------------------+  |
//!                             +------------------- remove::remove ---------------------------------+
//!                                                      v
//!                                          removing, then gone (dead if the removal failed)
//! ```
//!
//! Locks of one container, in order: `operation` (start, stop's end, exit, remove, rename: may be held
//! for long, never taken by readers), then `data` (held for moments only). So `ps` and `inspect`
//! answer whatever a container is doing. Waiters sleep on `changed` with `data`.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::file::Durable;
use crate::base::{Error, Result};
use crate::runtime::shim::Shim;

pub mod archive;
pub mod attach;
pub mod cdi;
pub mod commit;
pub mod create;
pub mod devices;
pub mod exec;
pub mod exit;
pub mod export;
pub mod health;
pub mod hostdevs;
pub mod index;
pub mod ipc;
pub mod limits;
pub mod links;
pub mod list;
pub mod logs;
pub mod modes;
pub mod mounts;
pub mod names;
pub mod pause;
mod probe;
pub mod prune;
pub mod record;
pub mod remove;
pub mod rename;
pub mod restart;
pub mod runtime;
pub mod security;
pub mod spec;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod view;
pub mod wait;

use crate::engine::model::host::HostConfig;
use record::Record;

/// One container. Cheap to share; see the module for its locks.
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its directory below `<data root>/containers`.
    pub dir: PathBuf,
    /// Held while the state changes; never needed for reading.
    pub operation: Mutex<()>,
    data: Mutex<Data>,
    changed: Condvar,
}

/// What may change, behind the short lock.
pub struct Data {
    /// `config.v2.json`.
    pub record: Record,
    /// `hostconfig.json`.
    pub host: Arc<HostConfig>,
    /// The connection to the shim while the container runs.
    pub shim: Option<Arc<Shim>>,
    /// Execs of the present run, by id; those that ended stay until the container ends.
    pub execs: std::collections::BTreeMap<String, exec::Exec>,
    /// Clients that attached before the start.
    pub waiting_attaches: Vec<attach::Waiting>,
    /// How often the process has ended, for `next-exit`.
    pub exits: u64,
    /// Set once everything of the container is gone.
    pub removed: bool,
    /// A forced removal is ending the run: the record on disk stays as it is until it goes.
    pub doomed: bool,
    /// Set by stop and kill: the end was asked for, no restart policy applies.
    pub stop_requested: bool,
    /// A client restarts the container: its end is not the time to remove it.
    pub keep_once: bool,
    /// The pause before the present run, if a restart policy made it.
    pub pause: Option<Duration>,
    /// What the checks say, for a container that has one.
    pub health: Option<Box<health::Health>>,
    /// Cancelled when the present run has ended and its log is whole.
    pub finished: Cancel,
    /// Whether this run's want of memory was told already.
    pub oom_told: bool,
    /// What the network gave to this run.
    pub endpoint: Option<crate::net::Endpoint>,
}

impl Container {
    /// A container in memory; nothing is written.
    pub fn new(dir: PathBuf, record: Record, host: HostConfig) -> Container {
        Container {
            id: record.id.clone(),
            dir,
            operation: Mutex::new(()),
            data: Mutex::new(Data {
                record,
                host: Arc::new(host),
                shim: None,
                execs: Default::default(),
                waiting_attaches: Vec::new(),
                exits: 0,
                removed: false,
                doomed: false,
                stop_requested: false,
                keep_once: false,
                pause: None,
                health: None,
                finished: Cancel::new(),
                oom_told: false,
                endpoint: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// The changeable part. Do not call the kernel or another process while holding it.
    pub fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the operation lock.
    pub fn begin(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the operation lock if nobody has it.
    pub fn try_begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.operation.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Wakes everyone who waits for a change of state.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Sleeps until the next change of state or until `limit` has passed.
    pub fn sleep<'a>(&self, data: MutexGuard<'a, Data>, limit: Duration) -> MutexGuard<'a, Data> {
        self.changed.wait_timeout(data, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Writes the record as it is now. Containers that remove themselves do not outlive a reboot, so
    /// theirs need not reach the disk; of one that is being removed by force nothing is written, for a
    /// crash before the removal is done leaves a container that ran, and the next daemon sees its end.
    ///
    /// # Errors
    /// `Io`; the old record stays.
    pub fn save(&self) -> Result<()> {
        let (record, durable) = {
            let data = self.data();
            if data.doomed {
                return Ok(());
            }
            (data.record.clone(), durability(&data.host))
        };
        record.save(&self.dir, durable)
    }

    /// The shim of the running container.
    ///
    /// # Errors
    /// `Conflict` with Docker's text if it does not run.
    pub fn running_shim(&self) -> Result<Arc<Shim>> {
        self.data().shim.clone().ok_or_else(|| self.not_running())
    }

    /// Docker's error for what needs a running container.
    pub fn not_running(&self) -> Error {
        Error::conflict(format_args!("container {} is not running", self.id))
    }
}

/// Whether the records of a container with this configuration are synced.
pub fn durability(host: &HostConfig) -> Durable {
    if host.auto_remove { Durable::No } else { Durable::Yes }
}
