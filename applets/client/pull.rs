//! `docker pull`, and the pull that `run` and `create` do on their own.

use std::io;
use std::os::fd::AsFd;

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::progress::{self, Screen};
use multi_core::cli::{print, term};
use multi_core::http::client::Payload;
use multi_core::registry::reference::Reference;
use multi_core::sys::winsize;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    aliases: &["docker image pull", "docker pull"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// download an image
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// download all tagged images in the repository
    #[argh(switch, short = 'a')]
    all_tags: bool,
    /// skip image verification (default true)
    #[argh(option, arg_name = "bool", default = "true")]
    disable_content_trust: bool,
    /// set platform if server is multi-platform capable
    #[argh(option, arg_name = "string")]
    platform: Option<String>,
    /// suppress verbose output
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// name
    #[argh(positional, greedy)]
    names: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    if !flags.disable_content_trust {
        return Err(Failure::new("content trust is not supported"));
    }
    let mut reference = Reference::parse(&flags.names[0])?;
    if flags.all_tags && !reference.is_name_only() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !flags.all_tags && reference.is_name_only() {
        reference = reference.or_latest();
        if !flags.quiet {
            let tag = reference.tag().unwrap_or_default();
            print::out(&format!("Using default tag: {tag}\n"));
        }
    }
    let default_platform = || std::env::var("DOCKER_DEFAULT_PLATFORM").ok();
    let platform = flags.platform.or_else(default_platform).filter(|p| !p.is_empty());
    let to = if flags.quiet { To::Nowhere } else { To::Stdout };
    pull(session, &reference, platform.as_deref(), to)?;
    Ok(print::out(&format!("{reference}\n")))
}

/// Pulls the image of a new container; progress goes to standard error, because standard output
/// belongs to the container's id.
pub(crate) fn for_create(
    session: &Session,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), Failure> {
    let reference = Reference::parse(image)?.or_latest();
    pull(session, &reference, platform, if quiet { To::Nowhere } else { To::Stderr })
}

/// Where progress is shown.
#[derive(Clone, Copy)]
enum To {
    Stdout,
    Stderr,
    Nowhere,
}

fn pull(
    session: &Session,
    reference: &Reference,
    platform: Option<&str>,
    to: To,
) -> Result<(), Failure> {
    let name = reference.familiar_name();
    let digest = reference.digest().map(|d| d.to_string());
    let tag = digest.as_deref().or(reference.tag());
    let mut query = vec![("fromImage", name.as_str())];
    query.extend(tag.map(|tag| ("tag", tag)));
    query.extend(platform.map(|platform| ("platform", platform)));
    let headers = session.registry_auth(reference.domain())?;
    let answer = session.request("POST", "/images/create", &query, &headers, Payload::None)?;
    match to {
        To::Stdout => progress::show(answer, &mut io::stdout().lock(), screen(true))?,
        To::Stderr => progress::show(answer, &mut io::stderr().lock(), screen(false))?,
        To::Nowhere => {
            let screen = Screen { terminal: false, columns: None };
            progress::show(answer, &mut io::sink(), screen)?;
        }
    }
    Ok(())
}

/// What can be drawn on standard output or standard error.
pub(crate) fn screen(stdout: bool) -> Screen {
    use std::io::IsTerminal;
    let (out, err) = (io::stdout(), io::stderr());
    let terminal = if stdout { term::stdout_is_terminal() } else { err.is_terminal() };
    let fd = if stdout { out.as_fd() } else { err.as_fd() };
    Screen { terminal, columns: winsize::columns(fd).filter(|_| terminal) }
}
