//! Control groups: limits, accounting, freezing and killing of all processes of a container.
//!
//! [`detect`] finds out what the host has, [`container_path`] says where a container goes, [`Cgroup`] is
//! one container's cgroup on either version, [`Features`] is what this kernel can limit.
//!
//! Life: [`Cgroup::create`] makes it with its limits and without processes; the first one is born in it (clone3 into
//! [`Cgroup::open_dir`], version 2), joins by itself ([`Cgroup::join_self`], the fast way on version 1) or is moved
//! ([`Cgroup::join`]), and all its children follow; [`Cgroup::update`], [`Cgroup::freeze`],
//! [`Cgroup::stats`] serve the running container; [`Cgroup::kill_all`] and [`Cgroup::delete`] end it.
//! Another process finds the same cgroup again by [`Cgroup::record`] and [`Cgroup::from_record`]: a path alone
//! would not do, as relative ones depend on who asks.
//!
//! `Group` is an enum with one variant a manager, so that one that talks to systemd has its place.

mod control;
mod devices;
mod features;
mod layout;
mod oom;
mod path;
mod realtime;
pub mod resources;
mod setup;
pub mod stats;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base::{At, Error, Result};

pub use features::{Features, NO_WEIGHT_DEVICE};
pub use layout::{Host, Layout, detect};
pub use oom::OomWatch;
pub use path::{DEFAULT_PARENT, container_path};
pub use realtime::share_realtime;
pub use setup::mount_if_missing;

use resources::LinuxResources;
use stats::Stats;

/// How long the end of processes that were killed may take before [`Cgroup::delete`] gives up.
const DELETE_PATIENCE: Duration = Duration::from_secs(5);

/// One container's cgroup. Dropping it changes nothing in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    group: Group,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    V1(v1::Group),
    V2(v2::Group),
}

crate::wire! {
    /// A cgroup as state that outlives the process: directories by controllers (`cpu,cpuacct`; the
    /// empty key is version 2), and the top of the v2 mount where that is the resource hierarchy.
    pub struct Record {
        "mountpoint" omit mountpoint: String,
        "dirs" keep dirs: BTreeMap<String, String>,
    }
}

impl Cgroup {
    /// The cgroup at `path` (absolute: below the root; relative: below this process's own), existing or
    /// not.
    ///
    /// # Errors
    /// `Unsupported` if no cgroups are mounted.
    pub fn at(path: &str) -> Result<Cgroup> {
        Cgroup::on(detect()?, path)
    }

    /// [`Cgroup::at`] on a given layout.
    ///
    /// # Errors
    /// `InvalidParameter` for a path that names no cgroup of its own.
    pub fn on(host: &Host, path: &str) -> Result<Cgroup> {
        let names = Path::new(path).components();
        if !names.into_iter().any(|c| matches!(c, std::path::Component::Normal(_))) {
            return Err(Error::invalid(format_args!("invalid cgroup path {path:?}")));
        }
        let group = match host.layout {
            Layout::V2 => Group::V2(v2::Group::at(host, path)?),
            Layout::V1 | Layout::Hybrid => Group::V1(v1::Group::at(host, path)),
        };
        Ok(Cgroup { group })
    }

    /// Makes the cgroup at `path` with its limits. On failure nothing of it is left; parents that had to
    /// be made stay, as other containers may be about to use them.
    ///
    /// # Errors
    /// `Conflict` if it exists and has processes; `Unsupported` if a limit needs a controller that the
    /// host lacks; `Io` if the kernel refuses a value; all name the file or the limit.
    pub fn create(path: &str, resources: &LinuxResources) -> Result<Cgroup> {
        let cgroup = Cgroup::at(path)?;
        cgroup.make(resources)?;
        Ok(cgroup)
    }

