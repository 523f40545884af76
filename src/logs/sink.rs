//! The end of a container's output in the shim: writing never fails, failures are counted and told once.

use std::path::Path;

use crate::base::{Error, Result};

use super::options::Settings;
use super::{Config, Stream, Writer};

/// Takes the output of one container.
#[derive(Debug)]
pub struct Sink {
    writer: Writer,
    driver: String,
    failures: u64,
    /// What failed first, until somebody asks.
    untold: Option<Error>,
}

impl Sink {
    /// Opens the log that `config` describes.
    ///
    /// # Errors
    /// `InvalidParameter` for options that cannot be; `Io` that names the file.
    pub fn open(config: &Config) -> Result<Sink> {
        let format = config.format()?;
        let settings = Settings::parse(format, &config.options)?;
        let writer = Writer::open(Path::new(&config.path), format, settings, &config.attrs)?;
        Ok(Sink { writer, driver: config.driver.clone(), failures: 0, untold: None })
    }

    /// Takes what `stream` wrote. What cannot be written is lost: the container goes on, as with Docker.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let result = self.writer.write(stream, data);
        self.count(result);
    }

    /// The container has ended: nothing more will come.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let result = self.writer.finish(stream);
            self.count(result);
        }
    }

    fn count(&mut self, result: Result<()>) {
        if let Err(e) = result {
            if self.failures == 0 {
                self.untold = Some(e);
            }
            self.failures += 1;
        }
    }

    /// What somebody should hear: the first failure, once.
    pub fn complaint(&mut self) -> Option<String> {
        let e = self.untold.take()?;
        Some(format!("failed to write the log with driver {}: {e}", self.driver))
    }

    /// How often writing failed so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}
