//! `docker stop` and `docker restart`, which take the same flags.

use multi_core::cli::pflag::{self, Arity, Spec};

use super::failure::{Failure, Outcome};
use super::many;
use super::session::Session;

pub(crate) const STOP: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    aliases: &["docker container stop", "docker stop"],
    arity: Arity::AtLeast(1),
    renamed: &[("time", "timeout", true)],
    ..Spec::NEW
};

pub(crate) const RESTART: Spec = Spec {
    about: "Restart one or more containers",
    aliases: &["docker container restart", "docker restart"],
    ..STOP
};

/// stop or restart containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// signal to send to the container
    #[argh(option, short = 's', arg_name = "string", default = "String::new()")]
    signal: String,
    /// seconds to wait before killing the container
    #[argh(option, short = 't', arg_name = "int")]
    timeout: Option<i64>,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn stop(session: &Session, called: &str, argv: &[String]) -> Outcome {
    end(session, pflag::parse(&STOP, called, argv)?, "stop")
}

pub(crate) fn restart(session: &Session, called: &str, argv: &[String]) -> Outcome {
    end(session, pflag::parse(&RESTART, called, argv)?, "restart")
}

fn end(session: &Session, flags: Flags, verb: &str) -> Outcome {
    many::each(session, &flags.containers, &|session, name| -> Result<(), Failure> {
        let timeout = flags.timeout.map(|t| t.to_string());
        let mut query = Vec::new();
        query.extend(timeout.as_deref().map(|t| ("t", t)));
        if !flags.signal.is_empty() && session.api_at_least("1.42")? {
            query.push(("signal", flags.signal.as_str()));
        }
        session.post(&format!("/containers/{name}/{verb}"), &query).map(drop)
    })
}
