//! Go's `text/template`, as far as `--format` and the tags of logs need it, over JSON values.
//!
//! Fields, chains, pipelines, variables, `range`/`else`, `if`/`else if`, `with`, `define`, `template`,
//! `block`, `break`, `continue`, trim markers, comments, Go's built-in functions and those that
//! Docker adds. Error texts are Go's, because people search for them.
//!
//! Spec: Go documentation of `text/template`; Docker documentation "Format command and log output".

mod exec;
mod funcs;
mod lex;
mod operand;
mod parse;
mod printf;
mod value;

use crate::base::{Error, Result};

pub use value::{Field, Kind, Method, Object, Shown, Value, indent_json};

/// What a missing key of a map means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// Prints `<no value>`.
    NoValue,
    /// An error that names the key.
    Fails,
}

/// What the functions that Docker adds do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// Their work.
    Values,
    /// Nothing: column headers go through unchanged, except for padding.
    Headers,
}

/// A parsed template.
#[derive(Clone)]
pub struct Template {
    name: &'static str,
    text: String,
    trees: parse::Trees,
    missing: MissingKey,
    functions: Functions,
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// `InvalidParameter`: `template parsing error: template: :LINE: ...`.
    pub fn parse(text: &str) -> Result<Template> {
        Template::parse_named("", text)
    }

    /// Parses `text`; `name` stands in error texts.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_named(name: &'static str, text: &str) -> Result<Template> {
        let trees = parse::parse(name, text)
            .map_err(|e| Error::invalid(format_args!("template parsing error: {e}")))?;
        Ok(Template {
            name,
            text: text.to_string(),
            trees,
            missing: MissingKey::NoValue,
            functions: Functions::Values,
        })
    }

    /// The same template with another treatment of missing keys.
    pub fn missing_key(mut self, missing: MissingKey) -> Template {
        self.missing = missing;
        self
    }

    /// The same template for column headers.
    pub fn for_headers(mut self) -> Template {
        self.functions = Functions::Headers;
        self
    }

    /// Appends what the template makes of `data`.
    ///
    /// # Errors
    /// `InvalidParameter`: `template: :LINE:COLUMN: executing "" at <...>: ...`. `out` then holds what
    /// was written before the error.
    pub fn execute(&self, data: &Value, out: &mut String) -> Result<()> {
        exec::run(self, data, out).map_err(Error::invalid)
    }

    /// Whether the template reads a field called `name` anywhere, or writes all fields as JSON: some
    /// columns cost a request.
    pub fn mentions(&self, name: &str) -> bool {
        let whole = |text: &str| text.ends_with([' ', '}', '|']);
        if self.text.match_indices("json .").any(|(i, m)| {
            let rest = &self.text[i + m.len()..];
            rest.chars().next().is_none_or(|c| whole(&c.to_string()))
        }) || self.text.contains(". | json")
        {
            return true;
        }
        let needle = format!(".{name}");
        self.text.match_indices(&needle).any(|(i, _)| {
            !self.text[i + needle.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
    }
}

/// Go's `%q` of a string.
pub fn go_quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
