//! Images: their configurations, names and layers, in the files that Docker keeps below
//! `<data root>/image/<driver>`.
//!
//! ```text
//! repositories.json                 names                                  [`refs`]
//! imagedb/content, metadata         configurations                         [`images`]
//! layerdb/sha256, mounts, tmp       layers of images and of containers     [`layers`]
//! distribution/...                  blobs of registries                    [`distribution`]
//! ```
//!
//! An image is there when its configuration is; that is written last, after its layers, which are each
//! there when they are whole and on disk. Names may point to images that are gone, and do no harm.

pub mod child;
pub mod config;
pub mod distribution;
pub mod images;
pub mod layers;
mod load;
pub mod pull;
pub mod refs;
mod save;
mod store;

pub use load::{Loaded, load};
pub use save::save;
pub use store::Store;

#[cfg(test)]
mod tests;
