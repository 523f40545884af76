//! Addresses of log servers, read as Go's `net/url` reads them, with its errors.

use std::net::IpAddr;

use crate::base::{Error, Result};

/// The parts that drivers look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: String,
    /// With its port, as it was written.
    pub(super) host: String,
    pub(super) path: String,
    /// There is a query or a fragment.
    pub(super) has_more: bool,
}

impl Url {
    /// # Errors
    /// `InvalidParameter` in Go's words.
    pub(super) fn parse(text: &str) -> Result<Url> {
        let bad = |why: &str| Err(Error::invalid(format_args!("parse {text:?}: {why}")));
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return bad("net/url: invalid control character in URL");
        }
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let has_more = end < text.len();
        let (scheme, rest) = match scheme_of(&text[..end]) {
            Some("") => return bad("missing protocol scheme"),
            Some(scheme) => (scheme.to_ascii_lowercase(), &text[scheme.len() + 1..end]),
            None => (String::new(), &text[..end]),
        };
        let Some(authority) = rest.strip_prefix("//") else {
            let first = rest.split('/').next().unwrap_or_default();
            if scheme.is_empty() && first.contains(':') {
                return bad("first path segment in URL cannot contain colon");
            }
            let path = if rest.starts_with('/') || scheme.is_empty() { rest } else { "" };
            return Ok(Url { scheme, path: path.into(), has_more, ..Url::default() });
        };
        let slash = authority.find('/').unwrap_or(authority.len());
        let (host, path) = authority.split_at(slash);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if host.starts_with('[') && !host.contains(']') {
            return bad("missing ']' in host");
        }
        let after = host.rfind(']').map_or(0, |at| at + 1);
        if let Some(colon) = host[after..].rfind(':') {
            let port = &host[after + colon..];
            if !port[1..].bytes().all(|b| b.is_ascii_digit()) {
                return bad(&format!("invalid port {port:?} after host"));
            }
        }
        Ok(Url { scheme, host: host.into(), path: path.into(), has_more })
    }

    /// Host without brackets, and port; either may be empty.
    pub(super) fn split_host(&self) -> (&str, &str) {
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (self.host.as_str(), ""),
        };
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

/// The scheme, if a colon ends it; `Some("")` for a colon with nothing before it.
fn scheme_of(text: &str) -> Option<&str> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' => return Some(&text[..at]),
            _ => return None,
        }
    }
    None
}

/// Host and port as they are written in an address.
pub(super) fn join_host_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_as_go_cuts_them() {
        for (text, scheme, host, path) in [
            ("udp://1.2.3.4:514", "udp", "1.2.3.4:514", ""),
            ("tcp+tls://h", "tcp+tls", "h", ""),
            ("unix:///dev/log", "unix", "", "/dev/log"),
            ("unix:/dev/log", "unix", "", "/dev/log"),
            ("localhost:514", "localhost", "", ""),
            ("TCP://u@[::1]:7/x", "tcp", "[::1]:7", "/x"),
            ("plain", "", "", "plain"),
        ] {
            let url = Url::parse(text).unwrap();
            let got = (url.scheme.as_str(), url.host.as_str(), url.path.as_str());
            assert_eq!(got, (scheme, host, path), "{text}");
        }
        assert_eq!(Url::parse("tcp://[::1]:7").unwrap().split_host(), ("::1", "7"));
        assert_eq!(Url::parse("tcp://[::1]").unwrap().split_host(), ("::1", ""));
        for (text, why) in [
            ("127.0.0.1:514", "first path segment in URL cannot contain colon"),
            ("://x", "missing protocol scheme"),
            ("tcp://[::1", "missing ']' in host"),
            ("tcp://h:x", "invalid port \":x\" after host"),
        ] {
            let e = Url::parse(text).unwrap_err().to_string();
            assert_eq!(e, format!("parse {text:?}: {why}"));
        }
    }
}
