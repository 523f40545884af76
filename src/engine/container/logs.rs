//! What a container said: read back from its log, and followed while it runs.

use super::Container;
use super::record::Record;
use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result};
use crate::engine::model::host::HostConfig;
use crate::engine::settings::Settings;
use crate::logs::{self, Config, LogPath, TagInfo};
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

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
/// `NotImplemented` with Docker's text if its driver keeps nothing; `Conflict` while it is removed.
pub fn check(container: &Container) -> Result<()> {
    {
        let state = &container.data().record.state;
        if state.removal_in_progress || state.dead {
            return Err(Error::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
    }
    match file_of(container) {
        Some(_) => Ok(()),
        None => Err(Error::new(
            Kind::NotImplemented,
            "configured logging driver does not support reading",
        )),
    }
}

/// Where the log of `container` lies, if it is kept here.
fn file_of(container: &Container) -> Option<LogPath> {
    let host = container.data().host.clone();
    let log = &host.log_config;
    logs::file_of(&log.kind, &log.config, &container.dir, &container.id)
}

/// Makes the log file of a container that is about to start, so that a reader who comes before the first
/// line holds the file, and gets the lines even if the container ends and is removed at once.
///
/// # Errors
/// `Io` that names the path.
pub(super) fn prepare(container: &Container) -> Result<()> {
    let Some(LogPath { path, .. }) = file_of(container) else { return Ok(()) };
    let creating = || format!("creating {}", path.display());
    if let Some(dir) = path.parent().filter(|dir| *dir != container.dir) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).at(creating())?;
    }
    let made = OpenOptions::new().append(true).create(true).mode(0o640).open(&path);
    made.map(drop).at(creating())
}

/// Opens the log for reading, to be done before the client's head is answered: whoever has that may remove
/// the container and read on. `None` if nothing is kept here.
///
/// # Errors
/// `Io`.
pub fn open(container: &Container, options: &Options) -> Result<Option<logs::Opened>> {
    let Some(LogPath { path, format }) = file_of(container) else { return Ok(None) };
    let finished = {
        let data = container.data();
        data.record.state.running.then(|| data.finished.clone())
    };
    let options = logs::Options {
        stdout: options.stdout,
        stderr: options.stderr,
        since: options.since,
        until: options.until,
        tail: options.tail,
        follow: finished.filter(|_| options.follow),
        cancel: options.cancel.clone(),
    };
    logs::Opened::new(&path, format, options).map(Some)
}

/// Fills in the daemon's defaults and checks that the log driver of a new container exists and takes its options.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn complete(settings: &Settings, host: &mut HostConfig) -> Result<()> {
    let log = &mut host.log_config;
    if log.kind.is_empty() {
        log.kind.clone_from(&settings.log_driver);
    }
    let same = log.kind == settings.log_driver;
    for (key, value) in &settings.log_opts {
        // How logs are cached is a matter of the daemon whatever the driver.
        if same || logs::is_cache_option(key) {
            log.config.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    logs::check_options(&log.kind, &log.config)
}

/// What the writer of a container's log is told; `None` for one that keeps none.
///
/// # Errors
/// `InvalidParameter` for what is wrong with the options.
pub fn config_of(
    container: &Container,
    record: &Record,
    host: &HostConfig,
) -> Result<Option<Config>> {
    let info = TagInfo {
        id: &record.id,
        name: &record.name,
        image_id: &record.image,
        image_name: &record.config.image,
        entrypoint: &record.path,
        args: &record.args,
        created: record.created,
        env: record.config.env.as_deref().unwrap_or_default(),
        labels: record.config.labels.clone().unwrap_or_default().into_iter().collect(),
        config: host.log_config.config.clone().into_iter().collect(),
    };
    Config::new(&host.log_config.kind, &container.dir, &info)
        .at("failed to create task for container: failed to initialize logging driver")
}
