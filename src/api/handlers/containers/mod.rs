//! Containers over HTTP: requests into calls of the engine, its model into Docker's JSON.

pub mod archive;
pub mod commit;
pub mod create;
pub mod inspect;
pub mod lifecycle;
pub mod list;
pub mod older;
pub mod resources;
pub mod stats;
pub mod streams;
pub mod websocket;
