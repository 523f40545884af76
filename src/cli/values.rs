//! Readers of option values, for `#[argh(from_str_fn(...))]`, with Docker's error texts.
//!
//! The type words `bool`, `int`, `uint`, `uint16` and `duration` are checked by the dialect itself;
//! what needs more than that is read here.

use crate::base::{bytesize, duration};

/// A size in bytes: `64m`, `1g`.
///
/// # Errors
/// `invalid size: 'x'`.
pub fn bytes(text: &str) -> Result<i64, String> {
    bytesize::parse(text).map_err(|e| e.to_string())
}

/// A size in bytes, or `-1` for no limit.
///
/// # Errors
/// As [`bytes`].
pub fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Nanoseconds of a Go duration: `1m30s`.
///
/// # Errors
/// `time: invalid duration "x"`.
pub fn duration_ns(text: &str) -> Result<i64, String> {
    duration::parse_ns(text).map_err(|e| e.to_string())
}

/// Billionths of a CPU of a decimal or a fraction: `1.5`, `3/2`.
///
/// # Errors
/// Docker's `failed to parse x as a rational number` and `value is too precise`.
pub fn nano_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((n, d)) => (decimal(n).ok_or_else(bad)?, decimal(d).ok_or_else(bad)?),
        None => (decimal(text).ok_or_else(bad)?, (1, 1)),
    };
    // (a/b) / (c/d) = (a*d) / (b*c), in billionths.
    let top = numerator.0.checked_mul(denominator.1).and_then(|v| v.checked_mul(1_000_000_000));
    let bottom = numerator.1.checked_mul(denominator.0);
    match (top, bottom) {
        (Some(_), Some(0)) => Err(bad()),
        (Some(top), Some(bottom)) if top % bottom == 0 => {
            i64::try_from(top / bottom).map_err(|_| bad())
        }
        (Some(_), Some(_)) => Err("value is too precise".into()),
        _ => Err(bad()),
    }
}

/// A decimal number as an exact fraction.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 || whole.len() > 18 {
        return None;
    }
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let part = |t: &str| if t.is_empty() { Some(0) } else { t.parse::<i128>().ok() };
    let value = part(whole)? * scale + part(fraction)?;
    Some((if negative { -value } else { value }, scale))
}

/// An integer as Go's `strconv.ParseInt(text, 0, bits)` reads it: `10`, `0x1f`, `0o17`, `0b1`, `1_000`.
///
/// # Errors
/// Go's texts.
pub fn go_int(text: &str, bits: u32) -> Result<i64, String> {
    let fail = |why: &str| format!("strconv.ParseInt: parsing {text:?}: {why}");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = magnitude(digits).map_err(fail)?;
    let value = i128::from(magnitude) * if negative { -1 } else { 1 };
    let limit = 1i128 << (bits - 1);
    match i64::try_from(value) {
        Ok(v) if (-limit..limit).contains(&value) => Ok(v),
        _ => Err(fail("value out of range")),
    }
}

/// An unsigned integer as Go's `strconv.ParseUint(text, 0, bits)` reads it.
///
/// # Errors
/// Go's texts.
pub fn go_uint(text: &str, bits: u32) -> Result<u64, String> {
    let fail = |why: &str| format!("strconv.ParseUint: parsing {text:?}: {why}");
    let value = magnitude(text).map_err(fail)?;
    if bits < 64 && value >> bits != 0 {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

fn magnitude(text: &str) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) || digits.ends_with('_') || digits.contains("__") {
        return Err("invalid syntax");
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).map_err(|e| match e.kind() {
        std::num::IntErrorKind::PosOverflow => "value out of range",
        _ => "invalid syntax",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_exact_fractions() {
        for (text, nano) in
            [("1.5", 1_500_000_000), (".5", 500_000_000), ("3/2", 1_500_000_000), ("0", 0)]
        {
            assert_eq!(nano_cpus(text), Ok(nano), "{text}");
        }
        assert_eq!(nano_cpus("x").unwrap_err(), "failed to parse x as a rational number");
        assert_eq!(nano_cpus("0.0000000001").unwrap_err(), "value is too precise");
        assert!(nano_cpus("1/0").is_err());
        assert!(nano_cpus("").is_err());
    }

    #[test]
    fn integers_are_read_as_go_reads_them() {
        assert_eq!(go_int("0x1f", 64), Ok(31));
        assert_eq!(go_int("-017", 64), Ok(-15));
        assert_eq!(go_int("1_000", 64), Ok(1000));
        assert_eq!(
            go_int("abc", 64).unwrap_err(),
            "strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            go_int("9223372036854775808", 64).unwrap_err(),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range"
        );
        assert_eq!(
            go_uint("65536", 16).unwrap_err(),
            "strconv.ParseUint: parsing \"65536\": value out of range"
        );
        assert!(go_uint("-1", 16).is_err());
    }

    #[test]
    fn swap_may_be_unlimited_and_memory_may_not() {
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
        assert_eq!(bytes("-1").unwrap_err(), "invalid size: '-1'");
        assert_eq!(bytes("64m"), Ok(64 << 20));
    }
}
