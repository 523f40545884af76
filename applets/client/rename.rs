//! `docker rename`.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    aliases: &["docker container rename", "docker rename"],
    arity: Arity::Exactly(2),
    ..Spec::NEW
};

/// rename a container
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// old and new name
    #[argh(positional, greedy)]
    names: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let (old, new) = (flags.names[0].trim(), flags.names[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    session.post(&format!("/containers/{old}/rename"), &[("name", new)]).map_err(|failure| {
        print::err(&failure.text);
        Failure::new(format_args!("Error: failed to rename container named {old}"))
    })?;
    Ok(0)
}
