//! Ports: `--publish [ip:][host:]container[/protocol]` with ranges, and `--expose`.

use std::net::IpAddr;

use crate::api::types::host::{PortBinding, PortMap};
use crate::api::types::{Nothing, Set};

/// What `--publish` and `--expose` ask for.
#[derive(Debug, Default, PartialEq)]
pub struct Ports {
    /// Ports of the container.
    pub exposed: Set,
    /// Where they are published.
    pub bindings: PortMap,
}

/// Reads all `--publish` and `--expose` values.
///
/// # Errors
/// Docker's texts.
pub fn parse(publish: &[String], expose: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in publish {
        let spec = match spec.contains('=') {
            true => long_form(spec)?,
            false => spec.clone(),
        };
        for (port, binding) in published(&spec)? {
            ports.exposed.insert(port.clone(), Nothing);
            ports.bindings.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    for spec in expose {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (protocol, port) = split_protocol(spec);
        let (start, end) = range(port)
            .map_err(|e| format!("invalid range format for --expose: {spec}, error: {e}"))?;
        for number in start..=end {
            ports.exposed.insert(format!("{number}/{protocol}"), Nothing);
        }
    }
    Ok(ports)
}

/// `published=8080,target=80,protocol=udp` as `8080:80/udp`.
fn long_form(spec: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in spec.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) if !name.is_empty() => {}
            _ => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Every port of one `--publish` value.
fn published(spec: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (address, host, container) = parts(spec);
    let (protocol, container) = split_protocol(container);
    let bare = match address.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').ok_or_else(|| {
            format!("invalid IP address {address}: address {address}:: missing ']' in address")
        })?,
        None => address.as_str(),
    };
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (start, end) =
        range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let (host_start, host_end) = match host {
        "" => (0, 0),
        host => range(host).map_err(|_| format!("invalid hostPort: {host}"))?,
    };
    if !host.is_empty() && end - start != host_end - host_start && end != start {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    Ok((0..=end - start)
        .map(|i| {
            let host_port = match host {
                "" => String::new(),
                // One port of the container on any of several ports of the host.
                _ if start == end && host_start != host_end => format!("{host_start}-{host_end}"),
                _ => (host_start + i).to_string(),
            };
            let binding = PortBinding { host_ip: bare.to_string(), host_port };
            (format!("{}/{protocol}", start + i), binding)
        })
        .collect())
}

/// Address, port of the host, port of the container; an IPv6 address may have no brackets.
fn parts(spec: &str) -> (String, &str, &str) {
    let parts: Vec<&str> = spec.split(':').collect();
    match parts.as_slice() {
        [container] => (String::new(), "", container),
        [host, container] => (String::new(), host, container),
        [address @ .., host, container] => (address.join(":"), host, container),
        [] => (String::new(), "", ""),
    }
}

/// Protocol, `tcp` if none is named, and port.
fn split_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("", _) => ("", ""),
        (port, None | Some("")) => ("tcp", port),
        (port, Some(protocol)) => (protocol, port),
    }
}

fn range(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| -> Result<u32, String> {
        let quoted = crate::cli::template::go_quote(text);
        let fail = |why: &str| format!("strconv.ParseUint: parsing {quoted}: {why}");
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fail("invalid syntax"));
        }
        text.parse::<u16>().map(u32::from).map_err(|_| fail("value out of range"))
    };
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let Some((start, rest)) = text.split_once('-') else {
        let port = number(text)?;
        return Ok((port, port));
    };
    let end = rest.split('-').next().unwrap_or_default();
    let (start, end) = (number(start)?, number(end)?);
    if end < start {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(publish: &str) -> Result<String, String> {
        let ports = parse(&[publish.to_string()], &[])?;
        let each = ports.bindings.iter().flat_map(|(port, bindings)| {
            bindings.iter().flatten().map(move |b| format!("{}|{}->{port}", b.host_ip, b.host_port))
        });
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_form_of_publish_is_read() {
        for (spec, want) in [
            ("80", "|->80/tcp"),
            ("8080:80", "|8080->80/tcp"),
            ("8080:80/UDP", "|8080->80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080->80/tcp"),
            ("127.0.0.1::80", "127.0.0.1|->80/tcp"),
            ("[::1]:8080:80", "::1|8080->80/tcp"),
            ("::1:8080:80", "::1|8080->80/tcp"),
            ("8000-8001:80-81", "|8000->80/tcp |8001->81/tcp"),
            ("8000-8009:80", "|8000-8009->80/tcp"),
            ("80-81", "|->80/tcp |->81/tcp"),
            ("published=8080,target=80,protocol=udp", "|8080->80/udp"),
            ("target=80,published=8080", "|8080->80/tcp"),
        ] {
            assert_eq!(shown(spec).as_deref(), Ok(want), "{spec}");
        }
    }

    #[test]
    fn wrong_ports_are_refused_in_dockers_words() {
        for (spec, want) in [
            ("", "no port specified: <empty>"),
            ("x", "invalid containerPort: x"),
            ("80:x", "invalid containerPort: x"),
            ("x:80", "invalid hostPort: x"),
            ("65536:80", "invalid hostPort: 65536"),
            ("a:1:80", "invalid IP address: a"),
            ("80/xtp", "invalid proto: xtp"),
            (
                "8000-8002:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
            ),
            ("81-80", "invalid containerPort: 81-80"),
            ("target=80,x", "invalid publish opts format (should be name=value but got 'x')"),
        ] {
            assert_eq!(shown(spec).unwrap_err(), want, "{spec}");
        }
    }

    #[test]
    fn exposed_ports_join_the_published_ones() {
        let ports = parse(&["80".into()], &["90-91/udp".into(), "80".into()]).unwrap();
        let names: Vec<&str> = ports.exposed.keys().map(String::as_str).collect();
        assert_eq!(names, ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(
            parse(&[], &["8080:80".into()]).unwrap_err(),
            "invalid port format for --expose: 8080:80"
        );
        assert_eq!(
            parse(&[], &["x".into()]).unwrap_err(),
            "invalid range format for --expose: x, error: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
    }
}
