//! Where the last N records of a log start, found from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::parts::Part;
use super::records::Records;
use super::{Format, local};

const BLOCK: usize = 32 * 1024;

/// A place in a log: the part (0 is the newest), and how far into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) part: usize,
    pub(super) position: Position,
}

/// How far into a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Bytes of a plain file.
    Byte(u64),
    /// Records of a compressed one.
    Record(usize),
}

/// Where the last `lines` records of `parts`, newest first, start. Those without an end do not count.
pub(super) fn find(parts: &[Part], format: Format, mut lines: usize) -> io::Result<Start> {
    let mut start = Start { part: 0, position: Position::Byte(0) };
    for (i, part) in parts.iter().enumerate() {
        let (position, found) = match format {
            _ if part.gzipped => in_gzip(part, format, lines)?,
            Format::Json => in_plain(&part.file, lines)?,
            Format::Local => {
                let (start, found) = local::find_last(&part.file, lines)?;
                (Position::Byte(start), found)
            }
        };
        start = Start { part: i, position };
        lines -= found;
        if lines == 0 {
            break;
        }
    }
    Ok(start)
}

/// The place in `file` where its last `lines` lines start, and how many of them there are.
fn in_plain(file: &File, lines: usize) -> io::Result<(Position, usize)> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0u8; BLOCK];
    // The newline that ends the line before is the border, so one more than `lines` is looked for.
    let mut seen = 0;
    // With nothing to show the start is after the last whole line.
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let block = &mut buffer[..(end - from) as usize];
        if let Err(e) = file.read_exact_at(block, from) {
            // It was truncated meanwhile.
            if e.kind() == io::ErrorKind::UnexpectedEof {
                return Ok((Position::Byte(0), 0));
            }
            return Err(e);
        }
        for at in (0..block.len()).rev().filter(|at| block[*at] == b'\n') {
            if seen == lines {
                return Ok((Position::Byte(from + at as u64 + 1), lines));
            }
            seen += 1;
        }
        end = from;
    }
    Ok((Position::Byte(0), seen))
}

/// The same for a compressed part, which can only be read forwards.
fn in_gzip(part: &Part, format: Format, lines: usize) -> io::Result<(Position, usize)> {
    let mut reader = part.reader()?;
    let mut records = Records::new(format);
    let mut count = 0usize;
    // A damaged part is read as far as it goes.
    while let Ok(Some(_)) = records.next(&mut *reader) {
        count += 1;
    }
    Ok((Position::Record(count.saturating_sub(lines)), count.min(lines)))
}
