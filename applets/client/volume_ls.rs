//! `docker volume ls`.

use std::rc::Rc;

use multi_core::api::types::volume::{ListResponse, Volume};
use multi_core::base::bytesize;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::table::{self, Headings};
use multi_core::cli::template::{Object, Value};

use super::failure::Outcome;
use super::filters;
use super::port::natural_key;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    about: "List volumes",
    aliases: &["docker volume ls", "docker volume list"],
    arity: Arity::None,
    ..Spec::NEW
};

/// list volumes
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// display only cluster volumes, and use cluster volume list formatting
    #[argh(switch)]
    cluster: bool,
    /// provide filter values (e.g. "dangling=true")
    #[argh(option, short = 'f', arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// only display volume names
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Columns of volumes, here and in `docker system df -v`.
pub(crate) const HEADINGS: Headings = &[
    ("ID", "ID"),
    ("Name", "VOLUME NAME"),
    ("Group", "GROUP"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

const CLUSTER: &str = "table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}";

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let filters = filters(&flags.filter);
    let query: Vec<_> = filters.iter().map(|filters| ("filters", filters.as_str())).collect();
    let mut answer: ListResponse = session.get_json("/volumes", &query)?;
    for warning in answer.warnings.iter().flatten() {
        print::err(&format!("WARNING: {warning}\n"));
    }
    let configured = session.config().text("volumesFormat");
    let format = match flags.format.as_str() {
        _ if flags.cluster && flags.quiet => "table",
        _ if flags.cluster => CLUSTER,
        "" if !configured.is_empty() && !flags.quiet => configured,
        "" => "table",
        format => format,
    };
    if flags.cluster {
        // There is no cluster, so there are none of its volumes.
        answer.volumes.clear();
    }
    answer.volumes.sort_by_key(|volume| natural_key(&volume.name));
    let rows = answer.volumes.iter().map(row).collect();
    Ok(print::out(&table::render(layout(format, flags.quiet), HEADINGS, rows)?))
}

fn layout(format: &str, quiet: bool) -> &str {
    match format {
        "table" if quiet => "{{.Name}}",
        "table" => "table {{.Driver}}\t{{.Name}}",
        "raw" if quiet => "name: {{.Name}}",
        "raw" => "name: {{.Name}}\\ndriver: {{.Driver}}\\n",
        custom => custom,
    }
}

/// One volume as templates see it.
pub(crate) fn row(volume: &Volume) -> Object {
    let unknown = || "N/A".to_string();
    let labels = volume.labels.clone().unwrap_or_default();
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let usage = volume.usage_data.as_ref();
    let mut row = Object::row("*formatter.volumeContext");
    row.push("Availability", unknown());
    row.push("Driver", volume.driver.as_str());
    row.push("Group", unknown());
    row.push("Labels", pairs.join(","));
    row.push("Links", usage.map_or_else(unknown, |usage| usage.ref_count.to_string()));
    row.push("Mountpoint", volume.mountpoint.as_str());
    row.push("Name", volume.name.as_str());
    row.push("Scope", volume.scope.as_str());
    row.push("Size", usage.map_or_else(unknown, |usage| bytesize::human(usage.size as f64)));
    row.push("Status", unknown());
    row.push(
        "Label",
        Value::Method(Rc::new(move |arguments| match arguments {
            [name] => Ok(Value::from(labels.get(&name.print()).cloned().unwrap_or_default())),
            _ => Err(format!("wrong number of args for {{name}}: want 1 got {}", arguments.len())),
        })),
    );
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_dockers_fields() {
        let volume = Volume {
            driver: "local".into(),
            labels: Some([("b".into(), "2".into()), ("a".into(), String::new())].into()),
            name: "data".into(),
            scope: "local".into(),
            ..Volume::default()
        };
        let show = |format: &str| {
            table::render(layout(format, false), HEADINGS, vec![row(&volume)]).unwrap()
        };
        assert_eq!(show("table"), "DRIVER    VOLUME NAME\nlocal     data\n");
        assert_eq!(show("raw"), "name: data\ndriver: local\n\n");
        assert_eq!(
            show("{{.Labels}} {{.Label \"b\"}} {{.Size}} {{.Links}} {{.Status}}"),
            "a=,b=2 2 N/A N/A N/A\n"
        );
        assert_eq!(
            show("json"),
            "{\"Availability\":\"N/A\",\"Driver\":\"local\",\"Group\":\"N/A\",\"Labels\":\"a=,b=2\",\
             \"Links\":\"N/A\",\"Mountpoint\":\"\",\"Name\":\"data\",\"Scope\":\"local\",\"Size\":\"N/A\",\
             \"Status\":\"N/A\"}\n"
        );
    }
}
