//! Commands that only tell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use multi_core::base::time::Timestamp;
use multi_core::base::{At, Error, duration, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::runtime::oci::{self, Container, Runtime, Status};

use super::{NoFlags, OneFlags, Outcome};

pub(super) const STATE: Spec = Spec {
    usage: "CONTAINER",
    about: "Print the state of a container as JSON",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const LIST: Spec =
    Spec { about: "List the containers of this root", arity: Arity::None, ..Spec::NEW };

pub(super) const EVENTS: Spec = Spec {
    usage: "CONTAINER",
    about: "Print the accounting of a container as JSON, again and again",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const FEATURES: Spec =
    Spec { about: "Print what this runtime can do as JSON", arity: Arity::None, ..Spec::NEW };

pub(super) const SPEC: Spec =
    Spec { about: "Write a configuration to start from", arity: Arity::None, ..Spec::NEW };

/// list containers
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct ListFlags {
    /// format of the output, "table" or "json" (default "table")
    #[argh(option, short = 'f', arg_name = "string", default = "\"table\".into()")]
    format: String,
    /// only names
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// print accounting
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct EventsFlags {
    /// time between two lines (default "5s")
    #[argh(option, arg_name = "string", default = "\"5s\".into()")]
    interval: String,
    /// only one line
    #[argh(switch)]
    stats: bool,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

/// write a configuration
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct SpecFlags {
    /// directory of the bundle (default is the working directory)
    #[argh(option, short = 'b', arg_name = "string")]
    bundle: Option<PathBuf>,
    /// one for a user namespace that only the caller is mapped into
    #[argh(switch)]
    rootless: bool,
}

multi_core::wire! {
    /// What `state` and `list` print.
    struct Shown {
        "ociVersion" keep oci_version: String,
        "id" keep id: String,
        "pid" keep pid: i32,
        "status" keep status: String,
        "bundle" keep bundle: String,
        "rootfs" keep rootfs: String,
        "created" keep created: Timestamp,
        "annotations" omit annotations: json::TextMap,
        "owner" keep owner: String,
    }
}

fn shown(container: &Container) -> Shown {
    let (record, status) = (&container.record, container.status());
    Shown {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status: status.word().into(),
        bundle: record.bundle.clone(),
        rootfs: record.rootfs.clone(),
        created: record.created,
        annotations: record.annotations.clone(),
        owner: if record.owner == 0 { "root".into() } else { record.owner.to_string() },
    }
}

pub(super) fn state(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: OneFlags = pflag::parse(&STATE, called, argv)?;
    let container = runtime.load(&flags.id[0])?;
    Ok(print::out(&(json::to_string_pretty(&shown(&container), "  ") + "\n")))
}

pub(super) fn list(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: ListFlags = pflag::parse(&LIST, called, argv)?;
    let all: Vec<Shown> = runtime.list()?.iter().map(shown).collect();
    if flags.quiet {
        return Ok(print::out(&all.iter().map(|c| format!("{}\n", c.id)).collect::<String>()));
    }
    match flags.format.as_str() {
        "json" => Ok(print::out(&(json::to_string_plain(&all) + "\n"))),
        "table" => Ok(print::out(&table(&all))),
        _ => Err(Error::invalid("invalid format option").into()),
    }
}

fn table(all: &[Shown]) -> String {
    let mut rows: Vec<[String; 6]> =
        vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    for c in all {
        let (pid, created) = (c.pid.to_string(), c.created.to_string());
        rows.push([
            c.id.clone(),
            pid,
            c.status.clone(),
            c.bundle.clone(),
            created,
            c.owner.clone(),
        ]);
    }
    let widths: Vec<usize> =
        (0..6).map(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}   "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

pub(super) fn events(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: EventsFlags = pflag::parse(&EVENTS, called, argv)?;
    let interval = duration::parse_ns(&flags.interval)?;
    let interval = u64::try_from(interval).ok().filter(|ns| *ns > 0);
    let interval =
        interval.ok_or_else(|| Error::invalid("duration interval must be greater than 0"))?;
    let container = runtime.load(&flags.id[0])?;
    let runs = |container: &Container| {
        matches!(container.status(), Status::Running | Status::Paused | Status::Created)
    };
    if !runs(&container) {
        let text = format!("container with id {} is not running", container.record.id);
        return Err(Error::conflict(text).into());
    }
    let Some(cgroup) = container.cgroup() else {
        return Err(Error::unsupported("the container has no cgroup to account by").into());
    };
    let id = &container.record.id;
    let line = || json::to_string_plain(&oci::stats(id, &cgroup.stats())) + "\n";
    if flags.stats {
        return Ok(print::out(&line()));
    }
    let mut kills = cgroup.oom_kills();
    while runs(&container) {
        let code = print::out(&line());
        if code != 0 {
            return Ok(code);
        }
        std::thread::sleep(Duration::from_nanos(interval));
        let now = cgroup.oom_kills();
        if now > std::mem::replace(&mut kills, now) {
            print::out(&(json::to_string_plain(&oci::oom(id)) + "\n"));
        }
    }
    Ok(0)
}

pub(super) fn features(_: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let _: NoFlags = pflag::parse(&FEATURES, called, argv)?;
    Ok(print::out(&(json::to_string_pretty(&oci::features(), "    ") + "\n")))
}

pub(super) fn spec(_: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: SpecFlags = pflag::parse(&SPEC, called, argv)?;
    let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let rootless = flags.rootless.then_some(owner);
    let file = flags.bundle.unwrap_or_default().join(Path::new("config.json"));
    if file.exists() {
        let text = format!("file {} exists; remove it first", file.display());
        return Err(Error::conflict(text).into());
    }
    std::fs::write(&file, json::to_string_pretty(&oci::template(rootless), "\t"))
        .at(format_args!("writing {}", file.display()))?;
    Ok(0)
}
