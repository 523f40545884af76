//! `docker load`.

use std::fs::File;
use std::io::{self, Read};

use multi_core::base::{At, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::{progress, term};
use multi_core::http::Headers;
use multi_core::http::client::Payload;
use multi_core::registry::platform::Platform;

use super::failure::{Failure, Outcome};
use super::pull::screen;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "",
    about: "Load an image from a tar archive or STDIN",
    aliases: &["docker image load", "docker load"],
    arity: Arity::None,
    ..Spec::NEW
};

/// load images
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// read from tar archive file, instead of STDIN
    #[argh(option, short = 'i', arg_name = "string", default = "String::new()")]
    input: String,
    /// load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[argh(option, arg_name = "string", default = "String::new()")]
    platform: String,
    /// suppress the load output
    #[argh(switch, short = 'q')]
    quiet: bool,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let mut input: Box<dyn Read> = match flags.input.as_str() {
        "" if term::stdin_is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        "" => Box::new(io::stdin().lock()),
        path => Box::new(File::open(path).at(format_args!("open {path}"))?),
    };
    let platform = match flags.platform.as_str() {
        "" => String::new(),
        text => json::to_string(&Platform::parse(text).at("invalid platform")?),
    };
    let quiet = flags.quiet || !term::stdout_is_terminal();
    let mut query = vec![("quiet", if quiet { "1" } else { "0" })];
    if !platform.is_empty() {
        query.push(("platform", platform.as_str()));
    }
    let payload = Payload::Stream("application/x-tar", &mut *input);
    let mut answer = session.request("POST", "/images/load", &query, &Headers::new(), payload)?;
    let kind = answer.head.headers.get("Content-Type").unwrap_or_default().to_string();
    let mut out = io::stdout().lock();
    match kind.starts_with("application/json") {
        true => progress::show(answer, &mut out, screen(true))?,
        false => drop(io::copy(&mut answer, &mut out).at("reading the daemon's answer")?),
    }
    Ok(0)
}
