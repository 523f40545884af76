//! `docker events`.

use std::io::{self, Write};

use multi_core::api::types::events::Message;
use multi_core::base::{At, Error, json};
use multi_core::cli::messages::Objects;
use multi_core::cli::options::keyvalue::filter;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::template::{Object, Template, Value};

use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{clock, filters};

pub(crate) const SPEC: Spec = Spec {
    usage: "",
    about: "Get real time events from the server",
    aliases: &["docker system events", "docker events"],
    arity: Arity::None,
    ..Spec::NEW
};

/// show events
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// filter output based on conditions provided
    #[argh(option, short = 'f', arg_name = "filter", from_str_fn(filter))]
    filter: Vec<Option<(String, String)>>,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "format output using a custom template:\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates"
    )]
    format: String,
    /// show all events created since timestamp
    #[argh(option, arg_name = "string", default = "String::new()")]
    since: String,
    /// stream events until this timestamp
    #[argh(option, arg_name = "string", default = "String::new()")]
    until: String,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let wrong =
        |text: String| Failure::new(format_args!("Error parsing format: {text}")).with_code(64);
    let template = match flags.format.as_str() {
        "" => None,
        "json" => Some(Template::parse("{{json .}}")?),
        text => {
            let template = Template::parse(text).map_err(|e| {
                wrong(e.message().trim_start_matches("template parsing error: ").to_string())
            })?;
            // A wrong field is told before the first event comes.
            template
                .execute(&object(&Message::default(), "{}")?, &mut String::new())
                .map_err(|e| wrong(e.message().to_string()))?;
            Some(template)
        }
    };
    let (since, until) = (super::since(&flags.since)?, super::since(&flags.until)?);
    let filters = filters(&flags.filter);
    let mut query = Vec::new();
    for (name, value) in [("since", &since), ("until", &until)] {
        if !value.is_empty() {
            query.push((name, value.as_str()));
        }
    }
    if let Some(filters) = &filters {
        query.push(("filters", filters.as_str()));
    }
    let mut objects = Objects::new(session.get("/events", &query)?);
    let mut out = io::stdout().lock();
    while let Some(bytes) = objects.next_object().at("reading events")? {
        let message: Message = json::parse(&bytes).at("reading events")?;
        let line = match &template {
            None => plain(&message),
            Some(template) => {
                let mut line = String::new();
                let text = String::from_utf8_lossy(&bytes);
                template.execute(&object(&message, &text)?, &mut line)?;
                line
            }
        };
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result.map_err(Error::from).at("writing events")?,
        }
    }
    Ok(0)
}

fn plain(message: &Message) -> String {
    let nanos = match message.time_nano {
        0 => message.time.saturating_mul(1_000_000_000),
        nanos => nanos,
    };
    let mut line = String::new();
    if nanos != 0 {
        line = clock::rfc3339_nanos(nanos) + " ";
    }
    line.push_str(&format!("{} {} {}", message.kind, message.action, message.actor.id));
    let pairs: Vec<String> =
        message.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if !pairs.is_empty() {
        line.push_str(&format!(" ({})", pairs.join(", ")));
    }
    line
}

/// The event as a template sees it: Go's names, and the JSON text as it came.
fn object(message: &Message, text: &str) -> Result<Value, Failure> {
    let mut actor = Object::typed("events.Actor");
    actor.push("ID", message.actor.id.as_str());
    let mut attributes = Object::default();
    for (name, value) in &message.actor.attributes {
        attributes.push(name.as_str(), value.as_str());
    }
    actor.push("Attributes", attributes);
    let mut event = Object::typed("*events.Message");
    if let Value::Object(raw) = Value::parse(text.as_bytes())? {
        event.fields = raw.fields;
    }
    // What JSON shows stays; what only Go's type knows is added out of sight.
    for (name, value) in [
        ("Status", Value::from(message.status.as_str())),
        ("ID", Value::from(message.id.as_str())),
        ("From", Value::from(message.from.as_str())),
        ("Type", Value::from(message.kind.as_str())),
        ("Action", Value::from(message.action.as_str())),
        ("Scope", Value::from(message.scope.as_str())),
        ("Time", Value::from(message.time)),
        ("TimeNano", Value::from(message.time_nano)),
    ] {
        if event.get(name).is_none() {
            event.push_alias(name, value);
        }
    }
    match event.get_mut("Actor") {
        Some(slot) => *slot = Value::Object(actor),
        None => event.push_hidden("Actor", actor),
    }
    Ok(Value::Object(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"status":"start","id":"abc","from":"bb","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"bb","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000001}"#;

    #[test]
    fn events_are_shown_as_docker_shows_them() {
        let message: Message = json::parse(EVENT.as_bytes()).unwrap();
        let line = plain(&message);
        assert!(line.starts_with("2023-11-1") && line.contains(".000000001"), "{line}");
        assert!(line.ends_with(" container start abc (image=bb, name=web)"), "{line}");
        let show = |text: &str| {
            let mut out = String::new();
            let value = object(&message, EVENT).unwrap();
            Template::parse(text).unwrap().execute(&value, &mut out).unwrap();
            out
        };
        assert_eq!(
            show("{{.Type}} {{.Actor.Attributes.name}} {{.ID}} {{.TimeNano}}"),
            "container web abc 1700000000000000001"
        );
        assert_eq!(show("{{json .}}"), EVENT);
    }
}
