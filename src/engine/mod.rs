//! What the engine does, on its own model of containers, images and networks.

pub mod model;
