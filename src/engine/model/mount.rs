//! `--mount` as Docker's API and its files have it.
//!
//! Spec: Docker Engine API 1.51, Mount.

use crate::base::json::{Nothing, TextMap};
use crate::wire;

wire! {
    /// One mount that was asked for.
    pub struct Mount {
        "Type" omit kind: String,
        "Source" omit source: String,
        "Target" omit target: String,
        "ReadOnly" omit read_only: bool,
        "Consistency" omit consistency: String,
        "BindOptions" omit bind_options: Option<BindOptions>,
        "VolumeOptions" omit volume_options: Option<VolumeOptions>,
        "ImageOptions" omit image_options: Option<ImageOptions>,
        "TmpfsOptions" omit tmpfs_options: Option<TmpfsOptions>,
        "ClusterOptions" omit cluster_options: Option<Nothing>,
    }
}

wire! {
    /// Options of a bind mount.
    pub struct BindOptions {
        "Propagation" omit propagation: String,
        "NonRecursive" omit non_recursive: bool,
        "CreateMountpoint" omit create_mountpoint: bool,
        "ReadOnlyNonRecursive" omit read_only_non_recursive: bool,
        "ReadOnlyForceRecursive" omit read_only_force_recursive: bool,
    }
}

wire! {
    /// Options of a volume mount.
    pub struct VolumeOptions {
        "NoCopy" omit no_copy: bool,
        "Labels" omit labels: TextMap,
        "Subpath" omit subpath: String,
        "DriverConfig" omit driver_config: Option<DriverConfig>,
    }
}

wire! {
    /// The driver of a volume that is made on the way.
    pub struct DriverConfig {
        "Name" omit name: String,
        "Options" omit options: TextMap,
    }
}

wire! {
    /// Options of an image mount.
    pub struct ImageOptions { "Subpath" omit subpath: String }
}

wire! {
    /// Options of a tmpfs; `Mode` holds permission bits.
    pub struct TmpfsOptions {
        "SizeBytes" omit size_bytes: i64,
        "Mode" omit mode: u32,
        "Options" omit options: Vec<Vec<String>>,
    }
}
