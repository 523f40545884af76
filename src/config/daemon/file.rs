//! `daemon.json`: keys of the option table, each with the type of its option.

use std::path::Path;

use serde_json::{Map, Value};

use super::options::{DaemonOption, Field, OPTIONS};
use super::{DaemonConfig, checks};
use crate::base::{Error, Result, file};
use crate::engine::model::host::Ulimit;
use crate::engine::settings::Runtime;

/// The members of the file; `None` if there is no file and it was not named.
///
/// # Errors
/// The cause alone, without the name of the file.
pub(super) fn read(path: &Path, explicit: bool) -> Result<Map<String, Value>> {
    let bytes = match file::read_optional(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) if explicit => {
            return Err(Error::not_found(format_args!(
                "open {}: no such file or directory",
                path.display()
            )));
        }
        Ok(None) => return Ok(Map::new()),
        Err(e) => return Err(e),
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Error::invalid("the file must hold one JSON object")),
        Err(e) => Err(Error::invalid(e)),
    }
}

/// The option of each key.
///
/// # Errors
/// `InvalidParameter` that names every key without an option.
pub(super) fn options(
    members: &Map<String, Value>,
) -> Result<Vec<(&'static DaemonOption, &Value)>> {
    let find = |key: &str| {
        let key = SINGULAR.iter().find(|(one, _)| *one == key).map_or(key, |(_, many)| many);
        OPTIONS.iter().find(|o| !key.is_empty() && (o.key == key || o.old == key))
    };
    let unknown: Vec<&str> =
        members.keys().filter(|k| find(k).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Error::invalid(format_args!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )));
    }
    let found: Vec<_> =
        members.iter().filter_map(|(key, value)| Some((find(key)?, value))).collect();
    for (i, (option, _)) in found.iter().enumerate() {
        if found[..i].iter().any(|(other, _)| other.key == option.key) {
            return Err(Error::invalid(format_args!(
                "the directives {} and {} mean the same, give one of them",
                option.old, option.key
            )));
        }
    }
    Ok(found)
}

/// Keys of one text that became keys of lists.
const SINGULAR: &[(&str, &str)] = &[("host-gateway-ip", "host-gateway-ips")];

/// Puts the value of one key into `config`.
///
/// # Errors
/// `InvalidParameter` that names the key: a value of the wrong type, or one that the option refuses.
pub(super) fn set(option: &DaemonOption, value: &Value, config: &mut DaemonConfig) -> Result<()> {
    let wrong = |expected: &str| {
        Error::invalid(format_args!("{}: expected {expected}, found {}", option.key, kind(value)))
    };
    let refuse = |why: String| Error::invalid(format_args!("{}: {why}", option.key));
    if value.is_null() {
        return Ok(());
    }
    match option.field {
        Field::Bool(get) => *get(config) = value.as_bool().ok_or_else(|| wrong("true or false"))?,
        Field::Int(_) if option.word == "bytes" && value.is_string() => {
            option.set(config, value.as_str().unwrap_or_default()).map_err(refuse)?;
        }
        Field::Int(get) => *get(config) = value.as_i64().ok_or_else(|| wrong("a whole number"))?,
        Field::Text(get) => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            *get(config) = (option.check)(text).map_err(refuse)?;
        }
        Field::List(_)
            if value.is_string() && SINGULAR.iter().any(|(_, key)| *key == option.key) =>
        {
            option.set(config, value.as_str().unwrap_or_default()).map_err(refuse)?;
        }
        Field::List(_) => {
            let items = value.as_array().ok_or_else(|| wrong("a list of strings"))?;
            for item in items {
                let text = item.as_str().ok_or_else(|| wrong("a list of strings"))?;
                option.set(config, text).map_err(refuse)?;
            }
        }
        // Docker 1.12 documents `log-opts` as a list, later versions as an object.
        Field::Map(get) => match value {
            Value::Array(items) => {
                for item in items {
                    let text = item.as_str().ok_or_else(|| wrong("a list of strings"))?;
                    option.set(config, text).map_err(refuse)?;
                }
            }
            Value::Object(members) => {
                for (key, value) in members {
                    let text = value.as_str().ok_or_else(|| wrong("an object of strings"))?;
                    get(config).insert(key.clone(), text.to_string());
                }
            }
            _ => return Err(wrong("an object of strings")),
        },
        Field::Ulimits(get) => {
            let members = value.as_object().ok_or_else(|| wrong("an object"))?;
            for (name, value) in members {
                let limit = ulimit(name, value).map_err(refuse)?;
                get(config).insert(name.clone(), limit);
            }
        }
        Field::Runtimes(get) => {
            let members = value.as_object().ok_or_else(|| wrong("an object"))?;
            for (name, value) in members {
                get(config).insert(name.clone(), runtime(name, value).map_err(refuse)?);
            }
        }
        Field::Special => special(option, value)?,
    }
    Ok(())
}

/// # Errors
/// A value that the option does not take.
fn special(option: &DaemonOption, value: &Value) -> Result<()> {
    let texts: Vec<&Value> = match value {
        Value::Array(items) if option.word == "list" => items.iter().collect(),
        _ => vec![value],
    };
    for text in texts {
        let ok = match (option.word, text) {
            ("bool", Value::Bool(_)) => continue,
            ("bool", _) => Err(format!("expected true or false, found {}", kind(text))),
            (_, Value::String(text)) => (option.check)(text),
            _ => Err(format!("expected a string, found {}", kind(text))),
        };
        ok.map_err(|why| Error::invalid(format_args!("{}: {why}", option.key)))?;
    }
    Ok(())
}

/// `{"Name": "nofile", "Hard": 64000, "Soft": 64000}`, checked as the flag is.
fn ulimit(name: &str, value: &Value) -> Result<Ulimit, String> {
    let members = value.as_object().ok_or("expected an object with Name, Hard and Soft")?;
    let number = |key: &str| match members.get(key) {
        None => Ok(0),
        Some(n) => n.as_i64().ok_or(format!("expected a whole number in {name}.{key}")),
    };
    if members.get("Name").is_some_and(|n| n.as_str() != Some(name)) {
        return Err(format!("the Name in {name} differs from its key"));
    }
    checks::ulimit(&format!("{name}={}:{}", number("Soft")?, number("Hard")?))
}

/// `{"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}`.
fn runtime(name: &str, value: &Value) -> Result<Runtime, String> {
    let members = value.as_object().ok_or("expected an object with path and runtimeArgs")?;
    checks::runtime_name(name)?;
    for key in members.keys() {
        match key.as_str() {
            "path" | "runtimeArgs" => {}
            "runtimeType" | "options" => {
                return Err(format!(
                    "{name}.{key} is not supported: a runtime is a program with the command line of runc"
                ));
            }
            _ => return Err(format!("{name}.{key} is no part of a runtime")),
        }
    }
    let path = members.get("path").and_then(Value::as_str).unwrap_or_default();
    if path.is_empty() {
        return Err(format!("expected a string in {name}.path"));
    }
    let text = |v: &Value| v.as_str().map(String::from);
    let args = match members.get("runtimeArgs") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(_) => None,
    };
    let args = args.ok_or_else(|| format!("expected a list of strings in {name}.runtimeArgs"))?;
    Ok(Runtime { path: path.into(), args })
}

/// The value as Go prints it, for the message about conflicts.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Object(members) => {
            let pairs: Vec<String> =
                members.iter().map(|(k, v)| format!("{k}:{}", show(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
