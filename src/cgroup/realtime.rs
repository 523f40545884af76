//! Real-time budgets of the parents of containers' cgroups.
//!
//! With version 1 a cgroup can give its children only what it has itself, and a new one has nothing. So
//! every directory from the top to a container's parent needs a budget before the container can have one.
//!
//! Spec: Documentation/scheduler/sched-rt-group.rst; `dockerd --cpu-rt-period`, `--cpu-rt-runtime`.

use std::fs;
use std::path::PathBuf;

use super::control;
use super::layout::{Host, Layout, detect};
use crate::base::{At, Error, Result};

/// Makes the parents of the cgroup `path` with this period and runtime in microseconds; 0 leaves one as it
/// is.
///
/// # Errors
/// `Unsupported` on version 2 and without the cpu controller; `Io` if the kernel refuses, with the file.
pub fn share_realtime(path: &str, period_us: i64, runtime_us: i64) -> Result<()> {
    share(detect()?, path, period_us, runtime_us)
}

fn share(host: &Host, path: &str, period_us: i64, runtime_us: i64) -> Result<()> {
    if host.layout == Layout::V2 {
        return Err(Error::unsupported("daemon-scoped cpu-rt-* not implemented for cgroup v2"));
    }
    let cpu = host.v1_of("cpu").ok_or_else(|| {
        Error::unsupported(
            "cannot set CPU real-time budget: the cpu cgroup controller is not mounted",
        )
    })?;
    let dir = cpu.dir(path);
    let parents: Vec<PathBuf> = dir
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != cpu.mountpoint)
        .map(PathBuf::from)
        .collect();
    // From the top, as a child cannot have more than its parent.
    for parent in parents.iter().rev() {
        fs::create_dir_all(parent).at(format_args!("making {}", parent.display()))?;
        for (file, value) in [("cpu.rt_period_us", period_us), ("cpu.rt_runtime_us", runtime_us)] {
            if value != 0 {
                control::write(parent, file, &value.to_string())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_gets_the_budget() {
        let top = std::env::temp_dir().join(format!("rt-{:x}", crate::sys::random::u64()));
        let parent = top.join("a/b");
        fs::create_dir_all(&parent).unwrap();
        for dir in [top.join("a"), parent.clone()] {
            for file in ["cpu.rt_period_us", "cpu.rt_runtime_us"] {
                fs::write(dir.join(file), "").unwrap();
            }
        }
        let mount = format!("1 1 0:1 / {} rw - cgroup none rw,cpu\n", top.display());
        let host = Host::parse(&mount, "1:cpu:/\n").unwrap();
        share(&host, "/a/b/id", 1_000_000, 95_000).unwrap();
        let read = |path: &str| fs::read_to_string(top.join(path)).unwrap();
        assert_eq!(read("a/cpu.rt_period_us"), "1000000");
        assert_eq!(read("a/b/cpu.rt_runtime_us"), "95000");
        assert!(!top.join("a/b/id").exists());
        let unified = format!("1 1 0:1 / {} rw - cgroup2 none rw\n", top.display());
        let host = Host::parse(&unified, "0::/\n").unwrap();
        assert!(share(&host, "/a/b", 0, 1).is_err());
        fs::remove_dir_all(&top).unwrap();
    }
}
