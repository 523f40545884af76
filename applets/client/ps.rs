//! `docker ps`.

use std::rc::Rc;

use multi_core::api::types::container::{Port, Summary};
use multi_core::base::{bytesize, id};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::table::{self, Headings, ellipsis};
use multi_core::cli::template::{Object, Template, Value};
use multi_core::cli::{options, print, template};
use multi_core::registry::reference;

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{clock, filters};

pub(crate) const SPEC: Spec = Spec {
    usage: "",
    about: "List containers",
    aliases: &["docker container ls, docker container list, docker container ps, docker ps"],
    arity: Arity::None,
    ..Spec::NEW
};

/// list containers
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// show all containers (default shows just running)
    #[argh(switch, short = 'a')]
    all: bool,
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
    /// show n last created containers (includes all states) (default -1)
    #[argh(option, short = 'n', arg_name = "int", default = "-1")]
    last: i64,
    /// show the latest created container (includes all states)
    #[argh(switch, short = 'l')]
    latest: bool,
    /// don't truncate output
    #[argh(switch)]
    no_trunc: bool,
    /// only display container IDs
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// display total file sizes
    #[argh(option, short = 's', arg_name = "bool")]
    size: Option<bool>,
}

use options::keyvalue::filter;

const TABLE: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
";

pub(crate) const HEADINGS: Headings = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let mut format = flags.format.clone();
    if format.is_empty() {
        format = session.config().text("psFormat").to_string();
    } else if flags.quiet {
        print::err("WARNING: Ignoring custom format, because both --format and --quiet are set.\n");
    }
    let mut size = flags.size.unwrap_or(false);
    if !format.is_empty() {
        let parsed = Template::parse(&format).map_err(|e| {
            let text = e.message().trim_start_matches("template parsing error: ").to_string();
            Failure::new(format_args!("failed to parse template: {text}"))
        })?;
        // A wrong field is told before the daemon is asked.
        parsed
            .execute(&Value::Object(row(&Summary::default(), true)), &mut String::new())
            .map_err(|e| Failure::new(format_args!("failed to execute template: {e}")))?;
        size |= !flags.quiet && flags.size.is_none() && parsed.mentions("Size");
    }
    let last = if flags.latest && flags.last == -1 { 1 } else { flags.last };
    let (limit, filters) = (last.to_string(), filters(&flags.filter));
    let mut query = Vec::new();
    if flags.all {
        query.push(("all", "1"));
    }
    if last > 0 {
        query.push(("limit", limit.as_str()));
    }
    if size {
        query.push(("size", "1"));
    }
    if let Some(filters) = &filters {
        query.push(("filters", filters.as_str()));
    }
    let containers: Vec<Summary> = session.get_json("/containers/json", &query)?;
    let rows = containers.iter().map(|c| row(c, !flags.no_trunc)).collect();
    let text = table::render(&layout(&format, flags.quiet, size), HEADINGS, rows)?;
    Ok(print::out(&text))
}

/// The template for a `--format` value.
fn layout(format: &str, quiet: bool, size: bool) -> String {
    match format {
        "raw" if quiet => "container_id: {{.ID}}".into(),
        "raw" if size => format!("{RAW}size: {{{{.Size}}}}\\n"),
        "raw" => RAW.into(),
        _ if quiet => "{{.ID}}".into(),
        "" | "table" if size => format!("{TABLE}\\t{{{{.Size}}}}"),
        "" | "table" => TABLE.into(),
        custom => custom.into(),
    }
}

pub(super) fn row(c: &Summary, trunc: bool) -> Object {
    let mut row = Object::row("*formatter.ContainerContext");
    let command = if trunc { ellipsis(&c.command, 20) } else { c.command.clone() };
    row.push("Command", template::go_quote(&command));
    row.push("CreatedAt", clock::long(c.created));
    row.push("ID", if trunc { id::short(&c.id) } else { c.id.as_str() });
    row.push("Image", image(c, trunc));
    let labels = c.labels.clone();
    let mut pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.sort();
    row.push("Labels", pairs.join(","));
    let local = c.mounts.iter().filter(|m| m.driver == "local").count();
    row.push("LocalVolumes", local.to_string());
    let mounts: Vec<String> = c
        .mounts
        .iter()
        .map(|m| if m.name.is_empty() { &m.source } else { &m.name })
        .map(|name| if trunc { ellipsis(name, 15) } else { name.clone() })
        .collect();
    row.push("Mounts", mounts.join(","));
    row.push("Names", names(c, trunc));
    let networks: Vec<&str> =
        c.network_settings.iter().flat_map(|n| n.networks.keys().map(String::as_str)).collect();
    row.push("Networks", networks.join(","));
    let platform = c.image_manifest_descriptor.as_ref().and_then(|d| d.platform.as_ref());
    row.push(
        "Platform",
        platform.map_or(Value::Nil, |p| {
            let mut text = format!("{}/{}", p.os, p.architecture);
            if !p.variant.is_empty() {
                text.push_str(&format!("/{}", p.variant));
            }
            Value::Str(text)
        }),
    );
    row.push("Ports", ports(&c.ports));
    row.push("RunningFor", clock::ago(c.created));
    let rw = bytesize::human_precise(c.size_rw as f64, 3);
    row.push(
        "Size",
        match c.size_root_fs > 0 {
            true => format!("{rw} (virtual {})", bytesize::human_precise(c.size_root_fs as f64, 3)),
            false => rw,
        },
    );
    row.push("State", c.state.as_str());
    row.push("Status", c.status.as_str());
    row.push(
        "Label",
        Value::Method(Rc::new(move |arguments| match arguments {
            [name] => Ok(Value::from(labels.get(&name.print()).cloned().unwrap_or_default())),
            _ => Err(format!("wrong number of args for {{name}}: want 1 got {}", arguments.len())),
        })),
    );
    row
}

