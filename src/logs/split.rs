//! The bytes of a container's streams, cut into the messages that log drivers take.
//!
//! A message is a line, or a piece of 16 KiB of one that is longer. All pieces of a line carry the time of the
//! first, a common id and their number, so that who reads them can join them again. Memory: up to 16 KiB a
//! stream, while it has an unfinished line.
//!
//! Spec: moby `daemon/logger/copier.go` (sizes and partial metadata).

use crate::base::time::Timestamp;
use crate::sys::random;

use super::Stream;
use super::encode::character_length;

/// Longest piece of a line that becomes one message.
pub(super) const MAX_PIECE: usize = 16 * 1024;

/// One message.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    /// Its text without newline, in two pieces.
    pub(super) parts: [&'a [u8]; 2],
    pub(super) stream: Stream,
    pub(super) time: Timestamp,
    /// A newline ended it.
    pub(super) ended: bool,
    /// Set if it is part of a line.
    pub(super) partial: Option<Partial<'a>>,
}

/// The place of a message in a line that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partial<'a> {
    /// 64 hexadecimal digits, the same for all pieces; empty where nobody asked for them.
    pub(super) id: &'a str,
    /// From 1.
    pub(super) ordinal: u32,
    pub(super) last: bool,
}

/// Cuts both streams.
pub(super) struct Splitter {
    lines: [Line; 2],
    ids: bool,
}

/// What one stream has written since its last newline.
#[derive(Default)]
struct Line {
    pending: Vec<u8>,
    /// Set after the first piece of a line that is too long.
    cut: Option<Cut>,
}

struct Cut {
    started: Timestamp,
    id: String,
    ordinal: u32,
}

impl std::fmt::Debug for Splitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Splitter({} bytes)", self.lines.iter().map(|l| l.pending.len()).sum::<usize>())
    }
}

impl Splitter {
    /// `ids` says whether the pieces of long lines get ids.
    pub(super) fn new(ids: bool) -> Splitter {
        Splitter { lines: Default::default(), ids }
    }

    /// Takes what `stream` wrote at `now`, and gives on what became whole.
    pub(super) fn write(
        &mut self,
        stream: Stream,
        data: &[u8],
        now: Timestamp,
        take: &mut impl FnMut(&Piece<'_>),
    ) {
        let mut rest = data;
        while !rest.is_empty() {
            let pending = &mut self.lines[stream as usize].pending;
            let room = MAX_PIECE - pending.len();
            let window = &rest[..rest.len().min(room)];
            let (taken, ended) = match window.iter().position(|b| *b == b'\n') {
                Some(end) => (end, true),
                None if window.len() < room => {
                    pending.extend_from_slice(window);
                    return;
                }
                // Not in the middle of a character, unless it is none.
                None => (window.len() - cut_character(window), false),
            };
            self.piece(stream, &rest[..taken], ended, now, take);
            rest = &rest[taken + usize::from(ended)..];
        }
    }

    /// `stream` has ended: what it left without a newline is given on as it is.
    pub(super) fn finish(
        &mut self,
        stream: Stream,
        now: Timestamp,
        take: &mut impl FnMut(&Piece<'_>),
    ) {
        if !self.lines[stream as usize].pending.is_empty() {
            self.piece(stream, b"", false, now, take);
        }
        self.lines[stream as usize] = Line::default();
    }

    fn piece(
        &mut self,
        stream: Stream,
        data: &[u8],
        ended: bool,
        now: Timestamp,
        take: &mut impl FnMut(&Piece<'_>),
    ) {
        let line = &mut self.lines[stream as usize];
        if !ended && line.cut.is_none() {
            let id = if self.ids { random::id() } else { String::new() };
            line.cut = Some(Cut { started: now, id, ordinal: 0 });
        }
        if let Some(cut) = &mut line.cut {
            cut.ordinal += 1;
        }
        let partial =
            line.cut.as_ref().map(|cut| Partial { id: &cut.id, ordinal: cut.ordinal, last: ended });
        let time = line.cut.as_ref().map_or(now, |cut| cut.started);
        take(&Piece { parts: [&line.pending, data], stream, time, ended, partial });
        line.pending.clear();
        if ended {
            line.cut = None;
            // A long line is rare; its buffer is given back.
            if line.pending.capacity() > 1024 {
                line.pending = Vec::new();
            }
        }
    }
}

/// How many bytes at the end of `text` are the start of a character that is not whole.
fn cut_character(text: &[u8]) -> usize {
    let start = (1..=3.min(text.len()))
        .find(|back| text[text.len() - back] & 0xc0 != 0x80)
        .filter(|back| character_length(text[text.len() - back]) > *back);
    start.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_long_line_share_id_and_time_and_are_numbered() {
        let mut splitter = Splitter::new(true);
        let mut seen = Vec::new();
        let mut take = |piece: &Piece<'_>| {
            let partial = piece.partial.map(|p| (p.id.to_string(), p.ordinal, p.last));
            seen.push((piece.parts.concat().len(), piece.time.secs, piece.ended, partial));
        };
        let at = Timestamp::from_secs;
        splitter.write(Stream::Stdout, &b"x".repeat(20_000), at(1), &mut take);
        splitter.write(Stream::Stdout, &b"x".repeat(20_000), at(2), &mut take);
        splitter.write(Stream::Stdout, b"\nshort\nrest", at(3), &mut take);
        splitter.finish(Stream::Stdout, at(4), &mut take);
        splitter.finish(Stream::Stderr, at(4), &mut take);
        let id = seen[0].3.clone().unwrap().0;
        assert_eq!(id.len(), 64);
        let part = |ordinal, last| Some((id.clone(), ordinal, last));
        assert_eq!(seen[0], (16_384, 1, false, part(1, false)));
        assert_eq!(seen[1], (16_384, 1, false, part(2, false)));
        assert_eq!(seen[2], (7232, 1, true, part(3, true)));
        assert_eq!(seen[3], (5, 3, true, None));
        let last = seen[4].3.clone().unwrap();
        assert_eq!((seen[4].0, seen[4].1, last.1, last.2), (4, 4, 1, false));
        assert_ne!(last.0, id);
    }
}
