//! Everything that is said to and heard from an image registry.
//!
//! [`client::Client`] is a conversation with one registry, [`blob::Blob`] the stream of one blob.
//!
//! Spec: OCI distribution-spec 1.1; Docker Registry HTTP API V2 (distribution `docs/spec/api.md`).

pub mod auth;
pub mod blob;
pub mod cidr;
pub mod client;
mod exchange;
mod failure;
pub mod fetch;
pub mod manifest;
pub mod platform;
pub mod proxy;
pub mod pull;
pub mod reference;
pub mod resolve;
pub mod settings;
pub mod sinks;
pub mod tls;
mod token;
mod transport;
mod verify;

pub use client::Client;
pub use settings::Settings;
