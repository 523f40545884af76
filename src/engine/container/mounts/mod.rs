//! What a container mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes.
//!
//! [`resolve`] checks and completes what is asked for at create: nothing is made. [`attach`] makes the volumes,
//! [`fill`] copies what the image has in their places, [`setup`] gets everything ready for each start, and
//! [`detach`] ends it with the container.
//!
//! A mount point whose `Spec.Source` is empty is an anonymous volume: it belongs to its container and may
//! go with it, unless another container took it over by `--volumes-from`.
//!
//! A mount of an image is a layer of its own on top of the image's, so that nothing can change the image;
//! `ID` of the mount point is the name of that layer.
//!
//! Spec: Docker Engine API 1.51, HostConfig.Binds, Mounts, Tmpfs, VolumesFrom; moby `daemon/volumes.go`.

pub mod fill;
mod parse;
pub mod setup;

use std::collections::{BTreeMap, BTreeSet};

use super::record::{MountPoint, Record};
use crate::base::digest::Digest;
use crate::base::file::Durable;
use crate::base::json::TextMap;
use crate::base::{Error, Kind, Result};
use crate::engine::Engine;
use crate::engine::model::config::Config;
use crate::engine::model::host::HostConfig;
use crate::sys::random;
use crate::volume::{ANONYMOUS_LABEL, Create, LOCAL};

/// Mount points by destination.
pub type Points = BTreeMap<String, MountPoint>;

/// What stands between the id of a container and the number of one of its image mounts, in the name of the
/// layer.
const IMAGE_LAYER: &str = "-image-";

/// The mount points of the new container `id`. Sources of binds may be missing if `-v` names them.
/// `plain_read_only`: read-only binds leave what is mounted below them as it is, as before API 1.44.
///
/// # Errors
/// `InvalidParameter` with Docker's texts, also for images, containers and drivers that are not there.
pub fn resolve(
    engine: &Engine,
    id: &str,
    config: &Config,
    host: &HostConfig,
    plain_read_only: bool,
) -> Result<Points> {
    let mut points = volumes_from(engine, host)?;
    let mut own = BTreeSet::new();
    for mut point in asked_for(host)? {
        if point.kind == "bind" {
            setup::slave_below(&engine.settings.data_root, &mut point)?;
            if plain_read_only && !point.rw {
                point.spec.bind_options.get_or_insert_default().read_only_non_recursive = true;
            }
        }
        if !own.insert(point.destination.clone()) || host.tmpfs.contains_key(&point.destination) {
            let destination = &point.destination;
            return Err(Error::invalid(format_args!("Duplicate mount point: {destination}")));
        }
        points.insert(point.destination.clone(), point);
    }
    for destination in host.tmpfs.keys() {
        parse::destination(destination)?;
    }
    for destination in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        parse::destination(destination)?;
        let destination = clean(destination);
        if !points.contains_key(&destination) && !host.tmpfs.contains_key(&destination) {
            let point = MountPoint {
                destination: destination.clone(),
                kind: "volume".into(),
                driver: host.volume_driver.clone(),
                rw: true,
                copy_data: true,
                ..MountPoint::default()
            };
            points.insert(destination, point);
        }
    }
    // Clients take "not found" for a missing image of the container, and would pull that.
    let mine = |e: Error| e.with_kind(Kind::InvalidParameter);
    let mut images = 0;
    for point in points.values_mut() {
        match point.kind.as_str() {
            "volume" if point.source.is_empty() => complete_volume(engine, point).map_err(mine)?,
            "image" => {
                complete_image(engine, point).map_err(mine)?;
                point.id = format!("{id}{IMAGE_LAYER}{images}");
                images += 1;
            }
            _ => {}
        }
    }
    Ok(points)
}

/// `-v` and `--mount`, as they are given.
fn asked_for(host: &HostConfig) -> Result<Vec<MountPoint>> {
    let mut all = Vec::new();
    for text in host.binds.iter().flatten() {
        all.push(parse::bind(text, &host.volume_driver)?);
    }
    for asked in &host.mounts {
        let mut point = parse::mount(asked, true)?;
        if point.kind == "bind" {
            let options = asked.bind_options.as_ref();
            point.skip_mountpoint_creation = options.is_none_or(|o| !o.create_mountpoint);
        }
        all.push(point);
    }
    for point in &mut all {
        // Docker relabels volumes for all containers. Without SELinux it only shows.
        if point.kind == "volume" && point.mode.is_empty() {
            point.mode = "z".into();
        }
    }
    Ok(all)
}

