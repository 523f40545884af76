//! Golden dumps of the rules of both back ends, as the programs of the host show them.
//! `BLESS=1` writes the dumps anew.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::net::Protocol;
use crate::sys::netlink::testing::in_netns;

fn rules(userland_proxy: bool) -> Rules {
    Rules {
        bridges: vec![Bridge {
            interface: "docker0".into(),
            subnet: Cidr::parse("172.17.0.1/16").unwrap(),
            masquerade: true,
            icc: userland_proxy,
        }],
        userland_proxy,
        drop_forwarding: userland_proxy,
        exceptions: Vec::new(),
    }
}

fn port(protocol: Protocol, host_ip: Ipv4Addr, host_port: u16) -> Publication {
    Publication {
        interface: "docker0".into(),
        protocol,
        host_ip,
        host_port,
        container_ip: Ipv4Addr::new(172, 17, 0, 2),
        container_port: 80,
    }
}

fn ports() -> Vec<Publication> {
    vec![
        port(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 8080),
        port(Protocol::Udp, Ipv4Addr::UNSPECIFIED, 8080),
        port(Protocol::Sctp, Ipv4Addr::new(192, 0, 2, 1), 9090),
    ]
}

fn dump(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Comments of iptables-save hold the time; counters of packets are not what is tested.
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn nft() -> String {
    dump("nft", &["list", "ruleset"])
}

fn iptables() -> String {
    dump("iptables-save", &["-t", "filter"]) + &dump("iptables-save", &["-t", "nat"])
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, wanted, "{name}: if this is right, run with BLESS=1");
}

#[test]
fn nftables_rules_with_proxy_are_as_written_down() {
    in_netns(|| {
        let mut firewall = open(FirewallBackend::Auto, "").unwrap();
        assert_eq!(firewall.name(), "nftables");
        assert_eq!(nft(), "", "the trial leaves nothing");
        firewall.install(&rules(true), &ports()).unwrap();
        golden("nftables-proxy.txt", &nft());
        firewall.unpublish(&rules(true), &ports()).unwrap();
        firewall.publish(&rules(true), &ports()).unwrap();
        golden("nftables-proxy.txt", &nft());
        let e = firewall.unpublish(&rules(true), &[port(Protocol::Tcp, Ipv4Addr::UNSPECIFIED, 1)]);
        assert_eq!(e.unwrap_err().kind(), crate::base::Kind::NotFound);
        sweep("").unwrap();
        sweep("").unwrap();
        assert_eq!(nft(), "");
    });
}

#[test]
fn nftables_rules_without_proxy_are_as_written_down() {
    in_netns(|| {
        let mut firewall = open(FirewallBackend::Nftables, "").unwrap();
        firewall.install(&rules(false), &ports()).unwrap();
        golden("nftables-direct.txt", &nft());
    });
}

#[test]
fn foreign_tables_stay_as_they_are() {
    in_netns(|| {
        let script =
            "table ip mine { chain c { type filter hook input priority 0; tcp dport 1 drop; }; }";
        assert!(Command::new("nft").arg(script).status().unwrap().success());
        let before = nft();
        let mut firewall = open(FirewallBackend::Nftables, "x").unwrap();
        firewall.install(&rules(true), &ports()).unwrap();
        firewall.install(&rules(true), &[]).unwrap();
        assert!(nft().contains("table ip multi-x"));
        sweep("x").unwrap();
        assert_eq!(nft(), before);
    });
}

#[test]
fn iptables_rules_are_as_written_down_and_foreign_ones_stay() {
    in_netns(|| {
        for rule in
            ["-A FORWARD -s 10.0.0.0/8 -j DROP", "-N DOCKER-USER", "-A DOCKER-USER -p icmp -j DROP"]
        {
            assert!(Command::new("iptables").args(rule.split(' ')).status().unwrap().success());
        }
        let mut firewall = open(FirewallBackend::Iptables, "").unwrap();
        firewall.install(&rules(true), &ports()).unwrap();
        golden("iptables-proxy.txt", &iptables());
        // Once more, as the next daemon would: nothing is there twice.
        let mut firewall = open(FirewallBackend::Iptables, "").unwrap();
        firewall.install(&rules(true), &ports()).unwrap();
        golden("iptables-proxy.txt", &iptables());
        firewall.unpublish(&rules(true), &ports()[1..]).unwrap();
        assert!(!iptables().contains("udp"));
        let e = firewall.unpublish(&rules(true), &ports()[1..]).unwrap_err();
        assert_eq!(e.kind(), crate::base::Kind::NotFound);
        firewall.publish(&rules(true), &ports()[1..]).unwrap();
        firewall.install(&rules(false), &ports()).unwrap();
        golden("iptables-direct.txt", &iptables());
    });
}
