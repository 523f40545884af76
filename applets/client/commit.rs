//! `docker commit`.

use multi_core::api::types::IdResponse;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::http::Headers;
use multi_core::http::client::Payload;
use multi_core::registry::reference::Reference;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    aliases: &["docker container commit", "docker commit"],
    arity: Arity::Between(1, 2),
    ..Spec::NEW
};

/// commit a container
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[argh(option, short = 'a', arg_name = "string", default = "String::new()")]
    author: String,
    /// apply Dockerfile instruction to the created image
    #[argh(option, short = 'c', arg_name = "list")]
    change: Vec<String>,
    /// commit message
    #[argh(option, short = 'm', arg_name = "string", default = "String::new()")]
    message: String,
    /// pause container during commit (default true)
    #[argh(option, short = 'p', arg_name = "bool", default = "true")]
    pause: bool,
    /// configuration of the image as JSON; the old form of --change
    #[argh(option, arg_name = "string", hidden_help)]
    run: Option<String>,
    /// container and name
    #[argh(positional, greedy)]
    arguments: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let container = flags.arguments[0].as_str();
    let name = named(flags.arguments.get(1))?;
    let pause = if flags.pause { "1" } else { "0" };
    let mut query = vec![
        ("author", flags.author.as_str()),
        ("comment", flags.message.as_str()),
        ("container", container),
        ("repo", name.0.as_str()),
        ("tag", name.1.as_str()),
        ("pause", pause),
    ];
    query.extend(flags.change.iter().map(|change| ("changes", change.as_str())));
    let payload = flags.run.as_deref().map_or(Payload::None, Payload::Json);
    let answer = session.request("POST", "/commit", &query, &Headers::new(), payload)?;
    let made: IdResponse = answer.json()?;
    Ok(print::out(&format!("{}\n", made.id)))
}

/// Repository and tag of the name of a new image; empty for none.
///
/// # Errors
/// Docker's texts.
pub(super) fn named(name: Option<&String>) -> Result<(String, String), Failure> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Default::default());
    };
    let name = Reference::parse(name)?;
    if name.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let tag = name.clone().or_latest().tag().unwrap_or_default().to_string();
    Ok((name.familiar_name(), tag))
}
