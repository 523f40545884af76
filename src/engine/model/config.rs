//! What runs in a container: the part of its configuration that an image can give.
//!
//! Spec: Docker Engine API 1.51, ContainerConfig; `Config` of config.v2.json.

pub use crate::image::config::{Config, HealthConfig};
