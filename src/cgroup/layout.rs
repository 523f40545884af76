//! How this host has its cgroups mounted, and where a cgroup path lies in each hierarchy.
//!
//! * v1: one mount for each controller or group of controllers, perhaps named ones without any.
//! * v2: one mount with all controllers.
//! * hybrid: v1 for the controllers plus a v2 mount (`unified`), which then must not be taken for the
//!   resource hierarchy.
//!
//! An absolute cgroup path is below the mount's root in every hierarchy, a relative one below the
//! cgroup that this process is in, which may differ from hierarchy to hierarchy.
//!
//! Spec: proc(5) mountinfo and cgroup; cgroups(7).

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use crate::base::{At, Error, Result};

/// Which of the three forms the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Controllers in v1 hierarchies.
    V1,
    /// One hierarchy of version 2.
    V2,
    /// Controllers in v1 hierarchies, and a v2 hierarchy beside them.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// `["cpu", "cpuacct"]`, `["name=systemd"]`; empty for version 2.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) mountpoint: PathBuf,
    /// The cgroup of this process, relative to `mountpoint`.
    own: PathBuf,
}

/// The cgroup mounts of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Form of the mounts.
    pub layout: Layout,
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Hierarchy>,
}

/// The host's layout, found once.
///
/// # Errors
/// `Unsupported` if no cgroup hierarchy is mounted; `Io` if /proc cannot be read.
pub fn detect() -> Result<&'static Host> {
    static HOST: OnceLock<Host> = OnceLock::new();
    if let Some(host) = HOST.get() {
        return Ok(host);
    }
    let read = |path| std::fs::read_to_string(path).at(format_args!("reading {path}"));
    let host = Host::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
    Ok(HOST.get_or_init(|| host))
}

impl Host {
    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    ///
    /// # Errors
    /// `Unsupported` if no cgroup hierarchy is mounted.
    pub fn parse(mountinfo: &str, own_cgroups: &str) -> Result<Host> {
        let (mut v1, mut unified): (Vec<Hierarchy>, Option<Hierarchy>) = (Vec::new(), None);
        for mount in mountinfo.lines().filter_map(parse_mount) {
            if mount.kind == "cgroup2" {
                if unified.is_none() {
                    let own = own_path(own_cgroups, "", &mount.root);
                    let (controllers, mountpoint) = (Vec::new(), mount.mountpoint);
                    unified = Some(Hierarchy { controllers, mountpoint, own });
                }
            } else {
                let controllers: Vec<String> = mount
                    .options
                    .split(',')
                    .filter(|option| is_controller(option))
                    .map(str::to_string)
                    .collect();
                let Some(first) = controllers.first() else { continue };
                if v1.iter().all(|known| known.controllers != controllers) {
                    let own = own_path(own_cgroups, first, &mount.root);
                    v1.push(Hierarchy { controllers, mountpoint: mount.mountpoint, own });
                }
            }
        }
        let v1_has_controllers =
            v1.iter().flat_map(|h| &h.controllers).any(|c| !c.starts_with("name="));
        let layout = match (v1_has_controllers, &unified) {
            (true, None) => Layout::V1,
            (true, Some(_)) => Layout::Hybrid,
            (false, Some(_)) => Layout::V2,
            (false, None) => {
                return Err(Error::unsupported("no cgroup hierarchy is mounted"));
            }
        };
        Ok(Host { layout, v1, unified })
    }

    /// The v1 hierarchy of `controller`.
    pub(super) fn v1_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }
}

impl Hierarchy {
    /// The directory of the cgroup `path`. No `..` in it leads out of the mount.
    pub(super) fn dir(&self, path: &str) -> PathBuf {
        let mut dir = self.mountpoint.clone();
        if !path.starts_with('/') {
            dir.push(&self.own);
        }
        dir.push(clean(path));
        dir
    }

