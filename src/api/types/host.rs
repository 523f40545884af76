//! The host's side of a container, which is the engine's own model of it.
//!
//! Spec: Docker Engine API 1.51, HostConfig and Resources.

pub use crate::engine::model::host::*;
