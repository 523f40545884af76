//! Pausing and letting go.

use crate::api::Call;
use crate::base::Result;
use crate::engine::container::pause;
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
