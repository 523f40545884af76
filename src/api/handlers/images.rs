//! Images over HTTP.

use std::io::{BufWriter, Write};

use crate::api::stream::JsonProgress;
use crate::api::types::container::DriverData;
use crate::api::types::image::{
    DeleteItem, HistoryItem, ImageConfig, InspectResponse, Metadata, PruneReport, RootFs, Summary,
};
use crate::api::version::Version;
use crate::api::{Call, filters};
use crate::base::cancel::Cancel;
use crate::base::digest::Digest;
use crate::base::json;
use crate::base::progress::{Progress, Silent};
use crate::base::time::Timestamp;
use crate::base::{Error, Kind, Result};
use crate::engine::images::{
    self, ImportRequest, ListOptions, PullRequest, RemoveOptions, Removed, Row, Shown,
};
use crate::http::{Request, Response};
use crate::image::config::{Config, Platform};
use crate::registry::auth::Credentials;
use crate::registry::reference::Reference;

/// What is written to a client at once while an archive is saved, in bytes.
const SAVE_BUFFER_BYTES: usize = 64 * 1024;

/// `GET /images/json`.
///
/// # Errors
/// As `Images::list`.
pub fn list(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let query = &request.query;
    let mut wanted = filters::parse(query.text("filters"))?;
    if call.version < Version(1, 41) && !query.text("filter").is_empty() {
        wanted.entry("reference".into()).or_default().push(query.text("filter").into());
    }
    let options = ListOptions {
        all: query.flag("all"),
        shared_size: call.version >= Version(1, 42) && query.flag("shared-size"),
        filters: wanted,
    };
    let rows = call.engine.images.list(&options, &call.engine.image_uses()?)?;
    let rows: Vec<Summary> = rows.into_iter().map(|row| summary(row, call.version)).collect();
    response.json(200, &rows)
}

/// One row as clients of `version` see it.
pub(super) fn summary(row: Row, version: Version) -> Summary {
    let (mut tags, mut digests) = (row.tags, row.digests);
    if version < Version(1, 43) && tags.is_empty() && digests.is_empty() {
        tags.push("<none>:<none>".into());
        digests.push("<none>@<none>".into());
    }
    Summary {
        containers: if version < Version(1, 51) { -1 } else { row.containers as i64 },
        created: row.created.map_or(0, |t| t.secs),
        id: row.id,
        labels: row.labels,
        parent_id: row.parent,
        descriptor: None,
        repo_digests: digests,
        repo_tags: tags,
        shared_size: row.shared_size.map_or(-1, |n| n as i64),
        size: row.size as i64,
        virtual_size: if version < Version(1, 44) { row.size as i64 } else { 0 },
    }
}

/// The platform that a query names, as text or, since the parameter became JSON, as an object.
fn platform(call: &Call<'_>, request: &Request<'_>, since: Version) -> Result<Option<Platform>> {
    let text = request.query.text("platform");
    if text.is_empty() || call.version < since {
        return Ok(None);
    }
    if !text.starts_with('{') {
        return Platform::parse(text).map(Some);
    }
    let bad =
        |e: &dyn std::fmt::Display| Error::invalid(format_args!("failed to parse platform: {e}"));
    let parsed: Platform = json::parse(text.as_bytes()).map_err(|e| bad(&e))?;
    if parsed.os.is_empty() || parsed.architecture.is_empty() {
        return Err(bad(&"both OS and Architecture must be provided"));
    }
    Ok(Some(Platform::new(&parsed.os, &parsed.architecture, &parsed.variant)))
}

/// `GET /images/{name}/json`.
///
/// # Errors
/// As `Images::show`.
pub fn inspect(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let platform = platform(call, request, Version(1, 49))?;
    let shown = call.engine.images.show(call.param("name"), platform.as_ref())?;
    response.json(200, &inspected(shown, call.version))
}

