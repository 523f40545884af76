//! What a container mounts: `-v`, `--mount`, `--tmpfs` and the image's volumes, checked and resolved at
//! create.
//!
//! A mount point whose `Spec.Source` is empty is an anonymous volume: it belongs to its container and may
//! go with it. Volumes are made by [`attach_volumes`], after everything was checked.
//!
//! Spec: Docker Engine API 1.51, HostConfig.Binds, Mounts and Tmpfs; texts of moby `volume/mounts`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::record::MountPoint;
use crate::base::{At, Error, Kind, Result};
use crate::engine::model::config::Config;
use crate::engine::model::host::HostConfig;
use crate::engine::model::mount::Mount;
use crate::sys::random;
use crate::volume;

/// Propagation of bind mounts unless another is asked for.
const DEFAULT_PROPAGATION: &str = "rprivate";
const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// The mount points of a new container, by destination. Host directories that `-v` names and that do
/// not exist are made, as Docker does; those of `--mount` must exist. Volumes have a name, but no source
/// yet.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn resolve(config: &Config, host: &HostConfig) -> Result<BTreeMap<String, MountPoint>> {
    let mut points = BTreeMap::new();
    let mut add = |point: MountPoint| -> Result<()> {
        let destination = point.destination.clone();
        if points.insert(destination.clone(), point).is_some() {
            return Err(Error::invalid(format_args!("Duplicate mount point: {destination}")));
        }
        Ok(())
    };
    for bind in host.binds.iter().flatten() {
        add(parse_bind(bind)?)?;
    }
    for mount in &host.mounts {
        add(from_mount(mount)?)?;
    }
    for destination in host.tmpfs.keys() {
        check_destination(destination)?;
    }
    for destination in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        let destination = clean(destination);
        check_destination(&destination)?;
        if !points.contains_key(&destination) && !host.tmpfs.contains_key(&destination) {
            points.insert(destination.clone(), volume_point("", &destination, true, true));
        }
    }
    Ok(points)
}

/// Makes the volumes of `points` and fills their sources.
///
/// # Errors
/// What the volume store says; the volumes made before stay.
pub fn attach_volumes(
    volumes: &volume::Store,
    points: &mut BTreeMap<String, MountPoint>,
) -> Result<()> {
    for point in points.values_mut().filter(|point| point.kind == "volume") {
        point.source = volumes.ensure(&point.name)?.path.to_string_lossy().into_owned();
    }
    Ok(())
}

/// Removes volumes that belonged to one container, those of them that exist; failures are logged.
pub fn remove_volumes(volumes: &volume::Store, names: &[String]) {
    for name in names {
        match volumes.remove(name) {
            Err(e) if e.kind() != Kind::NotFound => {
                log::warn!("removing the anonymous volume {name}: {e}");
            }
            _ => {}
        }
    }
}

/// A volume's mount point; without a name it is anonymous and gets a random one.
fn volume_point(name: &str, destination: &str, rw: bool, copy_data: bool) -> MountPoint {
    MountPoint {
        name: if name.is_empty() { random::id() } else { name.into() },
        destination: destination.into(),
        kind: "volume".into(),
        driver: "local".into(),
        rw,
        copy_data,
        spec: Mount {
            kind: "volume".into(),
            source: name.into(),
            target: destination.into(),
            read_only: !rw,
            ..Mount::default()
        },
        ..MountPoint::default()
    }
}

/// `source:destination[:mode]`, where the source is a directory of the host or the name of a volume; a
/// destination alone is an anonymous volume.
fn parse_bind(text: &str) -> Result<MountPoint> {
    let bad = || Error::invalid(format_args!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] if destination.starts_with('/') => {
            check_destination(destination)?;
            return Ok(volume_point("", &clean(destination), true, true));
        }
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(bad()),
    };
    if source.is_empty() || destination.is_empty() {
        return Err(bad());
    }
    check_destination(destination)?;
    let is_bind = source.starts_with('/');
    let mut point = if is_bind {
        MountPoint {
            source: clean(source),
            destination: clean(destination),
            kind: "bind".into(),
            rw: true,
            ..MountPoint::default()
        }
    } else {
        volume_point(source, &clean(destination), true, true)
    };
    point.mode = mode.into();
    let mut seen_access = false;
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        let bad_mode = || Error::invalid(format_args!("invalid mode: {mode}"));
        match word {
            "ro" | "rw" if !seen_access => {
                seen_access = true;
                point.rw = word == "rw";
            }
            // Labels matter where SELinux is, consistency where a host is not Linux: neither is here.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" if !is_bind => point.copy_data = false,
            _ if is_bind && PROPAGATIONS.contains(&word) && point.propagation.is_empty() => {
                point.propagation = word.into();
            }
            _ => return Err(bad_mode()),
        }
    }
    if !is_bind {
        point.spec.read_only = !point.rw;
        return Ok(point);
    }
    if point.propagation.is_empty() {
        point.propagation = DEFAULT_PROPAGATION.into();
    }
    point.spec = Mount {
        kind: "bind".into(),
        source: point.source.clone(),
        target: point.destination.clone(),
        read_only: !point.rw,
        ..Mount::default()
    };
    if let Err(e) = fs::create_dir(&point.source)
        && e.kind() == std::io::ErrorKind::NotFound
    {
        fs::create_dir_all(&point.source)
            .at(format_args!("error while creating mount source path '{}'", point.source))?;
    }
    Ok(point)
}

