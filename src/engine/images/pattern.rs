//! Shell patterns as Go's `path.Match` reads them: `*`, `?`, `[a-z]`, `[^a]`, `\x`; none matches `/`
//! but a class that names it.
//!
//! Spec: Go package path, func Match.

use crate::base::{Error, Result};

/// Whether the whole of `text` fits `pattern`.
///
/// # Errors
/// `InvalidParameter` with Go's text for a malformed pattern.
pub(super) fn matches(pattern: &str, text: &str) -> Result<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    check(&pattern)?;
    let text: Vec<char> = text.chars().collect();
    Ok(fits(&pattern, &text))
}

fn bad() -> Error {
    Error::invalid("syntax error in pattern")
}

/// Walks the pattern once, so that a malformed end is found whatever the text is.
fn check(mut pattern: &[char]) -> Result<()> {
    while !pattern.is_empty() {
        pattern = match pattern[0] {
            '\\' => pattern.get(2..).ok_or_else(bad)?,
            '[' => class(pattern, 'a').ok_or_else(bad)?.1,
            _ => &pattern[1..],
        };
    }
    Ok(())
}

/// Greedy with one point of return: the last star. Quadratic at worst, never exponential.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (pattern, text);
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        if let ['*', rest @ ..] = p {
            star = Some((rest, t));
            p = rest;
            continue;
        }
        if let Some((c, rest)) = t.split_first() {
            if let Some(next) = one(p, *c) {
                (p, t) = (next, rest);
                continue;
            }
        } else if p.is_empty() {
            return true;
        }
        // Let the star take one more.
        match star {
            Some((after, from)) if from.first().is_some_and(|c| *c != '/') => {
                star = Some((after, &from[1..]));
                (p, t) = (after, &from[1..]);
            }
            _ => return false,
        }
    }
}

/// What is left of `pattern` after its first element took `c`.
fn one(pattern: &[char], c: char) -> Option<&[char]> {
    match pattern {
        ['?', rest @ ..] if c != '/' => Some(rest),
        ['?', ..] | [] => None,
        ['[', ..] => class(pattern, c).and_then(|(hit, rest)| hit.then_some(rest)),
        ['\\', escaped, rest @ ..] => (*escaped == c).then_some(rest),
        [first, rest @ ..] => (*first == c).then_some(rest),
    }
}

/// Whether the class at the start of `pattern` has `c`, and what follows it; `None` if malformed.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let mut rest = pattern.get(1..)?;
    let negated = rest.first() == Some(&'^');
    if negated {
        rest = &rest[1..];
    }
    let (mut hit, mut ranges) = (false, 0);
    loop {
        if rest.first() == Some(&']') && ranges > 0 {
            return Some((hit != negated, &rest[1..]));
        }
        let low;
        (low, rest) = character(rest)?;
        let mut high = low;
        if rest.first() == Some(&'-') {
            (high, rest) = character(&rest[1..])?;
        }
        hit |= (low..=high).contains(&c);
        ranges += 1;
    }
}

fn character(pattern: &[char]) -> Option<(char, &[char])> {
    match pattern {
        ['\\', c, rest @ ..] => Some((*c, rest)),
        ['-' | ']' | '\\', ..] | [] => None,
        [c, rest @ ..] => Some((*c, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("d?b*:1[0-2]", "debian:12", true),
            ("d?b*:1[^0-2]", "debian:12", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b", "xaxxb", true),
            ("", "", true),
            ("", "a", false),
            ("[a-c]x", "bx", true),
        ] {
            assert_eq!(matches(pattern, text).unwrap(), expected, "{pattern} {text}");
        }
        for bad in ["[", "[]", "[a", "a\\", "[-]", "x[a-"] {
            assert!(matches(bad, "a").is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000)).unwrap());
    }
}