fn names(c: &Summary, trunc: bool) -> String {
    let names: Vec<&str> = c.names.iter().map(|n| n.get(1..).unwrap_or_default()).collect();
    match names.iter().find(|n| trunc && !n.contains('/')) {
        Some(own) => own.to_string(),
        None => names.join(","),
    }
}

fn image(c: &Summary, trunc: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".into();
    }
    if trunc {
        let short = id::short(&c.image_id);
        if short == id::short(&c.image) {
            return short.to_string();
        }
        // A digest behind the name is too long for a column.
        if let Ok(reference) = reference::Reference::parse(&c.image) {
            let name = reference.name_only();
            return match reference.tag() {
                Some(tag) => name.with_tag(tag).map_or(c.image.clone(), |r| r.familiar()),
                None => name.familiar(),
            };
        }
    }
    c.image.clone()
}

/// `0.0.0.0:80->80/tcp, 9000-9002/tcp`: neighbours of one address are written as a range.
fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|p| (p.private_port, p.ip.as_str(), p.public_port, p.kind.as_str()));
    let mut groups: Vec<(String, u16, u16)> = Vec::new();
    let mut done = Vec::new();
    let mut mapped = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let host = join(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{}/{}", port.private_port, port.kind));
            continue;
        }
        let key = match port.ip.as_str() {
            "" => port.kind.clone(),
            ip => format!("{ip}/{}", port.kind),
        };
        match groups.iter_mut().find(|(k, ..)| *k == key) {
            None => groups.push((key, port.private_port, port.private_port)),
            Some((_, _, last)) if port.private_port == last.saturating_add(1) => {
                *last = port.private_port;
            }
            Some((_, first, last)) => {
                done.push(group(&key, *first, *last));
                (*first, *last) = (port.private_port, port.private_port);
            }
        }
    }
    done.extend(groups.iter().map(|(key, first, last)| group(key, *first, *last)));
    done.extend(mapped);
    done.join(", ")
}

fn group(key: &str, first: u16, last: u16) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match key.rsplit_once('/') {
        Some((ip, kind)) => format!("{}->{range}/{kind}", join(ip, &range)),
        None => format!("{range}/{key}"),
    }
}

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multi_core::base::json;

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let port = |ip: &str, private_port, public_port| Port {
            ip: ip.into(),
            private_port,
            public_port,
            kind: "tcp".into(),
        };
        let list = [
            port("0.0.0.0", 80, 8080),
            port("::", 80, 8080),
            port("", 9001, 0),
            port("", 9000, 0),
            port("0.0.0.0", 443, 443),
            port("", 5000, 0),
        ];
        assert_eq!(
            ports(&list),
            "5000/tcp, 0.0.0.0:443->443/tcp, 9000-9001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(ports(&[]), "");
    }

    #[test]
    fn rows_of_one_container_in_every_format() {
        let text = r#"[{"Id":"0123456789abcdef","Names":["/web","/db/alias"],"Image":"debian:12@sha256:4b0e5a5c1e6a8c2e9c3f6ab3f1e8e4a5f3a7a9d0e1f2a3b4c5d6e7f8091a2b3c",
            "ImageID":"sha256:fedcba9876543210","Command":"sh -c 'sleep 1000000000'","Created":1700000000,"Labels":{"b":"2","a":"1"},
            "State":"running","Status":"Up 2 hours","Ports":[],"Mounts":[{"Name":"0123456789abcdefgh","Driver":"local","Source":"/x"}],
            "NetworkSettings":{"Networks":{"bridge":{}}}}]"#;
        let list: Vec<Summary> = json::parse(text.as_bytes()).unwrap();
        let show = |format: &str, trunc: bool| {
            let rows = list.iter().map(|c| row(c, trunc)).collect();
            table::render(format, HEADINGS, rows).unwrap()
        };
        assert_eq!(
            show("{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.Mounts}} {{.LocalVolumes}}", true),
            "0123456789ab web debian:12 \"sh -c 'sleep 100000…\" 0123456789abcd… 1\n"
        );
        assert_eq!(
            show("table {{.ID}}\\t{{.Label \"a\"}}\\t{{.Labels}}", false),
            "CONTAINER ID       a         LABELS\n0123456789abcdef   1         a=1,b=2\n"
        );
        assert!(show("json", true).starts_with("{\"Command\":\"\\\"sh -c"));
        assert_eq!(show("{{.Names}}", false), "web,db/alias\n");
    }
}
