//! The built-in runtime and the shim, from outside: containers of nothing but busybox.
#![allow(clippy::unwrap_used)]

mod attacks;
mod basics;
mod bundle;
mod oci;
mod peer;
mod shim;
mod speed;
#[path = "../support/mod.rs"]
mod support;
