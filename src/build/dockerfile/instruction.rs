//! What each instruction takes.
//!
//! Variables in arguments are still there: they are replaced where an instruction is carried out, as
//! each may change what the next one sees.

use super::lines::{Line, is_space};
use super::words;
use crate::base::{Error, Result, duration};
use crate::image::config::HealthConfig;

/// Shortest interval of a health check, in nanoseconds.
const MIN_INTERVAL_NS: i64 = 1_000_000;

/// A command: the program itself, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A list of words.
    Exec(Vec<String>),
    /// A line; empty for no command.
    Shell(String),
}

/// One instruction, read.
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`, pairs in their order
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    HealthCheck(HealthConfig),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `ONBUILD`, the instruction that waits
    OnBuild(String),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

type Parse = fn(&Line, char) -> Result<Instruction>;

/// Every instruction that changes the configuration alone, by its lower-case name.
const INSTRUCTIONS: &[(&str, Parse)] = &[
    ("cmd", |line, _| command(line).map(Instruction::Cmd)),
    ("entrypoint", |line, _| command(line).map(Instruction::Entrypoint)),
    ("env", |line, escape| named_pairs(line, "ENV", escape).map(Instruction::Env)),
    ("expose", |line, _| {
        no_flags(line)?;
        some(words::plain(&line.rest), "EXPOSE").map(Instruction::Expose)
    }),
    ("healthcheck", |line, _| health_check(line).map(Instruction::HealthCheck)),
    ("label", |line, escape| named_pairs(line, "LABEL", escape).map(Instruction::Label)),
    ("onbuild", |line, _| on_build(line).map(Instruction::OnBuild)),
    ("stopsignal", |line, _| one(line, "STOPSIGNAL").map(Instruction::StopSignal)),
    ("user", |line, _| one(line, "USER").map(Instruction::User)),
    ("volume", |line, _| {
        no_flags(line)?;
        let list = words::json_list(&line.rest)?.unwrap_or_else(|| words::plain(&line.rest));
        some(list, "VOLUME").map(Instruction::Volume)
    }),
    ("workdir", |line, _| one(line, "WORKDIR").map(Instruction::Workdir)),
];

/// Whether `keyword` is an instruction that changes the configuration alone.
pub fn is_change(keyword: &str) -> bool {
    find(keyword).is_some()
}

fn find(keyword: &str) -> Option<&'static (&'static str, Parse)> {
    INSTRUCTIONS.iter().find(|(name, _)| keyword.eq_ignore_ascii_case(name))
}

impl Instruction {
    /// Reads the instruction in `line`; `escape` is the file's escape character.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn parse(line: &Line, escape: char) -> Result<Instruction> {
        let Some((_, parse)) = find(&line.keyword) else {
            return Err(Error::invalid(format_args!(
                "unknown instruction: {}",
                line.keyword.to_ascii_uppercase()
            )));
        };
        parse(line, escape)
    }
}

fn no_flags(line: &Line) -> Result<()> {
    match line.flags.first() {
        None => Ok(()),
        Some(flag) => Err(unknown_flag(flag)),
    }
}

fn unknown_flag(flag: &str) -> Error {
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    Error::invalid(format_args!("Unknown flag: {name}"))
}

fn one(line: &Line, keyword: &str) -> Result<String> {
    no_flags(line)?;
    match line.rest.as_str() {
        "" => Err(Error::invalid(format_args!("{keyword} requires exactly one argument"))),
        rest => Ok(rest.into()),
    }
}

fn some<T>(list: Vec<T>, keyword: &str) -> Result<Vec<T>> {
    match list.is_empty() {
        true => Err(Error::invalid(format_args!("{keyword} requires at least one argument"))),
        false => Ok(list),
    }
}

fn command(line: &Line) -> Result<Command> {
    no_flags(line)?;
    Ok(match words::json_list(&line.rest)? {
        Some(list) => Command::Exec(list),
        None => Command::Shell(line.rest.clone()),
    })
}

fn named_pairs(line: &Line, keyword: &str, escape: char) -> Result<Vec<(String, String)>> {
    no_flags(line)?;
    let pairs = some(words::pairs(&line.rest, keyword, escape)?, keyword)?;
    match pairs.iter().any(|(name, _)| name.is_empty()) {
        true => Err(Error::invalid(format_args!("{keyword} names can not be blank"))),
        false => Ok(pairs),
    }
}

fn on_build(line: &Line) -> Result<String> {
    no_flags(line)?;
    let inner = line.rest.split(is_space).next().unwrap_or_default().to_ascii_uppercase();
    match inner.as_str() {
        "" => Err(Error::invalid("ONBUILD requires at least one argument")),
        "ONBUILD" => Err(Error::invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "FROM" | "MAINTAINER" => {
            Err(Error::invalid(format_args!("{inner} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(line.rest.clone()),
    }
}

fn health_check(line: &Line) -> Result<HealthConfig> {
    let (kind, rest) = line.rest.split_once(is_space).unwrap_or((&line.rest, ""));
    let rest = rest.trim_start();
    let mut health = HealthConfig::default();
    match kind.to_ascii_uppercase().as_str() {
        "" => return Err(Error::invalid("HEALTHCHECK requires at least one argument")),
        "NONE" if rest.is_empty() => {
            health.test = vec!["NONE".into()];
            return Ok(health);
        }
        "NONE" => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" => {}
        other => {
            return Err(Error::invalid(format_args!(
                "Unknown type {other:?} in HEALTHCHECK (try CMD)"
            )));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for flag in &line.flags {
        let (name, value) = match flag.trim_start_matches("--").split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.trim_start_matches("--"), None),
        };
        let field = match name {
            "interval" => &mut health.interval,
            "timeout" => &mut health.timeout,
            "start-period" => &mut health.start_period,
            "start-interval" => &mut health.start_interval,
            "retries" => &mut health.retries,
            _ => return Err(unknown_flag(flag)),
        };
        if seen.contains(&name) {
            return Err(Error::invalid(format_args!("Duplicate flag specified: {name}")));
        }
        seen.push(name);
        let Some(value) = value else {
            return Err(Error::invalid(format_args!("Missing a value on flag: {name}")));
        };
        *field = if name == "retries" { retries(value)? } else { interval(name, value)? };
    }
    health.test = match words::json_list(rest)? {
        _ if rest.is_empty() => {
            return Err(Error::invalid("Missing command after HEALTHCHECK CMD"));
        }
        Some(list) => std::iter::once("CMD".into()).chain(list).collect(),
        None => vec!["CMD-SHELL".into(), rest.into()],
    };
    Ok(health)
}

fn interval(name: &str, value: &str) -> Result<i64> {
    if value.is_empty() {
        return Ok(0);
    }
    match duration::parse_ns(value)? {
        0 => Ok(0),
        ns if ns < MIN_INTERVAL_NS => {
            Err(Error::invalid(format_args!("Interval {name:?} cannot be less than 1ms")))
        }
        ns => Ok(ns),
    }
}

fn retries(value: &str) -> Result<i64> {
    if value.is_empty() {
        return Ok(0);
    }
    let count: i32 = value.parse().map_err(|_| {
        Error::invalid(format_args!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
    })?;
    match count {
        ..0 => Err(Error::invalid(format_args!("--retries cannot be negative ({count})"))),
        count => Ok(count.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::split;
    use super::*;

    fn read(text: &str) -> Result<Instruction> {
        let (lines, escape) = split(text)?;
        Instruction::parse(&lines[0], escape)
    }

    #[test]
    fn each_instruction_is_read() {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let health = HealthConfig {
            test: list(&["CMD", "a", "b"]),
            interval: 3_000_000_000,
            retries: 2,
            ..HealthConfig::default()
        };
        for (text, expected) in [
            ("cmd [\"a\"]", Instruction::Cmd(Command::Exec(list(&["a"])))),
            ("CMD a b", Instruction::Cmd(Command::Shell("a b".into()))),
            ("ENTRYPOINT", Instruction::Entrypoint(Command::Shell(String::new()))),
            ("EXPOSE 80  81/udp", Instruction::Expose(list(&["80", "81/udp"]))),
            ("VOLUME [\"/a b\"]", Instruction::Volume(list(&["/a b"]))),
            ("VOLUME /a /b", Instruction::Volume(list(&["/a", "/b"]))),
            ("USER a b", Instruction::User("a b".into())),
            ("ONBUILD  RUN  x y", Instruction::OnBuild("RUN  x y".into())),
            (
                "HEALTHCHECK --interval=3s --retries=2 CMD [\"a\",\"b\"]",
                Instruction::HealthCheck(health),
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_as_docker_tells_them() {
        for (text, told) in [
            ("ENV", "ENV requires at least one argument"),
            ("ENV =x", "ENV names can not be blank"),
            ("USER", "USER requires exactly one argument"),
            ("VOLUME []", "VOLUME requires at least one argument"),
            ("EXPOSE --x 80", "Unknown flag: x"),
            ("ONBUILD", "ONBUILD requires at least one argument"),
            ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
            ("ONBUILD ONBUILD RUN", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
            ("HEALTHCHECK foo", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK --x=1 CMD y", "Unknown flag: x"),
            ("HEALTHCHECK --interval CMD y", "Missing a value on flag: interval"),
            ("HEALTHCHECK --interval=1us CMD y", "Interval \"interval\" cannot be less than 1ms"),
        ] {
            assert_eq!(read(text).unwrap_err().message(), told, "{text}");
        }
    }
}
