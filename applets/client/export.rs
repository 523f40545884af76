//! `docker export`.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::term;

use super::failure::{Failure, Outcome};
use super::save::Output;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    aliases: &["docker container export", "docker export"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// export a container
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// write to a file, instead of STDOUT
    #[argh(option, short = 'o', arg_name = "string", default = "String::new()")]
    output: String,
    /// the container
    #[argh(positional, greedy)]
    container: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    if flags.output.is_empty() && term::stdout_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let output = Output::open(&flags.output)
        .map_err(|e| Failure::new(format_args!("failed to export container: {e}")))?;
    let answer = session.get(&format!("/containers/{}/export", flags.container[0]), &[])?;
    output.fill(answer, "exporting the container")?;
    Ok(0)
}
