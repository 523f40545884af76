//! The two formats of log files, and what writer and reader need to know of each.

use crate::base::time::Timestamp;

use super::split::Piece;
use super::{Stream, decode, encode, local};

/// How entries stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line: the driver json-file.
    Json,
    /// Protocol buffers between their lengths: the driver local, and the cache of drivers that keep nothing here.
    Local,
}

/// A decoded entry; its text is in the buffer that was given.
pub(super) struct Decoded<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: Stream,
    /// The object `attrs` as it stands in the entry, or nothing.
    pub(super) attrs: &'a [u8],
}

impl Format {
    /// Reads one record, as [`super::records::Records`] cuts them, into `text`; `None` if it is no entry.
    pub(super) fn decode<'a>(self, record: &'a [u8], text: &mut Vec<u8>) -> Option<Decoded<'a>> {
        match self {
            Format::Json => decode::line(record, text),
            Format::Local => local::decode(record, text),
        }
    }

    /// Appends the record of `piece`. `attrs` and `stamp`, its time as text, are for JSON only.
    pub(super) fn encode(
        self,
        out: &mut Vec<u8>,
        piece: &Piece<'_>,
        attrs: &[u8],
        stamp: impl FnOnce() -> encode::Stamp,
    ) {
        match self {
            Format::Json => {
                encode::entry(out, piece.parts, piece.ended, piece.stream, attrs, &stamp());
            }
            Format::Local => local::encode(out, piece),
        }
    }
}
