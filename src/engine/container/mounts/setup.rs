//! Getting a container's mounts ready for a start: volumes mounted, image layers mounted, missing sources
//! made, propagation checked; and giving all of it back after the end.
//!
//! A part of a volume or image (`volume-subpath`) is bound to a place of its own below
//! `<exec root>/subpaths` until the container has it: were its path given to the runtime, somebody who
//! writes to the volume could turn it into a link that leads out (CVE-2023-2728). What a killed daemon
//! leaves there is unmounted by [`sweep`], and only then removed.
//!
//! Spec: moby `daemon/volumes_unix.go`, `withMounts` of `daemon/oci_linux.go`, `internal/safepath`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::parse;
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::engine::container::Container;
use crate::engine::container::record::{MountPoint, Record};
use crate::engine::model::host::HostConfig;
use crate::runtime::spec::Mount;
use crate::sys::mount::{self, MntFlags, MsFlags};
use crate::sys::rootfd::{Root, proc_path};

/// Sources by destination. Parts of volumes stay bound to their places while this lives: it is kept until
/// the container has its mounts.
#[derive(Debug, Default)]
pub struct Ready {
    sources: BTreeMap<String, PathBuf>,
    places: Vec<PathBuf>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.places.iter().for_each(|place| clear(place));
    }
}

/// What the runtime is to mount, and how mounts of the container's root spread.
#[derive(Debug, Default)]
pub struct Entries {
    /// Entries, in no order.
    pub mounts: Vec<Mount>,
    /// `shared`, `rslave` or nothing.
    pub root_propagation: &'static str,
}

/// Gets everything ready. After an error, [`tear_down`] gives back what was.
///
/// # Errors
/// `NotFound` for volumes and parts that are gone; `Io` with the kernel's reason.
pub fn set_up(engine: &Engine, container: &Container) -> Result<Ready> {
    let points = container.data().record.mount_points.clone();
    let mut ready = Ready::default();
    for point in points.values() {
        let (path, part) = match point.kind.as_str() {
            "volume" => {
                let what = format_args!("error while mounting volume '{}'", point.source);
                let path = engine.volumes.use_mounted(&point.name, &container.id).at(what)?;
                tell_mounted(engine, container, point);
                (path, point.spec.volume_options.as_ref().map(|o| &o.subpath))
            }
            "image" => {
                let path = engine.store.layers().mount_rw(&point.id, "")?;
                (path, point.spec.image_options.as_ref().map(|o| &o.subpath))
            }
            "bind" => {
                if !point.skip_mountpoint_creation {
                    make_source(&point.source)?;
                }
                (PathBuf::from(&point.source), None)
            }
            _ => continue,
        };
        let source = match part.filter(|part| !part.is_empty()) {
            Some(part) => {
                let name = format!("{}-{}", container.id, ready.places.len());
                let place = places(engine).join(name);
                bind_part(&below(&path, part)?, &place)?;
                ready.places.push(place.clone());
                place
            }
            None => path,
        };
        ready.sources.insert(point.destination.clone(), source);
    }
    Ok(ready)
}

fn tell_mounted(engine: &Engine, container: &Container, point: &MountPoint) {
    let access = point.rw.to_string();
    let attributes = [
        ("container", container.id.as_str()),
        ("destination", &point.destination),
        ("propagation", &point.propagation),
        ("read/write", &access),
    ];
    engine.volume_event("mount", &point.name, &attributes);
}

/// Gives back what [`set_up`] got; does nothing for what it did not get.
///
/// # Errors
/// `Io` for the first thing that stays; the others are given back all the same.
pub fn tear_down(engine: &Engine, container: &Container) -> Result<()> {
    let points = {
        let data = container.data();
        if data.record.mount_points.is_empty() {
            return Ok(());
        }
        data.record.mount_points.clone()
    };
    let mut result = Ok(());
    let mut over = BTreeSet::new();
    for point in points.values() {
        let done = match point.kind.as_str() {
            "volume" => engine.volumes.unuse(&point.name, &container.id).map(|was_used| {
                if was_used {
                    over.insert(point.name.clone());
                }
                if over.contains(&point.name) {
                    let attributes = [("container", container.id.as_str())];
                    engine.volume_event("unmount", &point.name, &attributes);
                }
            }),
            "image" => engine.store.layers().unmount_rw(&point.id),
            _ => Ok(()),
        };
        result = result.and(done);
    }
    result
}