/// The mount points of the containers that `--volumes-from` names.
fn volumes_from(engine: &Engine, host: &HostConfig) -> Result<Points> {
    let mut points = Points::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, read_only) = parse::volumes_from(text)?;
        let other =
            engine.containers()?.find(name).map_err(|e| e.with_kind(Kind::InvalidParameter))?;
        for point in other.data().record.mount_points.values() {
            let inherited = MountPoint {
                rw: point.rw && !read_only,
                copy_data: false,
                mode: String::new(),
                id: String::new(),
                ..point.clone()
            };
            points.insert(inherited.destination.clone(), inherited);
        }
    }
    Ok(points)
}

fn complete_volume(engine: &Engine, point: &mut MountPoint) -> Result<()> {
    if point.name.is_empty() {
        point.name = random::id();
    }
    let none = TextMap::new();
    let (options, labels, durable) = (&none, &none, Durable::No);
    let asked = Create { name: &point.name, driver: &point.driver, options, labels, durable };
    point.source = engine.volumes.check(&asked)?.to_string_lossy().into_owned();
    point.driver = LOCAL.into();
    Ok(())
}

fn complete_image(engine: &Engine, point: &mut MountPoint) -> Result<()> {
    if point.name.is_empty() {
        point.name.clone_from(&point.spec.source);
    }
    point.spec.source = engine.store.resolve(&point.spec.source)?.to_string();
    point.source.clear();
    point.rw = false;
    Ok(())
}

/// Makes the volumes and image layers of a container that is being made. They are its own until
/// [`detach`].
///
/// # Errors
/// What the volume store says of names and options; `Io`. What was made before stays, for `detach`.
pub fn attach(engine: &Engine, record: &mut Record, durable: Durable) -> Result<()> {
    for point in record.mount_points.values_mut() {
        match point.kind.as_str() {
            "volume" => {
                let given = point.spec.volume_options.clone().unwrap_or_default();
                let options = given.driver_config.unwrap_or_default().options;
                let mut labels = given.labels;
                if point.spec.source.is_empty() {
                    labels.insert(ANONYMOUS_LABEL.into(), String::new());
                }
                let (options, labels) = (&options, &labels);
                let asked = Create { name: &point.name, driver: LOCAL, options, labels, durable };
                engine.make_volume(&asked, Some(&record.id))?;
            }
            "image" => {
                let image = engine.store.images().get(&Digest::parse(&point.spec.source)?)?;
                let layers = engine.store.layers();
                layers.create_rw_plain(&point.id, image.chain_id().as_ref())?;
                let data = layers.rw_metadata(&point.id)?;
                point.source = data.get("MergedDir").cloned().unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lets go of what [`attach`] made; with `volumes`, anonymous volumes that nobody else refers to are removed.
/// Failures are logged.
pub fn detach(engine: &Engine, record: &Record, volumes: bool) {
    for point in record.mount_points.values() {
        match point.kind.as_str() {
            "volume" => {
                engine.volumes.release(&point.name, &record.id);
                if volumes && point.spec.source.is_empty() {
                    remove_anonymous(engine, &point.name);
                }
            }
            "image" => {
                if let Err(e) = engine.store.layers().remove_rw(&point.id) {
                    log::warn!("removing the layer {}: {e}", point.id);
                }
            }
            _ => {}
        }
    }
}

/// Removes the volume `name`, which belonged to a container that is gone, unless another one refers to it.
pub(in crate::engine) fn remove_anonymous(engine: &Engine, name: &str) {
    match engine.volumes.remove(name) {
        Ok(()) => engine.volume_event("destroy", name, &[]),
        // Another container took it over, or it was removed by hand.
        Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
        Err(e) => log::warn!("removing the anonymous volume {name}: {e}"),
    }
}

/// The volumes that belong to the container of `record` alone, or to those it shares them with.
pub(in crate::engine) fn anonymous_volumes(record: &Record) -> Vec<String> {
    let points = record.mount_points.values();
    points
        .filter(|point| point.kind == "volume" && point.spec.source.is_empty())
        .map(|point| point.name.clone())
        .collect()
}

/// Says at the start of the daemon that the container of `record` refers to its volumes, and uses them if it
/// `runs`.
pub(in crate::engine) fn adopt(engine: &Engine, record: &Record, runs: bool) {
    for point in record.mount_points.values() {
        if point.kind == "volume" {
            engine.volumes.hold(&point.name, &record.id);
            if runs {
                engine.volumes.adopt_user(&point.name, &record.id);
            }
        }
        if point.kind == "image"
            && runs
            && let Err(e) = engine.store.layers().mount_rw(&point.id, "")
        {
            log::warn!("taking over the mount of image {}: {e}", point.name);
        }
    }
}

/// The container that a layer in the list of containers' layers belongs to.
pub(in crate::engine) fn owner_of_layer(layer: &str) -> &str {
    layer.split(IMAGE_LAYER).next().unwrap_or(layer)
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
