//! What travels: the structs of every request and response body, with Docker's names.
//!
//! Daemon and client share them. Keys stand in the order in which dockerd writes them. A list or map
//! that dockerd writes as `null` when it was never set is an `Option` where a client can see the
//! difference; all others are written as `[]` and `{}`.
//!
//! Spec: Docker Engine API 1.51 (api/swagger.yaml).

pub mod archive;
pub mod auth;
pub mod config;
pub mod container;
pub mod disk_usage;
pub mod events;
pub mod exec;
pub mod host;
pub mod image;
pub mod mount;
pub mod network;
pub mod progress;
pub mod stats;
pub mod system;
pub mod update;
pub mod volume;

pub use crate::base::json::{Nothing, Set, TextMap, Words};
use crate::wire;

wire! {
    /// The body of every error answer.
    pub struct ErrorResponse { "message" keep message: String }
}

wire! {
    /// The answer of calls that make one object.
    pub struct IdResponse { "Id" keep id: String }
}

wire! {
    /// An OCI content descriptor.
    pub struct Descriptor {
        "mediaType" keep media_type: String,
        "digest" keep digest: String,
        "size" keep size: i64,
        "urls" omit urls: Vec<String>,
        "annotations" omit annotations: TextMap,
        "platform" omit platform: Option<Platform>,
    }
}

wire! {
    /// An OCI platform.
    pub struct Platform {
        "architecture" keep architecture: String,
        "os" keep os: String,
        "os.version" omit os_version: String,
        "os.features" omit os_features: Vec<String>,
        "variant" omit variant: String,
    }
}
