//! Cgroups on a host where nobody mounted any: an initramfs with nothing but the kernel and this program.
//!
//! Spec: cgroups(7) "Mounting".

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::layout::Host;
use crate::base::{At, Result};

const TOP: &str = "/sys/fs/cgroup";

/// Mounts version 2 at /sys/fs/cgroup if no cgroup hierarchy is mounted anywhere; true if it did. Needs /proc
/// and /sys. Must run before [`super::detect`], which remembers its answer.
///
/// # Errors
/// `Io` if the kernel has no cgroups or refuses the mount.
pub fn mount_if_missing() -> Result<bool> {
    let read = |path| fs::read_to_string(path).at(format_args!("reading {path}"));
    if Host::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?).is_ok() {
        return Ok(false);
    }
    if !Path::new(TOP).exists() {
        fs::create_dir_all(TOP).at(format_args!("making {TOP}"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    // nsdelegate makes cgroup namespaces borders of delegation; kernels before 4.13 do not know it.
    mount(Some("cgroup2"), TOP, Some("cgroup2"), flags, Some("nsdelegate"))
        .or_else(|_| mount(Some("cgroup2"), TOP, Some("cgroup2"), flags, None::<&str>))
        .at(format_args!("mounting cgroups at {TOP}"))?;
    Ok(true)
}
