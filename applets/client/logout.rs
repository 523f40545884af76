//! `docker logout`.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::Outcome;
use super::session::{INDEX_SERVER, Session};

pub(crate) const SPEC: Spec = Spec {
    usage: "[SERVER]",
    about: "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    arity: Arity::AtMost(1),
    ..Spec::NEW
};

/// log out
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// server
    #[argh(positional, greedy)]
    servers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let server = flags.servers.first().map_or(INDEX_SERVER, String::as_str);
    let mut keys = vec![server.to_string()];
    let mut shown = server;
    if server != INDEX_SERVER {
        // Older clients kept other forms of the same name.
        shown = hostname(server);
        keys.push(shown.to_string());
        keys.push(format!("http://{shown}"));
        keys.push(format!("https://{shown}"));
    }
    print::out(&format!("Removing login credentials for {shown}\n"));
    let mut config = session.fresh_config();
    let errors: Vec<String> = keys
        .iter()
        .filter_map(|key| config.erase_credentials(key).err().map(|e| format!("{key}: {e}\n")))
        .collect();
    if errors.len() == keys.len() {
        print::err(&format!("WARNING: could not erase credentials:\n{}", errors.concat()));
    }
    Ok(0)
}

/// The name of a host in an address: `https://h:1/v1/` is `h:1`.
pub(crate) fn hostname(address: &str) -> &str {
    let bare = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"))
        .unwrap_or(address);
    bare.split('/').next().unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_cut_out_of_addresses() {
        assert_eq!(hostname("https://index.docker.io/v1/"), "index.docker.io");
        assert_eq!(hostname("localhost:5000"), "localhost:5000");
    }
}
