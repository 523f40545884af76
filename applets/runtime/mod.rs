//! `multi runtime`: the OCI runtime for other programs, with the options of runc and crun.
//!
//! One row for each command in [`COMMANDS`]; help and the manual page are made from them. Errors go to
//! standard error and to the file of `--log`, where podman and containerd look for them.

mod life;
mod look;
mod process;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use argh::{ArgsInfo, CommandInfoWithArgs, FromArgs};
use multi_core::base::time::Timestamp;
use multi_core::base::{At, Error, Result, json, log};
use multi_core::cli::help::{self, Program, Section};
use multi_core::cli::man::{Body, Page, Part, option_terms};
use multi_core::cli::pflag::{self, Arity, Spec, Stop};
use multi_core::cli::print;
use multi_core::runtime::oci::{self, Runtime};
use multi_core::runtime::spec::OCI_VERSION;

use crate::table::Call;

/// What a command gives: an exit code, or why there is none.
type Outcome = std::result::Result<u8, Failure>;

/// Why a command ended early.
enum Failure {
    /// Help, or a wrong command line.
    Stop(Stop),
    /// It failed; with this exit code.
    Error(Error, u8),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        Failure::Stop(stop)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Error(e, 1)
    }
}

/// One command.
struct Command {
    name: &'static str,
    spec: &'static Spec,
    flags: fn() -> CommandInfoWithArgs,
    run: fn(&Runtime, &str, &[String]) -> Outcome,
}

macro_rules! commands {
    ($($name:literal $spec:path, $flags:ty, $run:path;)*) => {
        &[$(Command {
            name: $name,
            spec: &$spec,
            flags: <$flags>::get_args_info,
            run: $run,
        }),*]
    };
}

/// Every command, sorted by name.
const COMMANDS: &[Command] = commands! {
    "create" life::CREATE, life::CreateFlags, life::create;
    "delete" life::DELETE, life::DeleteFlags, life::delete;
    "events" look::EVENTS, look::EventsFlags, look::events;
    "exec" process::EXEC, process::ExecFlags, process::exec;
    "features" look::FEATURES, NoFlags, look::features;
    "kill" process::KILL, process::KillFlags, process::kill;
    "list" look::LIST, look::ListFlags, look::list;
    "pause" life::PAUSE, OneFlags, life::pause;
    "ps" process::PS, process::PsFlags, process::ps;
    "resume" life::RESUME, OneFlags, life::resume;
    "run" life::RUN, life::RunFlags, life::run;
    "spec" look::SPEC, look::SpecFlags, look::spec;
    "start" life::START, OneFlags, life::start;
    "state" look::STATE, OneFlags, look::state;
    "update" life::UPDATE, life::UpdateFlags, life::update;
};

/// no flags
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
struct NoFlags {}

/// one container
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
struct OneFlags {
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

/// the flags before the command
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
struct GlobalFlags {
    /// who limits containers: "cgroupfs" (this runtime) or "disabled" (nobody) (default "cgroupfs")
    #[argh(option, arg_name = "string", default = "\"cgroupfs\".into()")]
    cgroup_manager: String,
    /// also tell of steps that went well
    #[argh(switch)]
    debug: bool,
    /// file that errors are also appended to
    #[argh(option, arg_name = "string")]
    log: Option<String>,
    /// format of that file: "text" or "json" (default "text")
    #[argh(option, arg_name = "string", default = "\"text\".into()")]
    log_format: String,
    /// directory of the state of containers (default "/run/multi-runtime")
    #[argh(option, arg_name = "string", default = "oci::DEFAULT_ROOT.into()")]
    root: String,
    /// whether to do without root: only "false" and "auto" are possible (default "auto")
    #[argh(option, arg_name = "string", default = "\"auto\".into()")]
    rootless: String,
    /// let systemd make cgroups; refused, as this runtime makes them itself
    #[argh(switch)]
    systemd_cgroup: bool,
    /// print version information and quit
    #[argh(switch, short = 'v')]
    version: bool,
    /// the command and its words
    #[argh(positional, greedy)]
    words: Vec<String>,
}

const ROOT: Spec = Spec {
    usage: "COMMAND [ARG...]",
    about: "Run containers of OCI bundles, for podman, containerd and others",
    arity: Arity::Any,
    interspersed: false,
    ..Spec::NEW
};

/// The applet.
pub(crate) fn run(call: &Call) -> u8 {
    let mut log = Log::default();
    match dispatch(&call.called, &call.args, &mut log) {
        Ok(code) => code,
        Err(Failure::Stop(stop)) => u8::from(stop.print() != 0),
        Err(Failure::Error(e, code)) => {
            log.error(&e);
            print::err(&format!("{}: {e}\n", call.called));
            code
        }
    }
}

/// Where errors go beside standard error.
#[derive(Default)]
struct Log {
    file: Option<String>,
    json: bool,
}

impl Log {
    /// Appends one line. Who reads standard error knows it anyhow, so a failure here is passed over.
    fn error(&self, e: &Error) {
        let Some(file) = &self.file else { return };
        let time = Timestamp::now();
        let text = json::quote_plain(e.message());
        let line = match self.json {
            true => format!("{{\"level\":\"error\",\"msg\":{text},\"time\":\"{time}\"}}\n"),
            false => format!("time=\"{time}\" level=error msg={text}\n"),
        };
        let _ = appended(file).and_then(|mut file| file.write_all(line.as_bytes()));
    }

