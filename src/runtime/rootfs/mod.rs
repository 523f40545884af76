//! Making the container's root file system and going there.
//!
//! All of it is done from outside, before the root is changed: the host's `/proc` is the one that is
//! used (a container cannot have prepared it), sources are the host's paths, and every path that belongs
//! to the container is resolved below a descriptor of its root, without leaving it through a link
//! (CVE-2019-16884, CVE-2021-30465, CVE-2023-27561). The order:
//!
//! 1. [`prepare`]: mounts of this namespace no longer reach the host; the root is a mount of its own;
//! 2. `mounts`: the list of the configuration, in order;
//! 3. `devices`: device nodes and links in a `/dev` that is ours;
//! 4. `hide`: masked and read-only paths;
//! 5. [`enter`]: pivot_root, and the host's tree is gone.
//!
//! Spec: OCI runtime-spec 1.2 `config.md#mounts`; pivot_root(2).

mod cgroups;
mod copyup;
mod devices;
mod early;
mod hide;
mod mounts;
mod options;
mod ramfs;
pub mod target;

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, pivot_root};

use super::spec::Spec;
use crate::base::{At, Error, Result};
use crate::sys::rootfd::Root;

pub(super) use cgroups::CgroupView;
pub(super) use devices::bind_console;
pub(super) use early::{Early, take_early};

const NONE: Option<&str> = None;

/// Every word of mount options that is not left to a filesystem, sorted.
pub(super) fn option_words() -> Vec<String> {
    let mut words: Vec<String> =
        ["bind", "rbind", "defaults", "idmap", "ridmap", "tmpcopyup"].map(String::from).into();
    let flags = options::FLAGS.iter().map(|(name, ..)| *name);
    for name in flags.chain(options::PROPAGATION.iter().map(|(name, _)| *name)) {
        words.extend([name.to_string(), format!("r{name}")]);
    }
    // Those of the filesystem and not of the mount have no form for a whole tree.
    words.retain(|w| {
        let bare = w.strip_prefix('r').and_then(|w| options::FLAGS.iter().find(|f| f.0 == w));
        bare.is_none_or(|(_, _, flag)| options::is_of_mount(*flag)) || w == "ro" || w == "rw"
    });
    words.sort();
    words
}

/// The root file system while it is being made.
pub(super) struct Rootfs {
    root: Root,
    /// `/dev` is a mount of ours, to be filled.
    own_dev: bool,
    around: Around,
}

/// What mounts depend on besides their own options.
struct Around {
    /// SELinux label of filesystems made for the container; empty for none.
    label: String,
    /// The container has its own pid namespace.
    own_pids: bool,
    /// The container has its own network namespace.
    own_network: bool,
}

impl Around {
    fn of(spec: &Spec) -> Around {
        let linux = spec.linux.as_ref();
        let has = |kind: &str| linux.is_some_and(|l| l.namespaces.iter().any(|ns| ns.kind == kind));
        Around {
            label: linux.map(|linux| linux.mount_label.clone()).unwrap_or_default(),
            own_pids: has("pid"),
            own_network: has("network"),
        }
    }
}

/// Cuts this mount namespace off from the host and makes the root a mount of its own.
///
/// # Errors
/// `Io` that names the path; `InvalidParameter` for an unknown propagation.
pub(super) fn prepare(spec: &Spec) -> Result<Rootfs> {
    let root = spec.root.as_ref().map_or("", |root| root.path.as_str());
    let wanted = spec.linux.as_ref().map_or("", |linux| linux.rootfs_propagation.as_str());
    let (kind, _) = match wanted {
        "" => (MsFlags::MS_SLAVE, true),
        word => options::propagation(word).ok_or_else(|| {
            Error::invalid(format_args!("rootfsPropagation={word} is not supported"))
        })?,
    };
    // What cannot be bound could not become the root either; it becomes so at the end.
    let now = if kind == MsFlags::MS_UNBINDABLE { MsFlags::MS_PRIVATE } else { kind };
    mount(NONE, "/", NONE, now | MsFlags::MS_REC, NONE).at("changing propagation of /")?;
    let path = Path::new(root);
    if kind == MsFlags::MS_SHARED {
        // pivot_root refuses a root whose parent is shared, and the bind below would reach the host.
        make_parent_private(path)?;
    }
    mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .at(format_args!("binding {root} to itself"))?;
    let own_dev = spec.mounts.iter().any(|m| {
        Path::new(&m.destination) == Path::new("/dev")
            && m.kind != "bind"
            && !m.options.iter().any(|o| o == "bind" || o == "rbind")
    });
    Ok(Rootfs { root: Root::open(path)?, own_dev, around: Around::of(spec) })
}

