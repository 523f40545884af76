//! The kernel's control files: one value is one write, and an error names file and value.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::base::{At, Error, Result};

/// Longest control file read here; per-device and per-node statistics of big machines fit.
const MAX_BYTES: u64 = 4 << 20;

/// Writes `value` in one write(2), as control files demand.
///
/// # Errors
/// `Io` that names value and path.
pub(super) fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    raw_write(dir, file, value)
        .at(format_args!("writing \"{value}\" to {}", dir.join(file).display()))
}

/// [`write`] without context, where the caller looks at the errno.
pub(super) fn raw_write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    // Without O_CREAT: a missing file is a missing feature, not a new file.
    let mut opened = fs::OpenOptions::new().write(true).open(dir.join(file))?;
    let n = opened.write(value.as_bytes())?;
    if n == value.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The whole text of a control file.
///
/// # Errors
/// `Io` that names the path.
pub(super) fn read(dir: &Path, file: &str) -> Result<String> {
    raw_read(dir, file).at(format_args!("reading {}", dir.join(file).display()))
}

fn raw_read(dir: &Path, file: &str) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(dir.join(file))?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The text without surrounding space, or `None` if the file is missing or unreadable (statistics that
/// a kernel does not have, or that fail while the cgroup goes away).
pub(super) fn read_optional(dir: &Path, file: &str) -> Option<String> {
    let mut text = raw_read(dir, file).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}

/// A file of one number; `max` is `u64::MAX`, a negative number (unlimited on v1) as well.
///
/// # Errors
/// `Io` that names the path, also for text that is not a number.
pub(super) fn read_number(dir: &Path, file: &str) -> Result<u64> {
    let text = read(dir, file)?;
    parse_number(text.trim()).ok_or_else(|| {
        Error::internal(format_args!("reading {}: not a number", dir.join(file).display()))
    })
}

/// [`read_number`] for values that may be missing.
pub(super) fn read_number_optional(dir: &Path, file: &str) -> Option<u64> {
    parse_number(&read_optional(dir, file)?)
}

pub(super) fn parse_number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        _ if text.starts_with('-') => Some(u64::MAX),
        _ => text.parse().ok(),
    }
}

/// The value of `key` in a file of `key value` lines.
pub(super) fn keyed_value(text: &str, key: &str) -> Option<u64> {
    keyed(text).find(|(k, _)| *k == key).map(|(_, v)| v)
}

/// The lines of a `key value` file whose value is a number.
pub(super) fn keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, parse_number(value.trim())?))
    })
}

/// The process ids of a `cgroup.procs` file. Ids of other pid namespaces read as 0 and are left out.
pub(super) fn read_pids(dir: &Path) -> Result<Vec<i32>> {
    let text = read(dir, "cgroup.procs")?;
    Ok(text.lines().filter_map(|l| l.trim().parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Calls `visit` with `dir` and all directories below it, the deepest first. A directory that goes
/// away meanwhile is no error.
pub(super) fn walk(dir: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(e).at(format_args!("reading {}", dir.display())),
    };
    for entry in entries.map_while(io::Result::ok) {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), visit)?;
        }
    }
    visit(dir)
}

/// Whether the error says that the cgroup was removed: ENOENT, or ENODEV of a file that was open.
pub(super) fn is_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
