//! What users configure: the daemon's options, the client's files, where certificates lie.

pub mod client;
pub mod daemon;
pub mod paths;
