//! `docker wait`.

use multi_core::api::types::container::WaitResponse;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    aliases: &["docker container wait", "docker wait"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// wait for containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let mut failures = Vec::new();
    for container in &flags.containers {
        let answer = session.post(&format!("/containers/{container}/wait"), &[]);
        match answer.and_then(|a| a.json::<WaitResponse>().map_err(Failure::from)) {
            Ok(response) => drop(print::out(&format!("{}\n", response.status_code))),
            Err(failure) => failures.push(failure),
        }
    }
    many::join(failures)
}
