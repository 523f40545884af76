//! Everything that is said to and heard from an image registry.
//!
//! Spec: OCI distribution-spec 1.1; Docker Registry HTTP API V2 (distribution `docs/spec/api.md`).

pub mod manifest;
pub mod platform;
pub mod reference;
