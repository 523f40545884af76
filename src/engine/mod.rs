//! What the engine does, on its own model of containers, images and networks.

pub mod events;
pub mod images;
pub mod info;
pub mod model;

use std::sync::Arc;

use crate::base::Result;
use crate::image;
use crate::registry::settings::Settings;

/// The engine of one data root.
pub struct Engine {
    /// Everything that happens.
    pub events: Arc<events::Bus>,
    /// The images.
    pub images: images::Images,
}

impl Engine {
    /// The engine over `store`.
    pub fn open(store: Arc<image::Store>, registries: Settings) -> Engine {
        let events = Arc::new(events::Bus::new());
        Engine { images: images::Images::new(store, events.clone(), registries), events }
    }

    /// Which containers use which images.
    ///
    /// # Errors
    /// `Unavailable` while the daemon ends.
    pub fn image_uses(&self) -> Result<Vec<images::Use>> {
        Ok(Vec::new())
    }
}
