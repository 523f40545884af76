//! The functions of a template: Go's built-in ones and those of Docker.

use std::cmp::Ordering;

use super::{Functions, Value, printf};

/// Why a function gave no value.
pub(super) enum Fault {
    /// It ran and failed.
    Failed(String),
    /// The argument at that index cannot be what the function takes.
    WrongType { argument: usize, want: &'static str },
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault::Failed(message)
    }
}

/// Name, fewest and most arguments.
const TABLE: &[(&str, usize, usize)] = &[
    ("and", 1, usize::MAX),
    ("call", 1, usize::MAX),
    ("eq", 1, usize::MAX),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("html", 0, usize::MAX),
    ("index", 1, usize::MAX),
    ("join", 2, 2),
    ("js", 0, usize::MAX),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, usize::MAX),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("println", 0, usize::MAX),
    ("slice", 1, usize::MAX),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
    ("urlquery", 0, usize::MAX),
];

pub(super) fn exists(name: &str) -> bool {
    TABLE.iter().any(|(n, ..)| *n == name)
}

pub(super) fn wrong_count(name: &str, count: usize) -> Option<String> {
    let (_, least, most) = *TABLE.iter().find(|(n, ..)| *n == name)?;
    if count < least && most == usize::MAX {
        return Some(format!("wrong number of args for {name}: want at least {least} got {count}"));
    }
    (count < least || count > most)
        .then(|| format!("wrong number of args for {name}: want {least} got {count}"))
}

pub(super) fn call(name: &str, args: &[Value], mode: Functions) -> Result<Value, Fault> {
    if mode == Functions::Headers {
        match name {
            "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate" => {
                return Ok(args[0].clone());
            }
            _ => {}
        }
    }
    Ok(match name {
        "and" | "or" => args.last().cloned().unwrap_or(Value::Nil),
        "not" => Value::Bool(!args[0].truth()),
        "print" => Value::Str(printf::sprint(args)),
        "println" => Value::Str(printf::sprintln(args)),
        "printf" => Value::Str(printf::sprintf(text(args, 0)?, &args[1..])),
        "html" => Value::Str(escape_html(&printf::sprint(args))),
        "js" => Value::Str(escape_js(&printf::sprint(args))),
        "urlquery" => Value::Str(escape_query(&printf::sprint(args))),
        "len" => Value::Int(length(&args[0])? as i128),
        "index" => index(&args[0], &args[1..])?,
        "slice" => slice(&args[0], &args[1..])?,
        "call" => {
            return Err(Fault::Failed(format!("non-function of type {}", args[0].type_name())));
        }
        "eq" => {
            if args.len() < 2 {
                return Err(Fault::Failed("missing argument for comparison".into()));
            }
            for other in &args[1..] {
                if equal(&args[0], other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Value::Bool(false)
        }
        "ne" => Value::Bool(!equal(&args[0], &args[1])?),
        "lt" => Value::Bool(order(&args[0], &args[1])?.is_lt()),
        "le" => Value::Bool(order(&args[0], &args[1])?.is_le()),
        "gt" => Value::Bool(order(&args[0], &args[1])?.is_gt()),
        "ge" => Value::Bool(order(&args[0], &args[1])?.is_ge()),
        "json" => Value::Str(args[0].to_json()),
        "split" => {
            let (text, separator) = (text(args, 0)?, text(args, 1)?);
            if separator.is_empty() {
                Value::List(text.chars().map(|c| Value::Str(c.to_string())).collect())
            } else {
                Value::List(text.split(separator).map(Value::from).collect())
            }
        }
        "join" => join(args)?,
        "title" => Value::Str(title(text(args, 0)?)),
        "lower" => Value::Str(text(args, 0)?.to_lowercase()),
        "upper" => Value::Str(text(args, 0)?.to_uppercase()),
        "pad" => {
            let (text, before, after) = (text(args, 0)?, number(args, 1)?, number(args, 2)?);
            if text.is_empty() {
                return Ok(Value::from(""));
            }
            let spaces = |n: i128| " ".repeat(n.clamp(0, 4096) as usize);
            Value::Str(format!("{}{text}{}", spaces(before), spaces(after)))
        }
        "truncate" => {
            let (text, most) = (text(args, 0)?, number(args, 1)?);
            match usize::try_from(most).ok().filter(|n| *n < text.len()) {
                Some(cut) => {
                    let cut = (0..=cut).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                    Value::from(&text[..cut])
                }
                None => Value::from(text),
            }
        }
        _ => return Err(Fault::Failed("no such function".into())),
    })
}

fn text(args: &[Value], i: usize) -> Result<&str, Fault> {
    args[i].as_str().ok_or(Fault::WrongType { argument: i, want: "string" })
}

fn number(args: &[Value], i: usize) -> Result<i128, Fault> {
    match args[i] {
        Value::Int(n) => Ok(n),
        _ => Err(Fault::WrongType { argument: i, want: "int" }),
    }
}

fn join(args: &[Value]) -> Result<Value, Fault> {
    let Value::List(items) = &args[0] else {
        return Err(Fault::WrongType { argument: 0, want: "[]string" });
    };
    let separator = text(args, 1)?;
    let parts: Vec<String> = items.iter().map(Value::print).collect();
    Ok(Value::Str(parts.join(separator)))
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper =
                std::mem::replace(&mut start, !c.is_alphanumeric() && c != '_' && c != '\'');
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn length(value: &Value) -> Result<usize, Fault> {
    match value {
        Value::Str(s) => Ok(s.len()),
        Value::List(l) => Ok(l.len()),
        Value::Object(o) if o.type_name().is_none() => Ok(o.fields.len()),
        Value::Nil | Value::Missing => {
            Err(Fault::Failed("reflect: call of reflect.Value.Type on zero Value".into()))
        }
        other => Err(Fault::Failed(format!("len of type {}", other.type_name()))),
    }
}

fn index(item: &Value, keys: &[Value]) -> Result<Value, Fault> {
    let mut value = item.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Object(o), Value::Str(name)) if o.type_name().is_none() => {
                // An absent key is the zero value: nothing to print.
                o.get(name).cloned().unwrap_or(zero_like(o))
            }
            (Value::Object(o), key) if o.type_name().is_none() => {
                return Err(Fault::Failed(format!(
                    "value has type {}; should be string",
                    key.type_name()
                )));
            }
            (Value::List(list), Value::Int(i)) => {
                let found = usize::try_from(*i).ok().and_then(|i| list.get(i));
                match found {
                    Some(v) => v.clone(),
                    None => return Err(Fault::Failed(format!("index out of range: {i}"))),
                }
            }
            (Value::Str(s), Value::Int(i)) => {
                let found = usize::try_from(*i).ok().and_then(|i| s.as_bytes().get(i));
                match found {
                    Some(byte) => Value::Int(i128::from(*byte)),
                    None => return Err(Fault::Failed(format!("index out of range: {i}"))),
                }
            }
            (Value::List(_) | Value::Str(_), key) => {
                return Err(Fault::Failed(match key {
                    Value::Nil | Value::Missing => "cannot index slice/array with nil".into(),
                    key => format!("cannot index slice/array with type {}", key.type_name()),
                }));
            }
            (Value::Nil | Value::Missing, _) => {
                return Err(Fault::Failed("index of untyped nil".into()));
            }
            (other, _) => {
                return Err(Fault::Failed(format!(
                    "can't index item of type {}",
                    other.type_name()
                )));
            }
        };
    }
    Ok(value)
}

