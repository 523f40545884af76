//! `docker start`.

use multi_core::api::types::container::InspectResponse;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::run::{self, Ended};
use super::session::Session;
use super::stream::{Plan, Signals};

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    aliases: &["docker container start", "docker start"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// start containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// attach STDOUT/STDERR and forward signals
    #[argh(switch, short = 'a')]
    attach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, arg_name = "string", default = "String::new()")]
    detach_keys: String,
    /// attach container's STDIN
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    if flags.attach || flags.interactive {
        return attached(session, &flags);
    }
    let mut failed = Vec::new();
    for container in &flags.containers {
        match run::start(session, container) {
            Ok(()) => drop(print::out(&format!("{container}\n"))),
            Err(failure) => {
                print::err(&failure.text);
                failed.push(container.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(format_args!("Error: failed to start containers: {}", failed.join(", "))))
}

fn attached(session: &Session, flags: &Flags) -> Outcome {
    let [container] = flags.containers.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let found: InspectResponse = session.get_json(&format!("/containers/{container}/json"), &[])?;
    let config = found.config.unwrap_or_default();
    let detach_keys = match flags.detach_keys.as_str() {
        "" => session.config().text("detachKeys").to_string(),
        keys => keys.to_string(),
    };
    let plan = Plan {
        id: &found.id,
        exec: false,
        tty: config.tty,
        stdin: flags.interactive && config.open_stdin,
        stdout: true,
        stderr: true,
        detach_keys: &detach_keys,
        forward_signals: !config.tty,
    };
    let removed_at_end = found.host_config.is_some_and(|h| h.auto_remove);
    let mut signals = Signals::hold(plan.forward_signals)?;
    run::attach_and_start(session, &plan, removed_at_end, &mut signals).map_err(|e| match e {
        Ended::Start(failure) | Ended::Else(failure) => failure,
    })
}
