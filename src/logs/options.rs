//! The options of log drivers: what a value means, Docker's texts for what is wrong.
//!
//! As in Docker, the creation of a container checks the names of options and those values that the driver's own
//! check looks at; the rest is found out when the container starts.
//!
//! Decision: for drivers that write files the mode is checked but changes nothing. It says whether a container waits
//! for its log; a local file has no peer to wait for.

use std::collections::BTreeMap;

use crate::base::{At, Error, Result, bytesize};

use super::Format;
use super::drivers;

/// Size of a log file of json-file where the user names none, in bytes.
pub const DEFAULT_MAX_BYTES: u64 = 20_000_000;
/// The same of the local driver and of caches.
const LOCAL_MAX_BYTES: u64 = 20 << 20;
/// Number of log files where the user names neither size nor number.
pub const DEFAULT_FILES: u32 = 5;
/// What a non-blocking log may be behind where the user does not say, in bytes.
const DEFAULT_BUFFER_BYTES: u64 = 1_000_000;

/// The options of a log.
pub(super) type Map = BTreeMap<String, String>;

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

/// Options that every driver has.
const COMMON: [&str; 6] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];

/// Whether an option belongs to the local cache of drivers that keep nothing here.
pub fn is_cache_option(key: &str) -> bool {
    key.starts_with("cache-") && COMMON.contains(&key)
}

