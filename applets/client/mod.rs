//! The `docker` command line: one file for each command, one row for each in [`COMMANDS`].
//!
//! A command reads its flags by `cli::pflag`, talks to the daemon through one [`Session`], and gives
//! an exit code or a [`Failure`] with Docker's text. To add a command: a file, and its rows here.

mod attach;
mod clock;
mod commit;
mod container_flags;
mod container_prune;
mod cp;
mod create;
mod df;
mod diff;
mod events;
mod exec;
mod export;
mod failure;
mod history;
mod image_prune;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod many;
pub(crate) mod pages;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod rename;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod start;
mod stats;
mod stop;
mod stream;
mod system_prune;
mod tag;
mod top;
mod update;
mod version;
mod volume_create;
mod volume_ls;
mod volume_prune;
mod volume_rm;
mod volume_update;
mod wait;
mod with_format;

use argh::{ArgsInfo, CommandInfoWithArgs};
use multi_core::base::time::Timestamp;
use multi_core::base::{Error, Result, duration, json};
use multi_core::cli::help::{self, Program, Section};
use multi_core::cli::pflag::{self, Arity, Spec, Stop};
use multi_core::cli::print;
use multi_core::config::client::Connection;
use multi_core::config::paths;

use crate::table::Call;
use container_flags::{CreateFlags, RunFlags};
use failure::{Failure, Outcome};
use session::{Global, Session};

/// One way to call a command.
pub(crate) struct Command {
    /// The family, `container` in `docker container ls`; empty for `docker ps`.
    pub(crate) family: &'static str,
    /// Names in the family; help lists the first.
    pub(crate) names: &'static [&'static str],
    /// Usage, description, arity.
    pub(crate) spec: &'static Spec,
    /// Its flags; manual pages are made from them.
    pub(crate) flags: fn() -> CommandInfoWithArgs,
    /// Reads the flags and does the work.
    pub(crate) run: fn(&Session, &str, &[String]) -> Outcome,
}

/// A family of commands.
pub(crate) struct Family {
    /// `container`
    pub(crate) name: &'static str,
    /// `Manage containers`
    pub(crate) about: &'static str,
}

/// Families, sorted by name.
pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "container", about: "Manage containers" },
    Family { name: "image", about: "Manage images" },
    Family { name: "system", about: "Manage Docker" },
    Family { name: "volume", about: "Manage volumes" },
];

/// Commands that help shows first.
const COMMON: &[&str] =
    &["run", "exec", "ps", "pull", "images", "login", "logout", "version", "info"];

macro_rules! commands {
    ($([$family:literal $($name:literal)+] $spec:path, $flags:ty, $run:path;)*) => {
        &[$(Command {
            family: $family,
            names: &[$($name),+],
            spec: &$spec,
            flags: <$flags>::get_args_info,
            run: $run,
        }),*]
    };
}

