//! Copying what the image has in the place of an empty volume into it, as Docker does at create.

use std::path::Path;

use super::setup::below;
use crate::base::{At, Error, Kind, Result};
use crate::engine::Engine;
use crate::engine::container::record::{MountPoint, Record};
use crate::storage::copy;
use crate::sys::rootfd::Root;

/// Fills the empty volumes of the container of `record`, whose layer is made.
///
/// # Errors
/// `InvalidParameter` if the image has a file where a volume is to be; `Io`.
pub fn fill(engine: &Engine, record: &Record) -> Result<()> {
    let wanted = |point: &&MountPoint| point.kind == "volume" && point.copy_data;
    let mut used = Vec::new();
    let filled = (|| -> Result<()> {
        let mut empty = Vec::new();
        for point in record.mount_points.values().filter(wanted) {
            let what = format_args!("error while mounting volume '{}'", point.source);
            let path = engine.volumes.use_mounted(&point.name, &record.id).at(what)?;
            used.push(&point.name);
            let part = point.spec.volume_options.as_ref().map_or("", |o| o.subpath.as_str());
            let target = match below(&path, part) {
                Ok(fd) => Root::from_fd(fd).dir(Path::new("")),
                // Starting it will say so.
                Err(e) if e.kind() == Kind::NotFound => continue,
                Err(e) => Err(e),
            };
            // A part that is a file is not empty.
            if let Ok(target) = target {
                let entries = crate::storage::remove::entries(&target)?;
                if entries.is_empty() {
                    empty.push((point, Root::from_fd(target)));
                }
            }
        }
        if empty.is_empty() {
            return Ok(());
        }
        let root = engine.store.layers().mount_rw(&record.id, &record.mount_label)?;
        let copied = empty.iter().try_for_each(|(point, target)| copy_up(&root, point, target));
        engine.store.layers().unmount_rw(&record.id)?;
        copied
    })();
    for name in used {
        engine.volumes.unuse(name, &record.id)?;
    }
    filled
}

fn copy_up(root: &Path, point: &MountPoint, target: &Root) -> Result<()> {
    let destination = Path::new(&point.destination);
    let source = match Root::open(root)?.dir(destination) {
        Ok(source) => source,
        Err(e) if e.errno() == Some(libc::ENOTDIR) => {
            let path = root.join(point.destination.trim_start_matches('/'));
            let path = path.display();
            let is_of_image = point.spec.target.is_empty();
            return Err(Error::invalid(match is_of_image {
                true => format!("cannot mount volume over existing file, file exists {path}"),
                false => format!("source {path} is not directory"),
            }));
        }
        // The image has nothing there.
        Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(()),
        Err(e) => return Err(e),
    };
    copy::tree(&Root::from_fd(source), target)
        .at(format_args!("copying the image's {} into volume {}", point.destination, point.name))
}