/// What a map of this content gives for a key it lacks: the zero value of its element type.
fn zero_like(object: &super::Object) -> Value {
    match object.fields.first().map(|f| &f.value) {
        Some(Value::Str(_)) => Value::from(""),
        Some(Value::List(_)) => Value::List(Vec::new()),
        None => Value::from(""),
        _ => Value::Nil,
    }
}

fn slice(item: &Value, bounds: &[Value]) -> Result<Value, Fault> {
    let length = match item {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Nil | Value::Missing => {
            return Err(Fault::Failed("slice of untyped nil".into()));
        }
        other => {
            return Err(Fault::Failed(format!("can't slice item of type {}", other.type_name())));
        }
    };
    if bounds.len() > 3 {
        return Err(Fault::Failed(format!("too many slice indexes: {}", bounds.len())));
    }
    let mut at = [0, length];
    for (slot, bound) in at.iter_mut().zip(bounds) {
        let Value::Int(n) = bound else {
            let kind = bound.type_name();
            return Err(Fault::Failed(format!("cannot index slice/array with type {kind}")));
        };
        *slot = usize::try_from(*n)
            .ok()
            .filter(|n| *n <= length)
            .ok_or_else(|| Fault::Failed(format!("index out of range: {n}")))?;
    }
    let [start, end] = at;
    if start > end {
        return Err(Fault::Failed(format!("invalid slice index: {start} > {end}")));
    }
    Ok(match item {
        Value::Str(s) => Value::Str(String::from_utf8_lossy(&s.as_bytes()[start..end]).into()),
        Value::List(l) => Value::List(l[start..end].to_vec()),
        _ => Value::Nil,
    })
}

fn equal(a: &Value, b: &Value) -> Result<bool, Fault> {
    Ok(match (a, b) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(_) | Value::Object(_), _) | (_, Value::List(_) | Value::Object(_)) => {
            let odd = if matches!(a, Value::List(_) | Value::Object(_)) { a } else { b };
            return Err(Fault::Failed(format!(
                "non-comparable type {}: {}",
                odd.print(),
                odd.type_name()
            )));
        }
        _ => return Err(Fault::Failed("incompatible types for comparison".into())),
    })
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Fault> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Equal)),
        (
            Value::Int(_) | Value::Str(_) | Value::Float(_),
            Value::Int(_) | Value::Str(_) | Value::Float(_),
        ) => Err(Fault::Failed("incompatible types for comparison".into())),
        _ => Err(Fault::Failed("invalid type for comparison".into())),
    }
}

fn escape_html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
