//! The handlers: requests into calls of the engine, its model into Docker's JSON.

pub mod system;
pub mod unsupported;
