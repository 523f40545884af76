//! Starting, stopping, waiting, renaming, removing, and the process table.

use crate::api::Call;
use crate::api::types::container::{PruneReport, TopResponse, WaitError, WaitResponse};
use crate::base::json;
use crate::base::{At, Error, Result};
use crate::engine::container::wait::{Condition, Wait};
use crate::engine::container::{attach, links, prune, remove, rename, start, stop, top};
use crate::http::{Request, Response};
use std::io::Write;

/// `POST /containers/{name}/start`.
///
/// # Errors
/// As `start::start`; `InvalidParameter` for malformed detach keys.
pub fn start(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    attach::parse_detach_keys(request.query.text("detachKeys"))?;
    let container = call.engine.containers()?.find(call.param("name"))?;
    start::start(call.engine, &container)?;
    response.status(204)
}

/// `POST /containers/{name}/stop`.
///
/// # Errors
/// As `stop::stop`.
pub fn stop(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    stop::stop(call.engine, &container, &stop_options(request)?)?;
    response.status(204)
}

/// `POST /containers/{name}/restart`.
///
/// # Errors
/// As `stop::restart`.
pub fn restart(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let name = call.param("name");
    let container = call.engine.containers()?.find(name)?;
    stop::restart(call.engine, &container, &stop_options(request)?)
        .at(format_args!("Cannot restart container {name}"))?;
    response.status(204)
}

fn stop_options(request: &Request<'_>) -> Result<stop::Options> {
    Ok(stop::Options {
        signal: request.query.get("signal").filter(|s| !s.is_empty()).map(String::from),
        timeout_seconds: request.query.number("t")?,
    })
}

/// `POST /containers/{name}/kill`.
///
/// # Errors
/// As `stop::kill`.
pub fn kill(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    stop::kill(call.engine, &container, request.query.text("signal"))?;
    response.status(204)
}

/// `POST /containers/{name}/wait`. The head goes out when the wait has begun, so that the client may
/// start the container and miss nothing.
///
/// # Errors
/// `NotFound`, or `InvalidParameter` for an unknown condition.
pub fn wait(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    // The parameter is of API 1.30; older clients wait for the end of the present run.
    let condition = Condition::parse(request.query.text("condition"))?;
    let container = call.engine.containers()?.find(call.param("name"))?;
    let wait = Wait::begin(container, condition);
    let cancel = request.cancel()?;
    let mut stream = response.stream(200, "application/json")?;
    let ended = wait.finish(&cancel)?;
    let error = (!ended.error.is_empty()).then_some(WaitError { message: ended.error });
    let mut text = json::to_string(&WaitResponse { error, status_code: ended.exit_code });
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(Error::from)
}

/// `POST /containers/{name}/rename`.
///
/// # Errors
/// As `rename::rename`.
pub fn rename(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    rename::rename(call.engine, &container, request.query.text("name"))?;
    response.status(204)
}

/// `DELETE /containers/{name}`.
///
/// # Errors
/// As `remove::remove`, or as `links::remove` for a link.
pub fn remove(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    if request.query.flag("link") {
        links::remove(call.engine, call.param("name"))?;
        return response.status(204);
    }
    let container = call.engine.containers()?.find(call.param("name"))?;
    let options =
        remove::Options { force: request.query.flag("force"), volumes: request.query.flag("v") };
    remove::remove(call.engine, &container, options)?;
    response.status(204)
}

/// `POST /containers/prune`.
///
/// # Errors
/// As `prune::prune`.
pub fn prune(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let filters = crate::api::filters::parse(request.query.text("filters"))?;
    let pruned = prune::prune(call.engine, &filters)?;
    let ids = (!pruned.ids.is_empty()).then_some(pruned.ids);
    let report = PruneReport { containers_deleted: ids, space_reclaimed: pruned.reclaimed };
    response.json(200, &report)
}

/// `GET /containers/{name}/top`.
///
/// # Errors
/// As `top::top`.
pub fn top(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let table = top::top(call.engine, &container, request.query.text("ps_args"))?;
    call.engine.container_event(&container, "top", &[]);
    response.json(200, &TopResponse { processes: table.rows, titles: table.titles })
}