impl Rootfs {
    /// Makes all mounts and devices; those of `early` are only attached. `cgroup_ready` is called before a mount that shows the container's
    /// cgroup, which is made by the parent at the same time.
    ///
    /// # Errors
    /// Docker's texts; the namespace ends with the process.
    pub(super) fn fill(
        &self,
        spec: &Spec,
        mut early: Early,
        cgroup_ready: &mut dyn FnMut() -> Result<CgroupView>,
    ) -> Result<()> {
        for (number, entry) in spec.mounts.iter().enumerate() {
            mounts::add(&self.root, entry, early.take(number), &self.around, cgroup_ready)?;
        }
        let linux = spec.linux.as_ref();
        if self.own_dev {
            devices::make_all(&self.root, linux.map_or(&[], |linux| &linux.devices))?;
        }
        if let Some(process) = &spec.process
            && !process.cwd.is_empty()
        {
            // As runc does: a working directory that the image lacks is made, and belongs to root. Where
            // it cannot be made, changing to it says why.
            let _ = target::dir(&self.root, Path::new(&process.cwd));
        }
        if let Some(linux) = linux {
            hide::protect(&self.root, &linux.readonly_paths)?;
            hide::mask(&self.root, &linux.masked_paths)?;
        }
        if spec.root.as_ref().is_some_and(|root| root.readonly) {
            mounts::set_read_only(&self.root, Path::new("")).at("making the root read-only")?;
        }
        Ok(())
    }

    /// Whether `/dev` is made by us.
    pub(super) fn own_dev(&self) -> bool {
        self.own_dev
    }
}

/// Makes the container's root the root of this process, and lets go of the host's; with `no_pivot` by
/// moving it there, which leaves the host's tree below it.
///
/// # Errors
/// `Io`.
pub(super) fn enter(rootfs: Rootfs, propagation: &str, no_pivot: bool) -> Result<()> {
    let host = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .at("opening /")?;
    fchdir(rootfs.root.as_fd()).at("changing to the root")?;
    let pivoted = if no_pivot { Err(Errno::EINVAL) } else { pivot_root(".", ".") };
    match pivoted {
        Ok(()) => {
            // The old root is mounted on the new one. It is cut off first, so that unmounting it does
            // not unmount anything at the host.
            fchdir(&host).at("changing to the old root")?;
            mount(NONE, ".", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)
                .at("cutting off the old root")?;
            umount2(".", MntFlags::MNT_DETACH).at("unmounting the old root")?;
        }
        Err(Errno::EINVAL) if no_pivot || ramfs::is_root(&host) => {
            let is_shared = matches!(propagation, "shared" | "rshared");
            ramfs::move_onto(&host, &rootfs.root, is_shared)?;
        }
        Err(e) => return Err(Error::from(e).at("pivot_root")),
    }
    chdir("/").at("changing to /")?;
    if let Some((kind, recursive)) = options::propagation(propagation) {
        let recursive = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
        mount(NONE, "/", NONE, kind | recursive, NONE).at("changing propagation of /")?;
    }
    Ok(())
}

fn make_parent_private(root: &Path) -> Result<()> {
    // The mount that holds `root` is the nearest mount point at or above it; others say EINVAL.
    for dir in root.ancestors() {
        match mount(NONE, dir, NONE, MsFlags::MS_PRIVATE, NONE) {
            Err(Errno::EINVAL) => {}
            done => return done.at(format_args!("making {} private", dir.display())),
        }
    }
    Ok(())
}