/// Every command by every way to call it.
pub(crate) const COMMANDS: &[Command] = commands! {
    ["" "attach"] attach::SPEC, attach::Flags, attach::run;
    ["" "commit"] commit::SPEC, commit::Flags, commit::run;
    ["" "cp"] cp::SPEC, cp::Flags, cp::run;
    ["" "create"] create::SPEC, CreateFlags, create::run;
    ["" "diff"] diff::SPEC, diff::Flags, diff::run;
    ["" "events"] events::SPEC, events::Flags, events::run;
    ["" "exec"] exec::SPEC, exec::Flags, exec::run;
    ["" "export"] export::SPEC, export::Flags, export::run;
    ["" "history"] history::SPEC, history::Flags, history::run;
    ["" "images"] images::SPEC, images::Flags, images::run;
    ["" "import"] import::SPEC, import::Flags, import::run;
    ["" "info"] info::SPEC, info::Flags, info::run;
    ["" "inspect"] inspect::ANY, inspect::AnyFlags, inspect::any;
    ["" "kill"] kill::SPEC, kill::Flags, kill::run;
    ["" "load"] load::SPEC, load::Flags, load::run;
    ["" "login"] login::SPEC, login::Flags, login::run;
    ["" "logout"] logout::SPEC, logout::Flags, logout::run;
    ["" "logs"] logs::SPEC, logs::Flags, logs::run;
    ["" "pause"] pause::PAUSE, pause::Flags, pause::pause;
    ["" "port"] port::SPEC, port::Flags, port::run;
    ["" "ps"] ps::SPEC, ps::Flags, ps::run;
    ["" "pull"] pull::SPEC, pull::Flags, pull::run;
    ["" "rename"] rename::SPEC, rename::Flags, rename::run;
    ["" "restart"] stop::RESTART, stop::Flags, stop::restart;
    ["" "rm"] rm::SPEC, rm::Flags, rm::run;
    ["" "rmi"] rmi::SPEC, rmi::Flags, rmi::run;
    ["" "run"] run::SPEC, RunFlags, run::run;
    ["" "save"] save::SPEC, save::Flags, save::run;
    ["" "start"] start::SPEC, start::Flags, start::run;
    ["" "stats"] stats::SPEC, stats::Flags, stats::run;
    ["" "stop"] stop::STOP, stop::Flags, stop::stop;
    ["" "tag"] tag::SPEC, tag::Flags, tag::run;
    ["" "top"] top::SPEC, top::Flags, top::run;
    ["" "unpause"] pause::UNPAUSE, pause::Flags, pause::unpause;
    ["" "update"] update::SPEC, update::Flags, update::run;
    ["" "version"] version::SPEC, version::Flags, version::run;
    ["" "wait"] wait::SPEC, wait::Flags, wait::run;
    ["container" "attach"] attach::SPEC, attach::Flags, attach::run;
    ["container" "commit"] commit::SPEC, commit::Flags, commit::run;
    ["container" "cp"] cp::SPEC, cp::Flags, cp::run;
    ["container" "create"] create::SPEC, CreateFlags, create::run;
    ["container" "diff"] diff::SPEC, diff::Flags, diff::run;
    ["container" "exec"] exec::SPEC, exec::Flags, exec::run;
    ["container" "export"] export::SPEC, export::Flags, export::run;
    ["container" "inspect"] inspect::CONTAINER, inspect::ContainerFlags, inspect::container;
    ["container" "kill"] kill::SPEC, kill::Flags, kill::run;
    ["container" "logs"] logs::SPEC, logs::Flags, logs::run;
    ["container" "ls" "list" "ps"] ps::SPEC, ps::Flags, ps::run;
    ["container" "pause"] pause::PAUSE, pause::Flags, pause::pause;
    ["container" "port"] port::SPEC, port::Flags, port::run;
    ["container" "prune"] container_prune::SPEC, container_prune::Flags, container_prune::run;
    ["container" "rename"] rename::SPEC, rename::Flags, rename::run;
    ["container" "restart"] stop::RESTART, stop::Flags, stop::restart;
    ["container" "rm" "remove"] rm::SPEC, rm::Flags, rm::run;
    ["container" "run"] run::SPEC, RunFlags, run::run;
    ["container" "start"] start::SPEC, start::Flags, start::run;
    ["container" "stats"] stats::SPEC, stats::Flags, stats::run;
    ["container" "stop"] stop::STOP, stop::Flags, stop::stop;
    ["container" "top"] top::SPEC, top::Flags, top::run;
    ["container" "unpause"] pause::UNPAUSE, pause::Flags, pause::unpause;
    ["container" "update"] update::SPEC, update::Flags, update::run;
    ["container" "wait"] wait::SPEC, wait::Flags, wait::run;
    ["image" "history"] history::SPEC, history::Flags, history::run;
    ["image" "import"] import::SPEC, import::Flags, import::run;
    ["image" "inspect"] inspect::IMAGE, inspect::ImageFlags, inspect::image;
    ["image" "load"] load::SPEC, load::Flags, load::run;
    ["image" "ls" "list"] images::SPEC, images::Flags, images::run;
    ["image" "prune"] image_prune::SPEC, image_prune::Flags, image_prune::run;
    ["image" "pull"] pull::SPEC, pull::Flags, pull::run;
    ["image" "rm" "remove" "rmi"] rmi::SPEC, rmi::Flags, rmi::run;
    ["image" "save"] save::SPEC, save::Flags, save::run;
    ["image" "tag"] tag::SPEC, tag::Flags, tag::run;
    ["system" "df"] df::SPEC, df::Flags, df::run;
    ["system" "events"] events::SPEC, events::Flags, events::run;
    ["system" "info"] info::SPEC, info::Flags, info::run;
    ["system" "prune"] system_prune::SPEC, system_prune::Flags, system_prune::run;
    ["volume" "create"] volume_create::SPEC, volume_create::Flags, volume_create::run;
    ["volume" "inspect"] inspect::VOLUME, inspect::VolumeFlags, inspect::volume;
    ["volume" "ls" "list"] volume_ls::SPEC, volume_ls::Flags, volume_ls::run;
    ["volume" "prune"] volume_prune::SPEC, volume_prune::Flags, volume_prune::run;
    ["volume" "rm" "remove"] volume_rm::SPEC, volume_rm::Flags, volume_rm::run;
    ["volume" "update"] volume_update::SPEC, volume_update::Flags, volume_update::run;
};

