//! `docker volume rm`.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::http::Headers;
use multi_core::http::client::Payload;

use super::failure::Outcome;
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "VOLUME [VOLUME...]",
    about: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    aliases: &["docker volume rm", "docker volume remove"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// remove volumes
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// force the removal of one or more volumes
    #[argh(switch, short = 'f')]
    force: bool,
    /// volumes
    #[argh(positional, greedy)]
    volumes: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    many::each(session, &flags.volumes, &|session, name| {
        let query: &[(&str, &str)] = if flags.force { &[("force", "1")] } else { &[] };
        let path = format!("/volumes/{name}");
        session.request("DELETE", &path, query, &Headers::new(), Payload::None).map(drop)
    })
}
