//! What a template sees: JSON that remembers the order of its keys, typed objects and methods.
//!
//! Go's templates work on structs and maps, and the two differ where a name is missing: a struct makes
//! it an error, a map gives `<no value>`. [`Kind`] carries that difference; [`Shown`]
//! tells fields that exist for templates only from those that JSON has.

use std::fmt::Write as _;
use std::rc::Rc;

use serde::de::{self, Deserialize, MapAccess, SeqAccess};

use crate::base::{Error, Result, json};

/// A function that a template calls as `.Name argument`.
pub type Method = Rc<dyn Fn(&[Value]) -> Result<Value, String>>;

/// A value in a template.
#[derive(Clone, Default)]
pub enum Value {
    /// No value at all: a missing key of a map. Prints `<no value>`.
    #[default]
    Missing,
    /// A nil pointer or interface. Prints `<nil>`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// A floating point number.
    Float(f64),
    /// Text.
    Str(String),
    /// A slice.
    List(Vec<Value>),
    /// A struct or a map.
    Object(Object),
    /// A method that takes arguments.
    Method(Method),
}

/// One field or key.
#[derive(Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where it shows when its owner is shown.
    pub shown: Shown,
}

/// Where a field shows when its owner is printed or written as JSON. Templates read all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In both.
    Always,
    /// Printed, but not written: a field that `omitempty` leaves out.
    Printed,
    /// In neither: another name of a field.
    Never,
}

/// What an object is to a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A map; what a missing key means is the template's choice.
    #[default]
    Map,
    /// A map whose missing keys are no values even where the template makes them errors.
    LenientMap,
    /// A map that is not there: to templates an empty one, in JSON null.
    NilMap,
    /// JSON of a struct whose type is not known: prints as a struct, is looked up as a map.
    Record,
    /// A struct of that Go type: a missing field is an error.
    Struct(&'static str),
    /// A struct that writes itself as JSON, with Go's HTML escapes.
    Row(&'static str),
}

/// A struct or a map.
#[derive(Clone, Default)]
pub struct Object {
    /// The fields in their order.
    pub fields: Vec<Field>,
    /// What it is.
    pub kind: Kind,
}

impl Object {
    /// A struct of the named Go type.
    pub fn typed(type_name: &'static str) -> Object {
        Object { kind: Kind::Struct(type_name), fields: Vec::new() }
    }

    /// A struct of the named Go type that is a row of a listing.
    pub fn row(type_name: &'static str) -> Object {
        Object { kind: Kind::Row(type_name), fields: Vec::new() }
    }

    /// The Go type of a struct; none for what is looked up as a map.
    pub(super) fn type_name(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Struct(name) | Kind::Row(name) => Some(name),
            Kind::Map | Kind::LenientMap | Kind::NilMap | Kind::Record => None,
        }
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.add(name.into(), value.into(), Shown::Always);
    }

    /// Adds a field that JSON leaves out.
    pub fn push_hidden(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.add(name.into(), value.into(), Shown::Printed);
    }

    /// Adds another name for a value that is there already.
    pub fn push_alias(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.add(name.into(), value.into(), Shown::Never);
    }

    fn add(&mut self, name: String, value: Value, shown: Shown) {
        self.fields.push(Field { name, value, shown });
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|f| f.name == name).map(|f| &f.value)
    }

    /// The value of `name`, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.fields.iter_mut().find(|f| f.name == name).map(|f| &mut f.value)
    }

    /// Fields in the order of a map: by key.
    pub(super) fn sorted(&self) -> Vec<&Field> {
        let mut fields: Vec<&Field> =
            self.fields.iter().filter(|f| f.shown == Shown::Always).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        fields
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Str(s.to_string())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Value {
        Value::Str(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n.into())
    }
}
impl From<Object> for Value {
    fn from(o: Object) -> Value {
        Value::Object(o)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Value {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

impl Value {
    /// Parses JSON text and keeps the order of keys.
    ///
    /// # Errors
    /// `InvalidParameter` with the place where the text is not JSON.
    pub fn parse(text: &[u8]) -> Result<Value> {
        serde_json::from_slice(text).map_err(|e| Error::invalid(format_args!("invalid JSON: {e}")))
    }

    /// The member `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(o) => o.get(name),
            _ => None,
        }
    }

    /// The text of a string, else nothing.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Go's truth: false for zero, empty and nil.
    pub fn truth(&self) -> bool {
        match self {
            Value::Missing | Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(n) => *n != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Object(o) => o.type_name().is_some() || !o.fields.is_empty(),
            Value::Method(_) => true,
        }
    }

    /// Go's `%v`.
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.print_to(&mut out);
        out
    }

