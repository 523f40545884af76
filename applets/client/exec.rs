//! `docker exec`.

use multi_core::api::types::IdResponse;
use multi_core::api::types::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest};
use multi_core::base::json;
use multi_core::cli::options::keyvalue;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::term;
use multi_core::http::client::Payload;

use super::failure::{Failure, Outcome};
use super::run::exit_code;
use super::session::Session;
use super::stream::{self, Attached, End, Plan, Signals, check_tty};

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    aliases: &["docker container exec", "docker exec"],
    arity: Arity::AtLeast(2),
    interspersed: false,
    ..Spec::NEW
};

/// run a command in a container
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// detached mode: run command in the background
    #[argh(switch, short = 'd')]
    detach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, arg_name = "string", default = "String::new()")]
    detach_keys: String,
    /// set environment variables
    #[argh(option, short = 'e', arg_name = "list", from_str_fn(env))]
    env: Vec<String>,
    /// read in a file of environment variables
    #[argh(option, arg_name = "list")]
    env_file: Vec<String>,
    /// keep STDIN open even if not attached
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// give extended privileges to the command
    #[argh(switch)]
    privileged: bool,
    /// allocate a pseudo-TTY
    #[argh(switch, short = 't')]
    tty: bool,
    /// username or UID (format: "<name|uid>[:<group|gid>]")
    #[argh(option, short = 'u', arg_name = "string", default = "String::new()")]
    user: String,
    /// working directory inside the container
    #[argh(option, short = 'w', arg_name = "string", default = "String::new()")]
    workdir: String,
    /// container, command and its arguments
    #[argh(positional, greedy)]
    arguments: Vec<String>,
}

fn env(text: &str) -> Result<String, String> {
    keyvalue::env(text, &keyvalue::own_env)
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let (container, command) =
        flags.arguments.split_first().expect("cannot fail: two arguments were asked for");
    let variables = keyvalue::with_files(&flags.env_file, &flags.env, &keyvalue::own_env)
        .map_err(Failure::new)?;
    let detach_keys = match flags.detach_keys.as_str() {
        "" => session.config().text("detachKeys").to_string(),
        keys => keys.to_string(),
    };
    let stdin = flags.interactive && !flags.detach;
    if !flags.detach
        && let Err(failure) = check_tty(stdin, flags.tty)
    {
        // A container that does not exist is the worse mistake.
        session.get(&format!("/containers/{container}/json"), &[])?;
        return Err(failure);
    }
    let (rows, columns) = stream::terminal_size();
    let console_size = flags.tty.then_some([rows.into(), columns.into()]);
    let request = ExecCreateRequest {
        user: flags.user,
        privileged: flags.privileged,
        tty: flags.tty,
        console_size,
        attach_stdin: stdin,
        attach_stderr: !flags.detach,
        attach_stdout: !flags.detach,
        detach_keys: detach_keys.clone(),
        env: Some(variables),
        working_dir: flags.workdir,
        cmd: Some(command.to_vec()),
    };
    let made: IdResponse =
        session.post_json(&format!("/containers/{container}/exec"), &[], &request)?.json()?;
    if made.id.is_empty() {
        return Err(Failure::new("exec ID empty"));
    }
    let start = ExecStartRequest { detach: flags.detach, tty: flags.tty, console_size };
    let path = format!("/exec/{}/start", made.id);
    if flags.detach {
        session.post_json(&path, &[], &start)?;
        return Ok(0);
    }
    let plan = Plan {
        id: &made.id,
        exec: true,
        tty: flags.tty,
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: &detach_keys,
        forward_signals: false,
    };
    let mut signals = Signals::hold(false)?;
    let upgraded = session.upgrade(&path, &[], Payload::Json(&json::to_string(&start)))?;
    let mut attached = Attached::new(session, &plan, upgraded)?;
    if plan.tty && term::stdin_is_terminal() {
        attached.follow_size();
    }
    let end = attached.run(&mut None, &mut signals)?;
    drop(attached);
    if end == End::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    let state: ExecInspect = session.get_json(&format!("/exec/{}/json", made.id), &[])?;
    Ok(exit_code(state.exit_code.unwrap_or(0)))
}
