//! `docker attach`.

use multi_core::api::types::container::InspectResponse;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::term;

use super::failure::{Failure, Outcome};
use super::run;
use super::session::Session;
use super::stream::{self, Attached, End, Plan, Signals, Waiting, check_tty};

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    aliases: &["docker container attach", "docker attach"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// attach to a container
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// override the key sequence for detaching a container
    #[argh(option, arg_name = "string", default = "String::new()")]
    detach_keys: String,
    /// do not attach STDIN
    #[argh(switch)]
    no_stdin: bool,
    /// proxy all received signals to the process (default true)
    #[argh(option, arg_name = "bool", default = "true")]
    sig_proxy: bool,
    /// container
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let name = &flags.containers[0];
    let found = running(session, name)?;
    let config = found.config.unwrap_or_default();
    check_tty(!flags.no_stdin, config.tty)?;
    let answer = session.post(&format!("/containers/{}/wait", found.id), &[])?;
    let mut waiting = Some(Waiting::new(answer));
    let detach_keys = match flags.detach_keys.as_str() {
        "" => session.config().text("detachKeys").to_string(),
        keys => keys.to_string(),
    };
    let plan = Plan {
        id: &found.id,
        exec: false,
        tty: config.tty,
        stdin: !flags.no_stdin && config.open_stdin,
        stdout: true,
        stderr: true,
        detach_keys: &detach_keys,
        forward_signals: flags.sig_proxy && !config.tty,
    };
    let mut signals = Signals::hold(plan.forward_signals)?;
    let upgraded = run::attach(session, &plan)?;
    // It may have stopped before the stream was open; then the stream would never end.
    running(session, &found.id)?;
    let mut attached = Attached::new(session, &plan, upgraded)?;
    if plan.tty && term::stdout_is_terminal() {
        // A change of size makes a shell draw its prompt again.
        stream::set_size(session, plan.id, false, 1);
        attached.follow_size();
    }
    let end = attached.run(&mut waiting, &mut signals)?;
    drop(attached);
    match (end, waiting) {
        (End::Detached, _) => Err(Failure::new("read escape sequence")),
        (End::Exited(status), _) => Ok(run::exit_code(status)),
        (End::Closed, Some(mut waiting)) => {
            Ok(run::exit_code(waiting.status().map_err(Failure::from)?))
        }
        (End::Closed, None) => Ok(0),
    }
}

/// The container, if one can attach to it now.
fn running(session: &Session, name: &str) -> Result<InspectResponse, Failure> {
    let found: InspectResponse = session.get_json(&format!("/containers/{name}/json"), &[])?;
    let state = found.state.clone().unwrap_or_default();
    if !state.running {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if state.paused {
        return Err(Failure::new("You cannot attach to a paused container, unpause it first"));
    }
    if state.restarting {
        return Err(Failure::new(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    Ok(found)
}
