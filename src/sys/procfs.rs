//! Facts read from `/proc`.

use std::fs;

use crate::base::{At, Error, Result};

/// Id of this boot, 36 characters.
///
/// # Errors
/// `Io` without a mounted `/proc`.
pub fn boot_id() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").at("reading boot id")?;
    Ok(text.trim_end().to_string())
}

/// When a process started, in clock ticks since boot: with its number this names it for good.
///
/// # Errors
/// `Io` (ENOENT) when there is no such process.
pub fn start_time(pid: i32) -> Result<u64> {
    life(pid).map(|(_, time)| time)
}

/// The state letter of a process (`R`, `S`, `Z`...) and its [`start_time`].
///
/// # Errors
/// As [`start_time`].
pub fn life(pid: i32) -> Result<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, also parentheses.
    let mut rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = rest.next().and_then(|field| field.chars().next());
    let time = rest.nth(18).and_then(|field| field.parse().ok());
    state
        .zip(time)
        .ok_or_else(|| Error::internal(format_args!("unexpected format of /proc/{pid}/stat")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time() {
        let pid = std::process::id() as i32;
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
        assert!(start_time(pid).unwrap() > 0);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
