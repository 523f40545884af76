//! Docker's flag dialect (Go's pflag) on the metadata of argh.
//!
//! `--f=v`, `--f v`, `-f v`, `-fv`, `-f=v`, `-itd`, `--tls=false`; repeated flags, where the last
//! value of a single-valued one wins; nothing is read as a flag after `--`, nor after the first
//! argument of a command that is not `interspersed` (`run`, `create`, `exec`). The single-dash long
//! forms of the oldest documents (`-rm`, `-icc=false`) are taken where the word cannot be read as
//! short flags, with a notice that shows the modern form. Errors come out in Docker's words.
//!
//! # Declaring a command
//!
//! ```
//! use multi_core::cli::pflag::{self, Arity, Spec};
//!
//! /// the flags of one command
//! #[derive(argh::FromArgs, argh::ArgsInfo)]
//! #[argh(help_triggers("--help"))] // without this the word `help` would ask for help
//! struct Stop {
//!     /// signal to send to the container
//!     #[argh(option, short = 's', arg_name = "string")]
//!     signal: Option<String>,
//!     /// seconds to wait before killing the container
//!     #[argh(option, short = 't', arg_name = "int")]
//!     timeout: Option<i64>,
//!     /// the containers
//!     #[argh(positional, greedy)]
//!     containers: Vec<String>,
//! }
//!
//! const STOP: Spec = Spec {
//!     usage: "CONTAINER [CONTAINER...]",
//!     about: "Stop one or more running containers",
//!     aliases: &["docker container stop", "docker stop"],
//!     arity: Arity::AtLeast(1),
//!     renamed: &[("time", "timeout", true)],
//!     ..Spec::NEW
//! };
//!
//! let argv = ["-t5", "web", "db"].map(String::from);
//! let stop: Stop = pflag::parse(&STOP, "docker stop", &argv).map_err(|s| s.text).unwrap();
//! assert_eq!((stop.timeout, stop.containers.len()), (Some(5), 2));
//! ```
//!
//! Rules for the struct:
//! * doc comments are the help texts; argh wants them to start in lower case, help shows the first
//!   letter in upper case. Lines are joined by spaces; `description = "a\nb"` keeps line breaks.
//! * `arg_name` is the type word that help shows: `string`, `list`, `int`, `bytes`, `duration`, `map`,
//!   `filter`... `bool`, `int`, `uint`, `uint16` and `duration` are checked here, with Go's texts;
//!   `strings` is split at commas; others are checked by the field's type or by `from_str_fn`
//!   ([`super::values`]), whose error text is put into Docker's sentence.
//! * a flag without a value is a `switch`, or, when it must tell `--x=false` from absence or is on by
//!   default, `#[argh(option, arg_name = "bool")]` with `bool` or `Option<bool>`.
//! * defaults that help should show end the doc comment: `(default "all")`.
//! * `hidden_help` hides a flag; other names of a flag go into [`Spec::renamed`].
//! * arguments are one `#[argh(positional, greedy)] Vec<String>`; [`Spec::arity`] checks their number.

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};

use super::{help, print, values};
use crate::base::duration;

/// What a command takes and says besides its flags.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Arguments in the usage line, without flags: `IMAGE [COMMAND] [ARG...]`.
    pub usage: &'static str,
    /// What the command does; the first line is its entry in lists of commands.
    pub about: &'static str,
    /// All full names of the command, as help lists them; empty if there is only one.
    pub aliases: &'static [&'static str],
    /// How many arguments it takes.
    pub arity: Arity,
    /// Whether flags may follow arguments.
    pub interspersed: bool,
    /// Other names of flags: old name, flag meant, whether to print that the old one is deprecated.
    pub renamed: &'static [(&'static str, &'static str, bool)],
    /// Whether help lists `--help` itself, as `docker run` does.
    pub lists_help: bool,
}

impl Spec {
    /// A command without arguments, to be completed by `..Spec::NEW`.
    pub const NEW: Spec = Spec {
        usage: "",
        about: "",
        aliases: &[],
        arity: Arity::None,
        interspersed: true,
        renamed: &[],
        lists_help: false,
    };
}