    /// The directory of this process's own cgroup.
    pub(super) fn own_dir(&self) -> PathBuf {
        self.mountpoint.join(&self.own)
    }
}

/// `path` without root, empty and `.` parts, and with `..` taken back no further than its start.
fn clean(path: &str) -> PathBuf {
    let mut out = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Where this process is in the hierarchy of `controller`, below a mount whose root is `mount_root`.
fn own_path(own_cgroups: &str, controller: &str, mount_root: &str) -> PathBuf {
    let path = own_cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    let path = Path::new(path.unwrap_or("/"));
    // A container without a cgroup namespace sees a part of the tree as its mount's root. A path that
    // is not below it (a process from outside) counts as the root.
    let below = path.strip_prefix(mount_root).unwrap_or(Path::new(""));
    clean(&below.to_string_lossy())
}

struct Mount {
    root: String,
    mountpoint: PathBuf,
    kind: String,
    options: String,
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    if kind != "cgroup" && kind != "cgroup2" {
        return None;
    }
    let mut left = left.split(' ').skip(3);
    Some(Mount {
        root: unescape(left.next()?),
        mountpoint: PathBuf::from(unescape(left.next()?)),
        kind: kind.to_string(),
        options: right.nth(1).unwrap_or("").to_string(),
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let code = octal
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a superblock option of a v1 mount names a controller or the hierarchy itself.
fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 8] =
        ["rw", "ro", "xattr", "none", "all", "noprefix", "clone_children", "cpuset_v2_mode"];
    !option.is_empty()
        && !OTHERS.contains(&option)
        && (option.starts_with("name=") || !option.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:32 /a /mnt/again rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw,nsdelegate
";
    const OWN: &str = "4:memory:/a/b\n2:cpu,cpuacct:/\n9:name=systemd:/init\n0::/user\n";

    #[test]
    fn hybrid_keeps_controllers_on_v1() {
        let host = Host::parse(HYBRID, OWN).unwrap();
        assert_eq!(host.layout, Layout::Hybrid);
        assert_eq!(host.v1.len(), 3);
        assert_eq!(
            host.v1_of("cpuacct").unwrap().mountpoint,
            Path::new("/sys/fs/cgroup/cpu,cpuacct")
        );
        let unified = host.unified.as_ref().unwrap();
        assert_eq!(unified.dir("/docker/x"), Path::new("/sys/fs/cgroup/uni fied/docker/x"));
        assert!(host.v1_of("pids").is_none());
    }

    #[test]
    fn relative_paths_start_at_the_own_cgroup() {
        let host = Host::parse(HYBRID, OWN).unwrap();
        let memory = host.v1_of("memory").unwrap();
        for (path, dir) in [
            ("/docker/x", "/sys/fs/cgroup/memory/docker/x"),
            ("foobar/x", "/sys/fs/cgroup/memory/b/foobar/x"),
            ("/../../etc/x", "/sys/fs/cgroup/memory/etc/x"),
            ("../../../x", "/sys/fs/cgroup/memory/b/x"),
            ("//a/./b//", "/sys/fs/cgroup/memory/a/b"),
        ] {
            assert_eq!(memory.dir(path), Path::new(dir), "{path}");
        }
    }

    #[test]
    fn one_v2_mount_is_v2_even_beside_a_named_hierarchy() {
        let v2 = "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(Host::parse(v2, "0::/\n").unwrap().layout, Layout::V2);
        let named = format!("{v2}2 1 0:2 / /x rw - cgroup none rw,name=systemd\n");
        assert_eq!(Host::parse(&named, "0::/\n").unwrap().layout, Layout::V2);
        let v1 = "1 1 0:1 / /c rw - cgroup none rw,pids\n";
        assert_eq!(Host::parse(v1, "0::/\n").unwrap().layout, Layout::V1);
        assert!(Host::parse("1 1 0:1 / / rw - ext4 none rw\n", "").is_err());
    }
}
