//! The iptables back end, for hosts without nf_tables and for those that want Docker's chains.
//!
//! Every change is one run of `iptables-restore --noflush`, which takes each table in one step. Chains
//! and their order are Docker's, so that rules which administrators put into DOCKER-USER, and tools
//! that look for the others, go on working:
//!
//! ```text
//! filter FORWARD -> DOCKER-USER (the administrator's, never changed), DOCKER-FORWARD
//!   DOCKER-FORWARD -> DOCKER-CT, DOCKER-ISOLATION-STAGE-1, DOCKER-BRIDGE, icc, leaving traffic
//!   DOCKER-BRIDGE -> DOCKER: one ACCEPT a port and a linked port, then DROP
//! nat PREROUTING, OUTPUT -> DOCKER: one DNAT a port;  POSTROUTING: MASQUERADE
//! ```
//!
//! Our rules in chains that are not ours are found by comparing with `iptables-save`: they are taken
//! out and put back in the same restore.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{Bridge, Exception, Firewall, Publication, Rules};
use crate::base::{At, Error, Kind, Result};

const FILTER_CHAINS: [&str; 6] = [
    "DOCKER",
    "DOCKER-BRIDGE",
    "DOCKER-CT",
    "DOCKER-FORWARD",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
];
const USER_CHAIN: &str = "DOCKER-USER";

/// The back end.
pub(super) struct Iptables {
    /// Our rules in POSTROUTING as last written, which have no mark of their own.
    postrouting: Vec<String>,
}

/// What `iptables-save` shows of a table.
#[derive(Default)]
struct Saved {
    chains: BTreeSet<String>,
    rules: Vec<String>,
}

impl Iptables {
    /// Opens it, after a look whether the program works with this kernel.
    ///
    /// # Errors
    /// `Unsupported` if the program is missing or does not work.
    pub(super) fn open() -> Result<Iptables> {
        run("iptables-save", &["-t", "nat"], "").map_err(|e| e.with_kind(Kind::Unsupported))?;
        Ok(Iptables { postrouting: Vec::new() })
    }

    fn saved(&self, table: &str) -> Result<Saved> {
        let text = run("iptables-save", &["-t", table], "")?;
        let mut saved = Saved::default();
        for line in text.lines() {
            if let Some(chain) = line.strip_prefix(':') {
                saved.chains.extend(chain.split(' ').next().map(String::from));
            } else if let Some(rule) = line.strip_prefix("-A ") {
                saved.rules.push(rule.to_string());
            }
        }
        Ok(saved)
    }
}

/// Runs a program of the iptables family with `input`; its output.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let what = || format!("running {program}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .at(what())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().at(what())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim().replace('\n', "; ");
    Err(Error::new(Kind::Io, format_args!("{program} failed: {words}")))
}

fn restore(input: &str) -> Result<()> {
    run("iptables-restore", &["-w", "10", "--noflush"], input).map(drop)
}

fn postrouting(rules: &Rules, bridge: &Bridge) -> Vec<String> {
    let (name, subnet) = (&bridge.interface, bridge.subnet.network());
    let mut all = Vec::new();
    if bridge.masquerade {
        all.push(format!("POSTROUTING -s {subnet} ! -o {name} -j MASQUERADE"));
    }
    if !rules.userland_proxy {
        let translated = "-m conntrack --ctstate DNAT";
        all.push(format!("POSTROUTING -s {subnet} -o {name} {translated} -j MASQUERADE"));
        all.push(format!("POSTROUTING -s 127.0.0.0/8 -o {name} -j MASQUERADE"));
    }
    all
}

/// A rule in a built-in chain and the position it is put at: `None` is the end.
type HookRule = (String, Option<u32>);

/// Our rules in built-in chains of the filter and the nat table.
fn hooks(rules: &Rules) -> (Vec<HookRule>, Vec<HookRule>) {
    let filter = vec![
        (format!("FORWARD -j {USER_CHAIN}"), Some(1)),
        ("FORWARD -j DOCKER-FORWARD".to_string(), Some(2)),
    ];
    let local = "-m addrtype --dst-type LOCAL -j DOCKER";
    let mut nat = vec![(format!("PREROUTING {local}"), None)];
    nat.push(match rules.userland_proxy {
        true => (format!("OUTPUT ! -d 127.0.0.0/8 {local}"), None),
        false => (format!("OUTPUT {local}"), None),
    });
    for bridge in &rules.bridges {
        nat.extend(postrouting(rules, bridge).into_iter().map(|rule| (rule, None)));
    }
    (filter, nat)
}

/// Whether a rule of a built-in chain was written by us or by Docker, under other options perhaps.
fn is_ours(rule: &str, last: &[String]) -> bool {
    let jumps = ["-j DOCKER", "-j DOCKER-FORWARD", "-j DOCKER-USER"];
    let builtin = ["FORWARD ", "PREROUTING ", "OUTPUT "];
    builtin.iter().any(|chain| rule.starts_with(chain))
        && jumps.iter().any(|jump| rule.ends_with(jump))
        || last.iter().any(|ours| ours == rule)
}

fn accept(port: &Publication) -> String {
    let (ip, name, protocol) = (port.container_ip, &port.interface, port.protocol);
    let number = port.container_port;
    format!(
        "DOCKER -d {ip}/32 ! -i {name} -o {name} -p {protocol} -m {protocol} --dport {number} -j ACCEPT"
    )
}

fn accept_linked(exception: &Exception) -> String {
    let Exception { interface: name, from, to, protocol, port } = exception;
    format!(
        "DOCKER -s {from}/32 -d {to}/32 -i {name} -o {name} -p {protocol} -m {protocol} --dport {port} -j ACCEPT"
    )
}

