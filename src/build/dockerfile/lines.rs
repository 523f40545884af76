//! From text to instructions, one logical line each: comments, parser directives, continuation.
//!
//! Directives (`# escape=X`) stand before everything else, each at most once. A line that ends in the
//! escape character goes on in the next one; comments and empty lines in between belong to nobody.

use crate::base::{Error, Result};

/// The character that escapes others and continues lines, unless a directive names another.
const ESCAPE: char = '\\';

/// One instruction as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its first line, counted from 1.
    pub number: usize,
    /// The instruction's name as it was written.
    pub keyword: String,
    /// `--name=value` words before the arguments.
    pub flags: Vec<String>,
    /// The arguments.
    pub rest: String,
    /// Everything, continuation joined.
    pub original: String,
}

/// The instructions of `text`, and its escape character.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for a directive that cannot be and for a text without
/// instructions.
pub fn split(text: &str) -> Result<(Vec<Line>, char)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape_of(text)?;
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim_start();
        if trimmed.starts_with('#') || trimmed.trim_end().is_empty() {
            continue;
        }
        // What continues keeps its spaces.
        let part = if open.is_some() { raw } else { trimmed };
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        match part.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(part) => {
                whole.push_str(part);
                open = Some((number, whole));
            }
            None => {
                whole.push_str(part);
                lines.push(line(number, whole));
            }
        }
    }
    lines.extend(open.map(|(number, whole)| line(number, whole)));
    if lines.is_empty() {
        return Err(Error::invalid("file with no instructions"));
    }
    Ok((lines, escape))
}

/// The escape character that the directives at the top name.
fn escape_of(text: &str) -> Result<char> {
    let mut seen: Vec<String> = Vec::new();
    let mut escape = ESCAPE;
    for line in text.lines() {
        let Some(comment) = line.trim_start().strip_prefix('#') else { break };
        let Some((name, value)) = comment.split_once('=') else { break };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            break;
        }
        if seen.contains(&name) {
            return Err(Error::invalid(format_args!(
                "only one {name} parser directive can be used"
            )));
        }
        if name == "escape" {
            escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(Error::invalid(format_args!(
                        "invalid escape token '{other}' does not match ` or \\"
                    )));
                }
            };
        }
        seen.push(name);
    }
    Ok(escape)
}

fn line(number: usize, original: String) -> Line {
    let text = original.trim();
    let (keyword, rest) = text.split_once(is_space).unwrap_or((text, ""));
    let mut rest = rest.trim();
    let mut flags = Vec::new();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(is_space).unwrap_or((rest, ""));
        rest = after.trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag.to_string());
    }
    let (keyword, rest) = (keyword.to_string(), rest.to_string());
    Line { number, keyword, flags, rest, original }
}

/// The white space that separates words.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_comments_dropped() {
        let text =
            "# escape=`\n\n# a comment\nRUN a `\n  # between\n\n  b\n  CMD [\"x\"]\nENV A=1 `";
        let (lines, escape) = split(text).unwrap();
        assert_eq!(escape, '`');
        let told: Vec<_> =
            lines.iter().map(|l| (l.number, l.keyword.as_str(), l.rest.as_str())).collect();
        assert_eq!(told, [(4, "RUN", "a   b"), (8, "CMD", "[\"x\"]"), (9, "ENV", "A=1")]);
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let (lines, _) = split("HEALTHCHECK --interval=3s  --retries=2 CMD --x").unwrap();
        assert_eq!(lines[0].flags, ["--interval=3s", "--retries=2"]);
        assert_eq!(lines[0].rest, "CMD --x");
    }

    #[test]
    fn what_is_no_dockerfile_is_told() {
        for (text, told) in [
            ("", "file with no instructions"),
            ("# just this", "file with no instructions"),
            ("# escape=x\nRUN a", "invalid escape token 'x' does not match ` or \\"),
            ("#escape=`\n# escape=`\nRUN a", "only one escape parser directive can be used"),
        ] {
            assert_eq!(split(text).unwrap_err().message(), told);
        }
    }
}
