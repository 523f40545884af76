//! `docker images`.

use multi_core::api::types::image::Summary;
use multi_core::base::{bytesize, id};
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::table::{self, Headings};
use multi_core::cli::template::Object;
use multi_core::registry::reference::Reference;

use super::failure::Outcome;
use super::session::Session;
use super::{clock, filters};

pub(crate) const SPEC: Spec = Spec {
    usage: "[REPOSITORY[:TAG]]",
    about: "List images",
    aliases: &["docker image ls", "docker image list", "docker images"],
    arity: Arity::AtMost(1),
    ..Spec::NEW
};

/// list images
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// show all images (default hides intermediate images)
    #[argh(switch, short = 'a')]
    all: bool,
    /// show digests
    #[argh(switch)]
    digests: bool,
    /// filter output based on conditions provided
    #[argh(option, short = 'f', arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// only show image IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// names
    #[argh(positional, greedy)]
    names: Vec<String>,
}

const COLUMNS: [&str; 2] = [
    "table {{.Repository}}\t{{.Tag}}\t",
    "{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
];

pub(crate) const HEADINGS: Headings = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// Words that are commands of `docker image`, and images of nobody.
const VERBS: &[&str] = &[
    "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm",
    "save", "tag",
];

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let name = flags.names.first();
    let mut wanted = flags.filter.clone();
    wanted.extend(name.map(|name| Some(("reference".to_string(), name.clone()))));
    let filters = filters(&wanted);
    let mut query = Vec::new();
    if flags.all {
        query.push(("all", "1"));
    }
    if let Some(filters) = &filters {
        query.push(("filters", filters.as_str()));
    }
    let images: Vec<Summary> = session.get_json("/images/json", &query)?;
    let configured = session.config().text("imagesFormat");
    let format = match flags.format.as_str() {
        "" if !configured.is_empty() && !flags.quiet => configured,
        "" => "table",
        format => format,
    };
    let layout = layout(format, flags.quiet, flags.digests);
    let needs_digest = flags.digests || layout.contains("{{.Digest}}");
    let rows = images
        .iter()
        .flat_map(|image| rows(image, !flags.no_trunc, needs_digest, flags.digests))
        .collect();
    let code = print::out(&table::render(&layout, HEADINGS, rows)?);
    if let Some(name) = name.filter(|n| images.is_empty() && VERBS.contains(&n.as_str()))
        && called == "docker images"
    {
        print::err(&format!(
            "\nNo images found matching \"{name}\": did you mean \"docker image {name}\"?\n"
        ));
    }
    Ok(code)
}

fn layout(format: &str, quiet: bool, digests: bool) -> String {
    let digest_line = if digests { "digest: {{.Digest}}\n" } else { "" };
    match format {
        "table" | "" if quiet => "{{.ID}}".into(),
        "table" | "" => COLUMNS.join(if digests { "{{.Digest}}\t" } else { "" }),
        "raw" if quiet => "image_id: {{.ID}}".into(),
        "raw" => format!(
            "repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest_line}image_id: {{{{.ID}}}}\n\
             created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
        ),
        custom if table::is_table(custom) && digests && !custom.contains("{{.Digest}}") => {
            format!("{custom}\t{{{{.Digest}}}}")
        }
        custom => custom.into(),
    }
}

