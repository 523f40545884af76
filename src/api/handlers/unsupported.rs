//! Answers for parts of the API that this engine does not have: never a made-up success.

use crate::api::Call;
use crate::api::version::Version;
use crate::base::{Error, Kind, Result};
use crate::http::{Request, Response};

/// Docker's text for calls that only a swarm manager can answer.
const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
/// Docker's text for leaving a swarm that one is not in.
const NO_SWARM: &str = "This node is not part of a swarm";

/// 501.
///
/// # Errors
/// Always `NotImplemented`.
pub fn missing(_: &Call<'_>, request: &mut Request<'_>, _: &mut Response<'_>) -> Result<()> {
    let (_, path) = Version::split(&request.path);
    Err(Error::new(
        Kind::NotImplemented,
        format_args!("{} {path} is not implemented by this engine", request.method),
    ))
}

/// 503: not a manager.
///
/// # Errors
/// Always `Unavailable`.
pub fn no_manager(_: &Call<'_>, _: &mut Request<'_>, _: &mut Response<'_>) -> Result<()> {
    Err(Error::new(Kind::Unavailable, NO_MANAGER))
}

/// 503: not in a swarm.
///
/// # Errors
/// Always `Unavailable`.
pub fn no_swarm(_: &Call<'_>, _: &mut Request<'_>, _: &mut Response<'_>) -> Result<()> {
    Err(Error::new(Kind::Unavailable, NO_SWARM))
}