/// What the runtime mounts for the container of `record`.
///
/// # Errors
/// `InvalidParameter` for options that a tmpfs does not have, and for binds whose source does not spread
/// as it is asked to; `Unsupported` where a kernel cannot make a whole tree read-only and it must be.
pub fn entries(
    engine: &Engine,
    record: &Record,
    host: &HostConfig,
    ready: &Ready,
) -> Result<Entries> {
    let mut out = Entries::default();
    for (destination, words) in &host.tmpfs {
        let words = words.split(',').filter(|word| !word.is_empty());
        out.mounts.push(tmpfs(destination, parse::merge_tmpfs(words)?));
    }
    for point in record.mount_points.values() {
        if point.kind == "tmpfs" {
            let asked = point.spec.tmpfs_options.clone().unwrap_or_default();
            let words = parse::tmpfs_options(&asked, point.spec.read_only)?;
            let words = parse::merge_tmpfs(words.iter().map(String::as_str))?;
            out.mounts.push(tmpfs(&point.destination, words));
            continue;
        }
        let source = ready.sources.get(&point.destination);
        let source = source.map_or(Path::new(&point.source), PathBuf::as_path);
        let spreads = spreads(engine, point, source)?;
        out.root_propagation = match (spreads, out.root_propagation) {
            (Spreads::Both, _) | (_, "shared") => "shared",
            (Spreads::In, _) => "rslave",
            (Spreads::No, other) => other,
        };
        out.mounts.push(bind(point, source)?);
    }
    Ok(out)
}

fn tmpfs(destination: &str, options: Vec<String>) -> Mount {
    Mount {
        destination: destination.into(),
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        options,
        ..Mount::default()
    }
}

fn bind(point: &MountPoint, source: &Path) -> Result<Mount> {
    let asked = match point.spec.bind_options.clone() {
        Some(options) if point.kind == "bind" => options,
        _ => Default::default(),
    };
    let mut options = vec![if asked.non_recursive { "bind" } else { "rbind" }.to_string()];
    if !point.rw {
        let whole_tree = if asked.read_only_non_recursive {
            false
        } else if mount::has_recursive_attributes() {
            true
        } else if asked.read_only_force_recursive {
            return Err(Error::unsupported(
                "rro is not supported: mount_setattr(2) needs kernel 5.12 or newer",
            ));
        } else {
            false
        };
        options.push(if whole_tree { "rro" } else { "ro" }.into());
    }
    if !point.propagation.is_empty() {
        options.push(point.propagation.clone());
    }
    Ok(Mount {
        destination: point.destination.clone(),
        kind: "bind".into(),
        source: source.to_string_lossy().into_owned(),
        options,
        ..Mount::default()
    })
}

/// Where mounts spread to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spreads {
    No,
    /// From the host into the container.
    In,
    /// Both ways.
    Both,
}

/// Checks that mounts of the source can spread as the point asks.
fn spreads(engine: &Engine, point: &MountPoint, source: &Path) -> Result<Spreads> {
    let wanted = match point.propagation.as_str() {
        "shared" | "rshared" => Spreads::Both,
        "slave" | "rslave" => Spreads::In,
        _ => return Ok(Spreads::No),
    };
    let (target, flags) = mount_of(source)?;
    let has = |words: &[&str]| {
        flags.split(' ').any(|flag| words.iter().any(|word| flag.starts_with(word)))
    };
    let fails = |what: &str| {
        Err(Error::invalid(format_args!(
            "path {} is mounted on {} but it is not a {what} mount",
            source.display(),
            target.display()
        )))
    };
    match wanted {
        Spreads::Both if !has(&["shared:"]) => fails("shared"),
        Spreads::In if !has(&["shared:", "master:"]) => {
            let own = point.spec.bind_options.as_ref().is_some_and(|o| !o.propagation.is_empty());
            // Nobody asked for it: see `slave_below`.
            match !own && is_around(&engine.settings.data_root, &point.source) {
                true => Ok(Spreads::No),
                false => fails("shared or slave"),
            }
        }
        wanted => Ok(wanted),
    }
}

/// The mount that holds `path`, and its optional fields.
fn mount_of(path: &Path) -> Result<(PathBuf, String)> {
    let path = fs::canonicalize(path).at(format_args!("lstat {}", path.display()))?;
    let mounts = mount::table()?;
    // Of several on one place the last is on top.
    let holds = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    let found = holds.max_by_key(|mount| mount.target.as_os_str().len());
    found
        .map(|mount| (mount.target.clone(), mount.propagation.clone()))
        .ok_or_else(|| Error::internal(format_args!("no mount holds {}", path.display())))
}

fn is_around(data_root: &Path, source: &str) -> bool {
    let root = data_root.to_string_lossy();
    source.starts_with(&*root) || root.starts_with(source)
}

/// A bind that shows the engine's own mounts to a container must not keep them alive there: it gets those
/// of the host, and their ends, unless another propagation is asked for.
///
/// # Errors
/// `InvalidParameter` with Docker's text for a propagation that would keep them.
pub(super) fn slave_below(data_root: &Path, point: &mut MountPoint) -> Result<()> {
    if !is_around(data_root, &point.source) {
        return Ok(());
    }
    let asked = point.spec.bind_options.as_ref().map_or("", |o| o.propagation.as_str());
    match asked {
        "" => point.propagation = "rslave".into(),
        "rslave" | "rshared" => {}
        other => {
            return Err(Error::invalid(format_args!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when \
                 mount source is within the daemon root, daemon root: {:?}, bind mount source: {:?}, \
                 propagation: {other:?}",
                data_root.display().to_string(),
                point.spec.source,
            )));
        }
    }
    Ok(())
}

