//! Making images from instructions.

pub mod dockerfile;
