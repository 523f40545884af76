//! Volumes over HTTP.

use crate::api::types::volume::{CreateRequest, ListResponse, PruneReport, Volume};
use crate::api::version::Version;
use crate::api::{Call, filters};
use crate::base::{Error, Kind, Result};
use crate::engine::volumes::Filters;
use crate::http::{Request, Response};
use crate::volume;

/// A volume as clients see it. Empty labels and options are shown as null, as Docker does.
pub fn shown(volume: volume::Volume) -> Volume {
    let given = |map: crate::base::json::TextMap| (!map.is_empty()).then_some(map);
    Volume {
        created_at: volume.created.to_string(),
        driver: volume::LOCAL.into(),
        labels: given(volume.labels),
        mountpoint: volume.path.to_string_lossy().into_owned(),
        name: volume.name,
        options: given(volume.options),
        scope: "local".into(),
        ..Volume::default()
    }
}

fn wanted(request: &Request<'_>) -> Result<Filters> {
    filters::parse(request.query.text("filters"))
}

/// `GET /volumes`.
///
/// # Errors
/// As `Engine::volume_list`.
pub fn list(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let volumes = call.engine.volume_list(&wanted(request)?)?;
    let volumes = volumes.into_iter().map(shown).collect();
    response.json(200, &ListResponse { volumes, warnings: None })
}

/// `GET /volumes/{name}`.
///
/// # Errors
/// `NotFound`.
pub fn inspect(
    call: &Call<'_>,
    _request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    response.json(200, &shown(call.engine.volumes.get(call.param("name"))?))
}

/// `POST /volumes/create`.
///
/// # Errors
/// As `Engine::volume_create`; `Unavailable` for volumes of a cluster.
pub fn create(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let body: CreateRequest = request
        .json()?
        .ok_or_else(|| Error::invalid("invalid JSON: got EOF while reading request body"))?;
    if body.cluster_volume_spec.is_some() && call.version >= Version(1, 42) {
        return super::unsupported::no_manager(call, request, response);
    }
    let made =
        call.engine.volume_create(&body.name, &body.driver, &body.driver_opts, &body.labels)?;
    response.json(201, &shown(made))
}

/// `PUT /volumes/{name}`: only volumes of a cluster can be changed.
///
/// # Errors
/// `Unavailable` always.
pub fn update(
    _call: &Call<'_>,
    _request: &mut Request<'_>,
    _response: &mut Response<'_>,
) -> Result<()> {
    Err(Error::new(
        Kind::Unavailable,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}

/// `DELETE /volumes/{name}`.
///
/// # Errors
/// As `Engine::volume_remove`.
pub fn remove(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    call.engine.volume_remove(call.param("name"), request.query.flag("force"))?;
    response.status(204)
}

/// `POST /volumes/prune`. Before API 1.42 all volumes were meant, not only anonymous ones.
///
/// # Errors
/// As `Engine::volume_prune`.
pub fn prune(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let mut filters = wanted(request)?;
    if call.version < Version(1, 42) {
        filters.entry("all".into()).or_default().push("true".into());
    }
    let pruned = call.engine.volume_prune(&filters)?;
    response.json(
        200,
        &PruneReport { volumes_deleted: pruned.names, space_reclaimed: pruned.reclaimed },
    )
}
