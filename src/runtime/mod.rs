//! The container runtime: what a container is made of, the stages that make it, and the shim.
//!
//! [`spec`] is the data (OCI runtime specification), [`defaults`] Docker's values for it, [`shim`]
//! the process that keeps one container and the daemon's handle on it, [`user`] finds out who a
//! container's process runs as.

pub mod defaults;
pub mod seccomp;
pub mod shim;
pub mod spec;
pub mod user;
