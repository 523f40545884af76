//! Errors as clients see them: the one place where kinds become statuses.

use super::types::ErrorResponse;
use super::version::{MIN, Version};
use crate::base::{Error, Kind, Result};
use crate::http::Response;

/// Text for paths and methods that are not in the table.
pub const PAGE_NOT_FOUND: &str = "page not found";

/// The status for errors of a kind.
pub fn status(kind: Kind) -> u16 {
    match kind {
        Kind::InvalidParameter => 400,
        Kind::Unauthorized => 401,
        Kind::Forbidden => 403,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::NotModified => 304,
        Kind::NotImplemented => 501,
        Kind::Unavailable => 503,
        Kind::Unsupported | Kind::Cancelled | Kind::Io | Kind::Internal => 500,
    }
}

/// Answers with `error`. Clients of versions before 1.24 show the body as it is, so they get plain text.
///
/// # Errors
/// `Io` when the client is gone.
pub fn answer(response: &mut Response<'_>, version: Version, error: &Error) -> Result<()> {
    let status = status(error.kind());
    if version < MIN {
        let text = format!("{error}\n");
        return response.send(status, "text/plain; charset=utf-8", text.as_bytes());
    }
    response.json(status, &ErrorResponse { message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_dockers_status() {
        for (kind, expected) in [
            (Kind::InvalidParameter, 400),
            (Kind::Unauthorized, 401),
            (Kind::Forbidden, 403),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::NotModified, 304),
            (Kind::NotImplemented, 501),
            (Kind::Unavailable, 503),
            (Kind::Cancelled, 500),
            (Kind::Io, 500),
        ] {
            assert_eq!(status(kind), expected);
        }
    }
}
