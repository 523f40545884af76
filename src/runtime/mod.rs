//! The container runtime: what a container is made of, the stages that make it, and the shim.
//!
//! [`user`] finds out who a container's process runs as.

pub mod user;
