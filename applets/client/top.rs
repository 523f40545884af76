//! `docker top`.

use multi_core::api::types::container::TopResponse;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::{print, table};

use super::failure::Outcome;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    aliases: &["docker container top", "docker top"],
    arity: Arity::AtLeast(1),
    interspersed: false,
    ..Spec::NEW
};

/// show processes
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// container and options of ps
    #[argh(positional, greedy)]
    arguments: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let options = flags.arguments[1..].join(" ");
    let mut query = Vec::new();
    if !options.is_empty() {
        query.push(("ps_args", options.as_str()));
    }
    let path = format!("/containers/{}/top", flags.arguments[0]);
    let top: TopResponse = session.get_json(&path, &query)?;
    let mut text = top.titles.join("\t") + "\n";
    for process in &top.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    Ok(print::out(&table::align_with(&text, 20, 3)))
}
