//! Images: their configurations, names and layers, in the files that Docker keeps below
//! `<data root>/image/<driver>`.

pub mod config;
pub mod distribution;
pub mod images;
pub mod refs;
