//! `docker volume update`: only volumes of a cluster can be changed, and there is none.

use multi_core::api::types::volume::Volume;
use multi_core::cli::pflag::{self, Arity, Spec};

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "[VOLUME]",
    about: "Update a volume (cluster volumes only)",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// update a volume
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    #[argh(
        option,
        arg_name = "string",
        default = "String::from(\"active\")",
        description = "cluster Volume availability (\"active\", \"pause\", \"drain\") (default \"active\")"
    )]
    #[allow(dead_code, reason = "checked as a flag; no volume that there is has it")]
    availability: String,
    /// volume
    #[argh(positional, greedy)]
    volumes: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let name = flags.volumes.first().map(String::as_str).unwrap_or_default();
    let _: Volume = session.get_json(&format!("/volumes/{name}"), &[])?;
    Err(Failure::new("can only update cluster volumes"))
}
