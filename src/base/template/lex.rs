//! Cuts template text into literal text and the tokens inside `{{ }}`.
//!
//! Spec: Go `text/template`, "Text and spaces" (trim markers, comments) and "Arguments".

/// A token and where it starts, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: String,
    pub pos: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Left,
    Right,
    Space,
    Ident,
    /// `.Name`
    Field,
    /// `$` or `$name`
    Variable,
    Dot,
    Str,
    Char,
    Number,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Pipe,
    Open,
    Close,
    Comma,
    /// Any other printable character; no rule takes it.
    Other,
    Eof,
}

/// A lexical error: its text and the byte where it is.
pub(super) struct Broken {
    pub message: String,
    pub pos: usize,
}

pub(super) fn lex(text: &str) -> Result<Vec<Token>, Broken> {
    let mut tokens = Vec::new();
    let mut rest = 0;
    while let Some(at) = text[rest..].find("{{").map(|i| i + rest) {
        let mut inner = at + 2;
        let trim_left = starts_trim(&text[inner..]);
        let mut literal = &text[rest..at];
        if trim_left {
            literal = literal.trim_end_matches(is_space);
            inner += 1;
        }
        if !literal.is_empty() {
            tokens.push(Token { kind: Kind::Text, text: literal.to_string(), pos: rest });
        }
        let after_space = text[inner..].trim_start_matches(is_space);
        let end = if after_space.starts_with("/*") && (trim_left || text[inner..].starts_with("/*"))
        {
            comment(text, inner)?
        } else {
            tokens.push(Token { kind: Kind::Left, text: "{{".into(), pos: at });
            action(text, inner, &mut tokens)?
        };
        rest = end;
        // `-}}` was seen: spaces after it belong to the action.
        if text[..end].ends_with("-}}") && text[..end - 3].ends_with(is_space) {
            rest += text[end..].len() - text[end..].trim_start_matches(is_space).len();
        }
    }
    if rest < text.len() {
        tokens.push(Token { kind: Kind::Text, text: text[rest..].to_string(), pos: rest });
    }
    tokens.push(Token { kind: Kind::Eof, text: String::new(), pos: text.len() });
    Ok(tokens)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn starts_trim(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|t| t.starts_with(is_space))
}

fn comment(text: &str, start: usize) -> Result<usize, Broken> {
    let Some(close) = text[start..].find("*/").map(|i| start + i + 2) else {
        return Err(Broken { message: "unclosed comment".into(), pos: start });
    };
    let tail = &text[close..];
    if tail.starts_with("}}") {
        return Ok(close + 2);
    }
    let trimmed = tail.trim_start_matches(is_space);
    if trimmed.starts_with("-}}") && trimmed.len() < tail.len() {
        return Ok(text.len() - trimmed.len() + 3);
    }
    Err(Broken { message: "comment ends before closing delimiter".into(), pos: start })
}