fn translate(port: &Publication) -> String {
    let protocol = port.protocol;
    let mut rule = String::from("DOCKER");
    if !port.host_ip.is_unspecified() {
        let _ = write!(rule, " -d {}/32", port.host_ip);
    }
    let _ = write!(
        rule,
        " -p {protocol} -m {protocol} --dport {} -j DNAT --to-destination {}:{}",
        port.host_port, port.container_ip, port.container_port
    );
    rule
}

fn filter_rules(rules: &Rules) -> String {
    let mut text = String::new();
    let mut add = |rule: String| {
        let _ = writeln!(text, "-A {rule}");
    };
    for chain in ["DOCKER-CT", "DOCKER-ISOLATION-STAGE-1", "DOCKER-BRIDGE"] {
        add(format!("DOCKER-FORWARD -j {chain}"));
    }
    for Bridge { interface: name, icc, .. } in &rules.bridges {
        add(format!("DOCKER-CT -o {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        add(format!("DOCKER-BRIDGE -o {name} -j DOCKER"));
        add(format!("DOCKER-ISOLATION-STAGE-1 -i {name} ! -o {name} -j DOCKER-ISOLATION-STAGE-2"));
        add(format!("DOCKER-ISOLATION-STAGE-2 -o {name} -j DROP"));
        if !rules.userland_proxy {
            add(format!("DOCKER -o {name} -m conntrack --ctstate DNAT -j ACCEPT"));
        }
        add(format!("DOCKER ! -i {name} -o {name} -j DROP"));
        let own = if *icc { "ACCEPT" } else { "DROP" };
        add(format!("DOCKER-FORWARD -i {name} -o {name} -j {own}"));
        add(format!("DOCKER-FORWARD -i {name} ! -o {name} -j ACCEPT"));
    }
    text
}

impl Firewall for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn install(&mut self, rules: &Rules, ports: &[Publication]) -> Result<()> {
        let (filter, nat) = hooks(rules);
        let (saved_filter, saved_nat) = (self.saved("filter")?, self.saved("nat")?);
        let mut last = self.postrouting.clone();
        last.extend(rules.bridges.iter().flat_map(|bridge| postrouting(rules, bridge)));
        let mut text = String::from("*filter\n");
        if rules.drop_forwarding {
            text.push_str(":FORWARD DROP [0:0]\n");
        }
        for chain in FILTER_CHAINS {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        if !saved_filter.chains.contains(USER_CHAIN) {
            let _ = writeln!(text, ":{USER_CHAIN} - [0:0]");
        }
        rehook(&mut text, &saved_filter, &last, &filter);
        text.push_str(&filter_rules(rules));
        for port in ports {
            let _ = writeln!(text, "-I {}", accept(port));
        }
        for exception in &rules.exceptions {
            let _ = writeln!(text, "-I {}", accept_linked(exception));
        }
        text.push_str("COMMIT\n*nat\n:DOCKER - [0:0]\n");
        rehook(&mut text, &saved_nat, &last, &nat);
        if rules.userland_proxy {
            for bridge in &rules.bridges {
                let _ = writeln!(text, "-A DOCKER -i {} -j RETURN", bridge.interface);
            }
        }
        for port in ports {
            let _ = writeln!(text, "-A {}", translate(port));
        }
        text.push_str("COMMIT\n");
        restore(&text).at("installing packet filter rules")?;
        self.postrouting = rules.bridges.iter().flat_map(|b| postrouting(rules, b)).collect();
        Ok(())
    }

    fn publish(&mut self, _: &Rules, ports: &[Publication]) -> Result<()> {
        change(ports, "-I", "-A").at("publishing ports")
    }

    fn unpublish(&mut self, _: &Rules, ports: &[Publication]) -> Result<()> {
        change(ports, "-D", "-D").at("unpublishing ports")
    }

    fn allow(&mut self, exceptions: &[Exception]) -> Result<()> {
        change_linked(exceptions, "-I").at("allowing what links need")
    }

    fn disallow(&mut self, exceptions: &[Exception]) -> Result<()> {
        change_linked(exceptions, "-D").at("disallowing what links needed")
    }
}

/// Takes our rules out of the built-in chains and puts the wanted ones in.
fn rehook(text: &mut String, saved: &Saved, last: &[String], wanted: &[HookRule]) {
    for rule in saved.rules.iter().filter(|rule| is_ours(rule, last)) {
        let _ = writeln!(text, "-D {rule}");
    }
    for (rule, position) in wanted {
        let _ = match (position, rule.split_once(' ')) {
            (Some(n), Some((chain, rest))) => writeln!(text, "-I {chain} {n} {rest}"),
            _ => writeln!(text, "-A {rule}"),
        };
    }
}

fn change_linked(exceptions: &[Exception], verb: &str) -> Result<()> {
    let mut text = String::from("*filter\n");
    for exception in exceptions {
        let _ = writeln!(text, "{verb} {}", accept_linked(exception));
    }
    text.push_str("COMMIT\n");
    restore(&text).map_err(|e| e.with_kind(Kind::NotFound))
}

fn change(ports: &[Publication], filter: &str, nat: &str) -> Result<()> {
    let mut text = String::from("*filter\n");
    for port in ports {
        let _ = writeln!(text, "{filter} {}", accept(port));
    }
    text.push_str("COMMIT\n*nat\n");
    for port in ports {
        let _ = writeln!(text, "{nat} {}", translate(port));
    }
    text.push_str("COMMIT\n");
    // A missing rule or chain fails the whole restore: somebody flushed our rules.
    restore(&text).map_err(|e| e.with_kind(Kind::NotFound))
}
