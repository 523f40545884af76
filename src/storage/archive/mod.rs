//! Layer archives: tar streams read, applied, written, and given back byte for byte.
//!
//! * [`read`]: entries of a stream, with everything the formats put in extra headers resolved.
//! * [`apply`]: a layer's stream onto a directory, confined to it, whiteouts understood.
//! * [`write`]: files of a directory as a stream that depends on them alone.
//! * [`sparse`]: files whose holes are left out.
//! * [`split`]: what of a stream is not in the files it unpacks to, so that the two together give the
//!   very stream back.
//!
//! Spec: OCI image-spec layer.md; POSIX pax; GNU tar manual, "Basic Tar Format"; vbatts/tar-split.

pub mod apply;
pub mod crc64;
pub mod header;
pub mod read;
pub mod sparse;
pub mod split;
pub mod write;

/// Prefix of the name of a file that says that another is gone.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Prefix of aufs's own files, which are no part of a layer.
pub const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
/// Name of a file that says that its directory hides everything below.
pub const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Bytes that are copied at a time.
pub(crate) const COPY_BYTES: usize = 64 * 1024;
