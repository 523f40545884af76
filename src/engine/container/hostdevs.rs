//! The devices of the host, all of which a privileged container gets.
//!
//! Spec: Docker Engine API 1.51, Privileged; what containerd's `oci.HostDevices` leaves out.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};

use crate::runtime::spec::Device;

/// Directories of `/dev` that every container has of its own, or that hold no devices.
const LEFT_OUT: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// All devices below `/dev`. What cannot be read is left out: devices come and go.
pub fn all() -> Vec<Device> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), &mut found);
    found
}

fn collect(dir: &Path, found: &mut Vec<Device>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // Of the entry itself: links are no devices.
        let Ok(meta) = entry.metadata() else { continue };
        let kind = meta.file_type();
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                collect(&path, found);
            }
            continue;
        }
        let kind = match () {
            () if name == "console" => continue,
            () if kind.is_char_device() => "c",
            () if kind.is_block_device() => "b",
            () => continue,
        };
        let Some(path) = path.to_str() else { continue };
        found.push(Device {
            path: path.into(),
            kind: kind.into(),
            major: i64::try_from(major(meta.rdev())).unwrap_or_default(),
            minor: i64::try_from(minor(meta.rdev())).unwrap_or_default(),
            file_mode: Some(meta.mode() & 0o7777),
            uid: Some(meta.uid()),
            gid: Some(meta.gid()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_and_terminals_are_not() {
        let found = all();
        let null = found.iter().find(|device| device.path == "/dev/null").unwrap();
        assert_eq!((null.kind.as_str(), null.major, null.minor), ("c", 1, 3));
        assert!(!found.iter().any(|device| device.path.starts_with("/dev/pts/")));
        assert!(!found.iter().any(|device| device.path == "/dev/console"));
    }
}
