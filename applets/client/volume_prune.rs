//! `docker volume prune`.

use multi_core::api::types::volume::PruneReport;
use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{filters, prune};

pub(crate) const SPEC: Spec =
    Spec { about: "Remove unused local volumes", arity: Arity::None, ..Spec::NEW };

/// remove volumes
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// remove all unused volumes, not just anonymous ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// provide filter values (e.g. "label=<label>")
    #[argh(option, arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let mut wanted = prune::with_configured(session, &flags.filter);
    let mut which = "anonymous local";
    if !session.api_at_least("1.42")? {
        which = "all local";
    } else if flags.all {
        if wanted.iter().flatten().any(|(name, _)| name == "all") {
            return Err(Failure::new(
                "conflicting options: cannot specify both --all and --filter all=1",
            ));
        }
        wanted.push(Some(("all".into(), "true".into())));
        which = "all local";
    }
    if !flags.force {
        prune::ask(&format!(
            "WARNING! This will remove {which} volumes not used by at least one container.\n\
             Are you sure you want to continue?"
        ))?;
    }
    let report = request(session, &wanted)?;
    let mut text = String::new();
    if !report.volumes_deleted.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", report.volumes_deleted.join("\n"));
    }
    let freed = bytesize::human(report.space_reclaimed as f64);
    Ok(print::out(&format!("{text}Total reclaimed space: {freed}\n")))
}

/// Removes unused volumes that fit the filters.
///
/// # Errors
/// The daemon's.
pub(crate) fn request(session: &Session, wanted: &[prune::Filter]) -> Result<PruneReport, Failure> {
    let filters = filters(wanted);
    let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
    Ok(session.post("/volumes/prune", &query)?.json()?)
}
