//! The log drivers, in one table.
//!
//! A driver either writes files of a [`Format`], which the shim does itself, or sends messages away: then it is a
//! [`Remote`] in a process of its own. To add one: a file here and a row in [`DRIVERS`].

mod dial;
mod fluentd;
mod gelf;
mod journald;
mod msgpack;
mod splunk;
mod syslog;
mod url;

use crate::base::time::Timestamp;
use crate::base::{Error, Result};

use super::options::Map;
use super::split::Partial;
use super::{Config, Format, Stream};

/// One driver.
pub(super) struct Def {
    pub(super) name: &'static str,
    /// What it does, as a sentence.
    pub(super) about: &'static str,
    /// Its options beside those that every driver has.
    pub(super) options: &'static [&'static [&'static str]],
    /// Checks its options, without those that every driver has, when a container is created.
    pub(super) check: fn(&Map) -> Result<()>,
    pub(super) opens: Opens,
    /// The template of its tag where the user gives none.
    pub(super) default_tag: &'static str,
}

/// How a driver works.
pub(super) enum Opens {
    /// It writes files.
    Files(Format),
    /// It sends messages away; the function makes the connection.
    Remote(fn(&Config) -> Result<Box<dyn Remote>>),
}

/// One message of a container.
pub(super) struct Message<'a> {
    pub(super) time: Timestamp,
    pub(super) stream: Stream,
    /// Without its newline.
    pub(super) line: &'a [u8],
    /// Set if it is part of a line.
    pub(super) partial: Option<Partial<'a>>,
}

/// An open connection to where messages go.
pub(super) trait Remote: Send {
    /// Sends one message; blocks as long as the driver's options let it.
    ///
    /// # Errors
    /// The message is lost. The next one is tried all the same.
    fn send(&mut self, message: &Message<'_>) -> Result<()>;

    /// Sends what is still held back and ends the connection.
    ///
    /// # Errors
    /// Something was lost.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Options of drivers that write files.
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];
/// Options that choose attributes, and the tag.
pub(super) const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// Every driver that a container can have but `none`, sorted by name.
const DRIVERS: &[Def] = &[
    fluentd::DEF,
    gelf::DEF,
    journald::DEF,
    Def {
        name: "json-file",
        about: "Writes JSON to a file beside the container's other files.",
        options: &[&FILES, &ATTRIBUTES],
        check: json_file,
        opens: Opens::Files(Format::Json),
        default_tag: "",
    },
    Def {
        name: "local",
        about: "Writes a compact format to files that are compressed when they are full.",
        options: &[&FILES],
        check: local,
        opens: Opens::Files(Format::Local),
        default_tag: "",
    },
    splunk::DEF,
    syslog::DEF,
];

/// The names of all drivers that write or send something.
pub fn names() -> Vec<&'static str> {
    DRIVERS.iter().map(|def| def.name).collect()
}

/// Each driver with what it does and its options.
pub fn described() -> Vec<(&'static str, String)> {
    let text = |def: &Def| {
        let options: Vec<&str> = def.options.iter().flat_map(|list| list.iter().copied()).collect();
        format!("{} Options: {}.", def.about, options.join(", "))
    };
    DRIVERS.iter().map(|def| (def.name, text(def))).collect()
}

/// The driver of that name.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub(super) fn find(name: &str) -> Result<&'static Def> {
    DRIVERS.iter().find(|def| def.name == name).ok_or_else(|| {
        // Docker takes any other name for that of a plugin.
        Error::invalid(format_args!(
            "error looking up logging plugin {name}: plugin {name:?} not found"
        ))
    })
}

fn json_file(options: &Map) -> Result<()> {
    unknown(options, &[&FILES, &ATTRIBUTES], |key| {
        format!("unknown log opt '{key}' for json-file log driver")
    })
}

fn local(options: &Map) -> Result<()> {
    unknown(options, &[&FILES], |key| format!("unknown log opt '{key}' for log driver local"))
}

/// Refuses an option that is in none of the lists.
fn unknown(options: &Map, known: &[&[&str]], text: fn(&str) -> String) -> Result<()> {
    match options.keys().find(|key| !known.iter().any(|list| list.contains(&key.as_str()))) {
        Some(key) => Err(Error::invalid(text(key))),
        None => Ok(()),
    }
}
