//! What every layer uses and what knows nothing of the kernel: errors, JSON, times, sizes, digests.

pub mod base64;
pub mod bytesize;
pub mod cancel;
pub mod decompress;
pub mod digest;
pub mod duration;
pub mod error;
pub mod file;
pub mod hex;
pub mod id;
pub mod json;
pub mod log;
pub mod pipe;
pub mod progress;
pub mod regexp;
pub mod sha1;
pub mod template;
pub mod time;
pub mod worker;

pub use error::{At, Error, Kind, Result};
