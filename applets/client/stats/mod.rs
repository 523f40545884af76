//! `docker stats`: one connection for each container, one table for all of them.
//!
//! A thread for each container reads its stream onto the [`Board`]; without names another thread follows
//! the events, so that containers come and go. They end with the program.

mod board;
mod numbers;

use std::io::{self, Write};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use multi_core::api::types::container::Summary;
use multi_core::api::types::events::Message;
use multi_core::api::types::stats::Stats;
use multi_core::base::{At, Error, json};
use multi_core::cli::messages::Objects;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::{print, table};

use super::failure::{Failure, Outcome};
use super::session::{Global, Session};
use board::Board;

pub(crate) const SPEC: Spec = Spec {
    usage: "[CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    aliases: &["docker container stats, docker stats"],
    arity: Arity::Any,
    ..Spec::NEW
};

/// show what containers use
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// show all containers (default shows just running)
    #[argh(switch, short = 'a')]
    all: bool,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// disable streaming stats and only pull the first result
    #[argh(switch)]
    no_stream: bool,
    /// do not truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

/// Time between two pictures of the table.
const PICTURE: Duration = Duration::from_millis(500);
/// A container that says nothing for so long is shown without numbers.
const PATIENCE: Duration = Duration::from_secs(2);
/// A single answer takes a second, and longer from a busy daemon.
const PATIENCE_ONCE: Duration = Duration::from_secs(30);

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let board = Arc::new(Board::default());
    let watch =
        Watch { global: session.global().clone(), board: board.clone(), once: flags.no_stream };
    let follows = flags.containers.is_empty();
    if follows {
        watch.follow_events(flags.all)?;
        let all = if flags.all { "1" } else { "0" };
        let list: Vec<Summary> = session.get_json("/containers/json", &[("all", all)])?;
        for container in &list {
            watch.add(&container.id)?;
        }
    } else {
        // One connection after the other would each ask for the version; this asks once.
        session.server()?;
        for name in &flags.containers {
            watch.add(name)?;
        }
    }
    let patience = if flags.no_stream { PATIENCE_ONCE } else { PATIENCE };
    board.wait_for_all(Instant::now() + patience);
    let errors = board.errors();
    if !follows && !errors.is_empty() {
        return Err(Failure::new(errors.join("\n")));
    }
    let format = match flags.format.as_str() {
        "" => match session.config().text("statsFormat") {
            "" => "table".to_string(),
            own => own.to_string(),
        },
        own => own.to_string(),
    };
    let picture = |silent_after| {
        let rows = board.rows(!flags.no_trunc, silent_after);
        let count = rows.len();
        table::render(numbers::layout(&format), numbers::HEADINGS, rows).map(|text| (text, count))
    };
    if flags.no_stream {
        let (text, count) = picture(None)?;
        return Ok(if count == 0 { 0 } else { print::out(&text) });
    }
    let mut out = io::stdout().lock();
    loop {
        thread::sleep(PICTURE);
        let (text, count) = picture(Some(PATIENCE))?;
        match out.write_all(on_screen(&text).as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result.map_err(Error::from).at("writing statistics")?,
        }
        if board.is_over() || (count == 0 && !follows) {
            return Ok(0);
        }
    }
}

/// The table over the one before it: from the top left, and nothing left of longer lines and tables.
fn on_screen(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{}\x1b[J", lines.concat())
}

/// Fills the board.
#[derive(Clone)]
struct Watch {
    global: Global,
    board: Arc<Board>,
    /// One sample of each container instead of a stream.
    once: bool,
}

impl Watch {
    /// Begins to read the statistics of a container, unless it is on the board already.
    fn add(&self, container: &str) -> Result<(), Failure> {
        if !self.board.add(container) {
            return Ok(());
        }
        let (watch, container) = (self.clone(), container.to_string());
        spawn("stats", move || {
            let error = watch.read(&container).err().map(|failure| failure.message().to_string());
            watch.board.end(&container, error, watch.once);
        })
    }

    fn read(&self, container: &str) -> Result<(), Failure> {
        let session = Session::new(self.global.clone());
        let stream = if self.once { "0" } else { "1" };
        let path = format!("/containers/{container}/stats");
        let mut objects = Objects::new(session.get(&path, &[("stream", stream)])?);
        while let Some(bytes) = objects.next_object().at("reading statistics")? {
            let stats: Stats = json::parse(&bytes).at("reading statistics")?;
            self.board.put(container, numbers::Numbers::of(&stats));
        }
        Ok(())
    }

    /// Follows what happens to containers; returns when nothing that happens from now on is missed.
    fn follow_events(&self, all: bool) -> Result<(), Failure> {
        let (begun, is_begun) = mpsc::channel();
        let watch = self.clone();
        spawn("events", move || {
            let session = Session::new(watch.global.clone());
            let filters = [("filters", r#"{"type":{"container":true}}"#)];
            let answer = match session.get("/events", &filters) {
                Ok(answer) => answer,
                Err(failure) => return drop(begun.send(Err(failure))),
            };
            let mut objects = Objects::new(answer);
            let _ = begun.send(Ok(()));
            while let Ok(Some(bytes)) = objects.next_object() {
                let Ok(event) = json::parse::<Message>(&bytes) else { continue };
                match event.action.as_str() {
                    "start" => drop(watch.add(&event.actor.id)),
                    "create" if all => drop(watch.add(&event.actor.id)),
                    "die" if !all => watch.board.remove(&event.actor.id),
                    "destroy" => watch.board.remove(&event.actor.id),
                    _ => {}
                }
            }
            // The daemon has ended.
            watch.board.set_over();
        })?;
        is_begun.recv().unwrap_or_else(|_| Err(Failure::new("reading events failed")))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let builder = thread::Builder::new().name(name.into()).stack_size(256 << 10);
    builder.spawn(work).map(drop).map_err(|e| Failure::new(format_args!("starting a thread: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_covers_the_one_before() {
        assert_eq!(on_screen("A  B\n1  2\n"), "\x1b[HA  B\x1b[K\n1  2\x1b[K\n\x1b[J");
    }
}
