//! Volumes.
//!
//! Spec: Docker Engine API 1.51, Volume.

use super::{Nothing, TextMap};
use crate::wire;

wire! {
    /// A volume as lists and inspect show it.
    pub struct Volume {
        "CreatedAt" omit created_at: String,
        "Driver" keep driver: String,
        "Labels" keep labels: Option<TextMap>,
        "Mountpoint" keep mountpoint: String,
        "Name" keep name: String,
        "Options" keep options: Option<TextMap>,
        "Scope" keep scope: String,
        "Status" omit status: TextMap,
        "UsageData" omit usage_data: Option<UsageData>,
    }
}

wire! {
    /// How much a volume is used; -1 means not known.
    pub struct UsageData {
        "RefCount" keep ref_count: i64,
        "Size" keep size: i64,
    }
}

wire! {
    /// The body of `POST /volumes/create`.
    pub struct CreateRequest {
        "Driver" omit driver: String,
        "DriverOpts" omit driver_opts: TextMap,
        "Labels" omit labels: TextMap,
        "Name" omit name: String,
        "ClusterVolumeSpec" omit cluster_volume_spec: Option<Nothing>,
    }
}

wire! {
    /// The answer of `POST /volumes/prune`.
    pub struct PruneReport {
        "VolumesDeleted" keep volumes_deleted: Vec<String>,
        "SpaceReclaimed" keep space_reclaimed: u64,
    }
}

wire! {
    /// The answer of `GET /volumes`.
    pub struct ListResponse {
        "Volumes" keep volumes: Vec<Volume>,
        "Warnings" keep warnings: Option<Vec<String>>,
    }
}
