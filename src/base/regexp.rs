//! Regular expressions as users write them for names: of containers, volumes, labels, variables.
//!
//! Go's syntax but for what names do not need: literals, `.`, classes with their POSIX names, `\d \w \s \b` and their
//! opposites, groups with and without names, `|`, `* + ?` (also lazy), `{m,n}`, `^`, `$`, `(?i)` at the
//! beginning. The expression becomes a small program that is run for all possibilities at once, so that no
//! expression makes the daemon slow.
//!
//! Spec: the package regexp/syntax of Go.

use super::{Error, Result};

/// Longest expression, and most instructions it may unfold to.
const MAX_TEXT: usize = 1000;
const MAX_PROGRAM: usize = 10_000;

/// The classes that have names inside brackets.
const NAMED: &[(&str, &[(char, char)])] = &[
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("digit", &[('0', '9')]),
    ("lower", &[('a', 'z')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

#[derive(Clone, Debug)]
enum Step {
    /// One character in (or, negated, not in) the ranges.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Start,
    End,
    /// Between a letter of a word and something else, or not there.
    Boundary(bool),
    /// Goes on at both places.
    Split(usize, usize),
    Jump(usize),
    Match,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    steps: Vec<Step>,
    /// Letters match both cases.
    folds: bool,
}

struct Parser<'a> {
    text: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    depth: usize,
}

type Code = Vec<Step>;

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// `InvalidParameter` that quotes the expression.
    pub fn parse(text: &str) -> Result<Pattern> {
        let mut parser = Parser { text, rest: text.chars().peekable(), depth: 0 };
        if text.len() > MAX_TEXT {
            return Err(parser.error());
        }
        let folds = text.starts_with("(?i)");
        if folds {
            parser.rest.nth("(?i)".len() - 1);
        }
        let mut steps = parser.alternatives()?;
        if parser.rest.next().is_some() {
            return Err(parser.error());
        }
        steps.push(Step::Match);
        Ok(Pattern { steps, folds })
    }

    /// Whether it matches anywhere in `text`.
    pub fn matches(&self, text: &str) -> bool {
        let mut now = Vec::new();
        let mut seen = vec![usize::MAX; self.steps.len()];
        let characters: Vec<char> = text.chars().collect();
        for at in 0..=characters.len() {
            // A match may start at every place.
            self.enter(0, at, &characters, &mut seen, &mut now);
            if now.iter().any(|step| matches!(self.steps[*step], Step::Match)) {
                return true;
            }
            let Some(character) = characters.get(at) else { break };
            let mut next = Vec::new();
            for step in now {
                if let Step::Class { negated, ranges } = &self.steps[step]
                    && self.is_in(ranges, *character) != *negated
                {
                    self.enter(step + 1, at + 1, &characters, &mut seen, &mut next);
                }
            }
            now = next;
        }
        false
    }

    fn is_in(&self, ranges: &[(char, char)], character: char) -> bool {
        let has = |c: char| ranges.iter().any(|(a, b)| (*a..=*b).contains(&c));
        has(character)
            || self.folds
                && (character.to_lowercase().any(has) || character.to_uppercase().any(has))
    }

    /// Adds `step` and all that follows from it without a character; `seen` holds where each was added last.
    fn enter(
        &self,
        step: usize,
        at: usize,
        text: &[char],
        seen: &mut [usize],
        list: &mut Vec<usize>,
    ) {
        let mut waiting = vec![step];
        while let Some(step) = waiting.pop() {
            if seen[step] == at {
                continue;
            }
            seen[step] = at;
            match &self.steps[step] {
                Step::Jump(to) => waiting.push(*to),
                Step::Split(a, b) => waiting.extend([*b, *a]),
                Step::Start if at == 0 => waiting.push(step + 1),
                Step::End if at == text.len() => waiting.push(step + 1),
                Step::Boundary(there) => {
                    let is_word = |c: Option<&char>| {
                        c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
                    };
                    let before = at.checked_sub(1).and_then(|before| text.get(before));
                    if (is_word(before) != is_word(text.get(at))) == *there {
                        waiting.push(step + 1);
                    }
                }
                Step::Start | Step::End => {}
                Step::Class { .. } | Step::Match => list.push(step),
            }
        }
    }
}

/// Appends `code`, whose places count from its own start.
fn append(to: &mut Code, code: Code) {
    let base = to.len();
    to.extend(code.into_iter().map(|step| match step {
        Step::Split(a, b) => Step::Split(a + base, b + base),
        Step::Jump(a) => Step::Jump(a + base),
        other => other,
    }));
}

impl Parser<'_> {
    fn error(&self) -> Error {
        Error::invalid(format_args!("error parsing regexp: `{}`", self.text))
    }

    fn alternatives(&mut self) -> Result<Code> {
        self.depth += 1;
        if self.depth > 50 {
            return Err(self.error());
        }
        let mut code = self.sequence()?;
        while self.rest.next_if_eq(&'|').is_some() {
            let other = self.sequence()?;
            let mut both = vec![Step::Split(1, code.len() + 2)];
            append(&mut both, code);
            both.push(Step::Jump(both.len() + 1 + other.len()));
            append(&mut both, other);
            code = both;
        }
        self.depth -= 1;
        Ok(code)
    }

    fn sequence(&mut self) -> Result<Code> {
        let mut code = Code::new();
        while let Some(next) = self.rest.peek() {
            if matches!(next, '|' | ')') {
                break;
            }
            let atom = self.atom()?;
            let repeated = self.repeated(atom)?;
            append(&mut code, repeated);
            if code.len() > MAX_PROGRAM {
                return Err(self.error());
            }
        }
        Ok(code)
    }

    fn atom(&mut self) -> Result<Code> {
        let class = |negated, ranges| vec![Step::Class { negated, ranges }];
        Ok(match self.rest.next().unwrap_or_default() {
            '(' => {
                if self.rest.next_if_eq(&'?').is_some() {
                    self.group_kind()?;
                }
                let code = self.alternatives()?;
                if self.rest.next() != Some(')') {
                    return Err(self.error());
                }
                code
            }
            '[' => self.class()?,
            '.' => class(true, vec![('\n', '\n')]),
            '^' => vec![Step::Start],
            '$' => vec![Step::End],
            '*' | '+' | '?' => return Err(self.error()),
            '\\' => {
                let place = match self.rest.peek() {
                    Some('A') => Step::Start,
                    Some('z') => Step::End,
                    Some('b') => Step::Boundary(true),
                    Some('B') => Step::Boundary(false),
                    _ => {
                        let (negated, ranges) = self.escape()?;
                        return Ok(class(negated, ranges));
                    }
                };
                self.rest.next();
                vec![place]
            }
            other => class(false, vec![(other, other)]),
        })
    }

    /// What follows `(?`: a colon, or a name that nobody will ask for.
    fn group_kind(&mut self) -> Result<()> {
        if self.rest.next_if_eq(&':').is_some() {
            return Ok(());
        }
        self.rest.next_if_eq(&'P');
        if self.rest.next() != Some('<') {
            return Err(self.error());
        }
        let name: String = self.rest.by_ref().take_while(|c| *c != '>').collect();
        match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            true => Ok(()),
            false => Err(self.error()),
        }
    }

    fn escape(&mut self) -> Result<(bool, Vec<(char, char)>)> {
        let word = || vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
        let space = || vec![('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
        Ok(match self.rest.next() {
            Some('d') => (false, vec![('0', '9')]),
            Some('D') => (true, vec![('0', '9')]),
            Some('w') => (false, word()),
            Some('W') => (true, word()),
            Some('s') => (false, space()),
            Some('S') => (true, space()),
            Some('n') => (false, vec![('\n', '\n')]),
            Some('t') => (false, vec![('\t', '\t')]),
            Some(c) if c.is_ascii_punctuation() => (false, vec![(c, c)]),
            _ => return Err(self.error()),
        })
    }

    /// The rest of `[...]`.
    fn class(&mut self) -> Result<Code> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            let low = match self.rest.next() {
                None => return Err(self.error()),
                Some(']') if !ranges.is_empty() => break,
                Some('\\') => match self.escape()? {
                    (false, more) if more.len() == 1 && more[0].0 == more[0].1 => more[0].0,
                    (false, more) => {
                        ranges.extend(more);
                        continue;
                    }
                    // `[^\D]` and the like are nothing that names need.
                    (true, _) => return Err(self.error()),
                },
                Some('[') if self.rest.next_if_eq(&':').is_some() => {
                    let name: String = self.rest.by_ref().take_while(|c| *c != ':').collect();
                    let known = NAMED.iter().find(|(known, _)| *known == name);
                    let Some((_, named)) = known.filter(|_| self.rest.next() == Some(']')) else {
                        return Err(self.error());
                    };
                    ranges.extend_from_slice(named);
                    continue;
                }
                Some(other) => other,
            };
            let mut ahead = self.rest.clone();
            let high = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(high)) if high != ']' => {
                    self.rest.nth(1);
                    if high == '\\' || high < low {
                        return Err(self.error());
                    }
                    high
                }
                _ => low,
            };
            ranges.push((low, high));
        }
        Ok(vec![Step::Class { negated, ranges }])
    }

    /// `atom` with the quantifier that follows it.
    fn repeated(&mut self, atom: Code) -> Result<Code> {
        let (least, most) = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(atom),
            _ => return Ok(atom),
        };
        self.rest.next();
        self.lazy()?;
        self.unfold(&atom, least, most)
    }

    /// A lazy quantifier matches the same names; two quantifiers in a row are an error, as in Go.
    fn lazy(&mut self) -> Result<()> {
        self.rest.next_if_eq(&'?');
        match self.rest.peek() {
            Some('*' | '+' | '?' | '{') => Err(self.error()),
            _ => Ok(()),
        }
    }

    fn counted(&mut self, atom: Code) -> Result<Code> {
        self.rest.next();
        let inside: String = self.rest.by_ref().take_while(|c| *c != '}').collect();
        self.lazy()?;
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n <= 1000);
        let bounds = match inside.split_once(',') {
            None => number(&inside).map(|n| (n, Some(n))),
            Some((least, "")) => number(least).map(|n| (n, None)),
            Some((least, most)) => {
                number(least).zip(number(most)).filter(|(a, b)| a <= b).map(|(a, b)| (a, Some(b)))
            }
        };
        let (least, most) = bounds.ok_or_else(|| self.error())?;
        self.unfold(&atom, least, most)
    }

    fn unfold(&self, atom: &Code, least: usize, most: Option<usize>) -> Result<Code> {
        if atom.len().saturating_mul(most.unwrap_or(least) + 1) > MAX_PROGRAM {
            return Err(self.error());
        }
        let mut code = Code::new();
        for _ in 0..least {
            append(&mut code, atom.clone());
        }
        match most {
            None => {
                let start = code.len();
                code.push(Step::Split(start + 1, start + atom.len() + 2));
                append(&mut code, atom.clone());
                code.push(Step::Jump(start));
            }
            Some(most) => {
                let end = code.len() + (most - least) * (atom.len() + 1);
                for _ in least..most {
                    code.push(Step::Split(code.len() + 1, end));
                    append(&mut code, atom.clone());
                }
            }
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_with_gos_regexp() {
        for (pattern, yes, no) in [
            ("^com\\.", "com.x", "xcom."),
            ("a|bc", "xbcx", "b"),
            ("^(dev|prod)_[a-z0-9]+$", "prod_a1", "prod_"),
            ("^[^_]x?$", "ax", "_x"),
            ("^a{2,3}$", "aaa", "aaaa"),
            ("^a{2}$", "aa", "a"),
            ("^(ab){1,}c*?$", "ababcc", "c"),
            ("\\d+\\w\\s", "12_ ", "12"),
            ("^.$", "\u{e9}", ""),
            ("[]a-]", "-", "b"),
            ("^(a|(b(c|d)*))+$", "abcdcdb", "ac"),
            ("", "", "\u{0}never"),
            ("(?i)^We[b-d]$", "wEC", "wEe"),
            ("\\bweb\\b", "a-web-1", "a_web"),
            ("\\A\\Bx|^$", "", "x"),
            ("^(?P<a>x)(?<b_2>y)(?:z)$", "xyz", "xy"),
            ("^[[:alpha:]_[:digit:]]+$", "a_1", "a-1"),
            ("^[^[:space:]]$", "x", " "),
        ] {
            let compiled = Pattern::parse(pattern).unwrap_or_else(|e| panic!("{e}"));
            assert!(compiled.matches(yes), "{pattern} {yes}");
            if !pattern.is_empty() {
                assert!(!compiled.matches(no), "{pattern} {no}");
            }
        }
    }

    #[test]
    fn bad_expressions_are_refused() {
        for bad in [
            "(",
            ")",
            "[a",
            "*a",
            "a**",
            "a{3,2}",
            "a{x}",
            "\\",
            "a{1000}{1000}",
            "(?P<>a)",
            "(?<a",
            "(?=a)",
            "[[:nosuch:]]",
            "[[:alpha]",
            "[[:alpha:",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::parse(&"(".repeat(500)).is_err());
    }

    #[test]
    fn no_expression_takes_forever() {
        let evil = Pattern::parse("^(a*)*(a|a)*(a?){50}b$").unwrap();
        assert!(!evil.matches(&"a".repeat(2000)));
    }
}