/// How many arguments a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// No argument.
    None,
    /// Any number.
    Any,
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
    /// This many or fewer.
    AtMost(usize),
    /// From the first to the second number.
    Between(usize, usize),
}

/// Why a command line does not lead to a command: help was asked for, or it is wrong.
#[derive(Debug)]
pub struct Stop {
    /// What to print, with its last newline.
    pub text: String,
    /// Exit code: 0 for help, 125 for a wrong flag, 1 for a wrong number of arguments.
    pub code: u8,
}

impl Stop {
    /// Prints the help to standard output or the error to standard error; gives the exit code.
    pub fn print(&self) -> u8 {
        if self.code == 0 {
            return print::out(&self.text);
        }
        print::err(&self.text);
        self.code
    }

    /// A wrong flag: its message, the usage line, a pointer to help, exit code 125.
    pub fn flag(message: &str, usage_line: &str, called: &str) -> Stop {
        Stop {
            text: format!(
                "{message}\n\nUsage:  {usage_line}\n\nRun '{called} --help' for more information\n"
            ),
            code: 125,
        }
    }
}

/// A command line taken apart.
#[derive(Debug)]
pub struct Scan<'a> {
    /// Whether `--help` was given.
    pub help: bool,
    /// Flags with their values in the order given; a single-valued flag occurs once. The values of
    /// flags without value are `true` and `false`, integers are decimal.
    pub flags: Vec<(&'a FlagInfo<'a>, String)>,
    /// The arguments.
    pub arguments: Vec<String>,
    /// Lines to print on standard error: deprecated forms that were used.
    pub notices: Vec<String>,
}

/// Reads `argv` (without the command's own name) as flags and arguments of `T`.
///
/// Notices about deprecated forms are printed to standard error.
///
/// # Errors
/// [`Stop`] to be printed: help, or an error in Docker's words.
pub fn parse<T: FromArgs + ArgsInfo>(
    spec: &Spec,
    called: &str,
    argv: &[String],
) -> Result<T, Stop> {
    let info = T::get_args_info();
    let usage_line = help::usage_line(spec, called, info.flags);
    let flag_error = |message: &str| Stop::flag(message, &usage_line, called);
    let scan = scan(info.flags, spec, argv).map_err(|m| flag_error(&m))?;
    scan.notices.iter().for_each(|n| print::err(n));
    if scan.help {
        let text = help::command(spec, called, info.flags, help::width());
        return Err(Stop { text, code: 0 });
    }
    check_arity(spec, called, &usage_line, scan.arguments.len())?;
    let plain = plain(&scan);
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    T::from_args(&[called], &plain).map_err(|e| match explain(&scan, &e.output) {
        Some(message) => flag_error(&message),
        None => flag_error(e.output.trim_end()),
    })
}

/// Takes `argv` apart by the flags that `flags` declares.
///
/// # Errors
/// The first thing that is wrong, in pflag's words.
pub fn scan<'a>(
    flags: &'a [FlagInfo<'a>],
    spec: &Spec,
    argv: &[String],
) -> Result<Scan<'a>, String> {
    let mut scan = Scan { help: false, flags: vec![], arguments: vec![], notices: vec![] };
    let mut rest = argv.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            scan.arguments.extend(rest.by_ref().cloned());
        } else if let Some(body) = word.strip_prefix("--") {
            if body.starts_with(['-', '=']) {
                return Err(format!("bad flag syntax: {word}"));
            }
            long(flags, spec, body, &mut rest, &mut scan)?;
        } else if word.len() > 1 && word.starts_with('-') {
            let body = &word[1..];
            match old_long(flags, spec, body) {
                Some(name) => {
                    scan.notices.push(format!(
                        "Warning: '-{name}' is deprecated, it will be replaced by '--{name}' soon. \
                         See usage.\n"
                    ));
                    long(flags, spec, body, &mut rest, &mut scan)?;
                }
                None => shorts(flags, body, &mut rest, &mut scan)?,
            }
        } else {
            scan.arguments.push(word.clone());
            if !spec.interspersed {
                scan.arguments.extend(rest.by_ref().cloned());
            }
        }
    }
    Ok(scan)
}