fn inspected(shown: Shown, version: Version) -> InspectResponse {
    let config = &shown.image.config;
    let from_history = || config.history.last().map(|h| h.comment.clone()).unwrap_or_default();
    let created = match config.created {
        Some(created) => created.to_string(),
        None if version < Version(1, 44) => Timestamp::ZERO.to_string(),
        None => String::new(),
    };
    let old = version < Version(1, 45);
    let size = shown.size as i64;
    InspectResponse {
        id: shown.image.id.to_string(),
        repo_tags: shown.tags,
        repo_digests: shown.digests,
        parent: shown.parent.map(|id| id.to_string()).unwrap_or_default(),
        comment: if config.comment.is_empty() { from_history() } else { config.comment.clone() },
        created,
        container: if old { config.container.clone() } else { String::new() },
        container_config: old.then(|| config.container_config.clone().unwrap_or_default()),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: Some(shown_config(config.config.clone().unwrap_or_default(), version)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: if config.os.is_empty() { "linux".into() } else { config.os.clone() },
        os_version: config.os_version.clone(),
        size,
        virtual_size: if version < Version(1, 44) { size } else { 0 },
        graph_driver: DriverData { data: shown.driver_data, name: shown.driver },
        root_fs: RootFs {
            kind: config.rootfs.as_ref().map(|r| r.kind.clone()).unwrap_or_default(),
            layers: shown.image.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: shown.last_tag_time },
        descriptor: None,
    }
}

fn shown_config(config: Config, version: Version) -> ImageConfig {
    let old = version < Version(1, 50);
    let (no, empty) = (old.then_some(false), old.then(String::new));
    ImageConfig {
        args_escaped: config.args_escaped,
        attach_stderr: no,
        attach_stdin: no,
        attach_stdout: no,
        cmd: config.cmd,
        domainname: empty.clone(),
        entrypoint: config.entrypoint,
        env: config.env,
        exposed_ports: config.exposed_ports,
        healthcheck: config.healthcheck,
        hostname: empty.clone(),
        image: empty,
        labels: config.labels,
        on_build: config.on_build,
        open_stdin: no,
        shell: config.shell,
        stdin_once: no,
        stop_signal: config.stop_signal,
        tty: no,
        user: config.user,
        volumes: config.volumes,
        working_dir: config.working_dir,
    }
}

/// `POST /images/create`: a pull or an import, told in messages. A failure before the first message is the
/// answer.
///
/// # Errors
/// As `Images::pull` and `Images::import`; `NotImplemented` for all tags of a repository at once.
pub fn create(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let platform = platform(call, request, Version(1, 32))?;
    let name = request.query.text("fromImage");
    let missing = |what: &str| {
        Err(Error::new(Kind::NotImplemented, format_args!("this engine does not have {what}")))
    };
    if name.is_empty() {
        return import(call, request, response, platform);
    }
    // `docker pull -a` of old sends the name with a colon at its end.
    let named = Reference::parse(name.strip_suffix(':').unwrap_or(name))?;
    let tag = request.query.text("tag");
    let reference = match Digest::parse(tag) {
        Ok(digest) => named.name_only().with_digest(digest),
        Err(_) if tag.is_empty() => named,
        Err(_) => named.with_tag(tag)?,
    };
    if reference.is_name_only() {
        return missing("the pull of all tags of a repository");
    }
    // Credentials that cannot be read count as none, as in Docker: the registry decides.
    let header = request.headers.get("X-Registry-Auth").unwrap_or_default();
    let credentials = Credentials::from_header(header).unwrap_or_default();
    let cancel = request.cancel()?;
    let progress = JsonProgress::new(response.lazy_stream(200, "application/json")?);
    let pull = PullRequest {
        reference: &reference,
        platform: platform.as_ref(),
        credentials: &credentials,
    };
    progress.finish(call.engine.images.pull(&pull, &progress, &cancel))
}

/// `POST /images/create` with an archive, or the URL of one.
fn import(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
    platform: Option<Platform>,
) -> Result<()> {
    let query = &request.query;
    let source = query.text("fromSrc").to_string();
    let asked = ImportRequest {
        name: images::new_name(query.text("repo"), query.text("tag"))?,
        comment: query.text("message").into(),
        changes: query.all("changes").map(String::from).collect(),
        platform,
        source,
    };
    // The connection is watched while nothing is read from it.
    let cancel = if asked.source == "-" { Cancel::new() } else { request.cancel()? };
    let progress = JsonProgress::new(response.lazy_stream(200, "application/json")?);
    let done = call.engine.images.import(&asked, &mut request.body, &progress, &cancel);
    progress.finish(done.map(|id| progress.message("", &id.to_string())))
}

/// `POST /images/load`. Failures are always told in the stream, as Docker does.
///
/// # Errors
/// `InvalidParameter` for a malformed platform.
pub fn load(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let platform = platform(call, request, Version(1, 48))?;
    let quiet = request.query.flag_or("quiet", true);
    let messages = JsonProgress::new(response.lazy_stream(200, "application/json")?);
    let progress: &dyn Progress = if quiet { &Silent } else { &messages };
    match call.engine.images.load(&mut request.body, platform.as_ref(), progress) {
        Ok(lines) => lines.iter().for_each(|line| messages.text(&format!("{line}\n"))),
        Err(e) => messages.error(&e),
    }
    Ok(())
}

/// `GET /images/get` and `GET /images/{name}/get`.
///
/// # Errors
/// As `Images::save`. After the first byte an error ends the stream without its last chunk.
pub fn save(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let platform = platform(call, request, Version(1, 48))?;
    let names: Vec<String> = match call.param("name") {
        "" => request.query.all("names").map(String::from).collect(),
        name => vec![name.into()],
    };
    let stream = response.lazy_stream(200, "application/x-tar")?;
    let mut out = BufWriter::with_capacity(SAVE_BUFFER_BYTES, stream);
    let outcome = call.engine.images.save(&names, platform.as_ref(), &mut out);
    if outcome.is_err() {
        // What is still in the buffer must not go out as if all were well.
        let (_, _) = out.into_parts();
        return outcome;
    }
    out.flush().map_err(Error::from)
}

/// `GET /images/{name}/history`.
///
/// # Errors
/// As `Images::history`.
pub fn history(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let platform = platform(call, request, Version(1, 48))?;
    let rows = call.engine.images.history(call.param("name"), platform.as_ref())?;
    let rows: Vec<HistoryItem> = rows
        .into_iter()
        .map(|row| HistoryItem {
            comment: row.comment,
            created: row.created.map_or(0, |t| t.secs),
            created_by: row.created_by,
            id: row.id,
            size: row.size as i64,
            tags: Some(row.tags).filter(|tags| !tags.is_empty()),
        })
        .collect();
    response.json(200, &rows)
}

/// `POST /images/{name}/tag`.
///
/// # Errors
/// As `Images::tag`.
pub fn tag(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let (repository, tag) = (request.query.text("repo"), request.query.text("tag"));
    call.engine.images.tag(call.param("name"), repository, tag)?;
    response.status(201)
}

/// `DELETE /images/{name}`.
///
/// # Errors
/// As `Images::remove`.
pub fn remove(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let name = call.param("name");
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let options =
        RemoveOptions { force: request.query.flag("force"), prune: !request.query.flag("noprune") };
    let uses = || call.engine.image_uses();
    let removed = call.engine.images.remove(name, options, &uses)?;
    response.json(200, &items(removed))
}

fn items(removed: Vec<Removed>) -> Vec<DeleteItem> {
    let item = |removed| match removed {
        Removed::Name(untagged) => DeleteItem { untagged, ..DeleteItem::default() },
        Removed::Content(deleted) => DeleteItem { deleted, ..DeleteItem::default() },
    };
    removed.into_iter().map(item).collect()
}

/// `POST /images/prune`.
///
/// # Errors
/// As `Images::prune`.
pub fn prune(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let filters = filters::parse(request.query.text("filters"))?;
    let pruned = call.engine.images.prune(&filters, &|| call.engine.image_uses())?;
    let gone = items(pruned.removed);
    response.json(
        200,
        &PruneReport {
            images_deleted: (!gone.is_empty()).then_some(gone),
            space_reclaimed: pruned.reclaimed,
        },
    )
}
