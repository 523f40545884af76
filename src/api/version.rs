//! Versions of the API: the range that is served, and what differs between them by name.
//!
//! Spec: Docker Engine API version history.

use std::fmt;

use crate::base::{Error, Result};

/// A version, `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// The oldest version that is served.
pub const MIN: Version = Version(1, 24);
/// The newest version that is served; what requests without a version mean.
pub const MAX: Version = Version(1, 51);

impl Version {
    /// Parses digits and dots; what comes after the second number does not count.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().map_or(Some(0), |p| p.parse().ok())?;
        parts.all(|p| p.parse::<u32>().is_ok()).then_some(Version(major, minor))
    }

    /// Checks that the version is served.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts, which its clients show.
    pub fn check(self) -> Result<()> {
        if self < MIN {
            return Err(Error::invalid(format_args!(
                "client version {self} is too old. Minimum supported API version is {MIN}, please upgrade your client to a newer version"
            )));
        }
        if self > MAX {
            return Err(Error::invalid(format_args!(
                "client version {self} is too new. Maximum supported API version is {MAX}"
            )));
        }
        Ok(())
    }

    /// Splits `/v1.51/path` into version and `/path`; a path without a version means the newest.
    pub fn split(path: &str) -> (Version, &str) {
        let versioned = path.strip_prefix("/v").and_then(|rest| {
            let (version, _) = rest.split_once('/')?;
            Some((Version::parse(version)?, &rest[version.len()..]))
        });
        versioned.unwrap_or((MAX, path))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_have_a_version() {
        assert_eq!(Version::split("/v1.24/info"), (Version(1, 24), "/info"));
        assert_eq!(Version::split("/info"), (MAX, "/info"));
        assert_eq!(Version::split("/volumes/x"), (MAX, "/volumes/x"));
        assert_eq!(Version::split("/v1.51"), (MAX, "/v1.51"));
        assert_eq!(Version::split("/v1.x/info"), (MAX, "/v1.x/info"));
    }

    #[test]
    fn only_the_range_is_served() {
        assert!(MIN.check().is_ok() && MAX.check().is_ok());
        let text = Version(1, 12).check().unwrap_err().to_string();
        assert_eq!(
            text,
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        let text = Version(1, 99).check().unwrap_err().to_string();
        assert_eq!(text, "client version 1.99 is too new. Maximum supported API version is 1.51");
        assert!(Version(1, 9) < MIN);
    }
}
