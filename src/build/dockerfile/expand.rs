//! Variables, quotes and escapes in the arguments of instructions.
//!
//! `$name`, `${name}`, `${name:-word}`, `${name:+word}`, `${name:?word}`; single quotes keep everything,
//! double quotes keep spaces; the escape character takes the next one literally.
//!
//! Spec: buildkit `frontend/dockerfile/shell` (behaviour and error texts).

use std::iter::Peekable;
use std::str::Chars;

use crate::base::{Error, Result};

/// `word` with its variables replaced by those of `env` (`NAME=value`) and its quotes taken away.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn word(word: &str, env: &[String], escape: char) -> Result<String> {
    expand(word, env, escape).map(|(text, _)| text)
}

/// As [`word`], split at the white space that was not quoted.
///
/// # Errors
/// As [`word`].
pub fn words(text: &str, env: &[String], escape: char) -> Result<Vec<String>> {
    expand(text, env, escape).map(|(_, words)| words)
}

fn expand(text: &str, env: &[String], escape: char) -> Result<(String, Vec<String>)> {
    let mut reader = Reader { chars: text.chars().peekable(), env, escape };
    reader
        .until(None)
        .map_err(|e| Error::invalid(format_args!("failed to process {text:?}: {}", e.message())))
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    env: &'a [String],
    escape: char,
}

/// Words while they grow.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    open: Option<String>,
}

impl Words {
    /// Text that white space splits.
    fn split(&mut self, text: &str) {
        for c in text.chars() {
            match c.is_whitespace() {
                true => self.done.extend(self.open.take()),
                false => self.open.get_or_insert_default().push(c),
            }
        }
    }

    /// Text that was quoted.
    fn raw(&mut self, text: &str) {
        self.open.get_or_insert_default().push_str(text);
    }
}

fn missing_brace() -> Error {
    Error::invalid("syntax error: missing '}'")
}

impl Reader<'_> {
    /// Everything before `stop`, or before the end.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>)> {
        let (mut text, mut words) = (String::new(), Words::default());
        loop {
            let Some(c) = self.chars.next() else {
                if stop.is_some() {
                    return Err(missing_brace());
                }
                words.done.extend(words.open);
                return Ok((text, words.done));
            };
            match c {
                c if Some(c) == stop => {
                    words.done.extend(words.open);
                    return Ok((text, words.done));
                }
                '\'' => {
                    let part = self.single_quoted()?;
                    words.raw(&part);
                    text.push_str(&part);
                }
                '"' => {
                    let part = self.double_quoted()?;
                    words.raw(&part);
                    text.push_str(&part);
                }
                '$' => {
                    let part = self.variable()?;
                    words.split(&part);
                    text.push_str(&part);
                }
                c if c == self.escape => {
                    let Some(next) = self.chars.next() else { continue };
                    words.raw(next.encode_utf8(&mut [0; 4]));
                    text.push(next);
                }
                c => {
                    words.split(c.encode_utf8(&mut [0; 4]));
                    text.push(c);
                }
            }
        }
    }

    fn single_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(text),
                Some(c) => text.push(c),
                None => return Err(unmatched("single-quote")),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                Some('"') => return Ok(text),
                Some('$') => text.push_str(&self.variable()?),
                Some(c) if c == self.escape => match self.chars.peek() {
                    Some(next) if *next == '"' || *next == '$' || *next == self.escape => {
                        text.extend(self.chars.next());
                    }
                    // Every other one is no escape here.
                    Some(_) => text.push(c),
                    None => {}
                },
                Some(c) => text.push(c),
                None => return Err(unmatched("double-quote")),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self) -> Result<String> {
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            return Ok(match name.as_str() {
                "" => "$".into(),
                name => self.value(name).unwrap_or_default(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err(missing_brace()),
            Some('{' | '}' | ':') => return Err(Error::invalid("syntax error: bad substitution")),
            Some(_) => {}
        }
        let name = self.name();
        let value = self.value(&name);
        match self.chars.next() {
            Some('}') => return Ok(value.unwrap_or_default()),
            Some(':') => {}
            None => return Err(missing_brace()),
            Some(_) => return Err(Error::invalid("missing ':' in substitution")),
        }
        let modifier = self.chars.next();
        let (word, _) = self.until(Some('}'))?;
        let given = value.as_deref().filter(|value| !value.is_empty());
        match (modifier, given) {
            (Some('-'), Some(value)) => Ok(value.into()),
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(word),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), Some(value)) => Ok(value.into()),
            (Some('?'), None) => {
                let why = match (word.as_str(), &value) {
                    ("", None) => "is not allowed to be unset",
                    ("", Some(_)) => "is not allowed to be empty",
                    (word, _) => word,
                };
                Err(Error::invalid(format_args!("{name}: {why}")))
            }
            (None, _) => Err(missing_brace()),
            (Some(c), _) => {
                Err(Error::invalid(format_args!("unsupported modifier ({c}) in substitution")))
            }
        }
    }

    /// The name of a variable: a word, a number, or one special character.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut take_while = |reader: &mut Self, fits: fn(char) -> bool| {
            while let Some(c) = reader.chars.next_if(|c| fits(*c)) {
                name.push(c);
            }
        };
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => take_while(self, |c| c.is_ascii_digit()),
            Some(c) if c.is_alphabetic() || *c == '_' => {
                take_while(self, |c| c.is_alphanumeric() || c == '_');
            }
            Some(c) if "@*#?-$!".contains(*c) => name.extend(self.chars.next()),
            _ => {}
        }
        name
    }

    /// The first variable of that name.
    fn value(&self, name: &str) -> Option<String> {
        let pairs = self.env.iter().filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    }
}

fn unmatched(quote: &str) -> Error {
    Error::invalid(format_args!("unexpected end of statement while looking for matching {quote}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Vec<String> {
        ["A=one", "E=", "S=x y"].map(String::from).into()
    }

    #[test]
    fn variables_and_quotes_are_resolved() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A", "one"),
            ("${A}b", "oneb"),
            ("$Ab", ""),
            ("$", "$"),
            ("a$/", "a$/"),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A \\$A \\x\"", "one $A \\x"),
            ("${E:-none}", "none"),
            ("${A:-none}", "one"),
            ("${A:+set}", "set"),
            ("${E:+set}", ""),
            ("${N:-${A}}", "one"),
            ("a\\ b", "a b"),
            ("end\\", "end"),
        ] {
            assert_eq!(word(text, &env(), '\\').unwrap(), expected, "{text}");
        }
        assert_eq!(words("a $S \"$S\" ''", &env(), '\\').unwrap(), ["a", "x", "y", "x y", ""]);
        assert_eq!(word("C:\\x`$A", &env(), '`').unwrap(), "C:\\x$A");
    }

    #[test]
    fn what_cannot_be_read_is_told_as_docker_does() {
        for (text, told) in [
            ("\"a", "unexpected end of statement while looking for matching double-quote"),
            ("'a", "unexpected end of statement while looking for matching single-quote"),
            ("${A", "syntax error: missing '}'"),
            ("${A:-b", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${A%b}", "missing ':' in substitution"),
            ("${A:=b}", "unsupported modifier (=) in substitution"),
            ("${N:?}", "N: is not allowed to be unset"),
            ("${E:?why}", "E: why"),
        ] {
            let e = word(text, &env(), '\\').unwrap_err();
            assert_eq!(e.message(), format!("failed to process {text:?}: {told}"));
        }
    }
}
