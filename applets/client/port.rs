//! `docker port`.

use multi_core::api::types::container::InspectResponse;
use multi_core::api::types::host::PortBinding;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    aliases: &["docker container port", "docker port"],
    arity: Arity::Between(1, 2),
    ..Spec::NEW
};

/// show published ports
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// container and port
    #[argh(positional, greedy)]
    arguments: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let container = &flags.arguments[0];
    let found: InspectResponse = session.get_json(&format!("/containers/{container}/json"), &[])?;
    let ports = found.network_settings.and_then(|n| n.ports).unwrap_or_default();
    let mut lines = Vec::new();
    match flags.arguments.get(1) {
        Some(wanted) => {
            let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
            let protocol = if protocol.is_empty() { "tcp" } else { protocol };
            if number.parse::<u16>().is_err() {
                return Err(Failure::new(format_args!(
                    "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: {}",
                    match number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() {
                        true => "value out of range",
                        false => "invalid syntax",
                    }
                )));
            }
            let bindings = ports.get(&format!("{number}/{protocol}")).cloned().flatten();
            let bindings = bindings.filter(|b| !b.is_empty()).ok_or_else(|| {
                Failure::new(format_args!(
                    "Error: No public port '{wanted}' published for {container}"
                ))
            })?;
            lines.extend(bindings.iter().map(address));
        }
        None => {
            for (port, bindings) in &ports {
                let bindings = bindings.iter().flatten();
                lines.extend(bindings.map(|b| format!("{port} -> {}", address(b))));
            }
        }
    }
    lines.sort_by_key(|line| natural_key(line));
    match lines.is_empty() {
        true => Ok(0),
        false => Ok(print::out(&(lines.join("\n") + "\n"))),
    }
}

fn address(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}

/// Sorts numbers inside text by their value.
pub(super) fn natural_key(text: &str) -> Vec<(u8, u64, char)> {
    let mut key = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(mut number) = c.to_digit(10).map(u64::from) else {
            key.push((1, 0, c));
            continue;
        };
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            number = number.saturating_mul(10).saturating_add(digit.into());
            chars.next();
        }
        key.push((0, number, '\0'));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_by_number() {
        let mut lines = ["443/tcp -> a", "80/tcp -> [::]:9", "80/tcp -> 0.0.0.0:10"];
        lines.sort_by_key(|line| natural_key(line));
        assert_eq!(lines, ["80/tcp -> 0.0.0.0:10", "80/tcp -> [::]:9", "443/tcp -> a"]);
    }
}
