//! `docker logs`.

use std::io::{self, Read, Write};

use multi_core::api::types::container::InspectResponse;
use multi_core::base::{At, Error};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::stdcopy::{Demultiplexer, Stream};

use super::failure::Outcome;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER",
    about: "Fetch the logs of a container",
    aliases: &["docker container logs", "docker logs"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// show logs
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// show extra details provided to logs
    #[argh(switch)]
    details: bool,
    /// follow log output
    #[argh(switch, short = 'f')]
    follow: bool,
    /// show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[argh(option, arg_name = "string", default = "String::new()")]
    since: String,
    /// number of lines to show from the end of the logs (default "all")
    #[argh(option, short = 'n', arg_name = "string", default = "String::from(\"all\")")]
    tail: String,
    /// show timestamps
    #[argh(switch, short = 't')]
    timestamps: bool,
    /// show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[argh(option, arg_name = "string", default = "String::new()")]
    until: String,
    /// container
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let path = format!("/containers/{}/json", flags.containers[0]);
    let found: InspectResponse = session.get_json(&path, &[])?;
    let (since, until) = (
        super::since(&flags.since).at("invalid value for \"since\"")?,
        super::since(&flags.until).at("invalid value for \"until\"")?,
    );
    let mut query = vec![("stdout", "1"), ("stderr", "1")];
    for (name, given) in
        [("timestamps", flags.timestamps), ("details", flags.details), ("follow", flags.follow)]
    {
        if given {
            query.push((name, "1"));
        }
    }
    for (name, value) in [("since", &since), ("until", &until), ("tail", &flags.tail)] {
        if !value.is_empty() {
            query.push((name, value.as_str()));
        }
    }
    let mut answer = session.get(&format!("/containers/{}/logs", found.id), &query)?;
    let tty = found.config.is_some_and(|c| c.tty);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let mut demultiplexer = Demultiplexer::new();
    let mut buffer = vec![0u8; 32 << 10];
    loop {
        let n = answer.read(&mut buffer).at("reading the logs")?;
        if n == 0 {
            return Ok(0);
        }
        let mut put = |stream: Stream, data: &[u8]| -> Result<(), Error> {
            let result = match stream {
                Stream::Stdout => out.write_all(data).and_then(|()| out.flush()),
                Stream::Stderr => err.write_all(data),
            };
            result.map_err(Error::from)
        };
        let shown = match tty {
            true => put(Stream::Stdout, &buffer[..n]),
            false => demultiplexer.feed(&buffer[..n], &mut put),
        };
        match shown {
            // The reader of our output has seen enough.
            Err(e) if e.errno() == Some(libc::EPIPE) => return Ok(0),
            result => result.at("writing the logs")?,
        }
    }
}