/// One row for each name of an image, and for each digest if digests are shown.
pub(super) fn rows(image: &Summary, trunc: bool, needs_digest: bool, digests: bool) -> Vec<Object> {
    let parse = |list: &[String]| -> Vec<Reference> {
        list.iter().filter_map(|text| Reference::parse(text).ok()).collect()
    };
    let (tagged, mut canonical) = (parse(&image.repo_tags), parse(&image.repo_digests));
    let row =
        |repository: &str, tag: &str, digest: &str| make_row(image, trunc, repository, tag, digest);
    let mut out = Vec::new();
    let digests_of = |name: &str, all: &[Reference]| -> Vec<String> {
        all.iter()
            .filter(|r| r.familiar_name() == name)
            .filter_map(|r| r.digest().map(|d| d.to_string()))
            .collect()
    };
    for reference in &tagged {
        let (name, tag) = (reference.familiar_name(), reference.tag().unwrap_or_default());
        let own = if needs_digest { digests_of(&name, &canonical) } else { Vec::new() };
        if own.is_empty() {
            out.push(row(&name, tag, "<none>"));
        }
        out.extend(own.iter().map(|digest| row(&name, tag, digest)));
    }
    // Digests of repositories without a tag have rows of their own.
    canonical.retain(|r| !tagged.iter().any(|t| t.familiar_name() == r.familiar_name()));
    let mut names: Vec<String> = canonical.iter().map(Reference::familiar_name).collect();
    names.dedup();
    for name in names {
        if digests {
            out.extend(digests_of(&name, &canonical).iter().map(|d| row(&name, "<none>", d)));
        } else {
            out.push(row(&name, "<none>", ""));
        }
    }
    if out.is_empty() {
        out.push(row("<none>", "<none>", "<none>"));
    }
    out
}

fn make_row(image: &Summary, trunc: bool, repository: &str, tag: &str, digest: &str) -> Object {
    let size = |bytes: i64| bytesize::human(bytes as f64);
    let unknown = || "N/A".to_string();
    let mut row = Object::row("*formatter.imageContext");
    let containers = match image.containers {
        -1 => unknown(),
        n => n.to_string(),
    };
    row.push("Containers", containers);
    row.push("CreatedAt", clock::long(image.created));
    row.push("CreatedSince", clock::ago(image.created));
    row.push("Digest", digest);
    row.push("ID", if trunc { id::short(&image.id) } else { image.id.as_str() });
    row.push("Repository", repository);
    let shared = image.shared_size;
    row.push("SharedSize", if shared == -1 { unknown() } else { size(shared) });
    row.push("Size", bytesize::human_precise(image.size as f64, 3));
    row.push("Tag", tag);
    let unique = if image.size == -1 || shared == -1 { None } else { Some(image.size - shared) };
    row.push("UniqueSize", unique.map_or_else(unknown, size));
    row.push("VirtualSize", size(image.size));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:4b0e5a5c1e6a8c2e9c3f6ab3f1e8e4a5f3a7a9d0e1f2a3b4c5d6e7f8091a2b3c";

    fn show(image: &Summary, format: &str, digests: bool) -> String {
        let layout = layout(format, false, digests);
        let needs = digests || layout.contains("{{.Digest}}");
        table::render(&layout, HEADINGS, rows(image, true, needs, digests)).unwrap()
    }

    #[test]
    fn every_name_has_a_row() {
        let image = Summary {
            id: DIGEST.into(),
            repo_tags: vec!["debian:12".into(), "localhost:5000/a/b:x".into()],
            repo_digests: vec![format!("debian@{DIGEST}"), format!("other@{DIGEST}")],
            size: 1_940_000,
            shared_size: -1,
            containers: -1,
            ..Summary::default()
        };
        assert_eq!(
            show(&image, "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}} {{.UniqueSize}}", false),
            "debian 12 4b0e5a5c1e6a 1.94MB N/A\n\
             localhost:5000/a/b x 4b0e5a5c1e6a 1.94MB N/A\n\
             other <none> 4b0e5a5c1e6a 1.94MB N/A\n"
        );
        let digests = show(&image, "{{.Repository}} {{.Digest}}", true);
        assert_eq!(
            digests,
            format!("debian {DIGEST}\nlocalhost:5000/a/b <none>\nother {DIGEST}\n")
        );
    }

    #[test]
    fn an_image_without_names_has_a_row_too() {
        let image = Summary { id: DIGEST.into(), ..Summary::default() };
        assert_eq!(
            show(&image, "{{.Repository}}:{{.Tag}} {{.Digest}}", false),
            "<none>:<none> <none>\n"
        );
    }
}