/// Checks driver and options, as at the creation of a container.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check_options(driver: &str, options: &Map) -> Result<()> {
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
    if let Some(text) = options.get("cache-disabled").filter(|text| !text.is_empty()) {
        parse_bool(text).map_err(|_| {
            Error::invalid(format_args!("invalid value for option cache-disabled: {text}"))
        })?;
    }
    let def = drivers::find(driver)?;
    let own = options.iter().filter(|(key, _)| !COMMON.contains(&key.as_str()));
    (def.check)(&own.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// How much a non-blocking log may be behind, in bytes; `None` for one that blocks.
pub(super) fn buffer_limit(options: &Map) -> Result<Option<u64>> {
    if options.get("mode").is_none_or(|mode| mode != "non-blocking") {
        return Ok(None);
    }
    match options.get("max-buffer-size") {
        None => Ok(Some(DEFAULT_BUFFER_BYTES)),
        Some(text) => bytesize::parse(text).map(|bytes| Some(bytes as u64)),
    }
}

/// Whether a driver that keeps nothing here gets a local cache.
pub(super) fn is_cached(options: &Map) -> bool {
    match options.get("cache-disabled").map_or("", String::as_str) {
        "" => true,
        text => parse_bool(text).is_ok_and(|disabled| !disabled),
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(bad_syntax("ParseBool", text)),
    }
}

/// Go's `strconv.Atoi`.
pub(super) fn parse_int(text: &str) -> Result<i64> {
    text.parse().map_err(|_| bad_syntax("Atoi", text))
}

/// Go's error for text that is no number.
pub(super) fn bad_syntax(function: &str, text: &str) -> Error {
    Error::invalid(format_args!("strconv.{function}: parsing {text:?}: invalid syntax"))
}

impl Settings {
    /// Reads `max-size`, `max-file` and `compress` of a driver that writes files of `format`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn parse(format: Format, options: &Map) -> Result<Settings> {
        match format {
            Format::Json => Settings::json_file(options),
            Format::Local => Settings::local(options, ""),
        }
    }

    /// Reads `cache-max-size`, `cache-max-file` and `cache-compress`.
    ///
    /// # Errors
    /// As [`Settings::parse`].
    pub fn cache(options: &Map) -> Result<Settings> {
        Settings::local(options, "cache-")
    }

    fn json_file(options: &Map) -> Result<Settings> {
        let max_bytes = match options.get("max-size").map(String::as_str) {
            None => Some(DEFAULT_MAX_BYTES),
            Some("-1") => None,
            Some(text) => match decimal_size(text)? {
                0 => return Err(Error::invalid("max-size must be a positive number")),
                bytes => Some(bytes),
            },
        };
        let max_files = match options.get("max-file") {
            Some(text) => u32::try_from(parse_int(text)?)
                .ok()
                .filter(|n| *n >= 1)
                .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?,
            // A size alone means one file of that size, as in Docker.
            None if options.contains_key("max-size") => 1,
            None => DEFAULT_FILES,
        };
        let compress = match options.get("compress") {
            None => false,
            Some(text) => parse_bool(text)?,
        };
        if compress && (max_files == 1 || max_bytes.is_none()) {
            return Err(Error::invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
        Ok(Settings { max_bytes, max_files, compress })
    }

    fn local(options: &Map, prefix: &str) -> Result<Settings> {
        let option = |name: &str| options.get(&format!("{prefix}{name}")).map(String::as_str);
        let max_bytes = match option("max-size") {
            None => Some(LOCAL_MAX_BYTES),
            Some("-1") => None,
            Some(text) => Some(
                decimal_size(text)
                    .at(format_args!("invalid value for {prefix}max-size: {text}"))?,
            ),
        };
        let max_files = match option("max-file") {
            None => DEFAULT_FILES,
            Some(text) => {
                let number = parse_int(text)
                    .at(format_args!("invalid value for {prefix}max-file: {text}"))?;
                let number = u32::try_from(number)
                    .map_err(|_| Error::invalid("max file count cannot be less than 0"))?;
                number.max(1)
            }
        };
        let compress = match option("compress") {
            None => true,
            Some(text) => parse_bool(text).at("error reading compress log option")?,
        };
        if max_bytes == Some(0) {
            return Err(Error::invalid("max size should be a positive number"));
        }
        if compress && max_files <= 1 {
            return Err(Error::invalid("compression cannot be enabled when max file count is 1"));
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
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn of(max_bytes: Option<u64>, max_files: u32, compress: bool) -> Settings {
        Settings { max_bytes, max_files, compress }
    }

    #[test]
    fn a_log_is_bounded_unless_the_user_says_otherwise() {
        let json = |pairs: &[(&str, &str)]| Settings::parse(Format::Json, &map(pairs)).unwrap();
        assert_eq!(json(&[]), of(Some(20_000_000), 5, false));
        assert_eq!(json(&[("max-size", "10k")]), of(Some(10_000), 1, false));
        assert_eq!(json(&[("max-file", "3")]), of(Some(20_000_000), 3, false));
        assert_eq!(json(&[("max-size", "-1")]), of(None, 1, false));
        assert_eq!(
            json(&[("max-size", "1.5MiB"), ("max-file", "2"), ("compress", "true")]),
            of(Some(1_500_000), 2, true)
        );
        let local = |pairs: &[(&str, &str)]| Settings::parse(Format::Local, &map(pairs)).unwrap();
        assert_eq!(local(&[]), of(Some(20_971_520), 5, true));
        assert_eq!(local(&[("max-size", "10k")]), of(Some(10_000), 5, true));
        assert_eq!(local(&[("max-file", "1"), ("compress", "0")]), of(Some(20_971_520), 1, false));
        assert_eq!(local(&[("max-size", "-1")]), of(None, 5, true));
        let cache = Settings::cache(&map(&[("cache-max-size", "1m"), ("max-size", "2m")]));
        assert_eq!(cache.unwrap(), of(Some(1_000_000), 5, true));
    }

    #[test]
    fn values_are_refused_at_the_start_in_dockers_words() {
        for (format, pairs, text) in [
            (Format::Json, &[("max-file", "0")][..], "max-file cannot be less than 1"),
            (Format::Json, &[("max-size", "0")], "max-size must be a positive number"),
            (Format::Json, &[("max-size", "ten")], "invalid size: 'ten'"),
            (
                Format::Json,
                &[("compress", "true"), ("max-size", "1m")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            (
                Format::Json,
                &[("compress", "maybe")],
                "strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                Format::Local,
                &[("max-size", "ten")],
                "invalid value for max-size: ten: invalid size: 'ten'",
            ),
            (
                Format::Local,
                &[("max-file", "x")],
                "invalid value for max-file: x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                Format::Local,
                &[("max-file", "1")],
                "compression cannot be enabled when max file count is 1",
            ),
            (
                Format::Local,
                &[("compress", "maybe")],
                "error reading compress log option: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            assert_eq!(Settings::parse(format, &map(pairs)).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn what_every_driver_has_is_checked_in_dockers_words() {
        for (driver, pairs, text) in [
            ("any", &[][..], "error looking up logging plugin any: plugin \"any\" not found"),
            (
                "awslogs",
                &[],
                "error looking up logging plugin awslogs: plugin \"awslogs\" not found",
            ),
            ("json-file", &[("x", "1")], "unknown log opt 'x' for json-file log driver"),
            ("local", &[("tag", "1")], "unknown log opt 'tag' for log driver local"),
            ("local", &[("mode", "x")], "logger: logging mode not supported: x"),
            (
                "json-file",
                &[("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "json-file",
                &[("cache-disabled", "maybe")],
                "invalid value for option cache-disabled: maybe",
            ),
        ] {
            assert_eq!(check_options(driver, &map(pairs)).unwrap_err().to_string(), text);
        }
        assert!(check_options("none", &map(&[("anything", "goes")])).is_ok());
        let all = [("labels", "a"), ("env", "b"), ("tag", "{{.Name}}"), ("mode", "non-blocking")];
        assert!(check_options("json-file", &map(&all)).is_ok());
        let cache = [("cache-max-size", "1m"), ("cache-compress", "true"), ("mode", "blocking")];
        assert!(check_options("local", &map(&cache)).is_ok());
    }
}
