//! `docker import`.

use std::fs::File;
use std::io::{self, Read};

use multi_core::base::At;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::progress;
use multi_core::http::Headers;
use multi_core::http::client::Payload;

use super::commit::named;
use super::failure::Outcome;
use super::pull::screen;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "file|URL|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    aliases: &["docker image import", "docker import"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// import an archive
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// apply Dockerfile instruction to the created image
    #[argh(option, short = 'c', arg_name = "list")]
    change: Vec<String>,
    /// set commit message for imported image
    #[argh(option, short = 'm', arg_name = "string", default = "String::new()")]
    message: String,
    /// set platform if server is multi-platform capable
    #[argh(option, arg_name = "string")]
    platform: Option<String>,
    /// source and name
    #[argh(positional, greedy)]
    arguments: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let source = flags.arguments[0].as_str();
    let name = flags.arguments.get(1).filter(|name| !name.is_empty());
    let (repository, tag) = match name {
        // The daemon knows what a name may be; it is told in parts.
        Some(_) => named(name)?,
        None => Default::default(),
    };
    let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
    let mut file: Option<Box<dyn Read>> = match source {
        "-" => Some(Box::new(io::stdin().lock())),
        _ if is_url => None,
        path => Some(Box::new(File::open(path).at(format_args!("open {path}"))?)),
    };
    let default_platform = std::env::var("DOCKER_DEFAULT_PLATFORM").ok();
    let platform = flags.platform.or(default_platform).unwrap_or_default();
    let mut query = vec![
        ("fromSrc", if is_url { source } else { "-" }),
        ("repo", repository.as_str()),
        ("tag", tag.as_str()),
        ("message", flags.message.as_str()),
    ];
    if !platform.is_empty() {
        query.push(("platform", platform.as_str()));
    }
    query.extend(flags.change.iter().map(|change| ("changes", change.as_str())));
    let payload = match &mut file {
        Some(file) => Payload::Stream("text/plain", &mut **file),
        None => Payload::None,
    };
    let answer = session.request("POST", "/images/create", &query, &Headers::new(), payload)?;
    progress::show(answer, &mut io::stdout().lock(), screen(true))?;
    Ok(0)
}
