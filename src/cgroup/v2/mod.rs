//! Cgroup version 2: one directory, controllers enabled on the way down to it.
//!
//! A controller's files exist in a directory only if every directory above has the controller in its
//! `cgroup.subtree_control`, and that cannot be changed in a directory (other than the real root) that has
//! processes of its own. When the mount's root is such a directory, which is what a container with its
//! own cgroup namespace sees, its processes move to a child named `init` first.
//!
//! Spec: Documentation/admin-guide/cgroup-v2.rst.

mod limits;
mod stats;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::control;
use super::devices::Devices;
use super::layout::{Hierarchy, Host};
use super::resources::{LinuxDeviceCgroup, LinuxResources};
use crate::base::{At, Error, Kind, Result};
use crate::sys::bpf;

pub(super) use stats::stats;

/// Controllers that containers are given where the kernel has them.
const CONTROLLERS: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
/// Where the processes of an occupied root go.
const REFUGE: &str = "init";

/// A cgroup of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Top of the mount.
    pub(super) mountpoint: PathBuf,
    pub(super) dir: PathBuf,
}

impl Group {
    /// Where `path` lies. A relative path is beside this process's own cgroup, not below it: a cgroup
    /// with processes cannot give controllers to children. (runc does the same.)
    ///
    /// # Errors
    /// `Unsupported` without a v2 mount.
    pub(super) fn at(host: &Host, path: &str) -> Result<Group> {
        let unified = host
            .unified
            .as_ref()
            .ok_or_else(|| Error::unsupported("cgroup version 2 is not mounted"))?;
        Ok(Group { mountpoint: unified.mountpoint.clone(), dir: dir_of(unified, path) })
    }

    /// Makes the directory and sets the limits. On failure it is removed again.
    pub(super) fn create(&self, resources: &LinuxResources) -> Result<()> {
        let parent = self.dir.parent().unwrap_or(&self.mountpoint);
        self.prepare(parent)?;
        super::v1::make_fresh(&self.dir)?;
        let result = self.update(resources);
        if result.is_err() {
            // Nobody is in it yet; the first error is the one to report.
            let _ = fs::remove_dir(&self.dir);
        }
        result
    }

    /// Changes the limits.
    pub(super) fn update(&self, resources: &LinuxResources) -> Result<()> {
        limits::apply(&self.dir, resources)?;
        self.set_devices(&resources.devices)
    }

    fn set_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        let Some(devices) = Devices::from_rules(rules)? else { return Ok(()) };
        let program = bpf::load_device_program(&devices.program())?;
        let dir = self.open()?;
        bpf::replace_device_program(dir.as_fd(), program.as_fd())
    }

    /// The directory, for `clone3` with `CLONE_INTO_CGROUP`.
    pub(super) fn open(&self) -> Result<File> {
        fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(&self.dir)
            .at(format_args!("opening {}", self.dir.display()))
    }

    pub(super) fn join(&self, pid: i32) -> Result<()> {
        control::raw_write(&self.dir, "cgroup.procs", &pid.to_string())
            .at(format_args!("moving process {pid} into {}", self.dir.display()))
    }

    /// Makes every directory from the mount's root to `parent` and gives it all controllers to pass on.
    fn prepare(&self, parent: &Path) -> Result<()> {
        let available = control::read(&self.mountpoint, "cgroup.controllers")?;
        let wanted: Vec<&str> =
            available.split_whitespace().filter(|c| CONTROLLERS.contains(c)).collect();
        fs::create_dir_all(parent).at(format_args!("making {}", parent.display()))?;
        let below = parent.strip_prefix(&self.mountpoint).unwrap_or(Path::new(""));
        let mut dir = self.mountpoint.clone();
        enable(&dir, &wanted)?;
        for part in below {
            dir.push(part);
            enable(&dir, &wanted)?;
        }
        Ok(())
    }
}

fn dir_of(unified: &Hierarchy, path: &str) -> PathBuf {
    let dir = unified.dir(path);
    match (path.starts_with('/'), unified.own_dir()) {
        (false, own) if own != unified.mountpoint => {
            let below = dir.strip_prefix(&own).unwrap_or(Path::new("")).to_path_buf();
            own.parent().unwrap_or(&unified.mountpoint).join(below)
        }
        _ => dir,
    }
}

/// Puts `wanted` into the `cgroup.subtree_control` of `dir`; those that cannot be had there are left
/// out, and the limit that needs one fails where it is set.
fn enable(dir: &Path, wanted: &[&str]) -> Result<()> {
    let now = control::read(dir, SUBTREE)?;
    let lacking: Vec<&str> =
        wanted.iter().filter(|c| !now.split_whitespace().any(|n| n == **c)).copied().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = lacking.iter().map(|c| format!("+{c}")).collect();
    match control::raw_write(dir, SUBTREE, &all.join(" ")) {
        Ok(()) => return Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) && vacate(dir)? => {
            if control::raw_write(dir, SUBTREE, &all.join(" ")).is_ok() {
                return Ok(());
            }
        }
        Err(_) => {}
    }
    // One that is refused (cpu with real-time tasks around, one that a parent withholds) spoils the
    // whole line, so each one is tried alone.
    for one in &all {
        let _ = control::raw_write(dir, SUBTREE, one);
    }
    Ok(())
}

const SUBTREE: &str = "cgroup.subtree_control";

/// Moves the processes of an occupied directory into its child [`REFUGE`]; false if there are none.
fn vacate(dir: &Path) -> Result<bool> {
    let refuge = dir.join(REFUGE);
    let mut moved = false;
    // New processes may be forked while the old ones are moved.
    for _ in 0..10 {
        let pids = control::read_pids(dir)?;
        if pids.is_empty() {
            return Ok(moved);
        }
        if let Err(e) = fs::create_dir(&refuge)
            && e.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(e).at(format_args!("making {}", refuge.display()));
        }
        for pid in pids {
            // One that ended meanwhile is no loss (ESRCH), and one that cannot be moved shows next round.
            if control::raw_write(&refuge, "cgroup.procs", &pid.to_string()).is_ok() {
                moved = true;
            }
        }
    }
    Ok(moved)
}

/// Freezes or thaws, and waits until the kernel says that it is so.
///
/// # Errors
/// `Unavailable` if freezing does not succeed in 5 seconds; the cgroup is then thawed again.
pub(super) fn set_frozen(dir: &Path, frozen: bool) -> Result<()> {
    control::write(dir, "cgroup.freeze", if frozen { "1" } else { "0" })?;
    if !frozen {
        return Ok(());
    }
    let end = Instant::now() + Duration::from_secs(5);
    let events = File::open(dir.join("cgroup.events"))
        .at(format_args!("opening {}", dir.join("cgroup.events").display()))?;
    while !is_frozen(dir)? {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            control::write(dir, "cgroup.freeze", "0")?;
            return Err(Error::new(
                Kind::Unavailable,
                format_args!("unable to freeze {}", dir.display()),
            ));
        }
        wait_for_change(&events, left)?;
    }
    Ok(())
}

/// Waits until the kernel marks the control file as changed, at most `limit`.
fn wait_for_change(events: &File, limit: Duration) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // A change between the read and the poll is not reported again, so look again soon anyway.
    let step = limit.min(Duration::from_millis(10));
    let timeout = PollTimeout::try_from(step).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(e).at("waiting for a cgroup event"),
    }
}

/// Whether all processes are frozen.
pub(super) fn is_frozen(dir: &Path) -> Result<bool> {
    Ok(control::keyed_value(&control::read(dir, "cgroup.events")?, "frozen") == Some(1))
}

#[cfg(test)]
mod tests;
