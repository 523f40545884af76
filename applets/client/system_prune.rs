//! `docker system prune`: what no container uses, and containers that do not run.

use multi_core::api::types::image::BuildPruneReport;
use multi_core::api::types::network;
use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{container_prune, filters, image_prune, prune, volume_prune};

pub(crate) const SPEC: Spec = Spec { about: "Remove unused data", arity: Arity::None, ..Spec::NEW };

/// remove what is not used
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// remove all unused images not just dangling ones
    #[argh(switch, short = 'a')]
    all: bool,
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
        prune::ask(&warning(&wanted, &flags))?;
    }
    let containers = container_prune::request(session, &wanted)?;
    print::out(&container_prune::told(&containers));
    let mut freed = containers.space_reclaimed;
    let text = filters(&wanted);
    let query: Vec<_> = text.iter().map(|text| ("filters", text.as_str())).collect();
    let networks: network::PruneReport = session.post("/networks/prune", &query)?.json()?;
    tell("Networks", &networks.networks_deleted.unwrap_or_default());
    if flags.volumes {
        let volumes = volume_prune::request(session, &wanted)?;
        tell("Volumes", &volumes.volumes_deleted);
        freed += volumes.space_reclaimed;
    }
    let mut of_images = wanted;
    of_images.push(Some(("dangling".into(), (!flags.all).to_string())));
    let images = image_prune::request(session, &of_images)?;
    print::out(&image_prune::told(&images));
    freed += images.space_reclaimed;
    let all = flags.all.then_some(("all", "1"));
    let query: Vec<_> = query.into_iter().chain(all).collect();
    let cache: BuildPruneReport = session.post("/build/prune", &query)?.json()?;
    tell("build cache objects", &cache.caches_deleted.unwrap_or_default());
    freed += cache.space_reclaimed;
    let freed = bytesize::human(freed as f64);
    Ok(print::out(&format!("Total reclaimed space: {freed}\n")))
}

/// Prints what went, an empty line after it; nothing if nothing did.
fn tell(what: &str, gone: &[String]) {
    if !gone.is_empty() {
        print::out(&format!("Deleted {what}:\n{}\n\n", gone.join("\n")));
    }
}

fn warning(wanted: &[prune::Filter], flags: &Flags) -> String {
    let volumes = "all anonymous volumes not used by at least one container";
    let (images, cache) = match flags.all {
        true => ("all images without at least one container associated to them", "all build cache"),
        false => ("all dangling images", "unused build cache"),
    };
    let networks = "all networks not used by at least one container";
    let mut things = vec!["all stopped containers", networks];
    things.extend(flags.volumes.then_some(volumes));
    things.extend([images, cache]);
    let mut text = String::from("WARNING! This will remove:\n");
    for thing in things {
        text.push_str(&format!("  - {thing}\n"));
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
