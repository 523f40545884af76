//! `docker kill`.

use multi_core::cli::pflag::{self, Arity, Spec};

use super::failure::Outcome;
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    aliases: &["docker container kill", "docker kill"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// kill containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// signal to send to the container
    #[argh(option, short = 's', arg_name = "string", default = "String::new()")]
    signal: String,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    many::each(session, &flags.containers, &|session, name| {
        let mut query = Vec::new();
        if !flags.signal.is_empty() {
            query.push(("signal", flags.signal.as_str()));
        }
        session.post(&format!("/containers/{name}/kill"), &query).map(drop)
    })
}
