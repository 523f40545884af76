//! `docker inspect`, `docker container inspect`, `docker image inspect`.
//!
//! Docker's templates see typed objects first and plain JSON when that fails, so both the names of the
//! type's fields (`.ID`) and the keys (`.Id`) work, fields that are left out when they are empty exist
//! (`.State.Health`), and only what neither knows is an error. [`typed`] makes one object that is both.

use std::io::Write;

use multi_core::base::{At, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::template::{Kind, MissingKey, Object, Template, Value, indent_json};
use multi_core::registry::platform::Platform;

use super::failure::{Failure, Outcome};
use super::session::{Pair, Session};
use super::with_format::with_format;

pub(crate) const ANY: Spec = Spec {
    usage: "NAME|ID [NAME|ID...]",
    about: "Return low-level information on Docker objects",
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

pub(crate) const CONTAINER: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    ..ANY
};

pub(crate) const IMAGE: Spec = Spec {
    usage: "IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    ..ANY
};

pub(crate) const VOLUME: Spec = Spec {
    usage: "VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    ..ANY
};

with_format! {
    /// inspect objects
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct AnyFlags {
        /// display total file sizes if the type is container
        #[argh(switch, short = 's')]
        size: bool,
        /// only inspect objects of the given type
        #[argh(option, long = "type", arg_name = "string")]
        kind: Option<String>,
        /// objects
        #[argh(positional, greedy)]
        names: Vec<String>,
    }
}

with_format! {
    /// inspect containers
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct ContainerFlags {
        /// display total file sizes
        #[argh(switch, short = 's')]
        size: bool,
        /// containers
        #[argh(positional, greedy)]
        names: Vec<String>,
    }
}

with_format! {
    /// inspect images
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct ImageFlags {
        #[argh(
            option,
            arg_name = "string",
            default = "String::new()",
            description = "inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)"
        )]
        platform: String,
        /// images
        #[argh(positional, greedy)]
        names: Vec<String>,
    }
}

with_format! {
    /// inspect volumes
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct VolumeFlags {
        /// volumes
        #[argh(positional, greedy)]
        names: Vec<String>,
    }
}

/// Types that Docker knows; those without a path are not objects of this engine.
const TYPES: &[(&str, Option<&str>)] = &[
    ("config", None),
    ("container", Some("/containers/{}/json")),
    ("image", Some("/images/{}/json")),
    ("network", Some("/networks/{}")),
    ("node", None),
    ("plugin", Some("/plugins/{}/json")),
    ("secret", None),
    ("service", None),
    ("task", None),
    ("volume", Some("/volumes/{}")),
];

/// The order in which a name without a type is looked for.
const SEARCH: &[&str] = &["container", "image", "network", "volume", "plugin"];

pub(crate) fn any(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: AnyFlags = pflag::parse(&ANY, called, argv)?;
    let names = || TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("\", \"");
    let kind = match flags.kind.as_deref() {
        None => None,
        Some("") => {
            return Err(Failure::new(format_args!(
                "type is empty: must be one of \"{}\"",
                names()
            )));
        }
        Some(kind) => {
            let known = TYPES.iter().find(|(name, _)| *name == kind).ok_or_else(|| {
                Failure::new(format_args!("unknown type: {kind:?}: must be one of \"{}\"", names()))
            })?;
            Some(known.0)
        }
    };
    inspect(&flags.format, &flags.names, &mut |name| find(session, name, kind, flags.size))
}

pub(crate) fn container(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: ContainerFlags = pflag::parse(&CONTAINER, called, argv)?;
    inspect(&flags.format, &flags.names, &mut |name| {
        find(session, name, Some("container"), flags.size)
    })
}

