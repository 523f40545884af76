//! Wall-clock instants as Docker writes them: RFC 3339 with up to nine fractional digits, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Error, Result};

/// An instant: seconds and nanoseconds since 1970-01-01T00:00:00Z. The default is Go's zero time,
/// `0001-01-01T00:00:00Z`, which Docker writes for "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch; negative before it.
    pub secs: i64,
    /// Nanoseconds within the second, below 1 000 000 000.
    pub nanos: u32,
}

impl Default for Timestamp {
    fn default() -> Timestamp {
        Timestamp::ZERO
    }
}

impl Timestamp {
    /// Go's zero time, "never".
    pub const ZERO: Timestamp = Timestamp { secs: -62_135_596_800, nanos: 0 };

    /// The time now.
    pub fn now() -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    /// From seconds since the epoch.
    pub fn from_secs(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 0 }
    }

    /// Whether this is Go's zero time.
    pub fn is_zero(&self) -> bool {
        *self == Timestamp::ZERO
    }

    /// Nanoseconds since the epoch.
    pub fn unix_nanos(&self) -> i64 {
        self.secs.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }

    /// Parses RFC 3339, with any number of fractional digits and any zone offset.
    ///
    /// # Errors
    /// `InvalidParameter` that quotes the text.
    pub fn parse(text: &str) -> Result<Timestamp> {
        parse_rfc3339(text).ok_or_else(|| Error::invalid(format_args!("invalid time {text:?}")))
    }

    /// Parses what Docker's `--since` and `--until` take: seconds with an optional fraction
    /// (`1136073600.000000001`), RFC 3339 with parts left out (`2006-01-02T15:04`), or a Go duration
    /// back from `now`.
    ///
    /// # Errors
    /// `InvalidParameter` that quotes the text.
    pub fn parse_relative(text: &str, now: Timestamp) -> Result<Timestamp> {
        let bad = || Error::invalid(format_args!("invalid time {text:?}"));
        if let Some(t) = parse_unix(text).or_else(|| parse_rfc3339(text)) {
            return Ok(t);
        }
        let ns = super::duration::parse_ns(text).map_err(|_| bad())?;
        Ok(now.minus_ns(ns))
    }

    /// This instant less `ns` nanoseconds.
    pub fn minus_ns(&self, ns: i64) -> Timestamp {
        let total = i128::from(self.secs) * 1_000_000_000 + i128::from(self.nanos) - i128::from(ns);
        Timestamp {
            secs: total.div_euclid(1_000_000_000) as i64,
            nanos: total.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// Whole seconds from this instant to `later`; negative if it is earlier.
    pub fn seconds_until(&self, later: Timestamp) -> i64 {
        later.secs - self.secs
    }

    /// With exactly nine fractional digits: the form of `docker logs -t`.
    pub fn fixed_nanos(&self) -> String {
        let (y, mo, d, h, mi, s) = civil(self.secs);
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:09}Z", self.nanos)
    }

    /// Year, month, day, hour, minute and second in UTC.
    pub fn civil(&self) -> (i64, u32, u32, u32, u32, u32) {
        civil(self.secs)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Timestamp {
        match t.duration_since(UNIX_EPOCH) {
            Ok(d) => Timestamp { secs: d.as_secs() as i64, nanos: d.subsec_nanos() },
            Err(e) => Timestamp { secs: 0, nanos: 0 }.minus_ns(e.duration().as_nanos() as i64),
        }
    }
}

impl fmt::Display for Timestamp {
    /// Go's RFC3339Nano: trailing zeros of the fraction are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, mo, d, h, mi, s) = civil(self.secs);
        write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}")?;
        if self.nanos != 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Days since the epoch of a civil date (proleptic Gregorian; Howard Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_from_civil(y: i64, m: u32, d: u32) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(m) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(d) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

fn civil(secs: i64) -> (i64, u32, u32, u32, u32, u32) {
    let days = secs.div_euclid(86_400) + 719_468;
    let rest = secs.rem_euclid(86_400) as u32;
    let era = days.div_euclid(146_097);
    let doe = days.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

/// Seconds since the epoch of a civil date and time in UTC, or `None` if a part is out of range.
pub fn from_civil(y: i64, mo: u32, d: u32, h: u32, mi: u32, s: u32) -> Option<i64> {
    let in_range = (1..=12).contains(&mo) && (1..=31).contains(&d) && h < 24 && mi < 60 && s <= 60;
    in_range.then(|| {
        days_from_civil(y, mo, d) * 86_400 + i64::from(h) * 3600 + i64::from(mi) * 60 + i64::from(s)
    })
}

fn parse_unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if digits.is_empty() || !all_digits(digits) || !all_digits(fraction) {
        return None;
    }
    Some(Timestamp { secs: whole.parse().ok()?, nanos: nanos_of(fraction)? })
}

fn nanos_of(fraction: &str) -> Option<u32> {
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00Z"),
    };
    let number = |t: &str, len: usize| -> Option<u32> {
        (t.len() == len && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().ok())?
    };
    let mut parts = date.split('-');
    let (y, mo, d) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    let zone_at = time.find(['Z', 'z', '+', '-']);
    let (clock, zone) = time.split_at(zone_at.unwrap_or(time.len()));
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut parts = clock.split(':');
    let h = number(parts.next()?, 2)?;
    let mi = parts.next().map_or(Some(0), |t| number(t, 2))?;
    let s = parts.next().map_or(Some(0), |t| number(t, 2))?;
    let offset = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let (zh, zm) = zone[1..].split_once(':')?;
            let seconds = i64::from(number(zh, 2)?) * 3600 + i64::from(number(zm, 2)?) * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let secs = from_civil(i64::from(y), mo, d, h, mi, s)? - offset;
    Some(Timestamp { secs, nanos: nanos_of(fraction)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_rfc3339() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59.000000001Z",
            "2026-11-22T07:03:00.25Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        let zoned = Timestamp::parse("2026-11-22T09:03:00+02:00").unwrap();
        assert_eq!(zoned.to_string(), "2026-11-22T07:03:00Z");
        for bad in ["", "2026", "2026-13-01T00:00:00Z", "x", "2026-11-22T25:00:00Z"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_times_count_back_from_now() {
        let now = Timestamp { secs: 1000, nanos: 5 };
        assert_eq!(Timestamp::parse_relative("10m", now).unwrap().secs, 400);
        assert_eq!(
            Timestamp::parse_relative("12.5", now).unwrap(),
            Timestamp { secs: 12, nanos: 500_000_000 }
        );
        assert!(Timestamp::parse_relative("soon", now).is_err());
    }
}
