//! The storage drivers, one folder or file each; the table is in [`crate::storage`].

pub mod overlay2;
pub mod vfs;

use crate::base::{Error, Result};

/// Refuses ids that could be anything but the name of a layer's directory.
fn check_id(id: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    // Two letters and more: overlay2 keeps its links in `l`.
    if id.len() > 1 && id.len() <= 200 && id.bytes().all(good) {
        Ok(())
    } else {
        Err(Error::invalid(format_args!("invalid layer id {id:?}")))
    }
}

fn not_found(id: &str) -> Error {
    Error::not_found(format_args!("layer {id} does not exist"))
}