/// options before the command
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct GlobalFlags {
    /// location of client config files (default "~/.docker")
    #[argh(option, arg_name = "string")]
    config: Option<String>,
    /// name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with "docker context use")
    #[argh(option, short = 'c', arg_name = "string")]
    context: Option<String>,
    /// enable debug mode
    #[argh(switch, short = 'D')]
    debug: bool,
    /// daemon socket to connect to
    #[argh(option, short = 'H', arg_name = "list")]
    host: Vec<String>,
    /// set the logging level ("debug", "info", "warn", "error", "fatal") (default "info")
    #[argh(option, short = 'l', arg_name = "string")]
    log_level: Option<String>,
    /// use TLS; implied by --tlsverify
    #[argh(option, arg_name = "bool")]
    tls: Option<bool>,
    /// trust certs signed only by this CA (default "~/.docker/ca.pem")
    #[argh(option, arg_name = "string")]
    tlscacert: Option<String>,
    /// path to TLS certificate file (default "~/.docker/cert.pem")
    #[argh(option, arg_name = "string")]
    tlscert: Option<String>,
    /// path to TLS key file (default "~/.docker/key.pem")
    #[argh(option, arg_name = "string")]
    tlskey: Option<String>,
    /// use TLS and verify the remote
    #[argh(option, arg_name = "bool")]
    tlsverify: Option<bool>,
    /// print version information and quit
    #[argh(switch, short = 'v')]
    version: bool,
    /// the command and its words
    #[argh(positional, greedy)]
    words: Vec<String>,
}

const ROOT: Spec = Spec {
    usage: "COMMAND [ARG...]",
    about: "A self-sufficient runtime for containers",
    arity: Arity::Any,
    interspersed: false,
    ..Spec::NEW
};

/// The applet.
pub(crate) fn applet(call: &Call) -> u8 {
    match docker(&call.called, &call.args) {
        Ok(code) => code,
        Err(failure) => {
            print::err(&failure.text);
            failure.code
        }
    }
}

