//! What who writes a log is told by who starts the container, and where a log lies.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::base::Result;
use crate::base::time::Timestamp;

use super::Format;
use super::attributes::TagInfo;
use super::drivers::{self, Opens};
use super::options::{self, Settings};

crate::wire! {
    /// Where the output of a container goes, with everything resolved that the daemon knows.
    pub struct Config {
        /// Name of the driver; never `none`.
        "driver" keep driver: String,
        /// The file: the log itself, or the cache of a driver that sends its messages away. Empty for none.
        "path" keep path: String,
        /// Docker's options, such as max-size and max-file.
        "options" omit options: BTreeMap<String, String>,
        /// Labels and variables that the options choose. For json-file, the tag among them.
        "attrs" omit attrs: BTreeMap<String, String>,
        /// The expanded tag.
        "tag" omit tag: String,
        /// What of the daemon's environment matters to a sender.
        "environment" omit environment: BTreeMap<String, String>,
        /// The container, for drivers that send it along.
        "container" omit container: Option<About>,
    }
}

crate::wire! {
    /// What messages tell of their container.
    pub struct About {
        "id" keep id: String,
        /// With its slash.
        "name" keep name: String,
        "imageId" keep image_id: String,
        "imageName" keep image_name: String,
        "command" keep command: String,
        "created" keep created: Timestamp,
    }
}

impl Config {
    /// The configuration for a container whose files are in `dir`; `None` for the driver `none`.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for what it finds wrong when a container starts.
    pub fn new(driver: &str, dir: &Path, info: &TagInfo<'_>) -> Result<Option<Config>> {
        if driver == "none" {
            return Ok(None);
        }
        let def = drivers::find(driver)?;
        let mut attrs = info.attributes()?;
        let tag = info.tag(def.default_tag)?;
        let container = match def.opens {
            Opens::Files(format) => {
                Settings::parse(format, &info.config)?;
                if !tag.is_empty() {
                    attrs.insert("tag".into(), tag.clone());
                }
                None
            }
            Opens::Remote(_) => {
                Settings::cache(&info.config)?;
                Some(About {
                    id: info.id.into(),
                    name: info.name.into(),
                    image_id: info.image_id.into(),
                    image_name: info.image_name.into(),
                    command: info.command(),
                    created: info.created,
                })
            }
        };
        let environment = container.as_ref().map(|_| environment()).unwrap_or_default();
        let path = file_of(driver, &info.config, dir, info.id).map(|file| file.path);
        Ok(Some(Config {
            driver: driver.into(),
            path: path.unwrap_or_default().to_string_lossy().into_owned(),
            options: info.config.clone(),
            attrs,
            tag,
            environment,
            container,
        }))
    }

    /// How the driver's files are written; `None` if it sends messages away.
    ///
    /// # Errors
    /// `InvalidParameter` for a driver that there is not.
    pub(super) fn format(&self) -> Result<Option<Format>> {
        match drivers::find(&self.driver)?.opens {
            Opens::Files(format) => Ok(Some(format)),
            Opens::Remote(_) => Ok(None),
        }
    }
}

/// The time zone and the certificates are the daemon's, and so is how a driver is tuned.
fn environment() -> BTreeMap<String, String> {
    let matters = |name: &str| {
        matches!(name, "TZ" | "SSL_CERT_FILE" | "SSL_CERT_DIR")
            || name.starts_with("SPLUNK_LOGGING_DRIVER_")
    };
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(|(name, _)| matters(name)).collect()
}

/// A log that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// The newest file.
    pub path: PathBuf,
    /// How its entries stand in it.
    pub format: Format,
}

/// The log of the container `id` whose files are in `dir`; `None` if its driver keeps nothing here.
pub fn file_of(
    driver: &str,
    options: &BTreeMap<String, String>,
    dir: &Path,
    id: &str,
) -> Option<LogPath> {
    let (name, format) = match drivers::find(driver).ok()?.opens {
        Opens::Files(Format::Json) => (format!("{id}-json.log"), Format::Json),
        Opens::Files(Format::Local) => ("local-logs/container.log".into(), Format::Local),
        Opens::Remote(_) if options::is_cached(options) => {
            ("container-cached.log".into(), Format::Local)
        }
        Opens::Remote(_) => return None,
    };
    Some(LogPath { path: dir.join(name), format })
}
