//! A container's files as the daemon sees them: its root with its volumes, binds and network files,
//! whether it runs or not.
//!
//! The container's own mount namespace is not used: a program in it may have mounted anything anywhere,
//! and a stopped container has none. As in Docker the mounts are made once more, in a mount namespace
//! that exists for the view alone; what the container keeps in tmpfs or mounted by itself does not show.
//! A short-lived thread makes the namespace; afterwards two descriptors hold it, and dropping them takes
//! every mount away, also if the daemon is killed. Resolution from the root's descriptor crosses the
//! view's mounts although the caller is in another namespace.
//!
//! Spec: moby `daemon/containerfs_linux.go`.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use super::Container;
use crate::base::{At, Error, Kind, Result};
use crate::engine::Engine;
use crate::engine::network;
use crate::image::layers::Layers;
use crate::runtime::target;
use crate::sys::mount::{self, Attributes};
use crate::sys::rootfd::{Root, proc_path};

const NONE: Option<&Path> = None;
/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 1;

/// The files of one container; see the module. Dropping it gives everything back.
pub struct View {
    /// What paths of the container are resolved below.
    pub root: Root,
    // Dropped in this order: the namespace before the root that it binds.
    _namespace: Option<OwnedFd>,
    _mounted: Mounted,
}

/// A counted mount of the container's root.
struct Mounted {
    layers: Layers,
    container: String,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A container that was removed meanwhile has taken its mount along.
        if let Err(e) = self.layers.unmount_rw(&self.container)
            && e.kind() != Kind::NotFound
        {
            log::warn!("unmounting the root of container {}: {e}", self.container);
        }
    }
}

/// One thing of the host that shows in the container.
struct Bind {
    source: PathBuf,
    destination: PathBuf,
    writable: bool,
    recursive: bool,
}

impl View {
    /// The container's root alone, as `docker export` takes it.
    ///
    /// # Errors
    /// `Conflict` if the container is being removed; `Io`.
    pub fn of_root(engine: &Engine, container: &Container) -> Result<View> {
        let (mounted, path) = mount_root(engine, container)?;
        Ok(View { root: Root::open(&path)?, _namespace: None, _mounted: mounted })
    }

    /// The container's root with what is mounted there by its configuration.
    ///
    /// # Errors
    /// As [`View::of_root`]; `Io` for a source that is gone.
    pub fn open(engine: &Engine, container: &Container) -> Result<View> {
        let (mounted, path) = mount_root(engine, container)?;
        let binds = binds(engine, container);
        if binds.is_empty() {
            return Ok(View { root: Root::open(&path)?, _namespace: None, _mounted: mounted });
        }
        // A namespace is a thread's: this one is made for it.
        let made = std::thread::scope(|scope| {
            crate::base::worker::builder("view")
                .spawn_scoped(scope, || assemble(&path, &binds))
                .at("starting the view thread")?
                .join()
                .unwrap_or_else(|_| Err(Error::internal("the view thread died")))
        });
        let (root, namespace) = made.at("mounting the container's volumes")?;
        Ok(View { root, _namespace: Some(namespace), _mounted: mounted })
    }
}

fn mount_root(engine: &Engine, container: &Container) -> Result<(Mounted, PathBuf)> {
    {
        let data = container.data();
        let state = &data.record.state;
        if state.removal_in_progress || state.dead || data.removed {
            return Err(Error::conflict("container is marked for removal and cannot be copied"));
        }
    }
    let layers = engine.store.layers().clone();
    let label = container.data().record.mount_label.clone();
    let path = layers.mount_rw(&container.id, &label)?;
    Ok((Mounted { layers, container: container.id.clone() }, path))
}

/// What is mounted, the outer mounts first.
fn binds(engine: &Engine, container: &Container) -> Vec<Bind> {
    let data = container.data();
    let mut binds: Vec<Bind> = data
        .record
        .mount_points
        .values()
        .filter(|point| {
            matches!(point.kind.as_str(), "bind" | "volume") && !point.source.is_empty()
        })
        .map(|point| Bind {
            source: PathBuf::from(&point.source),
            destination: PathBuf::from(&point.destination),
            writable: point.rw,
            recursive: !point.spec.bind_options.as_ref().is_some_and(|o| o.non_recursive),
        })
        .collect();
    let mode = data.host.network_mode.clone();
    let writable = !data.host.readonly_rootfs;
    drop(data);
    let other = mode.strip_prefix("container:").and_then(|name| {
        let containers = engine.containers_now();
        containers.find(name).ok()
    });
    let dir = other.as_ref().map_or(&container.dir, |other| &other.dir);
    for (name, destination) in network::FILES {
        let (source, destination) = (dir.join(name), PathBuf::from(destination));
        // They are there once it was started.
        if source.is_file() && !binds.iter().any(|bind| bind.destination == destination) {
            binds.push(Bind { source, destination, writable, recursive: false });
        }
    }
    binds.sort_by_key(|bind| bind.destination.components().count());
    binds
}

/// Makes the namespace of this thread and all mounts in it.
fn assemble(path: &Path, binds: &[Bind]) -> Result<(Root, OwnedFd)> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).at("making a mount namespace")?;
    // What the host unmounts goes from here too; nothing of ours gets out.
    bind_flags(NONE, Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    bind_flags(Some(path), path, MsFlags::MS_BIND)?;
    bind_flags(NONE, path, MsFlags::MS_PRIVATE)?;
    let root = Root::open(path)?;
    for bind in binds {
        attach(&root, bind).at(format_args!(
            "mounting {} at {}",
            bind.source.display(),
            bind.destination.display()
        ))?;
    }
    let namespace = File::open("/proc/thread-self/ns/mnt").at("opening the mount namespace")?;
    Ok((root, namespace.into()))
}

fn bind_flags(source: Option<&Path>, target: &Path, flags: MsFlags) -> Result<()> {
    mount::mount(source, target, None, flags, None)
}

fn attach(root: &Root, bind: &Bind) -> Result<()> {
    let place = if bind.source.is_dir() {
        target::dir(root, &bind.destination)?
    } else {
        target::file(root, &bind.destination)?
    };
    let recursive = if bind.recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    bind_flags(Some(&bind.source), &proc_path(place.as_fd()), MsFlags::MS_BIND | recursive)?;
    // The mount, not what it covers.
    let mounted = root.open_at(&bind.destination, OFlag::O_PATH, 0)?;
    bind_flags(NONE, &proc_path(mounted.as_fd()), MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
    if bind.writable {
        return Ok(());
    }
    let attributes = Attributes { set: READ_ONLY, ..Attributes::default() };
    match mount::set_attributes(mounted.as_fd(), Path::new(""), bind.recursive, &attributes) {
        // Before Linux 5.12 the mounts below stay as they are, as in the container itself.
        Err(e) if e.kind() == Kind::Unsupported => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            bind_flags(NONE, &proc_path(mounted.as_fd()), flags)
        }
        done => done,
    }
}
