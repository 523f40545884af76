//! Signal names and numbers, as Docker reads them.

use nix::sys::signal::Signal;

use crate::base::{Error, Result};

/// The kernel's range less the two signals that C libraries keep: what Docker's names count from,
/// whichever library we are linked with.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// The number of `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn parse(name: &str) -> Result<i32> {
    let bad = || Error::invalid(format_args!("invalid signal: {name}"));
    if let Ok(number) = name.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        return real_time(offset, '+', RT_MIN, 1).ok_or_else(bad);
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        return real_time(offset, '-', RT_MAX, -1).ok_or_else(bad);
    }
    match bare {
        "CLD" => Ok(libc::SIGCHLD),
        "POLL" => Ok(libc::SIGIO),
        _ => format!("SIG{bare}").parse::<Signal>().map(|s| s as i32).map_err(|_| bad()),
    }
}

fn real_time(offset: &str, sign: char, base: i32, direction: i32) -> Option<i32> {
    let steps = match offset {
        "" => 0,
        _ => offset.strip_prefix(sign)?.parse::<i32>().ok()?,
    };
    let number = base + direction * steps;
    (RT_MIN..=RT_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers_are_understood() {
        for (name, number) in [("KILL", 9), ("SIGTERM", 15), ("hup", 1), ("9", 9), ("RTMIN+1", 35)]
        {
            assert_eq!(parse(name).unwrap(), number, "{name}");
        }
        for bad in ["", "0", "65", "-1", "FOO", "RTMIN-1", "RTMIN+99"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
