//! JSON with Go's `encoding/json` habits on top of miniserde.
//!
//! * [`wire!`](crate::wire) declares structs whose keys are matched exactly, then without regard to
//!   ASCII case; `null` leaves a field at its default; missing keys are defaults; unknown keys are
//!   ignored; `omit` fields are left out when empty (`omitempty`).
//! * [`parse`] names the field whose type is wrong; [`to_string`] escapes `<`, `>` and `&` as Go does.
//! * Input is bounded in depth before it is parsed: a hostile body cannot exhaust the stack.

mod shape;
mod value;
mod wire;
mod write;

use std::cell::Cell;

use super::{Error, Result};

pub use miniserde::json::{Array, Number, Object, Value};
pub use miniserde::{Deserialize, Serialize};
pub use shape::{Nothing, Set, TextMap, Words};
pub use value::{ValueExt, get_path, to_value};
pub use wire::{Empty, Slot, key_index, note_field};
pub use write::{quote, quote_plain, to_string, to_string_plain, to_string_pretty, write_to};

/// Deepest nesting of arrays and objects that [`parse`] takes.
pub const MAX_DEPTH: usize = 200;

thread_local! {
    /// The field being filled and the kind of value found there, for the error message.
    static FIELD: Cell<(&'static str, &'static str)> = const { Cell::new(("", "")) };
    static FOUND: Cell<&'static str> = const { Cell::new("") };
}

/// Parses one JSON document.
///
/// # Errors
/// `InvalidParameter`: the field and the kind of value that does not fit, or where the text stops
/// being JSON.
pub fn parse<T: Deserialize>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Error::invalid(format_args!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    check_depth(bytes)?;
    FIELD.set(("", ""));
    FOUND.set("");
    miniserde::json::from_str(text).map_err(|_| explain(text))
}

fn explain(text: &str) -> Error {
    // Well-formed text means that a value had the wrong type; serde_json knows where text breaks.
    if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let message = e.to_string();
        return Error::invalid(match message.as_str() {
            m if m.starts_with("EOF") => "unexpected end of JSON input".to_string(),
            m => format!("invalid JSON: {m}"),
        });
    }
    let (owner, field) = FIELD.get();
    let found = FOUND.get();
    match (field, found) {
        ("", _) => Error::invalid("invalid JSON: the document has the wrong type"),
        (_, "") => {
            Error::invalid(format_args!("invalid JSON: wrong type in field {owner}.{field}"))
        }
        _ => Error::invalid(format_args!(
            "invalid JSON: cannot use a {found} as the value of field {owner}.{field}"
        )),
    }
}

/// # Errors
/// `InvalidParameter` if brackets nest deeper than [`MAX_DEPTH`].
fn check_depth(bytes: &[u8]) -> Result<()> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for b in bytes {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Error::invalid("invalid JSON: exceeded max depth"));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    crate::wire! {
        /// A sample.
        pub struct Sample {
            "Name" keep name: String,
            "Links" omit links: i64,
            "Labels" omit labels: BTreeMap<String, String>,
            "Inner" omit inner: Option<Inner>,
            "List" keep list: Vec<String>,
        }
    }
    crate::wire! {
        /// Another.
        pub struct Inner { "Flag" keep flag: bool, "When" omit when: crate::base::time::Timestamp }
    }

    #[test]
    fn reads_as_go_reads() {
        let s: Sample = parse(
            br#"{"name":"x","LINKS":5,"Labels":null,"junk":{"a":[1]},"Inner":{"flag":true}}"#,
        )
        .unwrap();
        assert_eq!((s.name.as_str(), s.links), ("x", 5));
        assert!(s.inner.as_ref().unwrap().flag);
        assert_eq!(to_string(&s), r#"{"Name":"x","Links":5,"Inner":{"Flag":true},"List":[]}"#);
    }

    #[test]
    fn a_wrong_type_is_named() {
        let e = parse::<Sample>(br#"{"Name":"x","Links":"five"}"#).unwrap_err();
        assert_eq!(
            e.to_string(),
            "invalid JSON: cannot use a string as the value of field Sample.Links"
        );
        let e = parse::<Sample>(br#"{"Inner":{"Flag":1}}"#).unwrap_err();
        assert_eq!(
            e.to_string(),
            "invalid JSON: cannot use a number as the value of field Inner.Flag"
        );
        let e = parse::<Sample>(br#"{"Name":{"a":1}}"#).unwrap_err();
        assert_eq!(
            e.to_string(),
            "invalid JSON: cannot use a object as the value of field Sample.Name"
        );
    }

    #[test]
    fn broken_text_says_where() {
        assert!(parse::<Sample>(b"{").unwrap_err().to_string().contains("unexpected end"));
        assert!(parse::<Sample>(b"{x}").unwrap_err().to_string().contains("line 1 column 2"));
        assert!(parse::<Value>("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn writes_gos_escapes() {
        assert_eq!(to_string("<a>&\u{2028}\n\u{1}"), r#""\u003ca\u003e\u0026\u2028\n\u0001""#);
        assert_eq!(to_string_plain("<a>"), r#""<a>""#);
    }
}