/// Makes a host directory that `-v` names; whatever is there already will do.
fn make_source(source: &str) -> Result<()> {
    match fs::create_dir_all(source) {
        Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOTDIR | libc::EEXIST)) => {
            Err(e).at(format_args!("error while creating mount source path '{source}'"))
        }
        _ => Ok(()),
    }
}

/// The file or directory `part` below `base`, without leaving it through a link; `base` itself for an empty
/// part.
///
/// # Errors
/// `NotFound`, `InvalidParameter` with Docker's texts.
pub(super) fn below(base: &Path, part: &str) -> Result<OwnedFd> {
    let root = Root::open(base)?;
    let path = Path::new(if part.is_empty() { "." } else { part });
    root.open_beneath(path, OFlag::O_PATH, 0).map_err(|e| match e.errno() {
        Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR) => {
            let path = base.join(part);
            let cause = Error::from_errno(e.errno().unwrap_or(libc::ENOENT));
            Error::not_found(format_args!(
                "cannot access path {0}: lstat {0}: {cause}",
                path.display()
            ))
        }
        Some(libc::EXDEV) => Error::invalid(format_args!(
            "path concatenation escapes the base directory, base: {}, subpath: {part}",
            base.display()
        )),
        _ => e,
    })
}

fn places(engine: &Engine) -> PathBuf {
    engine.settings.exec_root.join("subpaths")
}

/// Binds what is open to `place`, which is made.
fn bind_part(part: &OwnedFd, place: &Path) -> Result<()> {
    let what = || format!("binding to {}", place.display());
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).at(what())?;
    clear(place);
    let mode = fstat(part).at(what())?.st_mode;
    match mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
        true => fs::create_dir(place).at(what())?,
        false => drop(fs::File::create(place).at(what())?),
    }
    let from = proc_path(part.as_fd());
    let none = None::<&OsStr>;
    mount::mount(Some(&from), place, None, MsFlags::MS_BIND, none)
        .inspect_err(|_| clear(place))
        .at("failed to mount resolved path")
}

/// Unmounts and removes one place. What is mounted is never emptied: the place goes only if it is bare.
fn clear(place: &Path) {
    let Ok(stat) = fs::symlink_metadata(place) else { return };
    while mount::is_mount_point(place).unwrap_or(false) {
        if let Err(e) = mount::unmount(place, MntFlags::MNT_DETACH) {
            return log::warn!("{e}");
        }
    }
    let removed = match stat.is_dir() {
        true => fs::remove_dir(place),
        // Empty, or it is not ours.
        false => fs::remove_file(place),
    };
    if let Err(e) = removed {
        log::warn!("removing {}: {e}", place.display());
    }
}

/// Clears the places that a killed daemon left.
pub(in crate::engine) fn sweep(engine: &Engine) {
    for entry in fs::read_dir(places(engine)).into_iter().flatten().flatten() {
        clear(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::engine::model::mount::BindOptions;
    use std::os::unix::fs::symlink;

    #[test]
    fn parts_of_a_volume_do_not_lead_out() {
        let base = std::env::temp_dir().join(format!("multi-part-{}", std::process::id()));
        fs::create_dir_all(base.join("a/b")).unwrap();
        symlink("a", base.join("in")).unwrap();
        symlink("../..", base.join("out")).unwrap();
        symlink("/etc", base.join("etc")).unwrap();
        let found = ["", "a/b", "in/b", "a/../in"].map(|part| below(&base, part).is_ok());
        let lost = ["out", "etc", "out/etc"].map(|part| below(&base, part).unwrap_err());
        let gone = below(&base, "a/x").unwrap_err();
        fs::remove_dir_all(&base).unwrap();
        assert_eq!(found, [true; 4]);
        for e in lost {
            assert!(e.to_string().starts_with("path concatenation escapes the base"), "{e}");
        }
        let path = base.join("a/x");
        assert_eq!(
            (gone.kind(), gone.to_string()),
            (
                Kind::NotFound,
                format!(
                    "cannot access path {0}: lstat {0}: no such file or directory",
                    path.display()
                )
            )
        );
    }

    #[test]
    fn binds_around_the_data_root_follow_the_host() {
        let root = Path::new("/var/lib/docker");
        let point = |source: &str, propagation: &str| MountPoint {
            source: source.into(),
            propagation: "rprivate".into(),
            spec: crate::engine::model::mount::Mount {
                bind_options: Some(BindOptions {
                    propagation: propagation.into(),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..MountPoint::default()
        };
        for (source, asked, want) in [
            ("/", "", Some("rslave")),
            ("/var/lib/docker/volumes", "", Some("rslave")),
            ("/srv", "", Some("rprivate")),
            ("/srv", "private", Some("rprivate")),
            ("/var", "private", None),
            ("/var", "rshared", Some("rprivate")),
        ] {
            let mut point = point(source, asked);
            let done = slave_below(root, &mut point);
            assert_eq!(
                done.is_ok().then_some(point.propagation.as_str()),
                want,
                "{source} {asked}"
            );
        }
    }
}
