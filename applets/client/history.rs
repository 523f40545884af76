//! `docker history`.

use multi_core::api::types::image::HistoryItem;
use multi_core::base::{At, bytesize, id, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::table::{self, Headings, ellipsis};
use multi_core::cli::template::Object;
use multi_core::registry::platform::Platform;

use super::clock;
use super::failure::Outcome;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "IMAGE",
    about: "Show the history of an image",
    aliases: &["docker image history", "docker history"],
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// show history
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    #[argh(
        option,
        arg_name = "string",
        default = "String::from(\"table\")",
        description = "format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// print sizes and dates in human readable format (default true)
    #[argh(option, short = 'H', arg_name = "bool", default = "true")]
    human: bool,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
    #[argh(option, arg_name = "string", default = "String::new()")]
    platform: String,
    /// only show image IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// image
    #[argh(positional, greedy)]
    images: Vec<String>,
}

const HUMAN: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const EXACT: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

const HEADINGS: Headings = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// 2000-01-01: what is older was not made then, but has no date.
const OLDEST: i64 = 946_684_800;

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let platform = match flags.platform.as_str() {
        "" => String::new(),
        text => json::to_string(&Platform::parse(text).at("invalid platform")?),
    };
    let mut query = Vec::new();
    if !platform.is_empty() {
        query.push(("platform", platform.as_str()));
    }
    let path = format!("/images/{}/history", flags.images[0]);
    let items: Vec<HistoryItem> = session.get_json(&path, &query)?;
    let layout = match flags.format.as_str() {
        "table" | "" if flags.quiet => "{{.ID}}",
        "table" | "" if !flags.human => EXACT,
        "table" | "" => HUMAN,
        custom => custom,
    };
    let rows = items.iter().map(|item| row(item, !flags.no_trunc, flags.human)).collect();
    Ok(print::out(&table::render(layout, HEADINGS, rows)?))
}

fn row(item: &HistoryItem, trunc: bool, human: bool) -> Object {
    let mut row = Object::row("*image.historyContext");
    row.push("Comment", item.comment.as_str());
    let at = clock::rfc3339(item.created);
    row.push(
        "CreatedSince",
        match human {
            false => at.clone(),
            true if item.created <= OLDEST => "N/A".into(),
            true => clock::ago(item.created),
        },
    );
    row.push("CreatedAt", at);
    let by = item.created_by.replace('\t', " ");
    row.push("CreatedBy", if trunc { ellipsis(&by, 45) } else { by });
    row.push("ID", if trunc { id::short(&item.id) } else { item.id.as_str() });
    row.push(
        "Size",
        match human {
            true => bytesize::human_precise(item.size as f64, 3),
            false => item.size.to_string(),
        },
    );
    row
}
