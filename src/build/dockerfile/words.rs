//! The forms of arguments: a JSON list of strings, words, `name=value` pairs.

use super::lines::is_space;
use crate::base::json::{self, Value};
use crate::base::{Error, Result};

/// The strings of a JSON list; `None` if `text` is no JSON list, and then is meant literally.
///
/// # Errors
/// `InvalidParameter` for a list with something else than strings in it.
pub fn json_list(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(Value::Array(items)) = json::parse::<Value>(text.as_bytes()) else { return Ok(None) };
    let strings = items.into_iter().map(|item| match item {
        Value::String(text) => Ok(text),
        _ => Err(Error::invalid(
            "When using JSON array syntax, arrays must be comprised of strings only.",
        )),
    });
    strings.collect::<Result<_>>().map(Some)
}

/// The words between white space.
pub fn plain(text: &str) -> Vec<String> {
    text.split(is_space).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// The pairs of `ENV` and `LABEL`, quotes still in them: `a=b c="d e"`, or `a the rest`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn pairs(text: &str, keyword: &str, escape: char) -> Result<Vec<(String, String)>> {
    let words = quoted(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        return match text.split_once(is_space) {
            Some((name, value)) => Ok(vec![(name.into(), value.trim_start().into())]),
            None => Err(Error::invalid(format_args!("{keyword} must have two arguments"))),
        };
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_string(), value.to_string())),
        None => Err(Error::invalid(format_args!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// Words between white space that is neither quoted nor escaped; quotes and escapes stay in them.
fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match quote {
            Some(open) if c == open => quote = None,
            // Within single quotes nothing escapes.
            Some('\'') => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            _ if c == escape => {
                // At the very end it means nothing.
                let Some(next) = chars.next() else { break };
                word.push(c);
                word.push(next);
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend(word.filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_quotes() {
        let told = pairs(r#"a=b  c="d e" f=g\ h i='j" k' l="#, "ENV", '\\').unwrap();
        let expected = [("a", "b"), ("c", "\"d e\""), ("f", "g\\ h"), ("i", "'j\" k'"), ("l", "")];
        assert_eq!(told, expected.map(|(n, v)| (n.to_string(), v.to_string())));
        assert_eq!(
            pairs("a  the rest=x", "ENV", '\\').unwrap(),
            [("a".into(), "the rest=x".into())]
        );
        for (text, told) in [
            ("a", "LABEL must have two arguments"),
            ("a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
        ] {
            assert_eq!(pairs(text, "LABEL", '\\').unwrap_err().message(), told);
        }
    }

    #[test]
    fn lists_are_json_or_nothing() {
        assert_eq!(json_list(r#"["a", "b c"]"#).unwrap().unwrap(), ["a", "b c"]);
        assert_eq!(json_list("[a, b]").unwrap(), None);
        assert_eq!(json_list("a").unwrap(), None);
        assert!(json_list("[1]").unwrap_err().message().contains("strings only"));
    }
}
