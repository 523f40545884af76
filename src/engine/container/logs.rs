//! What a container said: read back from its log, and followed while it runs.

use super::Container;
use super::record::Record;
use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result};
use crate::engine::model::host::HostConfig;
use crate::logs::{self, Entry, TagInfo};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What to read.
#[derive(Clone, Default)]
pub struct Options {
    /// Entries of standard output.
    pub stdout: bool,
    /// Entries of standard error.
    pub stderr: bool,
    /// Nothing earlier.
    pub since: Option<Timestamp>,
    /// Nothing later.
    pub until: Option<Timestamp>,
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Go on until the end of the present run.
    pub follow: bool,
    /// Ends the reading at once.
    pub cancel: Cancel,
}

/// Whether the log of `container` can be read back, to be asked before the client's head is answered.
///
/// # Errors
/// `NotImplemented` with Docker's text if its driver keeps nothing.
pub fn check(container: &Container) -> Result<()> {
    if container.data().host.log_config.kind == "none" {
        return Err(Error::new(
            Kind::NotImplemented,
            "configured logging driver does not support reading",
        ));
    }
    Ok(())
}

/// Makes the log file of a container that is about to start, so that a reader who comes before the first
/// line holds the file, and gets the lines even if the container ends and is removed at once.
///
/// # Errors
/// `Io` that names the path.
pub(super) fn prepare(container: &Container) -> Result<()> {
    let path = container.data().record.log_path.clone();
    if path.is_empty() {
        return Ok(());
    }
    let made = OpenOptions::new().append(true).create(true).mode(0o640).open(&path);
    made.map(drop).at(format_args!("creating {path}"))
}

/// Gives the entries to `sink`, in order.
///
/// # Errors
/// Those of `sink`; `Cancelled`; `Io`.
pub fn read(
    container: &Container,
    options: &Options,
    sink: &mut dyn FnMut(&Entry<'_>) -> Result<()>,
) -> Result<()> {
    let (path, finished) = {
        let data = container.data();
        (data.record.log_path.clone(), data.record.state.running.then(|| data.finished.clone()))
    };
    if path.is_empty() {
        return Ok(());
    }
    let options = logs::Options {
        stdout: options.stdout,
        stderr: options.stderr,
        since: options.since,
        until: options.until,
        tail: options.tail,
        follow: finished.filter(|_| options.follow),
        cancel: options.cancel.clone(),
    };
    logs::read(Path::new(&path), &options, sink)
}

/// Checks that the log driver of a new container exists and takes its options.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check_driver(host: &HostConfig) -> Result<()> {
    logs::check_options(&host.log_config.kind, &host.log_config.config)
        .at("failed to initialize logging driver")
}

/// What `labels`, `env` and `tag` ask to have in each entry.
///
/// # Errors
/// `InvalidParameter` for patterns and tags that cannot be read.
pub fn attributes_of(record: &Record, host: &HostConfig) -> Result<BTreeMap<String, String>> {
    let command = std::iter::once(record.path.as_str())
        .chain(record.args.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(" ");
    let tag = TagInfo {
        id: &record.id,
        name: &record.name,
        image_id: &record.image,
        image_name: &record.config.image,
        command: &command,
    };
    let labels = record.config.labels.clone().unwrap_or_default();
    let env = record.config.env.clone().unwrap_or_default();
    logs::attributes(&host.log_config.config, &labels, &env, &tag)
}
