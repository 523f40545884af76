//! Pausing and letting go, and changing limits.

use crate::api::Call;
use crate::api::types::update::{UpdateRequest, UpdateResponse};
use crate::api::version::Version;
use crate::base::{Error, Result};
use crate::engine::container::{pause, update};
use crate::http::{Request, Response};

/// `POST /containers/{name}/pause`.
///
/// # Errors
/// As `pause::pause`.
pub fn pause(call: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    pause::pause(call.engine, &container)?;
    response.status(204)
}

/// `POST /containers/{name}/unpause`.
///
/// # Errors
/// As `pause::unpause`.
pub fn unpause(call: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    pause::unpause(call.engine, &container)?;
    response.status(204)
}

/// `POST /containers/{name}/update`.
///
/// # Errors
/// As `update::update`; `InvalidParameter` for a body that is none.
pub fn update(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let mut change: UpdateRequest = request
        .json()?
        .ok_or_else(|| Error::invalid("invalid JSON: got EOF while reading request body"))?;
    if call.version < Version(1, 40) {
        change.pids_limit = None;
    }
    let warnings = update::update(call.engine, call.param("name"), &change)?;
    response.json(200, &UpdateResponse { warnings })
}
