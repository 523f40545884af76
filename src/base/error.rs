//! The one error type of the engine: a kind, a message that names the object, and the errno if any.
//!
//! Messages are lower case, without a full stop, and read `verb-ing object: cause`. An error is
//! returned or logged, never both. The kind decides the HTTP status in `api` and the exit code in
//! the client; texts that Docker's clients match are constants where they are made.

use std::fmt;
use std::io;

/// What kind of failure this is; the API maps it to a status code in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller sent something that cannot be meant: HTTP 400.
    InvalidParameter,
    /// The named object does not exist: HTTP 404.
    NotFound,
    /// The state of the object or its name forbids it now: HTTP 409.
    Conflict,
    /// Credentials are missing or wrong: HTTP 401.
    Unauthorized,
    /// Not allowed whoever asks: HTTP 403.
    Forbidden,
    /// Nothing to do, the object is in that state already: HTTP 304.
    NotModified,
    /// This engine does not have the feature: HTTP 501.
    NotImplemented,
    /// Cannot be done now, may work later: HTTP 503.
    Unavailable,
    /// The kernel or the host lacks what is needed: HTTP 500 with a message that says what.
    Unsupported,
    /// The caller went away or the daemon is stopping.
    Cancelled,
    /// A system call or a peer failed: HTTP 500.
    Io,
    /// Our own bug or a state that should not be: HTTP 500.
    Internal,
}

/// An error of any layer. One pointer wide, so that `Result` stays small.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    errno: Option<i32>,
}

/// The result of nearly every function here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` whose whole text is `message`.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Error {
        Error(Box::new(Inner { kind, message: message.to_string(), errno: None }))
    }

    /// [`Kind::InvalidParameter`].
    pub fn invalid(message: impl fmt::Display) -> Error {
        Error::new(Kind::InvalidParameter, message)
    }

    /// [`Kind::NotFound`].
    pub fn not_found(message: impl fmt::Display) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// [`Kind::Conflict`].
    pub fn conflict(message: impl fmt::Display) -> Error {
        Error::new(Kind::Conflict, message)
    }

    /// [`Kind::Internal`].
    pub fn internal(message: impl fmt::Display) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// [`Kind::Unsupported`].
    pub fn unsupported(message: impl fmt::Display) -> Error {
        Error::new(Kind::Unsupported, message)
    }

    /// [`Kind::Cancelled`], with Docker's text.
    pub fn cancelled() -> Error {
        Error::new(Kind::Cancelled, "context canceled")
    }

    /// A failed system call: [`Kind::Io`] with the kernel's words for `errno`.
    pub fn from_errno(errno: i32) -> Error {
        Error(Box::new(Inner { kind: Kind::Io, message: errno_text(errno), errno: Some(errno) }))
    }

    /// The errno of the system call that failed last on this thread.
    pub fn last_os() -> Error {
        Error::from(io::Error::last_os_error())
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The kernel's error number at the root of this error, if it has one.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The text for users, without the kind.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The same error with another kind.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Puts `what: ` before the message.
    pub fn at(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }
}

/// Adds the step that failed to an error on its way up.
pub trait At<T> {
    /// Puts `what: ` before the message. Use `format_args!` for text that should only be built on failure.
    fn at(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> At<T> for std::result::Result<T, E> {
    fn at(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().at(what))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        match e.raw_os_error() {
            Some(errno) => Error::from_errno(errno),
            // An Error that travelled through a Read or Write comes back whole.
            None if e.get_ref().is_some_and(|inner| inner.is::<Error>()) => {
                match e.into_inner().map(|inner| inner.downcast::<Error>()) {
                    Some(Ok(ours)) => *ours,
                    _ => Error::internal("lost error"),
                }
            }
            None => Error::new(Kind::Io, e),
        }
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> io::Error {
        match e.errno() {
            Some(errno) if e.message() == errno_text(errno) => io::Error::from_raw_os_error(errno),
            _ => io::Error::other(e),
        }
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(e: nix::errno::Errno) -> Error {
        Error::from_errno(e as i32)
    }
}

/// The C library's text for `errno`, in Go's lower case.
fn errno_text(errno: i32) -> String {
    let text = nix::errno::Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match chars.next() {
        // "RFS specific error" and the like keep their capitals.
        Some(first) if !chars.as_str().starts_with(|c: char| c.is_ascii_uppercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_goes_before_the_cause() {
        let e = Error::from_errno(libc::ENOENT).at("opening /x").at("creating layer");
        assert_eq!(e.to_string(), "creating layer: opening /x: no such file or directory");
        assert_eq!(e.errno(), Some(libc::ENOENT));
        assert_eq!(e.kind(), Kind::Io);
    }

    #[test]
    fn survives_a_trip_through_io_error() {
        let e: io::Error = Error::not_found("no such image").into();
        assert_eq!(Error::from(e).kind(), Kind::NotFound);
    }
}