fn docker(called: &str, argv: &[String]) -> Outcome {
    let info = GlobalFlags::get_args_info();
    let usage = help::usage_line(&ROOT, called, info.flags);
    let scan = pflag::scan(info.flags, &ROOT, argv)
        .map_err(|message| Stop::flag(&message, &usage, called))?;
    if scan.help && scan.arguments.is_empty() {
        return Ok(print::out(&overview(called)));
    }
    let flags: GlobalFlags = pflag::parse(&ROOT, called, argv)?;
    if flags.version {
        return Ok(print::out(&format!(
            "Docker version {}, build {}\n",
            multi_core::VERSION,
            multi_core::REVISION
        )));
    }
    if let Some(level) = &flags.log_level {
        multi_core::base::log::parse_level(level)
            .map_err(|_| Failure::new(format_args!("Unable to parse logging level: {level}")))?;
    }
    let global = Global {
        config_dir: flags.config,
        debug: flags.debug,
        connection: Connection {
            hosts: flags.host,
            context: flags.context,
            tls: flags.tls,
            tls_verify: flags.tlsverify,
            tls_ca: flags.tlscacert,
            tls_cert: flags.tlscert,
            tls_key: flags.tlskey,
        },
    };
    dispatch(&Session::new(global), called, &flags.words)
}

/// Finds the command that `words` begin with, and runs it.
fn dispatch(session: &Session, called: &str, words: &[String]) -> Outcome {
    let Some((first, rest)) = words.split_first() else {
        return Ok(print::out(&overview(called)));
    };
    if first == "help" {
        return help_for(session, called, rest);
    }
    if let Some(family) = FAMILIES.iter().find(|f| f.name == first) {
        return in_family(session, called, family, rest);
    }
    match find("", first) {
        Some(command) => (command.run)(session, &format!("{called} {first}"), rest),
        None => Err(Failure::new(format_args!(
            "{called}: unknown command: {called} {first}\n\nRun '{called} --help' for more information"
        ))),
    }
}

fn in_family(session: &Session, called: &str, family: &Family, words: &[String]) -> Outcome {
    let full = format!("{called} {}", family.name);
    match words.split_first() {
        None => Ok(print::out(&family_help(&full, family))),
        Some((first, _)) if first == "--help" || first == "-h" => {
            Ok(print::out(&family_help(&full, family)))
        }
        Some((first, _)) if first.starts_with("--") => {
            Err(Stop::flag(&format!("unknown flag: {first}"), &full, &full).into())
        }
        Some((first, _)) if first.starts_with('-') => {
            let letter = first.chars().nth(1).unwrap_or('-');
            let message = format!("unknown shorthand flag: '{letter}' in {first}");
            Err(Stop::flag(&message, &full, &full).into())
        }
        Some((first, rest)) => match find(family.name, first) {
            Some(command) => (command.run)(session, &format!("{full} {first}"), rest),
            None => {
                // So it is with Docker, in this one family.
                let more = if family.name == "volume" { " COMMAND" } else { "" };
                Err(Failure::new(format_args!(
                    "{called}: unknown command: {full} {first}\n\nUsage:  {full}{more}\n\n\
                     Run '{full} --help' for more information"
                )))
            }
        },
    }
}

fn find(family: &str, name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.family == family && c.names.contains(&name))
}

/// `docker help [COMMAND...]`.
fn help_for(session: &Session, called: &str, words: &[String]) -> Outcome {
    let known = match words {
        [] => return Ok(print::out(&overview(called))),
        [one] => FAMILIES.iter().any(|f| f.name == one) || find("", one).is_some(),
        [family, name, ..] => find(family, name).is_some() || find("", family).is_some(),
    };
    if !known {
        return Err(Failure::new(format_args!("unknown help topic: {}", words.join(" "))));
    }
    let mut words = words.to_vec();
    words.push("--help".into());
    dispatch(session, called, &words)
}

