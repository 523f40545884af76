//! The inner half of the parser: pipelines, commands and operands.

use super::funcs;
use super::lex::{Kind, Token};
use super::parse::{Command, Operand, Parser, Pipe, Term};

const KEYWORDS: &[&str] = &[
    "block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with",
];

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

impl Parser<'_> {
    /// Parses up to and with the token `end`.
    pub(super) fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, String> {
        let (variables, assign) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek_solid().clone();
            match token.kind {
                Kind::Ident if is_keyword(&token.text) && token.text != "nil" => {
                    self.next();
                    return Err(self.unexpected(&token, context));
                }
                kind if kind == end => {
                    self.next();
                    self.check(context, &commands)?;
                    return Ok(Pipe { variables, assign, commands });
                }
                Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Ident
                | Kind::Number
                | Kind::Str
                | Kind::Variable
                | Kind::Open => commands.push(self.command()?),
                _ => {
                    self.next();
                    return Err(self.unexpected(&token, context));
                }
            }
        }
    }

    /// `$x :=`, `$x =`, and for range `$i, $x :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, bool), String> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            let token = self.peek_solid().clone();
            if token.kind != Kind::Variable {
                self.at = start;
                return Ok((Vec::new(), false));
            }
            self.next();
            names.push(token.text.clone());
            match self.peek_solid().kind {
                kind @ (Kind::Assign | Kind::Declare) => {
                    self.next();
                    let assign = kind == Kind::Assign;
                    if assign {
                        self.declared(&names)?;
                    } else {
                        self.variables.extend(names.iter().cloned());
                    }
                    return Ok((names, assign));
                }
                Kind::Comma => {
                    self.next();
                    if context != "range" || names.len() > 1 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                }
                _ => {
                    self.at = start;
                    return Ok((Vec::new(), false));
                }
            }
        }
    }

    fn declared(&self, names: &[String]) -> Result<(), String> {
        match names.iter().find(|n| !self.variables.contains(n)) {
            Some(name) => Err(self.error(&format!("undefined variable {}", super::go_quote(name)))),
            None => Ok(()),
        }
    }

    fn check(&self, context: &str, commands: &[Command]) -> Result<(), String> {
        if commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (i, command) in commands.iter().enumerate().skip(1) {
            let first = &command.0[0];
            let constant = matches!(
                first.term,
                Term::Bool(_)
                    | Term::Dot
                    | Term::Nil
                    | Term::Int(..)
                    | Term::Float(..)
                    | Term::Str(..)
            );
            if constant {
                let stage = i + 1;
                return Err(
                    self.error(&format!("non executable command in pipeline stage {stage}"))
                );
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.tokens[self.at].clone();
            match token.kind {
                Kind::Space => {
                    self.next();
                    continue;
                }
                Kind::Right | Kind::Close => break,
                Kind::Pipe => {
                    self.next();
                    break;
                }
                _ => {
                    self.next();
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command(operands))
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(node) = self.term()? else { return Ok(None) };
        if self.tokens[self.at].kind != Kind::Field {
            return Ok(Some(node));
        }
        let pos = self.tokens[self.at].pos;
        let mut names = Vec::new();
        while self.tokens[self.at].kind == Kind::Field {
            names.push(self.next().text[1..].to_string());
        }
        let term = match node.term {
            Term::Field(mut chain) => {
                chain.extend(names);
                return Ok(Some(Operand { pos, term: Term::Field(chain) }));
            }
            Term::Variable(mut chain) => {
                chain.extend(names);
                return Ok(Some(Operand { pos, term: Term::Variable(chain) }));
            }
            Term::Bool(_)
            | Term::Str(..)
            | Term::Int(..)
            | Term::Float(..)
            | Term::Nil
            | Term::Dot => {
                let shown = super::go_quote(&node.to_string());
                return Err(self.error(&format!("unexpected . after term {shown}")));
            }
            _ => Term::Chain(Box::new(node), names),
        };
        Ok(Some(Operand { pos, term }))
    }

    fn term(&mut self) -> Result<Option<Operand>, String> {
        let Token { kind, text, pos } = self.tokens[self.at].clone();
        let term = match kind {
            Kind::Ident if is_keyword(&text) && text != "nil" => return Ok(None),
            Kind::Ident => {
                self.next();
                match text.as_str() {
                    "true" => Term::Bool(true),
                    "false" => Term::Bool(false),
                    "nil" => Term::Nil,
                    _ if funcs::exists(&text) => Term::Function(text),
                    _ => {
                        let name = super::go_quote(&text);
                        return Err(self.error(&format!("function {name} not defined")));
                    }
                }
            }
            Kind::Dot => {
                self.next();
                Term::Dot
            }
            Kind::Field => {
                self.next();
                Term::Field(vec![text[1..].to_string()])
            }
            Kind::Variable => {
                self.next();
                self.declared(std::slice::from_ref(&text))?;
                Term::Variable(vec![text])
            }
            Kind::Str => {
                self.next();
                let value = self.unquote(&text)?;
                Term::Str(text, value)
            }
            Kind::Char => {
                self.next();
                let inner = self.unquote(&format!("\"{}\"", &text[1..text.len() - 1]))?;
                let mut chars = inner.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => Term::Int(text, i128::from(u32::from(c))),
                    _ => {
                        return Err(self.error(&format!("malformed character constant: {text}")));
                    }
                }
            }
            Kind::Number => {
                self.next();
                number(&text).ok_or_else(|| {
                    self.error(&format!("bad number syntax: {}", super::go_quote(&text)))
                })?
            }
            Kind::Open => {
                self.next();
                Term::Pipe(self.pipeline("parenthesized pipeline", Kind::Close)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(Operand { pos, term }))
    }

    /// The text of a quoted or raw string.
    pub(super) fn unquote(&self, quoted: &str) -> Result<String, String> {
        if let Some(raw) = quoted.strip_prefix('`') {
            return Ok(raw.trim_end_matches('`').replace('\r', ""));
        }
        unquote(&quoted[1..quoted.len() - 1]).ok_or_else(|| self.error("invalid syntax"))
    }
}

fn unquote(inner: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let kind = chars.next()?;
        let mut code = |digits: usize, radix: u32| {
            let text: String = chars.by_ref().take(digits).collect();
            (text.len() == digits).then(|| u32::from_str_radix(&text, radix).ok()).flatten()
        };
        out.push(match kind {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => kind,
            'x' => char::from_u32(code(2, 16)?)?,
            'u' => char::from_u32(code(4, 16)?)?,
            'U' => char::from_u32(code(8, 16)?)?,
            _ => return None,
        });
    }
    Some(out)
}

fn number(text: &str) -> Option<Term> {
    let digits = text.replace('_', "");
    let (sign, body) = match digits.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = |prefix: &[&str], radix| {
        let rest = prefix.iter().find_map(|p| body.strip_prefix(p))?;
        i128::from_str_radix(rest, radix).ok()
    };
    let int = radix(&["0x", "0X"], 16)
        .or_else(|| radix(&["0b", "0B"], 2))
        .or_else(|| radix(&["0o", "0O"], 8))
        .or_else(|| body.parse().ok());
    if let Some(n) = int {
        return Some(Term::Int(text.to_string(), sign * n));
    }
    let starts = body.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let n: f64 = starts.then(|| digits.parse().ok()).flatten()?;
    Some(Term::Float(text.to_string(), n))
}
