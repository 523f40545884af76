//! Commands about the processes of a container.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use multi_core::base::{Error, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::runtime::oci::{self, ExecOptions, Runtime};
use multi_core::sys::{memfd, signal};

use super::{Failure, Outcome};

/// Exit code when the program of exec cannot be run, as runc has it.
const CANNOT_EXEC: u8 = 255;

pub(super) const EXEC: Spec = Spec {
    usage: "CONTAINER [COMMAND] [ARG...]",
    about: "Run a further program in a container",
    arity: Arity::AtLeast(1),
    interspersed: false,
    ..Spec::NEW
};

pub(super) const KILL: Spec = Spec {
    usage: "CONTAINER [SIGNAL]",
    about: "Send a signal, SIGTERM unless another one is named",
    arity: Arity::Between(1, 2),
    ..Spec::NEW
};

pub(super) const PS: Spec = Spec {
    usage: "CONTAINER",
    about: "List the processes of a container",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// run a further program
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct ExecFlags {
    /// further group
    #[argh(option, short = 'g', arg_name = "list")]
    additional_gids: Vec<u32>,
    /// apparmor profile
    #[argh(option, arg_name = "string", default = "String::new()")]
    apparmor: String,
    /// further capability
    #[argh(option, short = 'c', arg_name = "list")]
    cap: Vec<String>,
    /// cgroup below the container's
    #[argh(option, arg_name = "string", default = "String::new()")]
    cgroup: String,
    /// socket that receives the master of the process's terminal
    #[argh(option, arg_name = "string")]
    console_socket: Option<PathBuf>,
    /// working directory
    #[argh(option, arg_name = "string", default = "String::new()")]
    cwd: String,
    /// leave the process alone once its program runs
    #[argh(switch, short = 'd')]
    detach: bool,
    /// environment variable
    #[argh(option, short = 'e', arg_name = "list")]
    env: Vec<String>,
    /// also in a paused container
    #[argh(switch)]
    ignore_paused: bool,
    /// let the program gain no privileges
    #[argh(switch)]
    no_new_privs: bool,
    /// file to write the process id to
    #[argh(option, arg_name = "string")]
    pid_file: Option<PathBuf>,
    /// descriptors from 3 on that the program gets, beside those of LISTEN_FDS
    #[argh(option, arg_name = "uint", default = "0")]
    preserve_fds: u32,
    /// file that holds the whole process as JSON; options about the program are not looked at then
    #[argh(option, short = 'p', arg_name = "string")]
    process: Option<PathBuf>,
    /// selinux label
    #[argh(option, arg_name = "string", default = "String::new()")]
    process_label: String,
    /// give the process a terminal
    #[argh(switch, short = 't')]
    tty: bool,
    /// user id and group id (uid[:gid])
    #[argh(option, short = 'u', arg_name = "string", default = "String::new()")]
    user: String,
    /// the container and the command
    #[argh(positional, greedy)]
    words: Vec<String>,
}

/// send a signal
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct KillFlags {
    /// to all processes, not only the first
    #[argh(switch, short = 'a')]
    all: bool,
    /// the container and the signal
    #[argh(positional, greedy)]
    words: Vec<String>,
}

/// list processes
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct PsFlags {
    /// format of the output, "table" or "json" (default "table")
    #[argh(option, short = 'f', arg_name = "string", default = "\"table\".into()")]
    format: String,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

pub(super) fn exec(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: ExecFlags = pflag::parse(&EXEC, called, argv)?;
    memfd::go_on_sealed()?;
    if flags.process.is_none() && flags.words.len() < 2 {
        return Err(Error::invalid("process args cannot be empty").into());
    }
    let container = runtime.load(&flags.words[0])?;
    let options = ExecOptions {
        process: flags.process,
        args: flags.words[1..].to_vec(),
        terminal: flags.tty,
        cwd: flags.cwd,
        env: flags.env,
        user: flags.user,
        groups: flags.additional_gids,
        caps: flags.cap,
        no_new_privs: flags.no_new_privs,
        apparmor: flags.apparmor,
        label: flags.process_label,
        detach: flags.detach,
        console_socket: flags.console_socket,
        pid_file: flags.pid_file,
        preserve_fds: flags.preserve_fds,
        ignore_paused: flags.ignore_paused,
        cgroup: flags.cgroup,
    };
    oci::exec(&container, &options).map_err(|e| Failure::Error(e, CANNOT_EXEC))
}

pub(super) fn kill(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: KillFlags = pflag::parse(&KILL, called, argv)?;
    let signal = match flags.words.get(1) {
        Some(name) => signal::parse(name)?,
        None => signal::parse("SIGTERM")?,
    };
    oci::kill(&runtime.load(&flags.words[0])?, signal, flags.all)?;
    Ok(0)
}

pub(super) fn ps(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: PsFlags = pflag::parse(&PS, called, argv)?;
    let pids = runtime.load(&flags.id[0])?.pids()?;
    let text = match flags.format.as_str() {
        "json" => json::to_string_plain(&pids) + "\n",
        "table" => pids.iter().fold("PID\n".to_string(), |text, pid| format!("{text}{pid}\n")),
        _ => return Err(Error::invalid("invalid format option").into()),
    };
    Ok(print::out(&text))
}