pub(crate) fn image(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: ImageFlags = pflag::parse(&IMAGE, called, argv)?;
    let platform = match flags.platform.as_str() {
        "" => String::new(),
        text => json::to_string(&Platform::parse(text)?),
    };
    inspect(&flags.format, &flags.names, &mut |name| {
        let query: &[Pair<'_>] =
            if platform.is_empty() { &[] } else { &[("platform", platform.as_str())] };
        fetch(session, "/images/{}/json", name, query)
    })
}

pub(crate) fn volume(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: VolumeFlags = pflag::parse(&VOLUME, called, argv)?;
    inspect(&flags.format, &flags.names, &mut |name| find(session, name, Some("volume"), false))
}

/// The text of the object of that name.
fn find(session: &Session, name: &str, kind: Option<&str>, size: bool) -> Result<String, Failure> {
    let wanted = match &kind {
        Some(kind) => std::slice::from_ref(kind),
        None => SEARCH,
    };
    for kind in wanted {
        let path = TYPES.iter().find(|(name, _)| name == kind).and_then(|(_, path)| *path);
        let path = path.ok_or_else(|| {
            Failure::new(
                "Error response from daemon: This node is not a swarm manager. Use \"docker swarm \
                 init\" or \"docker swarm join\" to connect this node to swarm and try again.",
            )
        })?;
        let query: &[Pair<'_>] = match (*kind, size) {
            ("container", true) => &[("size", "1")],
            _ => &[],
        };
        match fetch(session, path, name, query) {
            Ok(text) => {
                if size && *kind != "container" {
                    print::err(&format!("WARNING: --size ignored for {kind}\n"));
                }
                return Ok(text);
            }
            Err(failure) if wanted.len() > 1 && skippable(&failure) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(format_args!("Error: No such object: {name}")))
}

/// Whether the name may belong to an object of another type.
fn skippable(failure: &Failure) -> bool {
    let message = failure.message();
    failure.is_not_found()
        || failure.kind == multi_core::base::Kind::NotImplemented
        || message.contains("not supported")
        || message.contains("invalid reference format")
}

fn fetch(session: &Session, path: &str, name: &str, query: &[Pair<'_>]) -> Result<String, Failure> {
    let bytes = session.get(&path.replace("{}", name), query)?.bytes()?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_string())
}

fn inspect(
    format: &str,
    names: &[String],
    get: &mut dyn FnMut(&str) -> Result<String, Failure>,
) -> Outcome {
    let template = match format {
        "" | "json" => None,
        text => Some(
            Template::parse(text)
                .map_err(|e| Failure::from(e).with_code(64))?
                .missing_key(MissingKey::Fails),
        ),
    };
    let mut out = String::new();
    let mut errors = Vec::new();
    let mut elements = Vec::new();
    for name in names {
        let text = match get(name) {
            Ok(text) => text,
            Err(failure) => {
                errors.push(failure.message().to_string());
                continue;
            }
        };
        match &template {
            None => elements.push(text),
            Some(template) => match fill(template, &text) {
                Ok(line) => out.push_str(&(line + "\n")),
                Err(failure) => errors.push(failure.message().to_string()),
            },
        }
    }
    match (&template, format) {
        (Some(_), _) if out.is_empty() => out.push('\n'),
        (Some(_), _) => {}
        (None, _) if elements.is_empty() => out.push_str("[]\n"),
        (None, "json") => {
            let text = Value::parse(format!("[{}]", elements.join(",")).as_bytes())?;
            out = text.to_json() + "\n";
        }
        (None, _) => out = indent_json(&format!("[{}]", elements.join(",")), "    ") + "\n",
    }
    let code = print::out(&out);
    if errors.is_empty() {
        return Ok(code);
    }
    // Both streams may be one file: the objects come first.
    let _ = std::io::stdout().flush();
    Err(Failure::new(errors.join("\n")))
}

fn fill(template: &Template, text: &str) -> Result<String, Failure> {
    let mut value = Value::parse(text.as_bytes()).at("unable to read inspect data")?;
    typed(&mut value);
    let mut line = String::new();
    template.execute(&value, &mut line).at("template parsing error")?;
    Ok(line)
}

/// Fields whose Go name is not their key.
const RENAMED: &[(&str, &str)] = &[
    ("Id", "ID"),
    ("CpuShares", "CPUShares"),
    ("NanoCpus", "NanoCPUs"),
    ("CpuPeriod", "CPUPeriod"),
    ("CpuQuota", "CPUQuota"),
    ("CpuRealtimePeriod", "CPURealtimePeriod"),
    ("CpuRealtimeRuntime", "CPURealtimeRuntime"),
    ("CpuCount", "CPUCount"),
    ("CpuPercent", "CPUPercent"),
    ("Dns", "DNS"),
    ("DnsOptions", "DNSOptions"),
    ("DnsSearch", "DNSSearch"),
    ("HostIp", "HostIP"),
];

/// What an absent field of a type is.
#[derive(Clone, Copy)]
enum Zero {
    Nil,
    Text,
    Number,
    False,
    List,
    Map,
}

/// Fields that are left out when they are empty, by the member that marks their owner.
const OMITTED: &[(&str, &[(&str, Zero)])] = &[
    ("FinishedAt", &[("Health", Zero::Nil)]),
    (
        "HostnamePath",
        &[("SizeRw", Zero::Nil), ("SizeRootFs", Zero::Nil), ("ImageManifestDescriptor", Zero::Nil)],
    ),
    (
        "Domainname",
        &[
            ("ExposedPorts", Zero::Map),
            ("Healthcheck", Zero::Nil),
            ("ArgsEscaped", Zero::False),
            ("NetworkDisabled", Zero::False),
            ("MacAddress", Zero::Text),
            ("StopSignal", Zero::Text),
            ("StopTimeout", Zero::Nil),
            ("Shell", Zero::List),
        ],
    ),
    (
        "NetworkMode",
        &[
            ("Annotations", Zero::Map),
            ("StorageOpt", Zero::Map),
            ("Tmpfs", Zero::Map),
            ("Sysctls", Zero::Map),
            ("Runtime", Zero::Text),
            ("KernelMemory", Zero::Number),
            ("KernelMemoryTCP", Zero::Number),
            ("Mounts", Zero::List),
            ("Init", Zero::Nil),
        ],
    ),
    (
        "RepoTags",
        &[
            ("Variant", Zero::Text),
            ("OsVersion", Zero::Text),
            ("VirtualSize", Zero::Number),
            ("Descriptor", Zero::Nil),
        ],
    ),
];

/// The fields of a mount in the order of Go's type, which printing it shows.
const MOUNT: &[&str] =
    &["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"];

/// Members that are maps: a key they lack is no value, not an error.
const MAPS: &[&str] = &[
    "Labels",
    "Ports",
    "Networks",
    "Annotations",
    "StorageOpt",
    "Tmpfs",
    "Sysctls",
    "PortBindings",
    "ExposedPorts",
    "Volumes",
    "Options",
    "DriverOpts",
    "Data",
];

/// Adds what Docker's types have beyond the JSON text: Go's names and absent fields. None of it shows
/// when the object is written as JSON again.
fn typed(value: &mut Value) {
    match value {
        Value::List(list) => list.iter_mut().for_each(typed),
        Value::Object(object) => {
            for field in &mut object.fields {
                typed(&mut field.value);
                let is_map = MAPS.contains(&field.name.as_str());
                if is_map && matches!(field.value, Value::Nil) {
                    field.value = Value::Object(Object { kind: Kind::NilMap, ..Object::default() });
                } else if let Value::Object(inner) = &mut field.value {
                    inner.kind = match is_map {
                        true => Kind::LenientMap,
                        false => Kind::Record,
                    };
                }
            }
            object.kind = Kind::Record;
            complete(object);
        }
        _ => {}
    }
}

fn complete(object: &mut Object) {
    if object.get("Propagation").is_some() && object.get("Destination").is_some() {
        in_order(object, MOUNT);
        return;
    }
    for (key, name) in RENAMED {
        if let Some(value) = object.get(key).cloned()
            && object.get(name).is_none()
        {
            object.push_alias(*name, value);
        }
    }
    for (mark, fields) in OMITTED {
        if object.get(mark).is_none() {
            continue;
        }
        for (name, zero) in *fields {
            if object.get(name).is_none() {
                object.push_hidden(
                    *name,
                    match zero {
                        Zero::Nil => Value::Nil,
                        Zero::Text => Value::from(""),
                        Zero::Number => Value::Int(0),
                        Zero::False => Value::Bool(false),
                        Zero::List => Value::List(Vec::new()),
                        Zero::Map => Value::Object(Object::default()),
                    },
                );
            }
        }
    }
}

/// Puts the fields in the order of `names`; those that are absent are empty texts out of sight.
fn in_order(object: &mut Object, names: &[&str]) {
    let mut old = std::mem::take(&mut object.fields);
    for name in names {
        match old.iter().position(|f| f.name == *name) {
            Some(at) => object.fields.push(old.remove(at)),
            None => object.push_hidden(*name, ""),
        }
    }
    object.fields.append(&mut old);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = r#"{"Id":"abc","HostnamePath":"","State":{"Pid":7,"FinishedAt":""},
        "Config":{"Domainname":"","Labels":{"a":"b"},"Image":"x"},"HostConfig":{"NetworkMode":"n","CpuShares":2,"Sysctls":null},
        "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}"#;

    fn show(format: &str) -> String {
        let get = |_: &str| -> Result<String, Failure> { Ok(CONTAINER.to_string()) };
        let template = Template::parse(format).unwrap().missing_key(MissingKey::Fails);
        match fill(&template, &get("").unwrap()) {
            Ok(text) => text,
            Err(failure) => failure.message().to_string(),
        }
    }

    #[test]
    fn go_names_and_keys_both_work() {
        assert_eq!(show("{{.Id}} {{.ID}} {{.HostConfig.CPUShares}}"), "abc abc 2");
        assert_eq!(show("{{.State.Health}}{{if .State.Health}}x{{end}}"), "<nil>");
        let nil =
            "{{.HostConfig.Sysctls}} {{json .HostConfig.Sysctls}} {{len .HostConfig.Sysctls}}";
        assert_eq!(show(nil), "map[] null 0");
        assert_eq!(show("{{.SizeRw}} [{{.Config.StopSignal}}]"), "<nil> []");
        assert_eq!(show("{{.NetworkSettings.Networks.bridge.IPAddress}}"), "172.17.0.2");
        assert_eq!(
            show("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}"),
            "bridge=172.17.0.2"
        );
        assert_eq!(
            show("{{.Config.Labels.nope}} {{.NetworkSettings.Networks.no.IPAddress}}"),
            "<no value> <no value>"
        );
        assert_eq!(show("{{index .Config.Labels \"a\"}}"), "b");
        assert_eq!(show("{{json .State}}"), "{\"Pid\":7,\"FinishedAt\":\"\"}");
    }

    #[test]
    fn what_nobody_knows_is_an_error() {
        assert_eq!(
            show("{{.Foo}}"),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""
        );
    }
}
