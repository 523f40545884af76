//! `POST /containers/create`.

use super::older;
use crate::api::Call;
use crate::api::types::config::{CreateRequest, CreateResponse};
use crate::base::{Error, Result};
use crate::engine::container::create;
use crate::http::{Request, Response};

/// Makes a container.
///
/// # Errors
/// As `engine::container::create::create`; `InvalidParameter` for a body without a configuration.
pub fn create(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let body: CreateRequest = request
        .json()?
        .ok_or_else(|| Error::invalid("invalid JSON: got EOF while reading request body"))?;
    let config = body.config.unwrap_or_default();
    if config.image.is_empty() {
        return Err(Error::invalid("no image specified"));
    }
    if let Some(platform) = request.query.get("platform").filter(|platform| !platform.is_empty()) {
        call.engine.images.check_platform(&config.image, platform)?;
    }
    let mut host = body.host_config.unwrap_or_default();
    let older = older::adapt(call.version, &mut host)?;
    let mut created = create::create(
        call.engine,
        create::Request {
            name: request.query.text("name").into(),
            config,
            host,
            networking: body.networking_config.unwrap_or_default(),
            plain_read_only: older.plain_read_only,
        },
    )?;
    created.warnings.extend(older.warning);
    response.json(201, &CreateResponse { id: created.id, warnings: created.warnings })
}
