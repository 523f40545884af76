//! Cgroup version 1: one directory in every mounted hierarchy.
//!
//! Moving a process by `cgroup.procs` makes the kernel wait until no process anywhere is forking or ending,
//! an RCU grace period: 10 ms and more. A thread that moves itself by `tasks` is exempt (since 5.7), so a
//! process with one thread should come in that way; all hierarchies then take 0.3 ms together.
//!
//! Decision: a hybrid host's v2 hierarchy stays out of it. It has no controllers to give, and it can only be
//! joined the slow way.

mod freezer;
mod limits;
mod stats;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::control;
use super::layout::Host;
use super::resources::LinuxResources;
use crate::base::{At, Error, Result};

pub(super) use freezer::{freeze, is_frozen, thaw};
pub(super) use limits::rdma_line;
pub(super) use stats::stats;

/// One hierarchy's part of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Controllers, or the hierarchy's name.
    pub(super) controllers: Vec<String>,
    pub(super) dir: PathBuf,
}

/// A cgroup in all hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) parts: Vec<Part>,
}

impl Part {
    /// Whether it is a hierarchy without controllers.
    fn is_named(&self) -> bool {
        self.controllers.iter().all(|c| c.starts_with("name="))
    }
}

impl Group {
    /// Where `path` lies, whether it exists or not.
    pub(super) fn at(host: &Host, path: &str) -> Group {
        let parts = host.v1.iter().map(|hierarchy| Part {
            controllers: hierarchy.controllers.clone(),
            dir: hierarchy.dir(path),
        });
        Group { parts: parts.collect() }
    }

    /// The directory of `controller`.
    pub(super) fn dir(&self, controller: &str) -> Option<&Path> {
        let part = self.parts.iter().find(|p| p.controllers.iter().any(|c| c == controller));
        part.map(|p| p.dir.as_path())
    }

    /// The directory of `controller`, wanted for `what`.
    ///
    /// # Errors
    /// `Unsupported` if the controller is not mounted.
    fn need(&self, controller: &str, what: &str) -> Result<&Path> {
        self.dir(controller).ok_or_else(|| {
            Error::unsupported(format_args!(
                "cannot set {what}: the {controller} cgroup controller is not mounted"
            ))
        })
    }

    /// Makes the directories and sets the limits. On failure nothing of the cgroup itself is left.
    pub(super) fn create(&self, resources: &LinuxResources) -> Result<()> {
        let mut made: Vec<&Path> = Vec::with_capacity(self.parts.len());
        let result = self.create_parts(resources, &mut made);
        if result.is_err() {
            for dir in made {
                // Nobody is in it yet; the first error is the one to report.
                let _ = fs::remove_dir(dir);
            }
        }
        result
    }

    fn create_parts<'a>(
        &'a self,
        resources: &LinuxResources,
        made: &mut Vec<&'a Path>,
    ) -> Result<()> {
        for part in &self.parts {
            match make_fresh(&part.dir) {
                Ok(()) => made.push(&part.dir),
                // One without controllers limits nothing, and may be read-only.
                Err(_) if part.is_named() => {}
                Err(e) => return Err(e),
            }
        }
        limits::apply(self, resources, limits::When::Create)
    }

    /// Changes the limits of a running cgroup.
    pub(super) fn update(&self, resources: &LinuxResources) -> Result<()> {
        limits::apply(self, resources, limits::When::Update)
    }

    /// Moves process `pid` into every part.
    pub(super) fn join(&self, pid: i32) -> Result<()> {
        self.write_all("cgroup.procs", &pid.to_string())
    }

    /// Moves the calling thread into every part.
    pub(super) fn join_self(&self) -> Result<()> {
        self.write_all("tasks", "0")
    }

    fn write_all(&self, file: &str, text: &str) -> Result<()> {
        for part in &self.parts {
            match control::raw_write(&part.dir, file, text) {
                Ok(()) => {}
                Err(_) if part.is_named() => {}
                Err(e) => {
                    return Err(e).at(format_args!("joining cgroup {}", part.dir.display()));
                }
            }
        }
        Ok(())
    }

    /// A directory whose `cgroup.procs` lists the processes.
    pub(super) fn process_dir(&self) -> Option<&Path> {
        ["pids", "freezer", "devices", "memory"]
            .iter()
            .find_map(|c| self.dir(c))
            .or_else(|| self.parts.first().map(|p| p.dir.as_path()))
    }
}

/// Makes `dir` and the parents it lacks. A cgroup of an earlier run that is empty is made anew, so that
/// no old limit stays.
pub(super) fn make_fresh(dir: &Path) -> Result<()> {
    for _ in 0..2 {
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parent = dir.parent().unwrap_or(Path::new("/"));
                fs::create_dir_all(parent).at(format_args!("making {}", parent.display()))?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if !control::read_pids(dir)?.is_empty() {
                    return Err(Error::conflict(format_args!(
                        "making cgroup {}: it exists and has processes",
                        dir.display()
                    )));
                }
                fs::remove_dir(dir).at(format_args!("clearing old cgroup {}", dir.display()))?;
            }
            other => return other.at(format_args!("making {}", dir.display())),
        }
    }
    fs::create_dir(dir).at(format_args!("making {}", dir.display()))
}
