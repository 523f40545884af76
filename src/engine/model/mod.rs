//! The engine's model of what users ask for, in the words and the JSON of Docker's own files.
//!
//! `config.v2.json` and `hostconfig.json` hold these types, and the API's bodies are made of them.

pub mod config;
pub mod endpoint;
pub mod host;
pub mod mount;
