//! `docker pause` and `docker unpause`.

use multi_core::cli::pflag::{self, Arity, Spec};

use super::failure::Outcome;
use super::many;
use super::session::Session;

pub(crate) const PAUSE: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Pause all processes within one or more containers",
    aliases: &["docker container pause", "docker pause"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

pub(crate) const UNPAUSE: Spec = Spec {
    about: "Unpause all processes within one or more containers",
    aliases: &["docker container unpause", "docker unpause"],
    ..PAUSE
};

/// pause or unpause containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn pause(session: &Session, called: &str, argv: &[String]) -> Outcome {
    call(session, &pflag::parse(&PAUSE, called, argv)?, "pause")
}

pub(crate) fn unpause(session: &Session, called: &str, argv: &[String]) -> Outcome {
    call(session, &pflag::parse(&UNPAUSE, called, argv)?, "unpause")
}

fn call(session: &Session, flags: &Flags, verb: &str) -> Outcome {
    many::each(session, &flags.containers, &|session, name| {
        session.post(&format!("/containers/{name}/{verb}"), &[]).map(drop)
    })
}