    /// Makes this cgroup; see [`Cgroup::create`].
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn make(&self, resources: &LinuxResources) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.create(resources),
            Group::V2(group) => group.create(resources),
        }
    }

    /// What [`Cgroup::from_record`] needs.
    pub fn record(&self) -> Record {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match &self.group {
            Group::V1(group) => Record {
                mountpoint: String::new(),
                dirs: group.parts.iter().map(|p| (p.controllers.join(","), text(&p.dir))).collect(),
            },
            Group::V2(group) => Record {
                mountpoint: text(&group.mountpoint),
                dirs: BTreeMap::from([(String::new(), text(&group.dir))]),
            },
        }
    }

    /// The cgroup that was recorded.
    pub fn from_record(record: &Record) -> Cgroup {
        let group = match record.dirs.get("") {
            Some(dir) if !record.mountpoint.is_empty() => Group::V2(v2::Group {
                mountpoint: PathBuf::from(&record.mountpoint),
                dir: PathBuf::from(dir),
            }),
            _ => {
                let part = |(controllers, dir): (&String, &String)| v1::Part {
                    controllers: controllers
                        .split(',')
                        .filter(|c| !c.is_empty())
                        .map(str::to_string)
                        .collect(),
                    dir: PathBuf::from(dir),
                };
                Group::V1(v1::Group { parts: record.dirs.iter().map(part).collect() })
            }
        };
        Cgroup { group }
    }

    /// The cgroup at `path` below this one, in the hierarchies where it exists; `None` if it does nowhere.
    ///
    /// # Errors
    /// `InvalidParameter` for a path that would lead out.
    pub fn below(&self, path: &str) -> Result<Option<Cgroup>> {
        let path = Path::new(path.trim_start_matches('/'));
        if !path.components().all(|c| matches!(c, std::path::Component::Normal(_))) {
            return Err(Error::invalid(format_args!("invalid cgroup path {:?}", path.display())));
        }
        let (mut inner, mut found) = (self.clone(), false);
        let mut enter = |dir: &mut PathBuf| {
            let below = dir.join(path);
            if below.is_dir() {
                (*dir, found) = (below, true);
            }
        };
        match &mut inner.group {
            Group::V1(group) => group.parts.iter_mut().for_each(|part| enter(&mut part.dir)),
            Group::V2(group) => enter(&mut group.dir),
        }
        Ok(found.then_some(inner))
    }

    /// The directory of `controller` (`memory`, `cpu`, ...); on version 2 always the one directory.
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        match &self.group {
            Group::V1(group) => group.dir(controller),
            Group::V2(group) => Some(&group.dir),
        }
    }

    /// All directories.
    pub fn dirs(&self) -> Vec<&Path> {
        match &self.group {
            Group::V1(group) => group.parts.iter().map(|p| p.dir.as_path()).collect(),
            Group::V2(group) => vec![&group.dir],
        }
    }

    /// Moves process `pid` into it; 0 is the calling process. On version 1 this takes 10 ms and more, see
    /// [`Cgroup::join_self`].
    ///
    /// # Errors
    /// `Io` that names the directory: ESRCH if the process is gone, ENOENT if the cgroup is.
    pub fn join(&self, pid: i32) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.join(pid),
            Group::V2(group) => group.join(pid),
        }
    }

    /// Moves the calling process, which must have one thread, into it. Fast on version 1; a process in a user
    /// namespace of its own may not, and has to be moved by [`Cgroup::join`].
    ///
    /// # Errors
    /// `Io` that names the directory.
    pub fn join_self(&self) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.join_self(),
            Group::V2(group) => group.join(0),
        }
    }

    /// Whether a process should come in by [`Cgroup::join_self`] rather than be moved.
    pub fn is_joined_from_inside(&self) -> bool {
        matches!(self.group, Group::V1(_))
    }

    /// Whether it is of version 2.
    pub fn is_unified(&self) -> bool {
        matches!(self.group, Group::V2(_))
    }

    /// The directory for clone3 with `CLONE_INTO_CGROUP`; `None` on version 1, where only joining works.
    ///
    /// # Errors
    /// `Io` that names the directory.
    pub fn open_dir(&self) -> Result<Option<OwnedFd>> {
        match &self.group {
            Group::V1(_) => Ok(None),
            Group::V2(group) => Ok(Some(group.open()?.into())),
        }
    }

    /// Changes the limits that `resources` names.
    ///
    /// # Errors
    /// As [`Cgroup::create`]; limits that were set before the failing one stay set.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        match &self.group {
            Group::V1(group) => group.update(resources),
            Group::V2(group) => group.update(resources),
        }
    }

    /// The accounting now. Never fails: what cannot be read is absent.
    pub fn stats(&self) -> Stats {
        match &self.group {
            Group::V1(group) => v1::stats(group),
            Group::V2(group) => v2::stats(&group.dir),
        }
    }

    /// Whether the cgroup exists.
    pub fn exists(&self) -> bool {
        self.process_dir().is_some_and(Path::exists)
    }

    /// The processes in it and in cgroups that the container made below it. Empty if it is gone.
    ///
    /// # Errors
    /// `Io` that names the file.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(dir) = self.process_dir() {
            control::walk(dir, &mut |dir| {
                match control::read_pids(dir) {
                    Ok(more) => pids.extend(more),
                    // Removed meanwhile, or a threaded cgroup, whose processes its parent lists.
                    Err(e)
                        if matches!(
                            e.errno(),
                            Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)
                        ) => {}
                    Err(e) => return Err(e),
                }
                Ok(())
            })?;
        }
        Ok(pids)
    }

    /// Stops all processes where they are, until [`Cgroup::thaw`].
    ///
    /// # Errors
    /// `Unsupported` without the freezer; `Unavailable` if a process cannot be stopped in 5 seconds.
    pub fn freeze(&self) -> Result<()> {
        match &self.group {
            Group::V1(group) => v1::freeze(need_freezer(group)?),
            Group::V2(group) => v2::set_frozen(&group.dir, true),
        }
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// `Unsupported` without the freezer; `Io`.
    pub fn thaw(&self) -> Result<()> {
        match &self.group {
            Group::V1(group) => v1::thaw(need_freezer(group)?),
            Group::V2(group) => v2::set_frozen(&group.dir, false),
        }
    }

    /// Whether it is frozen.
    ///
    /// # Errors
    /// As [`Cgroup::thaw`].
    pub fn is_frozen(&self) -> Result<bool> {
        match &self.group {
            Group::V1(group) => v1::is_frozen(need_freezer(group)?),
            Group::V2(group) => v2::is_frozen(&group.dir),
        }
    }

    /// Sends SIGKILL to every process, also to those that fork meanwhile, and to frozen ones. Returns
    /// when the signals are sent; the processes end soon after.
    ///
    /// # Errors
    /// `Io` if the list of processes cannot be read.
    pub fn kill_all(&self) -> Result<()> {
        // All at once, since 5.14.
        if let Group::V2(group) = &self.group
            && control::raw_write(&group.dir, "cgroup.kill", "1").is_ok()
        {
            return Ok(());
        }
        let mut old: Vec<i32> = Vec::new();
        for _ in 0..100 {
            let pids = self.pids()?;
            if pids.iter().all(|pid| old.contains(pid)) {
                break;
            }
            // A frozen process cannot fork away, and takes the signal when it is thawed.
            let frozen = pids.len() > 1 && self.freeze().is_ok();
            let pids = if frozen { self.pids()? } else { pids };
            for pid in &pids {
                // ESRCH: it ended by itself.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            old = pids;
            if frozen {
                break;
            }
        }
        // Frozen v1 processes do not die before they are thawed.
        if let Group::V1(group) = &self.group
            && let Some(dir) = group.dir("freezer")
            && dir.exists()
        {
            v1::thaw(dir)?;
        }
        Ok(())
    }

    /// How many processes the kernel killed here for lack of memory. 0 if it cannot tell.
    pub fn oom_kills(&self) -> u64 {
        let read = |file, key| {
            let text = control::read_optional(self.dir("memory")?, file)?;
            control::keyed_value(&text, key)
        };
        let file = match &self.group {
            Group::V1(_) => "memory.oom_control",
            Group::V2(_) => "memory.events",
        };
        read(file, "oom_kill").unwrap_or(0)
    }

    /// A descriptor that becomes readable when the cgroup runs out of memory.
    ///
    /// # Errors
    /// `Unsupported` without the memory controller; `Io`.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        let dir = self
            .dir("memory")
            .ok_or_else(|| Error::unsupported("the memory cgroup controller is not mounted"))?;
        OomWatch::open(dir, matches!(self.group, Group::V2(_)))
    }

    /// Removes it and the cgroups below it; waits up to 5 seconds for killed processes to end. One that
    /// is gone already is no error.
    ///
    /// # Errors
    /// `Io` (EBUSY) if processes are still in it; the other directories are removed all the same.
    pub fn delete(&self) -> Result<()> {
        self.delete_until(Instant::now() + DELETE_PATIENCE)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Cgroup::delete`].
    pub fn delete_now(&self) -> Result<()> {
        self.delete_until(Instant::now())
    }

    fn delete_until(&self, end: Instant) -> Result<()> {
        let mut result = Ok(());
        for dir in self.dirs() {
            let removed = control::walk(dir, &mut |dir| remove_dir(dir, end));
            result = result.and(removed);
        }
        result
    }

    fn process_dir(&self) -> Option<&Path> {
        match &self.group {
            Group::V1(group) => group.process_dir(),
            Group::V2(group) => Some(&group.dir),
        }
    }
}

fn need_freezer(group: &v1::Group) -> Result<&Path> {
    group
        .dir("freezer")
        .ok_or_else(|| Error::unsupported("the freezer cgroup controller is not mounted"))
}

fn remove_dir(dir: &Path, end: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(20);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if control::is_gone(&e) => return Ok(()),
            // The kernel has no event for "the last one is wholly gone" that v1 would send too.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(e) => return Err(e).at(format_args!("removing cgroup {}", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests;
