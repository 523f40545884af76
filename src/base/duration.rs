//! Go's duration syntax, `1h2m3.5s`, and Docker's rough ages, `5 minutes`.

use super::{Error, Result};

/// Nanoseconds of a Go duration string.
///
/// # Errors
/// `InvalidParameter` with Go's text.
pub fn parse_ns(text: &str) -> Result<i64> {
    let bad = || Error::invalid(format_args!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => {
                return Err(Error::invalid(format_args!(
                    "time: missing unit in duration {text:?}"
                )));
            }
            unit => {
                return Err(Error::invalid(format_args!(
                    "time: unknown unit {unit:?} in duration {text:?}"
                )));
            }
        };
        total += number * scale;
        rest = &rest[letters..];
    }
    if total > i64::MAX as f64 {
        return Err(bad());
    }
    let ns = total.round() as i64;
    Ok(if negative { -ns } else { ns })
}

/// Go's `Duration.String()`.
pub fn format_ns(ns: i64) -> String {
    if ns == 0 {
        return "0s".into();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let abs = ns.unsigned_abs();
    let fraction = |value: f64, unit: &str| {
        let text = format!("{value:.9}");
        format!("{sign}{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match abs {
        0..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => fraction(abs as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => fraction(abs as f64 / 1e6, "ms"),
        _ => {
            let (hours, minutes) = (abs / 3_600_000_000_000, abs / 60_000_000_000 % 60);
            let seconds = format!("{:.9}", (abs % 60_000_000_000) as f64 / 1e9);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// Docker's rough age: `Less than a second`, `5 seconds`, `About a minute`, `3 days`.
pub fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, ((seconds as f64) / 3600.0).round() as i64);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_round_trip() {
        for (text, ns) in [
            ("1h2m3.5s", 3_723_500_000_000),
            ("1.5s", 1_500_000_000),
            ("250ms", 250_000_000),
            ("1m0s", 60_000_000_000),
        ] {
            assert_eq!(parse_ns(text).unwrap(), ns);
            assert_eq!(format_ns(ns), text);
        }
        assert_eq!(parse_ns("-2m").unwrap(), -120_000_000_000);
        for bad in ["", "5", "s", "1x", "."] {
            assert!(parse_ns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_read_as_docker_writes_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 15, "2 weeks"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