fn takes_no_value(flag: &FlagInfo<'_>) -> bool {
    matches!(flag.kind, FlagInfoKind::Switch | FlagInfoKind::Option { arg_name: "bool" })
}

fn by_long<'a>(flags: &'a [FlagInfo<'a>], name: &str) -> Option<&'a FlagInfo<'a>> {
    flags.iter().find(|f| f.long.strip_prefix("--") == Some(name))
}

fn by_short<'a>(flags: &'a [FlagInfo<'a>], letter: char) -> Option<&'a FlagInfo<'a>> {
    flags.iter().find(|f| f.short == Some(letter))
}

fn split_value(body: &str) -> (&str, Option<&str>) {
    match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    }
}

/// One `--name`, `--name=value` or `--name value`, without the dashes.
fn long<'a>(
    flags: &'a [FlagInfo<'a>],
    spec: &Spec,
    body: &str,
    rest: &mut std::slice::Iter<'_, String>,
    scan: &mut Scan<'a>,
) -> Result<(), String> {
    let (name, value) = split_value(body);
    let flag = match spec.renamed.iter().find(|(old, _, _)| *old == name) {
        Some((old, new, deprecated)) => {
            if *deprecated {
                scan.notices
                    .push(format!("Flag --{old} has been deprecated, use --{new} instead\n"));
            }
            by_long(flags, new)
        }
        None => by_long(flags, name),
    };
    let flag = flag.ok_or_else(|| format!("unknown flag: --{name}"))?;
    match value {
        Some(value) => set(flag, value, scan),
        None if takes_no_value(flag) => set(flag, "true", scan),
        None => {
            let value = rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?;
            set(flag, value, scan)
        }
    }
}

/// One word of short flags, without the dash.
fn shorts<'a>(
    flags: &'a [FlagInfo<'a>],
    mut body: &str,
    rest: &mut std::slice::Iter<'_, String>,
    scan: &mut Scan<'a>,
) -> Result<(), String> {
    while let Some(letter) = body.chars().next() {
        let tail = &body[letter.len_utf8()..];
        let Some(flag) = by_short(flags, letter) else {
            if letter == 'h' {
                scan.help = true;
                scan.notices
                    .push("Flag shorthand -h has been deprecated, use --help\n".to_string());
                body = tail;
                continue;
            }
            return Err(format!("unknown shorthand flag: '{letter}' in -{body}"));
        };
        match tail.strip_prefix('=') {
            // `-p=` is the value `=`, as in pflag.
            Some(value) if !value.is_empty() => return set(flag, value, scan),
            _ if takes_no_value(flag) => set(flag, "true", scan)?,
            _ if !tail.is_empty() => return set(flag, tail, scan),
            _ => {
                let value = rest
                    .next()
                    .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{body}"))?;
                return set(flag, value, scan);
            }
        }
        body = tail;
    }
    Ok(())
}

/// The flag name in a word such as `-rm` or `-icc=false` that cannot be read as short flags.
fn old_long<'w>(flags: &[FlagInfo<'_>], spec: &Spec, body: &'w str) -> Option<&'w str> {
    let (name, _) = split_value(body);
    let known = by_long(flags, name).is_some() || spec.renamed.iter().any(|(o, _, _)| *o == name);
    if name.chars().count() < 2 || !known {
        return None;
    }
    for letter in name.chars() {
        match by_short(flags, letter) {
            // The rest of the word is this flag's value.
            Some(flag) if !takes_no_value(flag) => return None,
            Some(_) => {}
            None => return Some(name),
        }
    }
    None
}

