//! `--network`, short and long form, and the modes of the other namespaces.

use std::collections::BTreeMap;

/// One `--network` value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    /// Name or mode.
    pub target: String,
    /// Names of the container in it.
    pub aliases: Vec<String>,
    /// Options of the network driver.
    pub driver_options: BTreeMap<String, String>,
    /// Asked IPv4 address.
    pub ipv4: String,
    /// Asked IPv6 address.
    pub ipv6: String,
    /// Addresses that the driver does not manage.
    pub link_local: Vec<String>,
    /// Asked hardware address.
    pub mac: String,
    /// Which network gives the default route: the highest.
    pub gateway_priority: i64,
}

/// Reads `name` or `name=NAME,alias=A,ip=...`.
///
/// # Errors
/// Docker's texts.
pub fn parse(value: &str) -> Result<Attachment, String> {
    let mut out = Attachment::default();
    if !is_long(value) {
        out.target = value.to_string();
        return Ok(out);
    }
    for field in super::csv_fields(value)? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field {field}"))?;
        let (key, value) = (key.trim(), value.trim());
        let text = value.to_string();
        match key {
            "name" => out.target = text,
            "alias" => out.aliases.push(text),
            "ip" => out.ipv4 = text,
            "ip6" => out.ipv6 = text,
            "mac-address" => out.mac = text,
            "link-local-ip" => out.link_local.push(text),
            "driver-opt" => {
                let (name, option) = value
                    .split_once('=')
                    .filter(|(name, _)| !name.is_empty())
                    .ok_or("invalid key value pair format in driver options")?;
                out.driver_options.insert(name.trim().into(), option.trim().into());
            }
            "gw-priority" => {
                out.gateway_priority = value.parse().map_err(|e: std::num::ParseIntError| {
                    let why = match e.kind() {
                        std::num::IntErrorKind::PosOverflow
                        | std::num::IntErrorKind::NegOverflow => "value out of range",
                        _ => "invalid syntax",
                    };
                    format!("invalid gw-priority ({value}): {why}")
                })?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if out.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(out)
}

/// Whether somewhere a word is followed by `=` and a word.
fn is_long(value: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    value
        .match_indices('=')
        .any(|(i, _)| value[..i].ends_with(word) && value[i + 1..].starts_with(word))
}

/// Whether `mode` is a network of the user's, not one of the built-in modes.
pub fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// Whether `text` is a hardware address as Go reads it: 6, 8 or 20 bytes with `:`, `-` or `.`.
pub fn is_mac(text: &str) -> bool {
    let text = text.trim();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    for (separator, digits, counts) in
        [(':', 2, [6, 8, 20]), ('-', 2, [6, 8, 20]), ('.', 4, [3, 4, 10])]
    {
        let parts: Vec<&str> = text.split(separator).collect();
        if counts.contains(&parts.len()) && parts.iter().all(|p| hex(p, digits)) {
            return true;
        }
    }
    false
}

/// Checks `--pid`, `--uts`, `--userns` and `--cgroupns`.
///
/// # Errors
/// `--pid: invalid PID mode` and the like.
pub fn check_modes(pid: &str, uts: &str, userns: &str, cgroupns: &str) -> Result<(), String> {
    let pid_valid = match pid.strip_prefix("container") {
        // A container must be named.
        Some(rest) => rest.strip_prefix(':').is_some_and(|name| !name.is_empty()),
        None => matches!(pid, "" | "host"),
    };
    if !pid_valid {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(uts, "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    if !matches!(userns, "" | "host") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(cgroupns, "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse("bridge").unwrap().target, "bridge");
        assert_eq!(parse("container:x").unwrap().target, "container:x");
        let long = parse("name=n,alias=a,ip=1.2.3.4,gw-priority=3,driver-opt=a.b=c").unwrap();
        assert_eq!((long.target.as_str(), long.ipv4.as_str()), ("n", "1.2.3.4"));
        assert_eq!((long.gateway_priority, long.aliases[0].as_str()), (3, "a"));
        assert_eq!(long.driver_options["a.b"], "c");
    }

    #[test]
    fn wrong_networks_are_refused_in_dockers_words() {
        for (value, want) in [
            ("alias=a", "network name/id is not specified"),
            ("name=n,x=y", "invalid field key x"),
            ("name=n,x", "invalid field x"),
            ("name=n,gw-priority=x", "invalid gw-priority (x): invalid syntax"),
            ("name=n,driver-opt=x", "invalid key value pair format in driver options"),
        ] {
            assert_eq!(parse(value).unwrap_err(), want, "{value}");
        }
    }

    #[test]
    fn modes_and_addresses_are_checked() {
        assert!(check_modes("host", "host", "host", "private").is_ok());
        assert!(check_modes("container:x", "", "", "").is_ok());
        assert_eq!(check_modes("x", "", "", "").unwrap_err(), "--pid: invalid PID mode");
        assert_eq!(check_modes("container:", "", "", "").unwrap_err(), "--pid: invalid PID mode");
        assert_eq!(check_modes("", "x", "", "").unwrap_err(), "--uts: invalid UTS mode");
        assert_eq!(check_modes("", "", "x", "").unwrap_err(), "--userns: invalid USER mode");
        assert_eq!(check_modes("", "", "", "x").unwrap_err(), "--cgroupns: invalid CGROUP mode");
        assert!(is_mac("92:d0:c6:0a:29:33") && is_mac("92d0.c60a.2933") && !is_mac("92:d0"));
        assert!(is_user_defined("web") && !is_user_defined("container:a"));
    }
}