/// Help of the whole client.
fn overview(called: &str) -> String {
    let row = |c: &'static Command| (c.names[0], c.spec.about);
    let common = COMMON.iter().filter_map(|name| find("", name)).map(row).collect();
    let plain = COMMANDS
        .iter()
        .filter(|c| c.family.is_empty() && !COMMON.contains(&c.names[0]))
        .map(row)
        .collect();
    let sections = vec![
        Section { title: "Common Commands", rows: common },
        Section {
            title: "Management Commands",
            rows: FAMILIES.iter().map(|f| (f.name, f.about)).collect(),
        },
        Section { title: "Commands", rows: plain },
    ];
    let info = GlobalFlags::get_args_info();
    let text = help::program(
        &Program {
            usage_line: &format!("{called} [OPTIONS] COMMAND"),
            about: ROOT.about,
            sections,
            options_title: "Global Options",
            flags: info.flags,
            footer: &format!("Run '{called} COMMAND --help' for more information on a command."),
        },
        help::width(),
    );
    // The directory is the caller's, so it cannot stand in the metadata.
    text.replace("~/.docker", &paths::client_dir().to_string_lossy())
}

fn family_help(called: &str, family: &Family) -> String {
    let rows = COMMANDS
        .iter()
        .filter(|c| c.family == family.name)
        .map(|c| (c.names[0], c.spec.about))
        .collect();
    help::program(
        &Program {
            usage_line: &format!("{called} COMMAND"),
            about: family.about,
            sections: vec![Section { title: "Commands", rows }],
            options_title: "Options",
            flags: &[],
            footer: &format!("Run '{called} COMMAND --help' for more information on a command."),
        },
        help::width(),
    )
}

/// All `--filter` values as the daemon takes them: `{"name":{"value":true}}`.
pub(crate) fn filters(given: &[Option<(String, String)>]) -> Option<String> {
    let mut by_name: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, value) in given.iter().flatten() {
        match by_name.iter_mut().find(|(n, _)| n == name) {
            Some((_, values)) => values.push(value),
            None => by_name.push((name, vec![value])),
        }
    }
    if by_name.is_empty() {
        return None;
    }
    let members: Vec<String> = by_name
        .iter()
        .map(|(name, values)| {
            let values: Vec<String> =
                values.iter().map(|v| format!("{}:true", json::quote(v))).collect();
            format!("{}:{{{}}}", json::quote(name), values.join(","))
        })
        .collect();
    Some(format!("{{{}}}", members.join(",")))
}

/// A time given by the user as the daemon takes it: seconds, with nanoseconds unless it was an age.
/// Empty stays empty.
///
/// # Errors
/// Docker's text.
pub(crate) fn since(text: &str) -> Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let time = Timestamp::parse_relative(text, Timestamp::now()).map_err(|_| {
        Error::invalid(format_args!("failed to parse value as time or duration: {text:?}"))
    })?;
    if duration::parse_ns(text).is_ok() {
        return Ok(time.secs.to_string());
    }
    Ok(format!("{}.{:09}", time.secs, time.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_are_unique() {
        let keys: Vec<_> = COMMANDS.iter().map(|c| (c.family, c.names[0])).collect();
        assert!(keys.is_sorted());
        for command in COMMANDS {
            for name in command.names {
                let owners = COMMANDS
                    .iter()
                    .filter(|c| c.family == command.family && c.names.contains(name))
                    .count();
                assert_eq!(owners, 1, "{} {name}", command.family);
            }
        }
        assert!(COMMON.iter().all(|name| find("", name).is_some()));
    }

    #[test]
    fn filters_are_sets_by_name() {
        let pair = |n: &str, v: &str| Some((n.to_string(), v.to_string()));
        assert_eq!(filters(&[]), None);
        assert_eq!(
            filters(&[pair("label", "a=b"), None, pair("label", "c"), pair("status", "exited")])
                .unwrap(),
            r#"{"label":{"a=b":true,"c":true},"status":{"exited":true}}"#
        );
    }

    #[test]
    fn times_are_sent_as_seconds() {
        assert_eq!(since("2023-11-14T22:13:20Z").unwrap(), "1700000000.000000000");
        assert_eq!(since("1700000000.5").unwrap(), "1700000000.500000000");
        assert_eq!(since("").unwrap(), "");
        assert!(since("1h").unwrap().bytes().all(|b| b.is_ascii_digit()));
        assert!(since("yesterday").is_err());
    }
}