    /// Whether errors can be told there.
    fn open(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        appended(file).map(drop).at(format_args!("opening log {file}"))
    }
}

fn appended(file: &str) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o644).open(file)
}

fn dispatch(called: &str, argv: &[String], log: &mut Log) -> Outcome {
    let info = GlobalFlags::get_args_info();
    let usage = help::usage_line(&ROOT, called, info.flags);
    let scan = pflag::scan(info.flags, &ROOT, argv)
        .map_err(|message| Stop::flag(&message, &usage, called))?;
    if scan.help && scan.arguments.is_empty() {
        return Ok(print::out(&overview(called)));
    }
    let flags: GlobalFlags = pflag::parse(&ROOT, called, argv)?;
    if flags.version {
        let (version, revision) = (multi_core::VERSION, multi_core::REVISION);
        let text =
            format!("multi-runtime version {version}\ncommit: {revision}\nspec: {OCI_VERSION}\n");
        return Ok(print::out(&text));
    }
    (log.file, log.json) = (flags.log.clone(), flags.log_format == "json");
    log.open()?;
    let runtime = runtime(&flags)?;
    let Some((first, rest)) = flags.words.split_first() else {
        return Ok(print::out(&overview(called)));
    };
    if first == "help" {
        return match rest.first().and_then(|name| find(name)) {
            Some(command) => {
                (command.run)(&runtime, &format!("{called} {}", command.name), &["--help".into()])
            }
            None => Ok(print::out(&overview(called))),
        };
    }
    match find(first) {
        Some(command) => (command.run)(&runtime, &format!("{called} {first}"), rest),
        None => Err(Error::invalid(format_args!("unknown command {first:?}")).into()),
    }
}

fn runtime(flags: &GlobalFlags) -> Result<Runtime> {
    if !matches!(flags.log_format.as_str(), "text" | "json") {
        return Err(Error::invalid(format_args!("unknown log-format {:?}", flags.log_format)));
    }
    log::init(
        if flags.debug { ::log::LevelFilter::Debug } else { ::log::LevelFilter::Warn },
        if flags.log_format == "json" { log::Format::Json } else { log::Format::Text },
    );
    let cgroups = match flags.cgroup_manager.as_str() {
        _ if flags.systemd_cgroup => {
            return Err(Error::unsupported(
                "cgroups by systemd are not supported: use the cgroupfs cgroup manager",
            ));
        }
        "cgroupfs" => true,
        "disabled" => false,
        other => {
            return Err(Error::unsupported(format_args!(
                "cgroup manager {other:?} is not supported: use \"cgroupfs\" or \"disabled\""
            )));
        }
    };
    match flags.rootless.as_str() {
        "auto" | "false" => {}
        other => {
            return Err(Error::unsupported(format_args!(
                "--rootless={other} is not supported: this runtime needs root"
            )));
        }
    }
    Ok(Runtime::new(Path::new(&flags.root), cgroups))
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

fn overview(called: &str) -> String {
    let rows = COMMANDS.iter().map(|c| (c.name, c.spec.about)).collect();
    let info = GlobalFlags::get_args_info();
    help::program(
        &Program {
            usage_line: &format!("{called} [OPTIONS] COMMAND"),
            about: ROOT.about,
            sections: vec![Section { title: "Commands", rows }],
            options_title: "Global Options",
            flags: info.flags,
            footer: &format!("Run '{called} COMMAND --help' for more information on a command."),
        },
        help::width(),
    )
}

/// The manual page.
pub(crate) fn page() -> Page {
    let info = GlobalFlags::get_args_info();
    let mut page = Page::of_command("multi runtime", &ROOT, info.flags);
    page.parts[0] = Part::text(
        "DESCRIPTION",
        "Makes, starts and ends containers of OCI bundles: a bundle is a directory with a config.json \
         and the root file system it names. Every command does its work and ends; there is no daemon. \
         Commands and options are those of runc and crun, so that podman, containerd and Docker can use \
         it: under the name multi-runtime, a link that multi install makes, it needs no argument to be \
         called.\n\nA container is created, started, killed and deleted by one command each; run does \
         all of it and hands standard streams and signals on. Configurations follow version 1.2 of the \
         OCI runtime specification. What is not done is refused by name: cgroups by systemd, \
         intelRdt, work without root, parts for other platforms.",
    );
    page.parts.push(Part::terms(
        "COMMANDS",
        &COMMANDS
            .iter()
            .map(|c| (help::usage_line(c.spec, c.name, (c.flags)().flags), c.spec.about))
            .collect::<Vec<_>>(),
    ));
    for command in COMMANDS {
        let options = option_terms((command.flags)().flags);
        if !options.is_empty() {
            let title = format!("OPTIONS OF {}", command.name.to_uppercase());
            page.parts.push(Part { title, body: Body::Terms(options) });
        }
    }
    page.parts.push(Part::terms(
        "FILES",
        &[(oci::DEFAULT_ROOT, "State of containers; it does not outlive a boot.")],
    ));
    page
}