    fn print_to(&self, out: &mut String) {
        match self {
            Value::Missing => out.push_str("<no value>"),
            Value::Nil => out.push_str("<nil>"),
            Value::Bool(b) => drop(write!(out, "{b}")),
            Value::Int(n) => drop(write!(out, "{n}")),
            Value::Float(n) => out.push_str(&float(*n)),
            Value::Str(s) => out.push_str(s),
            Value::Method(_) => out.push_str("<func>"),
            Value::List(list) => {
                out.push('[');
                for (i, item) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    item.print_to(out);
                }
                out.push(']');
            }
            Value::Object(o) if matches!(o.kind, Kind::Map | Kind::LenientMap | Kind::NilMap) => {
                out.push_str("map[");
                for (i, field) in o.sorted().into_iter().enumerate() {
                    let _ = write!(out, "{}{}:", if i > 0 { " " } else { "" }, field.name);
                    field.value.print_to(out);
                }
                out.push(']');
            }
            Value::Object(o) => {
                out.push('{');
                let shown = o
                    .fields
                    .iter()
                    .filter(|f| f.shown != Shown::Never && !matches!(f.value, Value::Method(_)));
                for (i, field) in shown.enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    field.value.print_to(out);
                }
                out.push('}');
            }
        }
    }

    /// Compact JSON without HTML escapes, keys in their order.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.json_to(&mut out);
        out
    }

    fn json_to(&self, out: &mut String) {
        match self {
            Value::Missing | Value::Nil | Value::Method(_) => out.push_str("null"),
            Value::Bool(_) | Value::Int(_) => self.print_to(out),
            Value::Float(n) if n.is_finite() => out.push_str(&float(*n)),
            Value::Float(_) => out.push_str("null"),
            Value::Str(s) => out.push_str(&json::quote_plain(s)),
            Value::List(list) => {
                out.push('[');
                for (i, item) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.json_to(out);
                }
                out.push(']');
            }
            Value::Object(o) if o.kind == Kind::NilMap => out.push_str("null"),
            Value::Object(o) => {
                out.push('{');
                let shown =
                    |f: &&Field| f.shown == Shown::Always && !matches!(f.value, Value::Method(_));
                for (i, field) in o.fields.iter().filter(shown).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    let _ = write!(out, "{}:", json::quote_plain(&field.name));
                    match (&o.kind, &field.value) {
                        (Kind::Row(_), Value::Str(s)) => out.push_str(&json::quote(s)),
                        (_, value) => value.json_to(out),
                    }
                }
                out.push('}');
            }
        }
    }

    /// Go's name for the type, as error texts show it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Missing | Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Str(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Object(o) => o.type_name().unwrap_or("map[string]interface {}"),
            Value::Method(_) => "func",
        }
    }
}

/// Shortest text that reads back as the same number; exponents where Go's `%v` has them.
fn float(n: f64) -> String {
    let abs = n.abs();
    if abs != 0.0 && !(1e-4..1e21).contains(&abs) {
        let text = format!("{n:e}");
        return match text.split_once('e') {
            Some((mantissa, exp)) => {
                let (sign, digits) = match exp.strip_prefix('-') {
                    Some(digits) => ('-', digits),
                    None => ('+', exp),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            None => text,
        };
    }
    format!("{n}")
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n.into()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Int(n.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Float(n))
    }
    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::Str(s.to_string()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            object.push(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Indents JSON text and changes nothing else, as Go's `json.Indent` does; `text` must be JSON.
pub fn indent_json(text: &str, indent: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped, mut opened) = (0usize, false, false, false);
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(indent, depth));
    };
    for c in text.chars() {
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if std::mem::replace(&mut opened, false) && !matches!(c, '}' | ']') {
            depth += 1;
            newline(&mut out, depth);
        } else if opened_empty(&out, c) {
            out.push(c);
            continue;
        } else if matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
            newline(&mut out, depth);
        }
        out.push(c);
        match c {
            '"' => in_string = true,
            '{' | '[' => opened = true,
            ',' => newline(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Whether `c` closes a bracket that was opened just before it.
fn opened_empty(out: &str, c: char) -> bool {
    matches!((out.as_bytes().last(), c), (Some(b'{'), '}') | (Some(b'['), ']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_order_of_keys() {
        let text = r#"{"b":1,"a":[true,null,"x<"],"c":{},"d":1.5}"#;
        assert_eq!(Value::parse(text.as_bytes()).unwrap().to_json(), text);
    }

    #[test]
    fn indenting_leaves_empty_brackets_together() {
        let text = r#"[{"a":{},"b":[],"c":[1,2],"d":"x\"{,"}]"#;
        let want = "[\n    {\n        \"a\": {},\n        \"b\": [],\n        \"c\": [\n            1,\n            2\n        ],\n        \"d\": \"x\\\"{,\"\n    }\n]";
        assert_eq!(indent_json(text, "    "), want);
    }

    #[test]
    fn values_print_as_go_prints_them() {
        let v = Value::parse(br#"{"b":[1,"x"],"a":null,"f":1e30,"g":0.5}"#).unwrap();
        assert_eq!(v.print(), "map[a:<nil> b:[1 x] f:1e+30 g:0.5]");
    }
}
