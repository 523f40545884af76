//! Sizes in bytes, as Docker reads and prints them (docker/go-units semantics).

use super::{Error, Result};

/// Parses a size with binary units: `64m`, `1.5g`, `512`, `10kb`, `1GiB`. Case does not matter.
///
/// # Errors
/// `InvalidParameter` with Docker's texts: `invalid size: '...'`, `invalid suffix: '...'`.
pub fn parse(text: &str) -> Result<i64> {
    let bad = || Error::invalid(format_args!("invalid size: '{text}'"));
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ' ');
    let end = text.rfind(is_number).ok_or_else(bad)? + 1;
    let (number, unit) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let number: f64 = number.parse().map_err(|_| {
        Error::invalid(format_args!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))
    })?;
    let lower = unit.to_ascii_lowercase();
    let shift = match lower.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => {
            // Docker shows a long one as it was written.
            let shown = if unit.len() > 3 { unit } else { &lower };
            return Err(Error::invalid(format_args!("invalid suffix: '{shown}'")));
        }
    };
    let bytes = number * (1u64 << shift) as f64;
    if !(0.0..9.2e18).contains(&bytes) {
        return Err(bad());
    }
    Ok(bytes as i64)
}

/// Decimal units with four significant digits: `1.94GB`, `0B`. What `docker images` shows.
pub fn human(bytes: f64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], 4)
}

/// Decimal units with `digits` significant digits.
pub fn human_precise(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], digits)
}

/// Binary units with four significant digits: `64MiB`.
pub fn binary(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut i = 0;
    while value >= base && i < units.len() - 1 {
        value /= base;
        i += 1;
    }
    format!("{}{}", significant(value, digits), units[i])
}

/// Go's `%.<digits>g` for the values that occur here (0 to 1024).
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let whole = if value >= 1.0 { value.log10().floor() as usize + 1 } else { 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_reads() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("1GiB", 1 << 30),
            ("2 kb", 2048),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1", "32x", "1..2", "9999999p"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let told = |text| parse(text).unwrap_err().to_string();
        assert_eq!(told("5Z"), "invalid suffix: 'z'");
        assert_eq!(told("m"), "invalid size: 'm'");
        assert_eq!(told("1z2"), "strconv.ParseFloat: parsing \"1z2\": invalid syntax");
    }

    #[test]
    fn prints_what_docker_prints() {
        assert_eq!(human(0.0), "0B");
        assert_eq!(human(1_000_000.0), "1MB");
        assert_eq!(human(1_936_000_000.0), "1.936GB");
        assert_eq!(binary(67_108_864.0), "64MiB");
        assert_eq!(human_precise(4_260_000.0, 3), "4.26MB");
    }
}
