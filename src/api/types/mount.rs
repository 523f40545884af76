//! Mounts: asked for (the engine's own model), and as inspect shows them.
//!
//! Spec: Docker Engine API 1.51, Mount and MountPoint.

pub use crate::engine::model::mount::*;
use crate::wire;

wire! {
    /// One mount that a container has, in lists and in inspect.
    pub struct MountPoint {
        "Type" omit kind: String,
        "Name" omit name: String,
        "Source" keep source: String,
        "Destination" keep destination: String,
        "Driver" omit driver: String,
        "Mode" keep mode: String,
        "RW" keep rw: bool,
        "Propagation" keep propagation: String,
    }
}
