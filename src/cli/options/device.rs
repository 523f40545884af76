//! Devices: `--device`, their rates and weights, cgroup rules and `--gpus`.

use crate::api::types::host::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};
use crate::base::bytesize;

use super::keyvalue;

/// `--device host[:container][:rwm]`.
///
/// # Errors
/// Docker's texts.
pub fn mapping(value: &str) -> Result<DeviceMapping, String> {
    let bad = || format!("bad format for path: {value}");
    let parts: Vec<&str> = value.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(bad());
    }
    let (inside, mode) = match parts[..] {
        [host] => (host, "rwm"),
        [host, mode] if is_mode(mode) => (host, mode),
        [_, inside] => (inside, "rwm"),
        [_, inside, mode] if is_mode(mode) => (inside, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(bad()),
    };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    let host = match parts.len() {
        // A lone path is cleaned for both sides.
        1 => clean(parts[0]),
        2 if is_mode(parts[1]) => clean(parts[0]),
        _ => parts[0].to_string(),
    };
    let inside = match parts.len() {
        1 => host.clone(),
        2 => clean(inside),
        _ => inside.to_string(),
    };
    Ok(DeviceMapping {
        path_on_host: host,
        path_in_container: inside,
        cgroup_permissions: mode.into(),
    })
}

/// Whether `value` names a device by the Container Device Interface: `vendor.com/class=name`.
pub fn is_cdi_name(value: &str) -> bool {
    let Some((kind, name)) = value.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |text: &str, extra: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    word(vendor, "_-.") && word(class, "_-") && word(name, "_-.:")
}

fn is_mode(text: &str) -> bool {
    let once = |c: char| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && once(c))
}

/// Go's `path.Clean` of a path that is not empty.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if path.starts_with('/') => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') { format!("/{joined}") } else { joined }
}

/// `--device-cgroup-rule 'c 1:3 rwm'`.
///
/// # Errors
/// `invalid device cgroup format 'x'`.
pub fn cgroup_rule(text: &str) -> Result<String, String> {
    let number = |t: &str| t == "*" || (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    let good = match text.split(' ').collect::<Vec<_>>()[..] {
        [kind, numbers, mode] => {
            matches!(kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(a, b)| number(a) && number(b))
                && (1..=3).contains(&mode.len())
                && mode.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if good { Ok(text.into()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

fn path_and(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

/// `--device-read-bps /dev/sda:1mb`.
///
/// # Errors
/// Docker's texts.
pub fn bytes_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = path_and(text)?;
    let rate = bytesize::parse(value).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(
        || {
            format!(
                "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
                 Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
            )
        },
    )?;
    Ok(ThrottleDevice { path: path.into(), rate })
}

/// `--device-read-iops /dev/sda:1000`.
///
/// # Errors
/// Docker's texts.
pub fn operations_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = path_and(text)?;
    let rate = Some(value)
        .filter(|v| !v.starts_with('+'))
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| {
            format!(
                "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
                 Number must be a positive integer"
            )
        })?;
    Ok(ThrottleDevice { path: path.into(), rate })
}

/// `--blkio-weight-device /dev/sda:500`.
///
/// # Errors
/// Docker's texts.
pub fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, value) = path_and(text)?;
    let weight: u16 = value
        .parse()
        .ok()
        .filter(|w| *w == 0 || (10..=1000).contains(w))
        .ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.into(), weight })
}

/// `--gpus all`, `--gpus 2`, `--gpus 'device=0,1'`.
///
/// # Errors
/// Docker's texts.
pub fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest {
        options: Some(Default::default()),
        capabilities: Some(vec![vec!["gpu".into()]]),
        ..DeviceRequest::default()
    };
    let mut seen: Vec<String> = Vec::new();
    for field in super::csv_fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if seen.iter().any(|s| s == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_string());
        let list = |v: &str| v.split(',').map(String::from).collect::<Vec<_>>();
        match (key, value) {
            (key, None) => {
                seen.push("count".into());
                request.count = count(key)?;
            }
            ("driver", Some(value)) => request.driver = value.to_string(),
            ("count", Some(value)) => request.count = count(value)?,
            ("device", Some(value)) => request.device_ids = Some(list(value)),
            ("capabilities", Some(value)) => {
                let mut all = list(value);
                all.push("gpu".into());
                request.capabilities = Some(vec![all]);
            }
            ("options", Some(value)) => {
                let pairs = super::csv_fields(value)
                    .map_err(|e| format!("failed to read gpu options: {e}"))?;
                request.options = Some(keyvalue::map(&pairs));
            }
            (key, _) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|s| s == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    Ok(request)
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|e: std::num::ParseIntError| {
        let why = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        format!("invalid count ({text}): value must be either \"all\" or an integer: {why}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_two_paths_and_a_mode() {
        for (value, host, inside, mode) in [
            ("/dev/null", "/dev/null", "/dev/null", "rwm"),
            ("/dev/../dev/null", "/dev/null", "/dev/null", "rwm"),
            ("/dev/null:rw", "/dev/null", "/dev/null", "rw"),
            ("/dev/null:/dev/x", "/dev/null", "/dev/x", "rwm"),
            ("/dev/null:/dev/x:r", "/dev/null", "/dev/x", "r"),
        ] {
            let got = mapping(value).unwrap();
            let got = (got.path_on_host, got.path_in_container, got.cgroup_permissions);
            assert_eq!(got, (host.to_string(), inside.to_string(), mode.to_string()), "{value}");
        }
        assert_eq!(mapping("null").unwrap_err(), "null is not an absolute path");
        assert_eq!(mapping("/a:/b:x").unwrap_err(), "bad mode specified: x");
        assert_eq!(mapping("/a:/b:r:w").unwrap_err(), "bad format for path: /a:/b:r:w");
        assert_eq!(mapping("").unwrap_err(), "bad format for path: ");
    }

    #[test]
    fn rates_and_weights_name_a_device() {
        assert_eq!(bytes_rate("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(operations_rate("/dev/sda:5").unwrap().rate, 5);
        assert_eq!(weight("/dev/sda:500").unwrap().weight, 500);
        assert_eq!(bytes_rate("x").unwrap_err(), "bad format: x");
        assert_eq!(bytes_rate("/x:1").unwrap_err(), "bad format for device path: /x:1");
        assert!(
            bytes_rate("/dev/a:x").unwrap_err().starts_with("invalid rate for device: /dev/a:x. ")
        );
        assert_eq!(weight("/dev/a:5").unwrap_err(), "invalid weight for device: /dev/a:5");
        assert!(cgroup_rule("c 1:* rwm").is_ok());
        assert_eq!(cgroup_rule("x").unwrap_err(), "invalid device cgroup format 'x'");
    }

    #[test]
    fn gpus_are_requests() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("driver=x").unwrap().count, 1);
        assert_eq!(gpus("\"device=0,1\"").unwrap().device_ids.unwrap(), ["0", "1"]);
        assert_eq!(
            gpus("x").unwrap_err(),
            "invalid count (x): value must be either \"all\" or an integer: invalid syntax"
        );
    }

    #[test]
    fn cdi_names_have_vendor_class_and_name() {
        assert!(is_cdi_name("nvidia.com/gpu=0"));
        assert!(!is_cdi_name("/dev/null") && !is_cdi_name("a=b"));
    }
}
