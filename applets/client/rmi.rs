//! `docker rmi`.

use multi_core::api::types::image::DeleteItem;
use multi_core::base::json;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::http::Headers;
use multi_core::http::client::Payload;
use multi_core::registry::platform::Platform;

use super::failure::Outcome;
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "IMAGE [IMAGE...]",
    about: "Remove one or more images",
    aliases: &["docker image rm", "docker image remove", "docker rmi"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// remove images
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// force removal of the image
    #[argh(switch, short = 'f')]
    force: bool,
    /// do not delete untagged parents
    #[argh(switch)]
    no_prune: bool,
    /// remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[argh(option, arg_name = "strings")]
    platform: Vec<String>,
    /// images
    #[argh(positional, greedy)]
    images: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let platforms = flags
        .platform
        .iter()
        .map(|p| Ok(json::to_string(&Platform::parse(p)?)))
        .collect::<multi_core::base::Result<Vec<String>>>()?;
    let mut query = Vec::new();
    if flags.force {
        query.push(("force", "1"));
    }
    if flags.no_prune {
        query.push(("noprune", "1"));
    }
    query.extend(platforms.iter().map(|p| ("platforms", p.as_str())));
    let mut failures = Vec::new();
    for image in &flags.images {
        let path = format!("/images/{image}");
        match session.request("DELETE", &path, &query, &Headers::new(), Payload::None) {
            Ok(answer) => {
                for item in answer.json::<Vec<DeleteItem>>()? {
                    print::out(&match item.deleted.as_str() {
                        "" => format!("Untagged: {}\n", item.untagged),
                        deleted => format!("Deleted: {deleted}\n"),
                    });
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    if flags.force && failures.iter().all(|f| f.is_not_found()) {
        failures.iter().for_each(|f| print::err(&f.text));
        return Ok(0);
    }
    many::join(failures)
}
