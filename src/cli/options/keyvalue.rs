//! `KEY=VALUE` options: environment, labels, files of them, filters, sysctls, hosts.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

/// `--env`: a name without a value takes it from `lookup`, or stays without.
///
/// # Errors
/// `invalid environment variable: =x`.
pub fn env(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, value) = split(text);
    match value {
        _ if name.is_empty() => Err(format!("invalid environment variable: {text}")),
        None => Ok(lookup(name).map_or(text.to_string(), |value| format!("{name}={value}"))),
        Some(_) => Ok(text.to_string()),
    }
}

/// The value of a variable of this process; names and values that are not UTF-8 do not exist.
pub fn own_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `--label`.
///
/// # Errors
/// Docker's texts for an empty name and for blanks in it.
pub fn label(text: &str) -> Result<String, String> {
    let name = split(text).0.trim_start_matches([' ', '\t']);
    if name.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if name.contains([' ', '\t']) {
        return Err(format!("label '{text}' contains whitespaces"));
    }
    Ok(text.to_string())
}

/// `--sysctl`: namespaced ones only.
///
/// # Errors
/// `sysctl 'x' is not allowed`.
pub fn sysctl(text: &str) -> Result<String, String> {
    const NAMES: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let allowed = text.split_once('=').is_some_and(|(name, _)| {
        NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
    });
    if allowed { Ok(text.to_string()) } else { Err(format!("sysctl '{text}' is not allowed")) }
}

/// `--filter`: name in lower case and value, or nothing for an empty text.
///
/// # Errors
/// `bad format of filter (expected name=value)`.
pub fn filter(text: &str) -> Result<Option<(String, String)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "bad format of filter (expected name=value)".to_string())?;
    Ok(Some((name.trim().to_lowercase(), value.trim().to_string())))
}

/// `--add-host`: `name:ip` or `name=ip`, the address perhaps in brackets; gives `name:ip`.
///
/// # Errors
/// Docker's texts.
pub fn extra_host(text: &str) -> Result<String, String> {
    let pair = text.split_once('=').or_else(|| text.split_once(':'));
    let bad = || format!("bad format for add-host: {text:?}");
    let (name, address) =
        pair.filter(|(n, _)| !n.is_empty() && !n.contains(':')).ok_or_else(bad)?;
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let bare =
        address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).filter(|a| !a.is_empty());
    let address = bare.unwrap_or(address);
    ip(address).map_err(|_| format!("invalid IP address in add-host: {address:?}"))?;
    Ok(format!("{name}:{address}"))
}

/// An IP address, in its usual form.
///
/// # Errors
/// `IP address is not correctly formatted: x`.
pub fn ip(text: &str) -> Result<String, String> {
    let address: IpAddr = text
        .trim()
        .parse()
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))?;
    Ok(address.to_string())
}

/// `--dns-search`: a domain, or `.` for none.
///
/// # Errors
/// `x is not a valid domain`.
pub fn dns_search(text: &str) -> Result<String, String> {
    let domain = text.trim_matches(' ');
    if domain == "." {
        return Ok(domain.to_string());
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let bare = domain.strip_suffix('.').unwrap_or(domain);
    let good = bare.split('.').all(label)
        && domain.len() < 255
        && domain.bytes().any(|b| b.is_ascii_alphabetic());
    if good { Ok(bare.to_string()) } else { Err(format!("{domain} is not a valid domain")) }
}

/// `--link`: `container` or `container:alias`.
///
/// # Errors
/// Docker's texts.
pub fn link(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty string specified for links".into());
    }
    let bad = || format!("bad format for links: {text}");
    match text.split(':').collect::<Vec<_>>()[..] {
        [_] | [_, _] => Ok(text.to_string()),
        _ => Err(bad()),
    }
}

