//! The reusable half of `multi`: a whole container engine as a synchronous library.
//!
//! Layers look down only. From the bottom: [`base`] (nothing but std), [`sys`] (the kernel, and the
//! only home of unsafe code), then http, then registry, storage and cgroup, then build, image, net,
//! volume, logs and runtime, then engine, and on top api, cli and config. `tests/layers.rs` holds every
//! `use crate::` against that picture.
#![deny(unsafe_code)]

pub mod api;
pub mod base;
pub mod build;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod engine;
pub mod http;
pub mod image;
pub mod logs;
pub mod net;
pub mod registry;
pub mod runtime;
pub mod storage;
pub mod sys;
pub mod volume;

/// Version of this program, as `docker version` shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Abbreviated git revision of the build, or `unknown`.
pub const REVISION: &str = env!("MULTI_REVISION");
/// Time of the commit that was built, in seconds since the epoch, as decimal text.
pub const BUILD_TIME: &str = env!("MULTI_BUILD_TIME");
