//! Tokens to a tree, with the checks Go makes while parsing: functions exist, variables are declared.
//!
//! Spec: Go `text/template/parse`.

use std::collections::BTreeMap;
use std::fmt;

use super::lex::{Kind, Token, lex};

/// A sequence of nodes.
pub(super) type List = Vec<Node>;

/// One piece of a template.
#[derive(Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, List, List),
    Range(Pipe, List, List),
    With(Pipe, List, List),
    Call { pos: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `$a, $b := command | command`
#[derive(Clone)]
pub(super) struct Pipe {
    pub variables: Vec<String>,
    pub assign: bool,
    pub commands: Vec<Command>,
}

/// Arguments of which the first may be a function.
#[derive(Clone)]
pub(super) struct Command(pub Vec<Operand>);

/// One argument and where it is.
#[derive(Clone)]
pub(super) struct Operand {
    pub pos: usize,
    pub term: Term,
}

/// What an argument is.
#[derive(Clone)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Int(String, i128),
    Float(String, f64),
    Str(String, String),
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`; the first is the variable.
    Variable(Vec<String>),
    Pipe(Pipe),
    /// `(pipe).A.B`
    Chain(Box<Operand>, Vec<String>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let op = if self.assign { "=" } else { ":=" };
            write!(f, "{} {op} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            match &operand.term {
                Term::Pipe(p) => write!(f, "{space}({p})")?,
                _ => write!(f, "{space}{operand}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(b) => write!(f, "{b}"),
            Term::Int(text, _) | Term::Float(text, _) | Term::Str(text, _) => f.write_str(text),
            Term::Function(name) => f.write_str(name),
            Term::Field(names) => names.iter().try_for_each(|n| write!(f, ".{n}")),
            Term::Variable(names) => f.write_str(&names.join(".")),
            Term::Pipe(p) => write!(f, "{p}"),
            Term::Chain(inner, names) => {
                match &inner.term {
                    Term::Pipe(p) => write!(f, "({p})")?,
                    _ => write!(f, "{inner}")?,
                }
                names.iter().try_for_each(|n| write!(f, ".{n}"))
            }
        }
    }
}

/// Named templates; the main one has the empty name.
pub(super) type Trees = BTreeMap<String, List>;

/// # Errors
/// Go's text, from `template: ` on.
pub(super) fn parse(name: &str, text: &str) -> Result<Trees, String> {
    let tokens = match lex(text) {
        Ok(tokens) => tokens,
        Err(broken) => {
            let line = line_of(text, broken.pos);
            return Err(format!("template: {name}:{line}: {}", broken.message));
        }
    };
    let mut parser = Parser {
        name,
        text,
        tokens,
        at: 0,
        variables: vec!["$".into()],
        trees: Trees::new(),
        range_depth: 0,
    };
    let (list, end) = parser.list(false)?;
    if let End::Eof = end {
        parser.trees.insert(String::new(), list);
        return Ok(parser.trees);
    }
    Err(parser.error(&format!("unexpected {}", end.text())))
}

fn line_of(text: &str, pos: usize) -> usize {
    1 + text[..pos].matches('\n').count()
}

pub(super) struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    trees: Trees,
    range_depth: usize,
}

/// How a list of nodes ended.
enum End {
    Eof,
    Close,
    Else,
    /// `{{else if` or `{{else with`: the parser stands before the keyword's pipeline.
    ElseWord(&'static str),
}

impl End {
    fn text(&self) -> &'static str {
        match self {
            End::Eof => "EOF",
            End::Close => "{{end}}",
            End::Else | End::ElseWord(_) => "{{else}}",
        }
    }
}

impl Parser<'_> {
    pub(super) fn error(&self, message: &str) -> String {
        let pos = self.tokens[self.at.saturating_sub(1)].pos;
        format!("template: {}:{}: {message}", self.name, line_of(self.text, pos))
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub(super) fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    pub(super) fn peek_solid(&mut self) -> &Token {
        self.skip_space();
        &self.tokens[self.at]
    }

    pub(super) fn skip_space(&mut self) {
        while self.tokens[self.at].kind == Kind::Space {
            self.at += 1;
        }
    }

    pub(super) fn unexpected(&self, token: &Token, context: &str) -> String {
        let shown = match token.kind {
            Kind::Eof => "EOF".to_string(),
            Kind::Dot => "<.>".to_string(),
            _ if token.kind == Kind::Ident && super::operand::is_keyword(&token.text) => {
                format!("<{}>", token.text)
            }
            _ if token.text.len() > 10 => {
                let head: String = token.text.chars().take(10).collect();
                format!("{}...", super::go_quote(&head))
            }
            _ => super::go_quote(&token.text),
        };
        self.error(&format!("unexpected {shown} in {context}"))
    }

    fn list(&mut self, nested: bool) -> Result<(List, End), String> {
        let mut list = List::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Text => list.push(Node::Text(token.text)),
                Kind::Left => {
                    if let Some(end) = self.action(&mut list, nested)? {
                        return Ok((list, end));
                    }
                }
                _ => {
                    if nested {
                        return Err(self.error("unexpected EOF"));
                    }
                    return Ok((list, End::Eof));
                }
            }
        }
    }

    fn action(&mut self, list: &mut List, nested: bool) -> Result<Option<End>, String> {
        let token = self.peek_solid().clone();
        if token.kind == Kind::Ident {
            match token.text.as_str() {
                "if" | "range" | "with" => {
                    self.next();
                    list.push(self.control(&token.text.clone())?);
                    return Ok(None);
                }
                "end" | "else" => {
                    self.next();
                    let end = self.end_or_else(token.text == "else")?;
                    if !nested {
                        return Err(self.error(&format!("unexpected {}", end.text())));
                    }
                    return Ok(Some(end));
                }
                "define" | "block" => {
                    self.next();
                    self.definition(list, token.text == "block")?;
                    return Ok(None);
                }
                "template" => {
                    self.next();
                    let pos = self.peek_solid().pos;
                    let name = self.template_name("template clause")?;
                    let pipe = if self.peek_solid().kind == Kind::Right {
                        self.next();
                        None
                    } else {
                        Some(self.pipeline("template clause", Kind::Right)?)
                    };
                    list.push(Node::Call { pos, name, pipe });
                    return Ok(None);
                }
                "break" | "continue" if self.tokens[self.at + 1].kind == Kind::Right => {
                    self.next();
                    if self.range_depth == 0 {
                        return Err(
                            self.error(&format!("{{{{{}}}}} outside {{{{range}}}}", token.text))
                        );
                    }
                    self.next();
                    let node = if token.text == "break" { Node::Break } else { Node::Continue };
                    list.push(node);
                    return Ok(None);
                }
                _ => {}
            }
        }
        list.push(Node::Action(self.pipeline("command", Kind::Right)?));
        Ok(None)
    }

    fn end_or_else(&mut self, is_else: bool) -> Result<End, String> {
        let token = self.next_solid();
        if !is_else {
            return match token.kind {
                Kind::Right => Ok(End::Close),
                _ => Err(self.unexpected(&token, "end")),
            };
        }
        match (token.kind, token.text.as_str()) {
            (Kind::Right, _) => Ok(End::Else),
            (Kind::Ident, "if") => Ok(End::ElseWord("if")),
            (Kind::Ident, "with") => Ok(End::ElseWord("with")),
            _ => Err(self.unexpected(&token, "else")),
        }
    }

    fn control(&mut self, word: &str) -> Result<Node, String> {
        let scope = self.variables.len();
        let pipe = self.pipeline(word, Kind::Right)?;
        if word == "range" {
            self.range_depth += 1;
        }
        let (body, end) = self.list(true)?;
        if word == "range" {
            self.range_depth -= 1;
        }
        let otherwise = match end {
            End::Else => {
                let (body, end) = self.list(true)?;
                match end {
                    End::Close => body,
                    end => return Err(self.error(&format!("expected end; found {}", end.text()))),
                }
            }
            End::ElseWord(inner) if inner == word => vec![self.control(inner)?],
            End::ElseWord(inner) => {
                return Err(self.error(&format!("unexpected <{inner}> in input")));
            }
            End::Close | End::Eof => List::new(),
        };
        self.variables.truncate(scope);
        Ok(match word {
            "if" => Node::If(pipe, body, otherwise),
            "range" => Node::Range(pipe, body, otherwise),
            _ => Node::With(pipe, body, otherwise),
        })
    }

    fn definition(&mut self, list: &mut List, block: bool) -> Result<(), String> {
        let context = if block { "block clause" } else { "define clause" };
        let pos = self.tokens[self.at].pos;
        let name = self.template_name(context)?;
        let pipe = if block {
            Some(self.pipeline(context, Kind::Right)?)
        } else {
            let token = self.next_solid();
            if token.kind != Kind::Right {
                return Err(self.unexpected(&token, context));
            }
            None
        };
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let (body, end) = self.list(true)?;
        self.variables = outer;
        if !matches!(end, End::Close) {
            return Err(self.error(&format!("unexpected {} in {context}", end.text())));
        }
        self.trees.insert(name.clone(), body);
        if block {
            list.push(Node::Call { pos, name, pipe });
        }
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<String, String> {
        let token = self.next_solid();
        match token.kind {
            Kind::Str => self.unquote(&token.text),
            _ => Err(self.unexpected(&token, context)),
        }
    }
}
