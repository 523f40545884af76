//! The three files that the engine writes for a container: hosts, hostname, resolv.conf.
//!
//! Spec: resolv.conf(5); Docker's rules: host mode copies the host's file; on the default bridge
//! nameservers on loopback addresses are left out, because they mean something else inside, and
//! Google's take their place when none is left; behind systemd-resolved's stub the real servers are
//! read from its own file.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved lists the servers that its stub 127.0.0.53 asks.
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";
const STUB: &str = "127.0.0.53";
/// Docker's fallback.
const DEFAULT_NAMESERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What `--dns`, `--dns-search` and `--dns-option` say; empty lists take the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsOptions {
    /// Nameservers.
    pub servers: Vec<String>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// Text of /etc/hosts: localhost, the container under `addresses` with its host name (and full name
/// when there is a domain), then the `--add-host` entries `(name, address)`.
pub fn hosts(
    hostname: &str,
    domain: &str,
    addresses: &[IpAddr],
    extra: &[(String, String)],
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    let full = if domain.is_empty() { hostname.into() } else { format!("{hostname}.{domain}") };
    for address in addresses {
        let _ = match full.split_once('.') {
            None => writeln!(text, "{address}\t{full}"),
            Some((bare, _)) => writeln!(text, "{address}\t{full} {bare}"),
        };
    }
    text
}

/// Text of /etc/hosts in host mode: the host's own, with the `--add-host` entries at the end.
pub fn hosts_of_host(extra: &[(String, String)]) -> String {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_else(|_| hosts("", "", &[], &[]));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// Text of /etc/hostname.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// The host's resolv.conf; systemd-resolved's own list if only its stub is in it. Empty if there is none.
pub fn host_resolv_conf() -> String {
    read_resolv_conf(Path::new(RESOLV_CONF), Path::new(RESOLVED_CONF))
}

fn read_resolv_conf(file: &Path, behind_stub: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let servers = values(&text, "nameserver");
    if servers.as_slice() == [STUB]
        && let Ok(real) = fs::read_to_string(behind_stub)
    {
        return real;
    }
    text
}

/// IPv4 nameservers of the host, which a subnet for containers must not cover.
pub(super) fn nameservers() -> Vec<Ipv4Addr> {
    let text = host_resolv_conf();
    values(&text, "nameserver").iter().filter_map(|s| s.parse().ok()).collect()
}

/// Text of resolv.conf for a container. `host` is [`host_resolv_conf`]'s text; with `own_stack` false
/// (host mode) loopback nameservers stay. `ipv6` says whether the container can reach IPv6 servers.
pub fn resolv_conf(host: &str, dns: &DnsOptions, own_stack: bool, ipv6: bool) -> String {
    let nothing_asked = dns == &DnsOptions::default();
    if !own_stack && nothing_asked {
        return host.to_string();
    }
    let mut servers = dns.servers.clone();
    if servers.is_empty() {
        servers = values(host, "nameserver");
        if own_stack {
            servers.retain(|s| reachable_from_inside(s, ipv6));
        }
        if servers.is_empty() {
            servers = DEFAULT_NAMESERVERS.map(String::from).to_vec();
        }
    }
    let mut search = dns.search.clone();
    if search.is_empty() {
        search = last_line(host, "search");
    }
    let mut options = dns.options.clone();
    if options.is_empty() {
        options = last_line(host, "options");
    }
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn reachable_from_inside(server: &str, ipv6: bool) -> bool {
    // An IPv6 address may carry a zone (`fe80::1%eth0`), which has no meaning inside.
    match server.split('%').next().unwrap_or_default().parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !ip.is_loopback() && !ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ipv6 && !ip.is_loopback() && !server.contains('%'),
        Err(_) => false,
    }
}

/// First value of every line with that keyword.
fn values(text: &str, keyword: &str) -> Vec<String> {
    words(text, keyword).filter_map(|line| line.into_iter().next()).map(String::from).collect()
}

/// All values of the last line with that keyword, which is the one that counts.
fn last_line(text: &str, keyword: &str) -> Vec<String> {
    words(text, keyword).last().unwrap_or_default().into_iter().map(String::from).collect()
}

fn words<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    text.lines().filter_map(move |line| {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(keyword)).then(|| words.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::TempDir;

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn loopback_nameservers_are_replaced_on_a_bridge_only() {
        let host = "# c\nnameserver 127.0.0.1\nnameserver ::1\nsearch a b\noptions ndots:2\n";
        assert_eq!(
            resolv_conf(host, &DnsOptions::default(), true, false),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch a b\noptions ndots:2\n"
        );
        assert_eq!(resolv_conf(host, &DnsOptions::default(), false, false), host);
        let mixed = "nameserver 127.0.0.1\nnameserver 10.0.0.2 # x\nnameserver fd00::1\n";
        let inside = |v6| resolv_conf(mixed, &DnsOptions::default(), true, v6);
        assert_eq!(inside(false), "nameserver 10.0.0.2\n");
        assert_eq!(inside(true), "nameserver 10.0.0.2\nnameserver fd00::1\n");
    }

    #[test]
    fn options_replace_the_hosts_values_one_by_one() {
        let host = "nameserver 10.0.0.2\nsearch a\nsearch b c\n";
        let dns = DnsOptions { servers: strings(&["1.1.1.1"]), ..DnsOptions::default() };
        assert_eq!(resolv_conf(host, &dns, true, false), "nameserver 1.1.1.1\nsearch b c\n");
        let dns = DnsOptions {
            search: strings(&["."]),
            options: strings(&["rotate", "ndots:1"]),
            ..DnsOptions::default()
        };
        assert_eq!(
            resolv_conf(host, &dns, false, false),
            "nameserver 10.0.0.2\noptions rotate ndots:1\n"
        );
        assert!(resolv_conf("", &DnsOptions::default(), true, false).contains("8.8.8.8"));
    }

    #[test]
    fn behind_the_stub_the_real_servers_are_read() {
        let dir = TempDir::new("resolv");
        let (file, real) = (dir.path().join("resolv.conf"), dir.path().join("real"));
        fs::write(&file, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
        assert_eq!(read_resolv_conf(&file, &real), "nameserver 127.0.0.53\noptions edns0\n");
        fs::write(&real, "nameserver 10.1.1.1\n").unwrap();
        assert_eq!(read_resolv_conf(&file, &real), "nameserver 10.1.1.1\n");
        assert_eq!(read_resolv_conf(&dir.path().join("absent"), &real), "");
    }

    #[test]
    fn hosts_names_the_container_last() {
        let text = hosts(
            "web",
            "example.org",
            &[IpAddr::from([172, 17, 0, 2])],
            &[("db".into(), "10.0.0.3".into())],
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.3\tdb\n172.17.0.2\tweb.example.org web\n"));
        let bare = hosts("web", "", &[IpAddr::from([172, 17, 0, 2])], &[]);
        assert!(bare.ends_with("\n172.17.0.2\tweb\n"));
        assert_eq!(hostname("web"), "web\n");
    }
}
