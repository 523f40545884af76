//! Log drivers and their options: what exists, what a value means, Docker's texts for what is wrong.
//!
//! Decision: the mode is checked but changes nothing here. It says whether a container waits for its log;
//! a local file has no peer to wait for.

use std::collections::BTreeMap;

use crate::base::{At, Error, Result, bytesize};

use super::pattern::Pattern;

/// Size of a log file where the user names none, in bytes.
pub const DEFAULT_MAX_BYTES: u64 = 20_000_000;
/// Number of log files where the user names neither size nor number.
pub const DEFAULT_FILES: u32 = 5;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A file that is at least this long is rotated; `None` is without limit.
    pub max_bytes: Option<u64>,
    /// Files in all, the current one included.
    pub max_files: u32,
    /// Whether rotated files are gzipped.
    pub compress: bool,
}

/// Options of json-file, beside those that every driver has.
const JSON_FILE: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];

/// Checks driver and options, as at the creation of a container.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check_options(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if driver == "none" {
        return Ok(());
    }
    let mode = options.get("mode").map_or("", String::as_str);
    if !["", "blocking", "non-blocking"].contains(&mode) {
        return Err(Error::invalid(format_args!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(Error::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        bytesize::parse(size).at("error parsing option max-buffer-size")?;
    }
    if driver != "json-file" {
        return Err(Error::invalid(format_args!(
            "logger: no log driver named '{driver}' is registered"
        )));
    }
    for key in options.keys().filter(|key| !["mode", "max-buffer-size"].contains(&key.as_str())) {
        if !JSON_FILE.contains(&key.as_str()) {
            return Err(Error::invalid(format_args!(
                "unknown log opt '{key}' for json-file log driver"
            )));
        }
    }
    for key in ["labels-regex", "env-regex"] {
        if let Some(text) = options.get(key) {
            Pattern::parse(text)?;
        }
    }
    if let Some(tag) = options.get("tag") {
        super::attributes::check_tag(tag)?;
    }
    Settings::parse(options).map(drop)
}

impl Settings {
    /// Reads `max-size`, `max-file` and `compress`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Settings> {
        let max_bytes = match options.get("max-size").map(String::as_str) {
            None => Some(DEFAULT_MAX_BYTES),
            Some("-1") => None,
            Some(text) => Some(decimal_size(text)?),
        };
        let max_files = match options.get("max-file") {
            Some(text) => {
                let number: i64 = text.parse().map_err(|_| {
                    Error::invalid(format_args!("strconv.Atoi: parsing \"{text}\": invalid syntax"))
                })?;
                u32::try_from(number)
                    .ok()
                    .filter(|n| *n >= 1)
                    .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?
            }
            // A size alone means one file of that size, as in Docker.
            None if options.contains_key("max-size") => 1,
            None => DEFAULT_FILES,
        };
        let compress = match options.get("compress").map(String::as_str) {
            None => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(text) => {
                return Err(Error::invalid(format_args!(
                    "strconv.ParseBool: parsing \"{text}\": invalid syntax"
                )));
            }
        };
        if compress && (max_files == 1 || max_bytes.is_none()) {
            return Err(Error::invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
        Ok(Settings { max_bytes, max_files, compress })
    }
}

/// A size in decimal units: `10m` is ten million bytes for logs.
fn decimal_size(text: &str) -> Result<u64> {
    let bad = || Error::invalid(format_args!("invalid size: '{text}'"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let scale = match unit {
        "" => 1e0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "p" => 1e15,
        _ => return Err(bad()),
    };
    let bytes = number * scale;
    if !(0.0..9.2e18).contains(&bytes) {
        return Err(bad());
    }
    match bytes as u64 {
        0 => Err(Error::invalid("max-size must be a positive number")),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn a_log_is_bounded_unless_the_user_says_otherwise() {
        let settings = |pairs: &[(&str, &str)]| Settings::parse(&map(pairs)).unwrap();
        let of = |max_bytes, max_files, compress| Settings { max_bytes, max_files, compress };
        assert_eq!(settings(&[]), of(Some(20_000_000), 5, false));
        assert_eq!(settings(&[("max-size", "10k")]), of(Some(10_000), 1, false));
        assert_eq!(settings(&[("max-file", "3")]), of(Some(20_000_000), 3, false));
        assert_eq!(settings(&[("max-size", "-1")]), of(None, 1, false));
        assert_eq!(
            settings(&[("max-size", "1.5MiB"), ("max-file", "2"), ("compress", "true")]),
            of(Some(1_500_000), 2, true)
        );
    }

    #[test]
    fn errors_have_dockers_texts() {
        for (driver, pairs, text) in [
            ("syslogg", &[][..], "logger: no log driver named 'syslogg' is registered"),
            ("json-file", &[("x", "1")], "unknown log opt 'x' for json-file log driver"),
            ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
            ("json-file", &[("max-size", "ten")], "invalid size: 'ten'"),
            (
                "json-file",
                &[("compress", "true"), ("max-size", "1m")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            ("json-file", &[("mode", "x")], "logger: logging mode not supported: x"),
            (
                "json-file",
                &[("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                &[("compress", "maybe")],
                "strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(check_options(driver, &map(pairs)).unwrap_err().to_string(), text);
        }
        assert!(check_options("none", &map(&[("anything", "goes")])).is_ok());
        let all = [("labels", "a"), ("env", "b"), ("tag", "{{.Name}}"), ("mode", "non-blocking")];
        assert!(check_options("json-file", &map(&all)).is_ok());
    }
}
