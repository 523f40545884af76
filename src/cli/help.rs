//! Help in Docker's layout, from the same metadata that reads the command line.
//!
//! Flags are sorted by name; descriptions are wrapped to the width of the terminal on standard
//! input, as Docker's client does, or to 80 columns.

use std::fmt::Write as _;
use std::os::fd::AsFd;

use argh::{FlagInfo, FlagInfoKind};

use super::pflag::Spec;
use crate::sys::winsize;

/// A titled list of commands in the help of a program.
#[derive(Debug)]
pub struct Section<'a> {
    /// `Common Commands`.
    pub title: &'a str,
    /// Name and description.
    pub rows: Vec<(&'a str, &'a str)>,
}

/// The help of a program or of a family of commands.
#[derive(Debug)]
pub struct Program<'a> {
    /// `docker [OPTIONS] COMMAND`.
    pub usage_line: &'a str,
    /// One sentence.
    pub about: &'a str,
    /// The commands.
    pub sections: Vec<Section<'a>>,
    /// Title over the flags: `Global Options`.
    pub options_title: &'a str,
    /// The flags; none leaves the part out.
    pub flags: &'a [FlagInfo<'a>],
    /// The last lines: `Run 'docker COMMAND --help' for more information on a command.`
    pub footer: &'a str,
}

/// Columns to wrap at.
pub fn width() -> usize {
    winsize::columns(std::io::stdin().as_fd()).unwrap_or(80)
}

/// `docker ps [OPTIONS]`: the name, `[OPTIONS]` if there are any, the arguments.
pub fn usage_line(spec: &Spec, called: &str, flags: &[FlagInfo<'_>]) -> String {
    let mut line = called.to_string();
    if flags.iter().any(|f| listed(f, false)) {
        line.push_str(" [OPTIONS]");
    }
    if !spec.usage.is_empty() {
        line.push(' ');
        line.push_str(spec.usage);
    }
    line
}

/// The whole help of one command.
pub fn command(spec: &Spec, called: &str, flags: &[FlagInfo<'_>], width: usize) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", usage_line(spec, called, flags), spec.about);
    if !spec.aliases.is_empty() {
        let _ = write!(out, "\nAliases:\n  {}\n", spec.aliases.join(", "));
    }
    if flags.iter().any(|f| listed(f, false)) {
        let _ = write!(out, "\nOptions:\n{}", options(flags, spec.lists_help, width));
    }
    out
}

/// The first sentence of the first line, as lists of commands show it.
fn in_short(about: &str) -> &str {
    let line = about.lines().next().unwrap_or_default();
    line.split(". ").next().unwrap_or(line)
}

/// The whole help of a program with commands.
pub fn program(program: &Program<'_>, width: usize) -> String {
    let mut out = format!("Usage:  {}\n\n{}\n", program.usage_line, program.about);
    let longest = program.sections.iter().flat_map(|s| &s.rows).map(|(name, _)| name.len()).max();
    let pad = longest.unwrap_or(0).max(11);
    for section in &program.sections {
        let _ = write!(out, "\n{}:\n", section.title);
        for (name, about) in &section.rows {
            let _ = writeln!(out, "  {name:pad$} {}", in_short(about));
        }
    }
    if program.flags.iter().any(|f| listed(f, false)) {
        let _ =
            write!(out, "\n{}:\n{}", program.options_title, options(program.flags, false, width));
    }
    let _ = write!(out, "\n{}\n", program.footer);
    out
}

/// The lines of the flags, wrapped to `width` columns.
pub fn options(flags: &[FlagInfo<'_>], lists_help: bool, width: usize) -> String {
    let mut sorted: Vec<&FlagInfo<'_>> = flags.iter().filter(|f| listed(f, lists_help)).collect();
    sorted.sort_by_key(|f| f.long);
    let heads: Vec<String> = sorted.iter().map(|f| head(f)).collect();
    let indent = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, head) in sorted.iter().zip(&heads) {
        let text = wrap(&description(flag), indent, width.saturating_sub(1));
        let _ = writeln!(out, "{head:pad$}{text}", pad = indent);
    }
    out
}

/// The description of a flag as users read it.
pub fn description(flag: &FlagInfo<'_>) -> String {
    if flag.long == "--help" {
        return "Print usage".into();
    }
    let mut chars = flag.description.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The type word of a flag's value; none for a flag without value.
pub fn type_word<'a>(flag: &FlagInfo<'a>) -> Option<&'a str> {
    match flag.kind {
        FlagInfoKind::Switch | FlagInfoKind::Option { arg_name: "bool" } => None,
        FlagInfoKind::Option { arg_name } => Some(arg_name),
    }
}

/// Whether help shows the flag.
pub fn listed(flag: &FlagInfo<'_>, lists_help: bool) -> bool {
    !flag.hidden && (lists_help || flag.long != "--help")
}

fn head(flag: &FlagInfo<'_>) -> String {
    let mut head = match flag.short {
        Some(letter) => format!("  -{letter}, {}", flag.long),
        None => format!("      {}", flag.long),
    };
    if let Some(word) = type_word(flag) {
        head.push(' ');
        head.push_str(word);
    }
    head
}

/// Narrowest column that is worth wrapping in.
const NARROWEST: usize = 24;
/// A line may be this much longer when that saves a line with a lonely word.
const SLOP: usize = 5;

/// Wraps `text` to end before column `width`; lines after the first start at column `indent`.
///
/// In a narrow terminal the text moves to a block of its own below the flag.
fn wrap(text: &str, mut indent: usize, width: usize) -> String {
    let mut out = String::new();
    if width < indent + NARROWEST {
        indent = 16;
        if width < indent + NARROWEST {
            return text.replace('\n', &format!("\n{}", " ".repeat(indent)));
        }
        let _ = write!(out, "\n{:indent$}", "");
    }
    let room = width - indent - SLOP;
    let mut rest = text;
    loop {
        let (line, tail) = take_line(rest, room);
        out.push_str(&line.replace('\n', &format!("\n{:indent$}", "")));
        if tail.is_empty() {
            return out;
        }
        let _ = write!(out, "\n{:indent$}", "");
        rest = tail;
    }
}

/// The part of `text` that fits in `room` columns (or all of it, with the slop), and the rest.
fn take_line(text: &str, room: usize) -> (&str, &str) {
    if room + SLOP > text.len() {
        return (text, "");
    }
    let end = (0..=room).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let Some(space) = text[..end].rfind([' ', '\t', '\n']).filter(|&at| at > 0) else {
        return (text, "");
    };
    let cut = text[..end].rfind('\n').filter(|&at| at > 0 && at < space).unwrap_or(space);
    (&text[..cut], &text[cut + 1..])
}
