//! What is kept on disk: `GET /system/df`.
//!
//! Spec: Docker Engine API 1.51, GET /system/df.

use super::container::Summary as Container;
use super::image::Summary as Image;
use super::volume::Volume;
use crate::wire;

wire! {
    /// The answer. A list that was not asked for is null.
    pub struct DiskUsage {
        "LayersSize" keep layers_size: i64,
        "Images" keep images: Option<Vec<Image>>,
        "Containers" keep containers: Option<Vec<Container>>,
        "Volumes" keep volumes: Option<Vec<Volume>>,
        "BuildCache" keep build_cache: Option<Vec<CacheRecord>>,
        "BuilderSize" omit builder_size: Option<i64>,
    }
}

wire! {
    /// One entry of the build cache.
    pub struct CacheRecord {
        "ID" keep id: String,
        "Type" keep kind: String,
        "InUse" keep in_use: bool,
        "Shared" keep shared: bool,
        "Size" keep size: i64,
    }
}
