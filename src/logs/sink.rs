//! The end of a container's output in the shim: it takes what it is given without blocking, failures are counted
//! and the first is told.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::base::time::Timestamp;
use crate::base::{Error, Result};

use super::options::Settings;
use super::relay::{Heard, Relay};
use super::{Config, Stream, Writer};

/// Takes the output of one container.
#[derive(Debug)]
pub struct Sink {
    way: Way,
    driver: String,
    failures: u64,
    /// What failed first, until somebody asks.
    untold: Option<String>,
    told: bool,
}

#[derive(Debug)]
enum Way {
    File(Box<Writer>),
    Relay(Relay),
}

impl Sink {
    /// Opens the log that `config` describes. For a driver that sends messages away this only starts the sender:
    /// [`Sink::wait_ready`] says how that went.
    ///
    /// # Errors
    /// `InvalidParameter` for options that cannot be; `Io` that names the file.
    pub fn open(config: &Config) -> Result<Sink> {
        let way = match config.format()? {
            Some(format) => {
                let settings = Settings::parse(format, &config.options)?;
                let path = Path::new(&config.path);
                Way::File(Box::new(Writer::open(path, format, settings, &config.attrs)?))
            }
            None => Way::Relay(Relay::start(config)?),
        };
        Ok(Sink { way, driver: config.driver.clone(), failures: 0, untold: None, told: false })
    }

    /// Waits until messages can be sent, or something happens on `abort`.
    ///
    /// # Errors
    /// `Io`: why they cannot, in Docker's words; `Cancelled` after `abort`.
    pub fn wait_ready(&mut self, abort: BorrowedFd<'_>) -> Result<()> {
        match &mut self.way {
            Way::File(_) => Ok(()),
            Way::Relay(relay) => relay.wait_ready(abort),
        }
    }

    /// Takes what `stream` wrote. What cannot be written is lost: the container goes on, as with Docker.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let result = match &mut self.way {
            Way::File(writer) => writer.write(stream, data),
            Way::Relay(relay) => relay.write(stream, data, Timestamp::now()),
        };
        self.count(result);
    }

    /// Whether the container has to wait for its log: then its output should not be read for now.
    pub fn is_full(&self) -> bool {
        match &self.way {
            Way::File(_) => false,
            Way::Relay(relay) => relay.is_full(),
        }
    }

    /// The connection of a log that has one.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::File(_) => None,
            Way::Relay(relay) => Some(relay.fd()),
        }
    }

    /// Whether [`Sink::fd`] is to be watched: for input, and for room while the log is full.
    pub fn is_connected(&self) -> bool {
        matches!(&self.way, Way::Relay(relay) if !relay.is_over())
    }

    /// Does what can be done on [`Sink::fd`].
    pub fn ready(&mut self) {
        let Way::Relay(relay) = &mut self.way else { return };
        relay.flush();
        while let Way::Relay(relay) = &mut self.way
            && let Some(heard) = relay.hear()
        {
            self.heard(heard);
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Ready => {}
            Heard::Refused(text) | Heard::Complaint(text) => self.complain(text),
            Heard::Failures(count) => self.failures += count,
            Heard::End => self.complain("the log sender has ended".into()),
        }
    }

    /// The container has ended: nothing more will come. Waits for the log to be whole, some seconds at most.
    pub fn finish(&mut self) {
        match &mut self.way {
            Way::File(writer) => {
                let results = [Stream::Stdout, Stream::Stderr].map(|stream| writer.finish(stream));
                results.into_iter().for_each(|result| self.count(result));
            }
            Way::Relay(relay) => {
                for heard in relay.close() {
                    if !matches!(heard, Heard::End) {
                        self.heard(heard);
                    }
                }
            }
        }
    }

    fn count(&mut self, result: Result<(), Error>) {
        if let Err(e) = result {
            self.failures += 1;
            self.complain(e.to_string());
        }
    }

    fn complain(&mut self, text: String) {
        if !std::mem::replace(&mut self.told, true) {
            self.untold = Some(text);
        }
    }

    /// What somebody should hear: the first failure, once.
    pub fn complaint(&mut self) -> Option<String> {
        let text = self.untold.take()?;
        Some(format!("failed to log messages with driver {}: {text}", self.driver))
    }

    /// How often writing or sending failed so far; of a sender it is known at its end.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}