/// Lexes up to and with the closing braces; returns the position after them.
fn action(text: &str, start: usize, tokens: &mut Vec<Token>) -> Result<usize, Broken> {
    let mut pos = start;
    let mut depth = 0usize;
    loop {
        let rest = &text[pos..];
        let mut push = |kind, len: usize| {
            tokens.push(Token { kind, text: rest[..len].to_string(), pos });
            pos + len
        };
        let Some(c) = rest.chars().next() else {
            return Err(Broken { message: "unclosed action".into(), pos });
        };
        let next = rest.as_bytes().get(1).copied().unwrap_or(0);
        pos = match c {
            _ if rest.starts_with("}}") => {
                if depth > 0 {
                    return Err(Broken { message: "unclosed left paren".into(), pos });
                }
                return Ok(push(Kind::Right, 2));
            }
            c if is_space(c) => {
                let len = rest.len() - rest.trim_start_matches(is_space).len();
                if rest[len..].starts_with("-}}") {
                    tokens.push(Token { kind: Kind::Right, text: "}}".into(), pos: pos + len + 1 });
                    if depth > 0 {
                        return Err(Broken { message: "unclosed left paren".into(), pos });
                    }
                    return Ok(pos + len + 3);
                }
                push(Kind::Space, len)
            }
            ':' if next == b'=' => push(Kind::Declare, 2),
            '=' => push(Kind::Assign, 1),
            '|' => push(Kind::Pipe, 1),
            ',' => push(Kind::Comma, 1),
            '(' => {
                depth += 1;
                push(Kind::Open, 1)
            }
            ')' => {
                if depth == 0 {
                    return Err(Broken { message: "unexpected right paren".into(), pos });
                }
                depth -= 1;
                push(Kind::Close, 1)
            }
            '"' => push(Kind::Str, quoted(rest, '"', "unterminated quoted string", pos)?),
            '\'' => push(Kind::Char, quoted(rest, '\'', "unterminated character constant", pos)?),
            '`' => match rest[1..].find('`') {
                Some(i) => push(Kind::Str, i + 2),
                None => {
                    return Err(Broken { message: "unterminated raw quoted string".into(), pos });
                }
            },
            '.' if !next.is_ascii_digit() => {
                let len = 1 + word(&rest[1..]);
                ended(rest, len, pos)?;
                push(if len == 1 { Kind::Dot } else { Kind::Field }, len)
            }
            '$' => {
                let len = 1 + word(&rest[1..]);
                ended(rest, len, pos)?;
                push(Kind::Variable, len)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let len = number(rest);
                if let Some(c) = rest[len..].chars().next().filter(|c| c.is_alphanumeric()) {
                    let shown = super::go_quote(&rest[..len + c.len_utf8()]);
                    return Err(Broken { message: format!("bad number syntax: {shown}"), pos });
                }
                push(Kind::Number, len)
            }
            c if c.is_alphabetic() || c == '_' => {
                let len = word(rest);
                ended(rest, len, pos)?;
                push(Kind::Ident, len)
            }
            c if c.is_ascii_graphic() => push(Kind::Other, 1),
            c => {
                let message = format!("unrecognized character in action: {}", unicode(c));
                return Err(Broken { message, pos });
            }
        };
    }
}

/// Length of the number at the start of `text`.
fn number(text: &str) -> usize {
    let sign = usize::from(text.starts_with(['+', '-']));
    let body = &text[sign..];
    let run = |text: &str, hex: bool| {
        let stop =
            |c: char| !(c == '_' || if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() });
        text.find(stop).unwrap_or(text.len())
    };
    let hex = body.starts_with("0x") || body.starts_with("0X");
    let radix = hex || ["0b", "0B", "0o", "0O"].iter().any(|p| body.starts_with(p));
    let mut len = if radix { 2 } else { 0 };
    len += run(&body[len..], hex);
    if body[len..].starts_with('.') {
        len += 1;
        len += run(&body[len..], hex);
    }
    if !radix && body[len..].starts_with(['e', 'E']) {
        len += 1;
        len += usize::from(body[len..].starts_with(['+', '-']));
        len += run(&body[len..], false);
    }
    sign + len
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// # Errors
/// If a word runs into a character that cannot follow one.
fn ended(rest: &str, len: usize, pos: usize) -> Result<(), Broken> {
    match rest[len..].chars().next() {
        None | Some('.' | ',' | '|' | ':' | ')' | '(' | '=') => Ok(()),
        Some(c) if is_space(c) || rest[len..].starts_with("}}") => Ok(()),
        Some(c) => Err(Broken { message: format!("bad character {}", unicode(c)), pos }),
    }
}

fn unicode(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}

fn quoted(rest: &str, quote: char, message: &str, pos: usize) -> Result<usize, Broken> {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => break,
            c if c == quote => return Ok(i + 1),
            _ => {}
        }
    }
    Err(Broken { message: message.into(), pos })
}
