//! Changing a container after it was made.
//!
//! Spec: Docker Engine API 1.51, POST /containers/{name}/update.

use super::host::HostConfig;
use crate::wire;

/// The body of an update: the limits and the restart policy of a host configuration. Members of
/// [`HostConfig`] that cannot be changed are ignored, as dockerd ignores them.
pub type UpdateRequest = HostConfig;

wire! {
    /// The answer of an update.
    pub struct UpdateResponse { "Warnings" keep warnings: Vec<String> }
}