/// Checks a value by its type word and records it.
fn set<'a>(flag: &'a FlagInfo<'a>, value: &str, scan: &mut Scan<'a>) -> Result<(), String> {
    let checked = check(flag, value).map_err(|why| invalid(flag, value, &why))?;
    if flag.long == "--help" {
        scan.help = checked == "true";
        return Ok(());
    }
    if !matches!(flag.optionality, Optionality::Repeating) {
        scan.flags.retain(|(other, _)| other.long != flag.long);
    }
    match flag.kind {
        FlagInfoKind::Option { arg_name: "strings" } => {
            scan.flags.extend(checked.split(',').map(|part| (flag, part.to_string())));
        }
        _ => scan.flags.push((flag, checked)),
    }
    Ok(())
}

/// Docker's sentence for a value that a flag does not take.
pub fn invalid(flag: &FlagInfo<'_>, value: &str, why: &str) -> String {
    match flag.short {
        Some(letter) => {
            format!("invalid argument {value:?} for \"-{letter}, {}\" flag: {why}", flag.long)
        }
        None => format!("invalid argument {value:?} for \"{}\" flag: {why}", flag.long),
    }
}

fn check(flag: &FlagInfo<'_>, value: &str) -> Result<String, String> {
    let word = match flag.kind {
        FlagInfoKind::Switch => "bool",
        FlagInfoKind::Option { arg_name } => arg_name,
    };
    Ok(match word {
        "bool" => go_bool(value)?.to_string(),
        "int" => values::go_int(value, 64)?.to_string(),
        "uint" => values::go_uint(value, 64)?.to_string(),
        "uint16" => values::go_uint(value, 16)?.to_string(),
        "duration" => {
            duration::parse_ns(value).map_err(|e| e.to_string())?;
            value.to_string()
        }
        _ => value.to_string(),
    })
}

/// A truth value as Go's `strconv.ParseBool` reads it.
///
/// # Errors
/// Go's text.
pub fn go_bool(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
    }
}

/// Checks the number of arguments.
///
/// # Errors
/// Docker's sentence for a wrong number.
pub fn check_arity(spec: &Spec, called: &str, usage_line: &str, count: usize) -> Result<(), Stop> {
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    let (problem, see) = match spec.arity {
        Arity::None if count > 0 => ("accepts no arguments".to_string(), "Run"),
        Arity::Exactly(n) if count != n => (format!("requires {n} {}", plural(n)), "Run"),
        Arity::AtLeast(n) if count < n => (format!("requires at least {n} {}", plural(n)), "See"),
        Arity::AtMost(n) if count > n => (format!("requires at most {n} {}", plural(n)), "Run"),
        Arity::Between(low, high) if !(low..=high).contains(&count) => {
            (format!("requires at least {low} and at most {high} {}", plural(high)), "Run")
        }
        _ => return Ok(()),
    };
    let program = called.split(' ').next().unwrap_or(called);
    Err(Stop {
        text: format!(
            "{program}: '{called}' {problem}\n\nUsage:  {usage_line}\n\n\
             {see} '{called} --help' for more information\n"
        ),
        code: 1,
    })
}

/// The command line as argh reads it: `--long value`, then `--`, then the arguments.
fn plain(scan: &Scan<'_>) -> Vec<String> {
    let mut out = Vec::with_capacity(scan.flags.len() * 2 + scan.arguments.len() + 1);
    for (flag, value) in &scan.flags {
        match flag.kind {
            FlagInfoKind::Switch if value == "true" => out.push(flag.long.to_string()),
            FlagInfoKind::Switch => {}
            FlagInfoKind::Option { .. } => out.extend([flag.long.to_string(), value.clone()]),
        }
    }
    out.push("--".into());
    out.extend(scan.arguments.iter().cloned());
    out
}

/// argh's complaint about a value, in Docker's words.
fn explain(scan: &Scan<'_>, complaint: &str) -> Option<String> {
    scan.flags.iter().find_map(|(flag, value)| {
        let head = format!("Error parsing option '{}' with value '{value}': ", flag.long);
        Some(invalid(flag, value, complaint.strip_prefix(&head)?.trim_end()))
    })
}

#[cfg(test)]
#[path = "pflag_tests.rs"]
mod tests;
