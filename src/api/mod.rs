//! The Engine API: wire types, the route table and the handlers that translate to the engine.

pub mod types;
