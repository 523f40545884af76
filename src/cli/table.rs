//! Rows for `--format`: tables with Docker's columns, JSON lines, raw and custom templates.
//!
//! A column is at least ten wide and ends three blanks after its longest cell; the last cell of a line
//! is never padded. Column blocks follow Go's elastic tab stops: neighbouring lines that have a cell in
//! a column share its width.
//!
//! Spec: Go package `text/tabwriter`; Docker documentation "Format command and log output".

use std::rc::Rc;

use super::template::{Object, Template, Value};
use crate::base::{At, Result};

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// The columns of a listing: field name and heading.
pub type Headings = &'static [(&'static str, &'static str)];

/// Whether `format` asks for a table.
pub fn is_table(format: &str) -> bool {
    format.starts_with("table")
}

/// The template text that `format` stands for: without `table`, with real tabs and newlines.
fn template_text(format: &str) -> String {
    let text = match format {
        "json" => "{{json .}}",
        _ => format.strip_prefix("table").unwrap_or(format),
    };
    text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n")
}

/// Renders `rows` by `format`: `table TEMPLATE`, `json` or a template.
///
/// Fields of a row are written to JSON in the order of their names, as Docker does.
///
/// # Errors
/// `InvalidParameter`: `template parsing error: ...`; nothing is shown then.
pub fn render(format: &str, headings: Headings, rows: Vec<Object>) -> Result<String> {
    let template = Template::parse(&template_text(format))?;
    let mut body = String::new();
    for mut row in rows {
        row.fields.sort_by(|a, b| a.name.cmp(&b.name));
        template.execute(&Value::Object(row), &mut body).at("template parsing error")?;
        body.push('\n');
    }
    if !is_table(format) {
        return Ok(body);
    }
    let mut heading = Object::default();
    for (name, text) in headings {
        heading.push(*name, *text);
    }
    heading.push_hidden("Label", Value::Method(Rc::new(label_heading)));
    let mut text = String::new();
    // A heading that cannot be made is left as far as it came.
    let _ = template.for_headers().execute(&Value::Object(heading), &mut text);
    text.push('\n');
    text.push_str(&body);
    Ok(align(&text))
}

/// `com.example.my-label` is headed `my label`.
fn label_heading(arguments: &[Value]) -> Result<Value, String> {
    let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or(name);
    Ok(Value::Str(last.replace(['-', '_'], " ")))
}

/// Sets tab-separated text in columns with Docker's widths.
pub fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// Sets tab-separated text in columns of at least `min_width`, `padding` blanks apart.
pub fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut aligner =
        Aligner { lines: &lines, widths: Vec::new(), out: String::new(), min_width, padding };
    aligner.block(0, lines.len());
    aligner.out
}

struct Aligner<'a> {
    lines: &'a [Vec<&'a str>],
    widths: Vec<usize>,
    out: String,
    min_width: usize,
    padding: usize,
}

impl Aligner<'_> {
    /// Writes the lines `from..to`, which share the columns known so far.
    fn block(&mut self, mut from: usize, to: usize) {
        let column = self.widths.len();
        let has_cell = |line: &Vec<&str>| column + 1 < line.len();
        let mut at = from;
        while at < to {
            if !has_cell(&self.lines[at]) {
                at += 1;
                continue;
            }
            self.write(from, at);
            from = at;
            let mut width = self.min_width;
            while at < to && has_cell(&self.lines[at]) {
                width = width.max(display_width(self.lines[at][column]) + self.padding);
                at += 1;
            }
            self.widths.push(width);
            self.block(from, at);
            self.widths.pop();
            from = at;
        }
        self.write(from, to);
    }

    fn write(&mut self, from: usize, to: usize) {
        for (number, line) in self.lines.iter().enumerate().take(to).skip(from) {
            for (i, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(i) {
                    let blanks = width.saturating_sub(display_width(cell));
                    self.out.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            if number + 1 < self.lines.len() {
                self.out.push('\n');
            }
        }
    }
}

/// Columns that `text` takes on a terminal.
pub fn display_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Two for East Asian wide characters, none for combining marks and controls, else one.
fn char_width(c: char) -> usize {
    match c as u32 {
        0..0x20 | 0x7f..0xa0 | 0x300..0x370 | 0x200b..0x2010 | 0xfe00..0xfe10 => 0,
        0x1100..0x1160
        | 0x2e80..0x303f
        | 0x3041..0xa4d0
        | 0xac00..0xd7a4
        | 0xf900..0xfb00
        | 0xfe30..0xfe70
        | 0xff01..0xff61
        | 0xffe0..0xffe7
        | 0x1f300..0x1f650
        | 0x1f900..0x1fa00
        | 0x20000..0x3fffe => 2,
        _ => 1,
    }
}

/// Cuts `text` to `width` columns, the last being `…`.
pub fn ellipsis(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_string();
    }
    let mut used = 0;
    let mut out = String::new();
    for c in text.chars() {
        used += char_width(c);
        if used > width.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_and_three_apart() {
        assert_eq!(
            align("ID\tIMAGE\tNAMES\n123456789012\tbb\tweb\n"),
            "ID             IMAGE     NAMES\n123456789012   bb        web\n"
        );
    }

    #[test]
    fn a_line_without_a_cell_ends_the_column() {
        assert_eq!(
            align("aaaaaaaaaaaaaa\tb\nno tab\nc\td\n"),
            "aaaaaaaaaaaaaa   b\nno tab\nc         d\n"
        );
    }

    #[test]
    fn empty_cells_and_wide_characters_keep_columns() {
        assert_eq!(align("A\t\tC\n\t漢字\tx\n"), "A                   C\n          漢字      x\n");
    }

    #[test]
    fn tables_have_headings_and_json_is_sorted() {
        let row = || {
            let mut row = Object::typed("*formatter.X");
            row.push("Name", "web");
            row.push("ID", "1");
            row
        };
        let headings: Headings = &[("ID", "CONTAINER ID"), ("Name", "NAMES")];
        let table = render("table {{.ID}}\\t{{upper .Name}}", headings, vec![row()]).unwrap();
        assert_eq!(table, "CONTAINER ID   NAMES\n1              WEB\n");
        assert_eq!(
            render("json", headings, vec![row()]).unwrap(),
            "{\"ID\":\"1\",\"Name\":\"web\"}\n"
        );
        assert_eq!(render("{{.Name}}\\n", headings, vec![row()]).unwrap(), "web\n\n");
        assert_eq!(
            render("{{.Foo}}", headings, vec![row()]).unwrap_err().to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.X"
        );
        let label = render("table {{.Label \"a.my-label\"}}", headings, vec![]).unwrap();
        assert_eq!(label, "my label\n");
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(ellipsis("0123456789", 10), "0123456789");
        assert_eq!(ellipsis("0123456789a", 10), "012345678…");
    }
}
