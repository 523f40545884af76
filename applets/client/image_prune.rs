//! `docker image prune`.

use multi_core::api::types::image::PruneReport;
use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{filters, prune};

pub(crate) const SPEC: Spec =
    Spec { about: "Remove unused images", arity: Arity::None, ..Spec::NEW };

/// remove images
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// remove all unused images, not just dangling ones
    #[argh(switch, short = 'a')]
    all: bool,
    /// provide filter values (e.g. "until=<timestamp>")
    #[argh(option, arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    /// do not prompt for confirmation
    #[argh(switch, short = 'f')]
    force: bool,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let mut wanted = prune::with_configured(session, &flags.filter);
    wanted.push(Some(("dangling".into(), (!flags.all).to_string())));
    let which = match flags.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    if !flags.force {
        prune::ask(&format!(
            "WARNING! This will remove {which}.\nAre you sure you want to continue?"
        ))?;
    }
    let report = request(session, &wanted)?;
    let freed = bytesize::human(report.space_reclaimed as f64);
    let text = told(&report);
    Ok(print::out(&format!("{text}Total reclaimed space: {freed}\n")))
}

/// Removes images that nobody uses and that fit the filters.
///
/// # Errors
/// The daemon's.
pub(crate) fn request(session: &Session, wanted: &[prune::Filter]) -> Result<PruneReport, Failure> {
    let filters = filters(wanted);
    let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
    Ok(session.post("/images/prune", &query)?.json()?)
}

/// The lines that tell what went, with an empty one after them; nothing if nothing did.
pub(crate) fn told(report: &PruneReport) -> String {
    let gone = report.images_deleted.as_deref().unwrap_or_default();
    if gone.is_empty() {
        return String::new();
    }
    let lines: String = gone
        .iter()
        .map(|item| match item.untagged.as_str() {
            "" => format!("deleted: {}\n", item.deleted),
            name => format!("untagged: {name}\n"),
        })
        .collect();
    format!("Deleted Images:\n{lines}\n")
}
