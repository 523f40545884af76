//! Walks the tree with data.

use super::parse::{Command, List, Node, Operand, Pipe, Term};
use super::{Functions, Kind, MissingKey, Template, Value, funcs};

/// Templates that call themselves stop here, well before the stack does.
const MAX_CALLS: usize = 200;

/// # Errors
/// Go's text, from `template: ` on.
pub(super) fn run(template: &Template, data: &Value, out: &mut String) -> Result<(), String> {
    let mut state = State {
        template,
        out,
        variables: vec![("$".to_string(), data.clone())],
        name: template.name.to_string(),
        calls: 0,
    };
    let main = template.trees.get("").expect("cannot fail: parse always makes the main template");
    state.list(main, data).map(drop)
}

/// Whether a loop goes on.
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) struct State<'a> {
    template: &'a Template,
    out: &'a mut String,
    variables: Vec<(String, Value)>,
    name: String,
    calls: usize,
}

impl State<'_> {
    pub(super) fn functions(&self) -> Functions {
        self.template.functions
    }

    /// An error at a place of the template, as Go writes it.
    fn error(&self, pos: usize, shown: &str, message: &str) -> String {
        let before = &self.template.text[..pos];
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(pos, |newline| pos - newline - 1);
        let shown = match shown.char_indices().nth(20) {
            Some((cut, _)) => format!("{}...", &shown[..cut]),
            None => shown.to_string(),
        };
        format!(
            "template: {}:{line}:{column}: executing {} at <{shown}>: {message}",
            self.template.name,
            super::go_quote(&self.name)
        )
    }

    fn list(&mut self, list: &List, dot: &Value) -> Result<Flow, String> {
        for node in list {
            match self.node(node, dot)? {
                Flow::On => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.out.push_str(&value.print());
                }
            }
            Node::If(pipe, body, otherwise) => {
                let scope = self.variables.len();
                let yes = self.pipe(pipe, dot)?.truth();
                let flow = self.list(if yes { body } else { otherwise }, dot);
                self.variables.truncate(scope);
                return flow;
            }
            Node::With(pipe, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow =
                    if value.truth() { self.list(body, &value) } else { self.list(otherwise, dot) };
                self.variables.truncate(scope);
                return flow;
            }
            Node::Range(pipe, body, otherwise) => self.range(pipe, body, otherwise, dot)?,
            Node::Call { pos, name, pipe } => self.call(*pos, name, pipe.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn call(
        &mut self,
        pos: usize,
        name: &str,
        pipe: Option<&Pipe>,
        dot: &Value,
    ) -> Result<(), String> {
        let shown = format!("{{{{template {}}}}}", super::go_quote(name));
        let Some(body) = self.template.trees.get(name) else {
            let message = format!("template {} not defined", super::go_quote(name));
            return Err(self.error(pos, &shown, &message));
        };
        if self.calls == MAX_CALLS {
            return Err(self.error(
                pos,
                &shown,
                &format!("exceeded maximum template depth ({MAX_CALLS})"),
            ));
        }
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let variables =
            std::mem::replace(&mut self.variables, vec![("$".to_string(), data.clone())]);
        let outer = std::mem::replace(&mut self.name, name.to_string());
        self.calls += 1;
        let flow = self.list(body, &data);
        self.calls -= 1;
        self.variables = variables;
        self.name = outer;
        flow.map(drop)
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &List,
        otherwise: &List,
        dot: &Value,
    ) -> Result<(), String> {
        let scope = self.variables.len();
        let value = self.commands(pipe, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::List(list) => {
                let numbered = list.iter().enumerate();
                numbered.map(|(i, v)| (Value::Int(i as i128), v.clone())).collect()
            }
            Value::Object(o) if o.type_name().is_none() => {
                let fields = o.sorted().into_iter();
                fields.map(|f| (Value::from(f.name.as_str()), f.value.clone())).collect()
            }
            Value::Int(n) => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Nil | Value::Missing => Vec::new(),
            other => {
                let shown = pipe.to_string();
                let pos = pipe.commands[0].0[0].pos;
                let message = format!("range can't iterate over {}", other.print());
                return Err(self.error(pos, &shown, &message));
            }
        };
        if items.is_empty() {
            self.list(otherwise, dot)?;
        }
        for (key, item) in items {
            let inner = self.variables.len();
            match (pipe.variables.as_slice(), pipe.assign) {
                ([one], true) => self.assign(one, item.clone()),
                ([one, two], true) => {
                    self.assign(one, key);
                    self.assign(two, item.clone());
                }
                ([one], false) => self.variables.push((one.clone(), item.clone())),
                ([one, two], false) => {
                    self.variables.push((one.clone(), key));
                    self.variables.push((two.clone(), item.clone()));
                }
                _ => {}
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(inner);
            if let Flow::Break = flow {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            if pipe.assign {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let first = &command.0[0];
        let rest = &command.0[1..];
        match &first.term {
            Term::Function(name) => self.function(name, first, command, rest, dot, last),
            Term::Field(names) => self.chain(first, dot.clone(), names, rest, dot, last),
            Term::Variable(names) => {
                let start = self.variable(&names[0]);
                self.chain(first, start, &names[1..], rest, dot, last)
            }
            Term::Chain(inner, names) => {
                let start = self.operand(inner, dot)?;
                self.chain(last_operand(inner), start, names, rest, dot, last)
            }
            _ if !rest.is_empty() || last.is_some() => {
                let message = format!("can't give argument to non-function {first}");
                Err(self.error(first.pos, &first.to_string(), &message))
            }
            Term::Nil => Err(self.error(first.pos, "nil", "nil is not a command")),
            _ => self.operand(first, dot),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, v)| v.clone()).unwrap_or_default()
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Nil),
            Term::Bool(b) => Ok(Value::Bool(*b)),
            Term::Int(_, n) => Ok(Value::Int(*n)),
            Term::Float(_, n) => Ok(Value::Float(*n)),
            Term::Str(_, s) => Ok(Value::Str(s.clone())),
            Term::Pipe(pipe) => self.pipe(pipe, dot),
            Term::Function(name) => {
                let command = Command(vec![operand.clone()]);
                self.function(name, operand, &command, &[], dot, None)
            }
            Term::Field(names) => self.chain(operand, dot.clone(), names, &[], dot, None),
            Term::Variable(names) => {
                let start = self.variable(&names[0]);
                self.chain(operand, start, &names[1..], &[], dot, None)
            }
            Term::Chain(inner, names) => {
                let start = self.operand(inner, dot)?;
                self.chain(last_operand(inner), start, names, &[], dot, None)
            }
        }
    }

    /// Follows `.A.B`; arguments go to the last name.
    fn chain(
        &mut self,
        at: &Operand,
        start: Value,
        names: &[String],
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = start;
        let Some((final_name, path)) = names.split_last() else {
            if !rest.is_empty() || last.is_some() {
                let message = format!("can't give argument to non-function {at}");
                return Err(self.error(at.pos, &at.to_string(), &message));
            }
            return Ok(value);
        };
        for name in path {
            value = self.field(at, &value, name)?;
        }
        let has_arguments = !rest.is_empty() || last.is_some();
        match self.field(at, &value, final_name)? {
            Value::Method(method) => {
                let mut arguments = Vec::new();
                for operand in rest {
                    arguments.push(self.operand(operand, dot)?);
                }
                arguments.extend(last);
                method(&arguments).map_err(|message| {
                    self.error(at.pos, &at.to_string(), &message.replace("{name}", final_name))
                })
            }
            _ if has_arguments => {
                let message = match &value {
                    Value::Object(o) if o.type_name().is_some() => {
                        format!("{final_name} has arguments but cannot be invoked as function")
                    }
                    _ => format!("{final_name} is not a method but has arguments"),
                };
                Err(self.error(at.pos, &at.to_string(), &message))
            }
            field => Ok(field),
        }
    }

    fn field(&self, at: &Operand, value: &Value, name: &str) -> Result<Value, String> {
        let message = match value {
            Value::Object(o) => match o.get(name) {
                Some(field) => return Ok(field.clone()),
                None => match o.type_name() {
                    Some(type_name) => format!("can't evaluate field {name} in type {type_name}"),
                    None if matches!(o.kind, Kind::LenientMap | Kind::NilMap)
                        || self.template.missing == MissingKey::NoValue =>
                    {
                        return Ok(Value::Missing);
                    }
                    None => format!("map has no entry for key {}", super::go_quote(name)),
                },
            },
            Value::Nil => format!("nil pointer evaluating interface {{}}.{name}"),
            // A missing key stays missing, whatever is asked of it.
            Value::Missing => return Ok(Value::Missing),
            other => format!("can't evaluate field {name} in type {}", other.type_name()),
        };
        Err(self.error(at.pos, &at.to_string(), &message))
    }

    fn function(
        &mut self,
        name: &str,
        at: &Operand,
        command: &Command,
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, String> {
        // and/or stop at the first argument that decides.
        if matches!(name, "and" | "or") && !rest.is_empty() {
            let mut value = Value::Nil;
            for operand in rest {
                value = self.operand(operand, dot)?;
                if value.truth() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        let shown = match command.0.len() {
            1 => at.to_string(),
            _ => command.to_string(),
        };
        if let Some(message) = funcs::wrong_count(name, arguments.len()) {
            return Err(self.error(at.pos, name, &message));
        }
        funcs::call(name, &arguments, self.functions()).map_err(|e| match e {
            funcs::Fault::Failed(message) => {
                self.error(at.pos, &shown, &format!("error calling {name}: {message}"))
            }
            funcs::Fault::WrongType { argument, want } => {
                let place = rest.get(argument).map_or(at, last_operand);
                let message = match (&place.term, &arguments[argument]) {
                    (Term::Int(..) | Term::Float(..) | Term::Bool(_) | Term::Str(..), _)
                        if rest.get(argument).is_some_and(|o| o.pos == place.pos) =>
                    {
                        format!("expected {want}; found {place}")
                    }
                    (Term::Nil, _) => format!("cannot assign nil to {want}"),
                    (_, Value::Missing | Value::Nil) => format!("invalid value; expected {want}"),
                    (_, other) => {
                        let got = other.type_name();
                        format!("wrong type for value; expected {want}; got {got}")
                    }
                };
                self.error(place.pos, &place.to_string(), &message)
            }
        })
    }
}

/// The operand that is evaluated last inside `operand`: errors about its result point there.
fn last_operand(operand: &Operand) -> &Operand {
    match &operand.term {
        Term::Pipe(pipe) => {
            pipe.commands.last().and_then(|command| command.0.last()).map_or(operand, last_operand)
        }
        _ => operand,
    }
}