fn from_mount(mount: &Mount) -> Result<MountPoint> {
    let bad = |why: &str| {
        Error::invalid(format_args!("invalid mount config for type \"{}\": {why}", mount.kind))
    };
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty"));
    }
    check_destination(&mount.target)?;
    let mut point = MountPoint {
        source: mount.source.clone(),
        destination: clean(&mount.target),
        kind: mount.kind.clone(),
        rw: !mount.read_only,
        spec: mount.clone(),
        ..MountPoint::default()
    };
    match mount.kind.as_str() {
        "bind" => {
            if mount.source.is_empty() {
                return Err(bad("field Source must not be empty"));
            }
            if mount.volume_options.is_some() || mount.tmpfs_options.is_some() {
                return Err(bad("field must not be specified: only BindOptions are for binds"));
            }
            if !mount.source.starts_with('/') {
                return Err(bad(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            point.source = clean(&mount.source);
            let options = mount.bind_options.clone().unwrap_or_default();
            match options.propagation.as_str() {
                "" => point.propagation = DEFAULT_PROPAGATION.into(),
                known if PROPAGATIONS.contains(&known) => point.propagation = known.into(),
                other => return Err(bad(&format!("invalid propagation mode: {other}"))),
            }
            if !Path::new(&point.source).exists() {
                if !options.create_mountpoint {
                    return Err(bad(&format!("bind source path does not exist: {}", point.source)));
                }
                fs::create_dir_all(&point.source)
                    .at(format_args!("creating bind source path {}", point.source))?;
            }
        }
        "tmpfs" => {
            if !mount.source.is_empty() {
                return Err(bad("field Source must not be specified"));
            }
            if mount.bind_options.is_some() || mount.volume_options.is_some() {
                return Err(bad("field must not be specified: only TmpfsOptions are for tmpfs"));
            }
        }
        "volume" => {
            let options = mount.volume_options.clone().unwrap_or_default();
            if mount.bind_options.is_some() || mount.tmpfs_options.is_some() {
                return Err(bad("field must not be specified: only VolumeOptions are for volumes"));
            }
            let driver = options.driver_config.unwrap_or_default();
            if !matches!(driver.name.as_str(), "" | "local")
                || !driver.options.is_empty()
                || !options.subpath.is_empty()
                || !options.labels.is_empty()
            {
                return Err(Error::new(
                    Kind::NotImplemented,
                    "this version of the engine has no volume drivers, options, labels and subpaths",
                ));
            }
            point = MountPoint {
                spec: mount.clone(),
                ..volume_point(
                    &mount.source,
                    &clean(&mount.target),
                    !mount.read_only,
                    !options.no_copy,
                )
            };
        }
        "" => return Err(Error::invalid("mount type unknown: \"\"")),
        other => return Err(Error::invalid(format_args!("mount type unknown: \"{other}\""))),
    }
    Ok(point)
}

fn check_destination(destination: &str) -> Result<()> {
    if !destination.starts_with('/') {
        return Err(Error::invalid(format_args!(
            "invalid mount path: '{destination}' mount path must be absolute"
        )));
    }
    if clean(destination) == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(())
}

/// The path without empty, `.` and `..` parts, as Go's `path.Clean` makes it.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        let dir = std::env::temp_dir();
        let dir = dir.to_str().unwrap();
        let point = parse_bind(&format!("{dir}:/x/../y/:ro,rshared")).unwrap();
        assert_eq!((point.destination.as_str(), point.rw), ("/y", false));
        assert_eq!(point.propagation, "rshared");
        for bad in ["a", ":/a", "/a:", "/a:b", "/a:/", "/a:/b:bad", "/a:/b:ro,rw", "/a:/b:ro:x"] {
            let e = parse_bind(bad).unwrap_err();
            assert_eq!(e.kind(), Kind::InvalidParameter, "{bad}: {e}");
        }
        let volume = parse_bind("name:/x:ro").unwrap();
        assert_eq!(
            (volume.kind.as_str(), volume.name.as_str(), volume.rw),
            ("volume", "name", false)
        );
        let anonymous = parse_bind("/x").unwrap();
        assert!(anonymous.spec.source.is_empty() && anonymous.name.len() == 64);
    }

    #[test]
    fn one_destination_has_one_mount() {
        let dir = std::env::temp_dir();
        let dir = dir.to_str().unwrap();
        let host = HostConfig {
            binds: Some(vec![format!("{dir}:/x"), format!("{dir}:/x/")]),
            ..HostConfig::default()
        };
        let e = resolve(&Config::default(), &host).unwrap_err();
        assert_eq!(e.to_string(), "Duplicate mount point: /x");
    }
}
