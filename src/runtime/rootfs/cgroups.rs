//! What a container sees of the cgroups.
//!
//! On v1 it is a tmpfs with a read-only bind of the container's own cgroup for each hierarchy, named as
//! on the host; on v2 the unified filesystem. With a cgroup namespace of its own the container gets
//! fresh mounts, whose root is its cgroup.
//!
//! Spec: OCI runtime-spec 1.2 `config-linux.md`; runc `docs/spec-conformance.md`; cgroup_namespaces(7).

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::options::Options;
use super::{NONE, mounts, target};
use crate::base::{At, Error, Result};
use crate::sys::rootfd::{Root, proc_path};
use std::os::fd::AsFd;

/// What the stage knows when the process is in its cgroup.
pub(in super::super) struct CgroupView {
    /// The process has a cgroup namespace of its own.
    pub(in super::super) private: bool,
}

/// One hierarchy of the host.
#[derive(Debug, PartialEq)]
struct Hierarchy {
    /// Controllers, or `name=...`; empty for v2.
    controllers: Vec<String>,
    mountpoint: PathBuf,
    /// Root of the mount in its hierarchy; not `/` inside another container.
    root: String,
}

pub(super) fn mount(
    root: &Root,
    target: &Path,
    options: &Options,
    view: &CgroupView,
) -> Result<()> {
    let read = |path| std::fs::read_to_string(path).at(format_args!("reading {path}"));
    let hierarchies = parse_mountinfo(&read("/proc/self/mountinfo")?);
    let own = read("/proc/self/cgroup")?;
    let v1: Vec<&Hierarchy> = hierarchies.iter().filter(|h| !h.controllers.is_empty()).collect();
    match (v1.is_empty(), hierarchies.first()) {
        (false, _) => mount_v1(root, target, options, view, &v1, &own),
        (true, Some(unified)) => mount_v2(root, target, options, unified, &own),
        (true, None) => Err(Error::unsupported("no cgroup hierarchy is mounted")),
    }
}

fn mount_v2(
    root: &Root,
    target: &Path,
    options: &Options,
    unified: &Hierarchy,
    own: &str,
) -> Result<()> {
    let dir = target::dir(root, target)?;
    let on = proc_path(dir.as_fd());
    match nix::mount::mount(Some("cgroup"), &on, Some("cgroup2"), options.set, NONE) {
        Ok(()) => Ok(()),
        // In a user namespace a new mount is only allowed with a cgroup namespace too.
        Err(nix::errno::Errno::EPERM | nix::errno::Errno::EBUSY) => {
            let bind = Options { bind: true, ..options.clone() };
            mounts::bind(root, &own_dir(unified, own), target, &bind)
        }
        Err(e) => Err(Error::from(e).at("mounting cgroup2")),
    }
}

fn mount_v1(
    root: &Root,
    target: &Path,
    options: &Options,
    view: &CgroupView,
    hierarchies: &[&Hierarchy],
    own: &str,
) -> Result<()> {
    let dir = target::dir(root, target)?;
    // Writable until it is filled.
    let flags = options.set - MsFlags::MS_RDONLY;
    let on = proc_path(dir.as_fd());
    nix::mount::mount(Some("cgroup"), &on, Some("tmpfs"), flags, Some("mode=755"))
        .at("mounting tmpfs")?;
    let top = root.dir(target)?;
    let top_root = Root::from_fd(top);
    for hierarchy in hierarchies {
        // The host's own name of the mount: `cpu,cpuacct` or `systemd`.
        let Some(name) = hierarchy.mountpoint.file_name() else { continue };
        let place = Path::new(name);
        if view.private {
            let dir = target::dir(&top_root, place)?;
            let data = hierarchy.controllers.join(",");
            // The kernel wants `none` beside the name of a hierarchy without controllers.
            let data = if data.starts_with("name=") { format!("none,{data}") } else { data };
            let on = proc_path(dir.as_fd());
            nix::mount::mount(
                Some("cgroup"),
                &on,
                Some("cgroup"),
                options.set,
                Some(data.as_str()),
            )
            .at(format_args!("mounting cgroup {data}"))?;
        } else {
            mounts::bind_into(&top_root, &own_dir(hierarchy, own), place, options)?;
        }
        if hierarchy.controllers.len() > 1 {
            for controller in &hierarchy.controllers {
                match nix::unistd::symlinkat(name, &top_root, controller.as_str()) {
                    Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                    Err(e) => return Err(Error::from(e).at("linking a controller")),
                }
            }
        }
    }
    if options.set.contains(MsFlags::MS_RDONLY) {
        mounts::set_read_only(root, target)?;
    }
    Ok(())
}

/// The directory of this process's cgroup in a hierarchy.
fn own_dir(hierarchy: &Hierarchy, own: &str) -> PathBuf {
    let wanted = hierarchy.controllers.first().map_or("", String::as_str);
    let path = own
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            Some((fields.nth(1)?, fields.next()?))
        })
        .find(|(controllers, _)| controllers.split(',').any(|c| c == wanted))
        .map_or("/", |(_, path)| path);
    let below = path.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(path);
    hierarchy.mountpoint.join(below.trim_start_matches('/'))
}

/// The hierarchies of a mountinfo text; v2 has no controllers and comes last.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut out: Vec<Hierarchy> = Vec::new();
    let mut unified = None;
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split(' ');
        let kind = right.next().unwrap_or("");
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(mountpoint)) = (left.next(), left.next()) else { continue };
        let (root, mountpoint) = (root.to_string(), PathBuf::from(mountpoint));
        if kind == "cgroup2" {
            let found = Hierarchy { controllers: Vec::new(), mountpoint, root };
            unified.get_or_insert(found);
        } else if kind == "cgroup" {
            let options = right.nth(1).unwrap_or("");
            let plain = |o: &&str| {
                !["rw", "ro", "xattr", "none", "noprefix", "clone_children", "cpuset_v2_mode"]
                    .contains(o)
                    && (o.starts_with("name=") || !o.contains('='))
            };
            let controllers: Vec<String> =
                options.split(',').filter(plain).map(str::to_string).collect();
            if !controllers.is_empty() && out.iter().all(|h| h.controllers != controllers) {
                out.push(Hierarchy { controllers, mountpoint, root });
            }
        }
    }
    out.extend(unified);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_with_the_own_directory() {
        let text = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 /top /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
";
        let found = parse_mountinfo(text);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert!(found[2].controllers.is_empty());
        let own = "4:cpu,cpuacct:/docker/x\n9:name=systemd:/top/y\n0::/z\n";
        let dirs: Vec<PathBuf> = found.iter().map(|h| own_dir(h, own)).collect();
        assert_eq!(dirs[0], Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/x"));
        assert_eq!(dirs[1], Path::new("/sys/fs/cgroup/systemd/y"));
        assert_eq!(dirs[2], Path::new("/sys/fs/cgroup/unified/z"));
    }
}
