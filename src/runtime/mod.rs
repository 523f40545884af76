//! The container runtime: what a container is made of, the stages that make it, and the shim.
//!
//! [`spec`] is the data (OCI runtime specification), [`defaults`] Docker's values for it, [`shim`]
//! the process that keeps one container and the daemon's handle on it, [`user`] finds out who a
//! container's process runs as.

mod channel;
pub mod defaults;
mod filter;
mod hooks;
mod lookup;
mod namespaces;
pub mod oci;
mod process;
pub mod reaper;
mod rootfs;
mod schedule;
pub mod seccomp;
pub mod shim;
pub mod spec;
mod stages;
pub mod user;
mod validate;

pub use rootfs::target;
