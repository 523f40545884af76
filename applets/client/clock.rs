//! Times as Docker's client writes them: in the host's zone.

use multi_core::base::duration;
use multi_core::base::time::Timestamp;
use multi_core::sys::localtime::zone_at;

/// `2026-11-22 07:03:00 +0000 UTC`: Go's `time.Time.String()`.
pub(crate) fn long(secs: i64) -> String {
    let (offset, name) = zone_at(secs);
    let (y, mo, d, h, mi, s) = Timestamp::from_secs(secs + offset).civil();
    format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02} {} {name}", offset_text(offset, ""))
}

/// `2026-11-22T07:03:00Z` or with an offset: RFC 3339.
pub(crate) fn rfc3339(secs: i64) -> String {
    let (offset, _) = zone_at(secs);
    let (y, mo, d, h, mi, s) = Timestamp::from_secs(secs + offset).civil();
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{}", zone_text(offset))
}

/// RFC 3339 with nine fractional digits: the form of `docker events`.
pub(crate) fn rfc3339_nanos(nanos: i64) -> String {
    let secs = nanos.div_euclid(1_000_000_000);
    let (offset, _) = zone_at(secs);
    let (y, mo, d, h, mi, s) = Timestamp::from_secs(secs + offset).civil();
    let fraction = nanos.rem_euclid(1_000_000_000);
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{fraction:09}{}", zone_text(offset))
}

/// `5 minutes ago`.
pub(crate) fn ago(secs: i64) -> String {
    format!("{} ago", duration::human(Timestamp::from_secs(secs).seconds_until(Timestamp::now())))
}

/// `Sun Nov 22 07:03:00 2026`: Go's ANSIC, of an RFC 3339 time; anything else stays as it is.
pub(crate) fn ansic(text: &str) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Ok(time) = Timestamp::parse(text) else { return text.to_string() };
    let (y, mo, d, h, mi, s) = time.civil();
    let day = DAYS[time.secs.div_euclid(86_400).rem_euclid(7) as usize];
    let month = MONTHS[(mo as usize).saturating_sub(1).min(11)];
    format!("{day} {month} {d:>2} {h:02}:{mi:02}:{s:02} {y}")
}

fn zone_text(offset: i64) -> String {
    if offset == 0 { "Z".into() } else { offset_text(offset, ":") }
}

fn offset_text(offset: i64, separator: &str) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.unsigned_abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_times_read_as_ansic() {
        assert_eq!(ansic("2026-05-07T21:09:36.000000000+00:00"), "Thu May  7 21:09:36 2026");
        assert_eq!(ansic("unknown"), "unknown");
    }

    #[test]
    fn offsets_have_a_sign() {
        assert_eq!(offset_text(-12_600, ":"), "-03:30");
        assert_eq!(zone_text(0), "Z");
    }
}
