//! `docker diff`.

use multi_core::api::types::archive::Change;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    aliases: &["docker container diff", "docker diff"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// show changes
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// the container
    #[argh(positional, greedy)]
    container: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let name = &flags.container[0];
    if name.is_empty() {
        return Err(Failure::new("container name cannot be empty"));
    }
    let changes: Option<Vec<Change>> =
        session.get_json(&format!("/containers/{name}/changes"), &[])?;
    let mut text = String::new();
    for change in changes.into_iter().flatten() {
        let letter = match change.kind {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        text.push_str(&format!("{letter} {}\n", change.path));
    }
    Ok(print::out(&text))
}
