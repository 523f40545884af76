//! What the engine does, on its own model of containers, images and networks.

pub mod events;
pub mod info;
pub mod model;

use std::sync::Arc;

/// The engine of one data root.
#[derive(Default)]
pub struct Engine {
    /// Everything that happens.
    pub events: Arc<events::Bus>,
}
