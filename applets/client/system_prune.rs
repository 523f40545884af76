//! `docker system prune`: stopped containers, and with `--volumes` anonymous volumes.

use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{container_prune, prune, volume_prune};

pub(crate) const SPEC: Spec = Spec { about: "Remove unused data", arity: Arity::None, ..Spec::NEW };

/// remove what is not used
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// provide filter values (e.g. "label=<key>=<value>")
    #[argh(option, arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
    /// prune anonymous volumes
    #[argh(switch)]
    volumes: bool,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    if flags.volumes && flags.filter.iter().flatten().any(|(name, _)| name == "until") {
        return Err(Failure::new(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    let wanted = prune::with_configured(session, &flags.filter);
    if !flags.force {
        prune::ask(&warning(&wanted, flags.volumes))?;
    }
    let containers = container_prune::request(session, &wanted)?;
    print::out(&container_prune::told(&containers));
    let mut freed = containers.space_reclaimed;
    if flags.volumes {
        let volumes = volume_prune::request(session, &wanted)?;
        if !volumes.volumes_deleted.is_empty() {
            print::out(&format!("Deleted Volumes:\n{}\n\n", volumes.volumes_deleted.join("\n")));
        }
        freed += volumes.space_reclaimed;
    }
    let freed = bytesize::human(freed as f64);
    Ok(print::out(&format!("Total reclaimed space: {freed}\n")))
}

fn warning(wanted: &[prune::Filter], volumes: bool) -> String {
    let mut text = String::from("WARNING! This will remove:\n  - all stopped containers\n");
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    let given = wanted.iter().flatten();
    let shown = given.filter(|(name, _)| matches!(name.as_str(), "label" | "label!" | "until"));
    let mut lines: Vec<String> = shown.map(|(n, v)| format!("  - {n}={v}\n")).collect();
    lines.sort();
    if !lines.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        text.push_str(&lines.concat());
    }
    text + "\nAre you sure you want to continue?"
}
