//! `docker run`: create, attach, wait, start, and then the container's own end.
//!
//! The order matters: the stream is open and the wait is registered before the container starts, so
//! that no output and no exit code can be missed.

use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::{print, term};
use multi_core::http::client::Payload;

use super::container_flags::RunFlags;
use super::create::{self, Asked, with_help};
use super::failure::{Failure, Outcome};
use super::session::Session;
use super::stream::{Attached, End, Plan, Signals, Waiting, check_tty};

pub(crate) const SPEC: Spec = Spec {
    usage: "IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    aliases: &["docker container run", "docker run"],
    arity: Arity::AtLeast(1),
    interspersed: false,
    renamed: create::RENAMED,
    lists_help: true,
};

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: RunFlags = pflag::parse(&SPEC, called, argv)?;
    create::check_windows_only(&flags)?;
    let Asked(mut request, way) = create::asked(&flags).map_err(|e| with_help("run", &e))?;
    let config = request.config.get_or_insert_default();
    if flags.detach {
        if !flags.attach.is_empty() {
            return Err(Failure::new(
                "conflicting options: cannot specify both --attach and --detach",
            ));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        check_tty(config.attach_stdin, config.tty)?;
    }
    let (stdin, stdout, stderr) = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    let tty = config.tty;
    let id = create::create(session, request, &way).map_err(run_failure)?;
    if !(stdin || stdout || stderr) {
        // The id is told first: the container's start may take its time.
        print::out(&format!("{id}\n"));
        if let Err(failure) = start(session, &id) {
            return Err(run_failure(failure));
        }
        return Ok(0);
    }
    let detach_keys = match flags.detach_keys.as_str() {
        "" => session.config().text("detachKeys").to_string(),
        keys => keys.to_string(),
    };
    let plan = Plan {
        id: &id,
        exec: false,
        tty,
        stdin,
        stdout,
        stderr,
        detach_keys: &detach_keys,
        forward_signals: flags.sig_proxy,
    };
    let mut signals = Signals::hold(flags.sig_proxy)?;
    attach_and_start(session, &plan, flags.rm, &mut signals).map_err(|e| match e {
        Ended::Start(failure) => run_failure(failure),
        Ended::Else(failure) => failure,
    })
}

/// What failed: the container's start, or something around it.
pub(crate) enum Ended {
    Start(Failure),
    Else(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Else(failure)
    }
}

impl From<multi_core::base::Error> for Ended {
    fn from(e: multi_core::base::Error) -> Ended {
        Ended::Else(e.into())
    }
}

/// Attaches to a container that is not running, starts it, and stays until it ends; gives its exit
/// code.
pub(crate) fn attach_and_start(
    session: &Session,
    plan: &Plan<'_>,
    removed_at_end: bool,
    signals: &mut Signals,
) -> Result<u8, Ended> {
    let id = plan.id;
    let upgraded = attach(session, plan)?;
    // Raw mode comes before the start, so that nothing typed is shown twice.
    let mut attached = Attached::new(session, plan, upgraded)?;
    let condition = if removed_at_end { "removed" } else { "next-exit" };
    let answer = session.post(&format!("/containers/{id}/wait"), &[("condition", condition)])?;
    let mut waiting = Some(Waiting::new(answer));
    if let Err(failure) = start(session, id) {
        drop(attached);
        if removed_at_end && let Some(mut waiting) = waiting {
            // The daemon removes a container that could not start; its name must be free again.
            let _ = waiting.status();
        }
        return Err(Ended::Start(failure));
    }
    if plan.tty && term::stdout_is_terminal() {
        attached.follow_size();
    }
    let end = attached.run(&mut waiting, signals)?;
    drop(attached);
    match (end, waiting) {
        (End::Detached, _) => Ok(0),
        (End::Exited(status), _) => Ok(exit_code(status)),
        (End::Closed, Some(mut waiting)) => Ok(exit_code(status(&mut waiting))),
        (End::Closed, None) => Ok(0),
    }
}

/// The container's status; 125 with a message if it cannot be had.
pub(crate) fn status(waiting: &mut Waiting<'_>) -> i64 {
    waiting.status().unwrap_or_else(|e| {
        print::err(&format!("error waiting for container: {e}\n"));
        125
    })
}

/// A status as this program's own.
pub(crate) fn exit_code(status: i64) -> u8 {
    (status & 0xff) as u8
}

/// Opens the streams of a container.
pub(crate) fn attach(
    session: &Session,
    plan: &Plan<'_>,
) -> Result<multi_core::http::client::Upgraded, Failure> {
    let mut query = vec![("stream", "1")];
    for (name, wanted) in [("stdin", plan.stdin), ("stdout", plan.stdout), ("stderr", plan.stderr)]
    {
        if wanted {
            query.push((name, "1"));
        }
    }
    if !plan.detach_keys.is_empty() {
        query.push(("detachKeys", plan.detach_keys));
    }
    session.upgrade(&format!("/containers/{}/attach", plan.id), &query, Payload::None)
}

/// Starts a container.
pub(crate) fn start(session: &Session, id: &str) -> Result<(), Failure> {
    session.post(&format!("/containers/{id}/start"), &[]).map(drop)
}

/// The failure of a run, with the exit code that its cause stands for.
fn run_failure(failure: Failure) -> Failure {
    let message = failure.message();
    let has = |text: &str| message.contains(text);
    let code = if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    };
    Failure { kind: failure.kind, ..with_help("run", message).with_code(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_exit_codes() {
        for (message, code) in [
            ("exec: \"x\": executable file not found in $PATH: unknown", 127),
            ("exec: \"/x\": stat /x: no such file or directory", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("Conflict. The container name \"/a\" is already in use", 125),
        ] {
            assert_eq!(run_failure(Failure::new(message)).code, code, "{message}");
        }
        assert_eq!(exit_code(-1), 255);
        assert_eq!(exit_code(3), 3);
    }
}
