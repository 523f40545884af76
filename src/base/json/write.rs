//! Writing JSON: Go's escapes, optional indentation, into any writer.

use std::fmt::Write as _;

use miniserde::Serialize;
use miniserde::ser::Fragment;

/// Compact JSON with `<`, `>` and `&` escaped, as Go's `json.Marshal` writes it.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    render(value, None, true)
}

/// Compact JSON without HTML escapes (`SetEscapeHTML(false)`).
pub fn to_string_plain<T: Serialize + ?Sized>(value: &T) -> String {
    render(value, None, false)
}

/// JSON indented by `indent` for each level, as `json.MarshalIndent(v, "", indent)`.
pub fn to_string_pretty<T: Serialize + ?Sized>(value: &T, indent: &str) -> String {
    render(value, Some(indent), false)
}

/// Compact JSON followed by `\r\n`: one message of a progress stream.
///
/// # Errors
/// Those of the writer.
pub fn write_to<T: Serialize + ?Sized>(
    out: &mut dyn std::io::Write,
    value: &T,
) -> std::io::Result<()> {
    let mut text = to_string(value);
    text.push_str("\r\n");
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// `text` as a JSON string with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text, true);
    out
}

/// `text` as a JSON string without HTML escapes.
pub fn quote_plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text, false);
    out
}

fn render<T: Serialize + ?Sized>(value: &T, indent: Option<&str>, html: bool) -> String {
    let mut w = Writer { out: String::new(), indent, html };
    w.fragment(value.begin(), 0);
    w.out
}

struct Writer<'a> {
    out: String,
    indent: Option<&'a str>,
    html: bool,
}

impl Writer<'_> {
    // Recursion is bounded: parsed input is at most MAX_DEPTH deep, and our own types are shallow.
    fn fragment(&mut self, fragment: Fragment<'_>, depth: usize) {
        match fragment {
            Fragment::Null => self.out.push_str("null"),
            Fragment::Bool(b) => self.out.push_str(if b { "true" } else { "false" }),
            Fragment::Str(s) => write_string(&mut self.out, &s, self.html),
            Fragment::U64(n) => drop(write!(self.out, "{n}")),
            Fragment::I64(n) => drop(write!(self.out, "{n}")),
            Fragment::F64(n) if n.is_finite() => drop(write!(self.out, "{n}")),
            Fragment::F64(_) => self.out.push_str("null"),
            Fragment::Seq(mut seq) => {
                self.out.push('[');
                let mut first = true;
                while let Some(element) = seq.next() {
                    self.separate(&mut first, depth + 1);
                    self.fragment(element.begin(), depth + 1);
                }
                self.close(first, depth, ']');
            }
            Fragment::Map(mut map) => {
                self.out.push('{');
                let mut first = true;
                while let Some((key, value)) = map.next() {
                    self.separate(&mut first, depth + 1);
                    write_string(&mut self.out, &key, self.html);
                    self.out.push_str(if self.indent.is_some() { ": " } else { ":" });
                    self.fragment(value.begin(), depth + 1);
                }
                self.close(first, depth, '}');
            }
        }
    }

    fn separate(&mut self, first: &mut bool, depth: usize) {
        if !std::mem::replace(first, false) {
            self.out.push(',');
        }
        self.newline(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.newline(depth);
        }
        self.out.push(bracket);
    }

    fn newline(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }
}

fn write_string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if html => drop(write!(out, "\\u{:04x}", c as u32)),
            '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
