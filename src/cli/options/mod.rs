//! Readers of the values that options of `docker run` and its kin take, with Docker's error texts.
//!
//! Each reader checks what Docker's client checks, no more: the rest is the daemon's word. Errors are
//! plain texts, because the place that reports them (a flag or the whole command line) adds its own.
//!
//! Spec: Docker CLI reference, `docker container run`.

mod csv;
pub mod device;
pub mod keyvalue;
pub mod limit;
pub mod mount;
pub mod network;
pub mod port;
pub mod security;
pub mod volume;

pub use csv::fields as csv_fields;
