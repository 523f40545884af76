//! `docker container prune`.

use multi_core::api::types::container::PruneReport;
use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{filters, prune};

pub(crate) const SPEC: Spec =
    Spec { about: "Remove all stopped containers", arity: Arity::None, ..Spec::NEW };

/// remove stopped containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// provide filter values (e.g. "until=<timestamp>")
    #[argh(option, arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let wanted = prune::with_configured(session, &flags.filter);
    if !flags.force {
        prune::ask(
            "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?",
        )?;
    }
    let report = request(session, &wanted)?;
    let freed = bytesize::human(report.space_reclaimed as f64);
    Ok(print::out(&format!("{}Total reclaimed space: {freed}\n", told(&report))))
}

/// Removes stopped containers that fit the filters.
///
/// # Errors
/// The daemon's.
pub(crate) fn request(session: &Session, wanted: &[prune::Filter]) -> Result<PruneReport, Failure> {
    let filters = filters(wanted);
    let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
    Ok(session.post("/containers/prune", &query)?.json()?)
}

/// What went, one a line; nothing if nothing did.
pub(crate) fn told(report: &PruneReport) -> String {
    match report.containers_deleted.as_deref().unwrap_or_default() {
        [] => String::new(),
        ids => format!("Deleted Containers:\n{}\n\n", ids.join("\n")),
    }
}
