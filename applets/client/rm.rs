//! `docker rm`.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::http::Headers;
use multi_core::http::client::Payload;

use super::failure::{Failure, Outcome};
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    aliases: &["docker container rm", "docker container remove", "docker rm"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// remove containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// force the removal of a running container (uses SIGKILL)
    #[argh(switch, short = 'f')]
    force: bool,
    /// remove the specified link
    #[argh(switch, short = 'l')]
    link: bool,
    /// remove anonymous volumes associated with the container
    #[argh(switch, short = 'v')]
    volumes: bool,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let outcome = many::each(session, &flags.containers, &|session, name| {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(Failure::new("container name cannot be empty"));
        }
        let mut query = Vec::new();
        for (given, parameter) in
            [(flags.volumes, "v"), (flags.link, "link"), (flags.force, "force")]
        {
            if given {
                query.push((parameter, "1"));
            }
        }
        let path = format!("/containers/{name}");
        session.request("DELETE", &path, &query, &Headers::new(), Payload::None).map(drop)
    });
    match outcome {
        // With force, what is gone already is as good as removed.
        Err(failure) if flags.force => {
            let (gone, failed): (Vec<&str>, Vec<&str>) =
                failure.text.lines().partition(|line| line.contains("No such container"));
            gone.iter().for_each(|line| print::err(&format!("{line}\n")));
            match failed.is_empty() {
                true => Ok(0),
                false => Err(Failure::new(failed.join("\n"))),
            }
        }
        outcome => outcome,
    }
}