/// `--attach`: `stdin`, `stdout` or `stderr` in any case.
///
/// # Errors
/// `valid streams are STDIN, STDOUT and STDERR`.
pub fn stream(text: &str) -> Result<String, String> {
    let lower = text.to_lowercase();
    match lower.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(lower),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

/// The lines of `files`, then `given`; a name without a value in a file takes it from `lookup` or is
/// left out.
///
/// # Errors
/// `open x: no such file or directory`, `invalid env file (x): ...`.
pub fn with_files(
    files: &[String],
    given: &[String],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for file in files {
        let bytes = fs::read(file)
            .map_err(|e| format!("open {file}: {}", crate::base::Error::from(e).message()))?;
        lines(&bytes, lookup, &mut out).map_err(|e| format!("invalid env file ({file}): {e}"))?;
    }
    out.extend(given.iter().cloned());
    Ok(out)
}

fn lines(
    bytes: &[u8],
    lookup: &dyn Fn(&str) -> Option<String>,
    out: &mut Vec<String>,
) -> Result<(), String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| {
            let shown: Vec<String> = line.iter().map(u8::to_string).collect();
            format!("invalid utf8 bytes at line {}: [{}]", number + 1, shown.join(" "))
        })?;
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, value) = split(text);
        if name.is_empty() {
            return Err(format!("no variable name on line '{text}'"));
        }
        if name.contains([' ', '\t']) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        match value {
            Some(_) => out.push(text.to_string()),
            None => out.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(())
}

/// `["a=b", "c"]` as `{"a": "b", "c": ""}`; the last of equal names wins.
pub fn map(pairs: &[String]) -> BTreeMap<String, String> {
    let split = |p: &String| {
        let (name, value) = split(p);
        (name.to_string(), value.unwrap_or_default().to_string())
    };
    pairs.iter().map(split).collect()
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_string())
    }

    #[test]
    fn variables_take_their_value_from_outside() {
        assert_eq!(env("A=b=c", &lookup).unwrap(), "A=b=c");
        assert_eq!(env("HOME", &lookup).unwrap(), "HOME=/root");
        assert_eq!(env("NOPE", &lookup).unwrap(), "NOPE");
        assert_eq!(env("=x", &lookup).unwrap_err(), "invalid environment variable: =x");
    }

    #[test]
    fn files_of_variables_are_read_line_by_line() {
        let mut out = Vec::new();
        let text = b"\xef\xbb\xbf# note\n\n  A=b \nHOME\nNOPE\nC=\r\n";
        lines(text, &lookup, &mut out).unwrap();
        assert_eq!(out, ["A=b ", "HOME=/root", "C="]);
        assert_eq!(
            lines(b"A B=c", &lookup, &mut out).unwrap_err(),
            "variable 'A B' contains whitespaces"
        );
        assert_eq!(lines(b"=c", &lookup, &mut out).unwrap_err(), "no variable name on line '=c'");
        assert_eq!(
            lines(b"a\n\xff", &lookup, &mut out).unwrap_err(),
            "invalid utf8 bytes at line 2: [255]"
        );
        let missing = with_files(&["/nonexistent".into()], &[], &lookup).unwrap_err();
        assert_eq!(missing, "open /nonexistent: no such file or directory");
    }

    #[test]
    fn hosts_take_either_separator() {
        for (text, want) in [
            ("a:1.2.3.4", "a:1.2.3.4"),
            ("a=::1", "a:::1"),
            ("a:[::1]", "a:::1"),
            ("a:host-gateway", "a:host-gateway"),
        ] {
            assert_eq!(extra_host(text).unwrap(), want);
        }
        assert_eq!(extra_host("a").unwrap_err(), "bad format for add-host: \"a\"");
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
    }

    #[test]
    fn other_pairs_are_checked() {
        assert!(label("a=b c").is_ok());
        assert_eq!(label("=b").unwrap_err(), "invalid label '=b': empty name");
        assert_eq!(label("a b=c").unwrap_err(), "label 'a b=c' contains whitespaces");
        assert!(sysctl("net.ipv4.ip_forward=1").is_ok());
        assert_eq!(sysctl("vm.x=1").unwrap_err(), "sysctl 'vm.x=1' is not allowed");
        assert_eq!(filter("Name = x").unwrap(), Some(("name".into(), "x".into())));
        assert_eq!(filter("x").unwrap_err(), "bad format of filter (expected name=value)");
        assert_eq!(stream("STDIN").unwrap(), "stdin");
        assert!(stream("x").is_err());
        assert_eq!(ip("::0:1").unwrap(), "::1");
        assert_eq!(ip("x").unwrap_err(), "IP address is not correctly formatted: x");
        assert_eq!(dns_search(".").unwrap(), ".");
        assert_eq!(dns_search("a.example").unwrap(), "a.example");
        assert_eq!(dns_search("1.2").unwrap_err(), "1.2 is not a valid domain");
        assert_eq!(link("a:b:c").unwrap_err(), "bad format for links: a:b:c");
    }
}
