//! The handlers: requests into calls of the engine, its model into Docker's JSON.

pub mod auth;
pub mod build;
pub mod containers;
pub mod disk_usage;
pub mod exec;
pub mod images;
pub mod info;
pub mod networks;
pub mod system;
pub mod unsupported;
pub mod volumes;
