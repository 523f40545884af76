//! How a command ends badly: a text for standard error and an exit code.

use multi_core::base::{Error, Kind};
use multi_core::cli::pflag::Stop;

/// A command's result: its exit code, or why it failed.
pub(crate) type Outcome = Result<u8, Failure>;

/// Why a command failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What to print to standard error; empty for nothing. Ends in a newline.
    pub(crate) text: String,
    /// The exit code.
    pub(crate) code: u8,
    /// The kind of the error, to tell "not found" from the rest.
    pub(crate) kind: Kind,
}

impl Failure {
    /// A text of its own line and exit code 1.
    pub(crate) fn new(text: impl std::fmt::Display) -> Failure {
        Failure { text: format!("{text}\n"), code: 1, kind: Kind::InvalidParameter }
    }

    /// Nothing to say: everything was said, or the exit code says it.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure { text: String::new(), code, kind: Kind::InvalidParameter }
    }

    /// The same failure with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// The text without its last newline.
    pub(crate) fn message(&self) -> &str {
        self.text.trim_end_matches('\n')
    }

    /// Whether the daemon said that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure { kind: e.kind(), ..Failure::new(e.message()) }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop.code {
            0 => {
                stop.print();
                Failure::silent(0)
            }
            code => Failure { text: stop.text, code, kind: Kind::InvalidParameter },
        }
    }
}
