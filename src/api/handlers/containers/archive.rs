//! Files of a container: `docker cp`, `docker diff`, `docker export`.

use std::io::{BufWriter, Write};

use crate::api::Call;
use crate::api::types::archive::{Change, PATH_STAT_HEADER, PathStat, file_mode};
use crate::base::{Error, Result, base64, decompress, json};
use crate::engine::container::archive::{self, PutOptions, Source};
use crate::engine::container::export;
use crate::http::response::Stream;
use crate::http::{Request, Response};

/// What is written to a client at once, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// `HEAD /containers/{name}/archive`.
///
/// # Errors
/// As `Source::find`.
pub fn head(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    find(call, request, response)?;
    response.status(200)
}

/// `GET /containers/{name}/archive`.
///
/// # Errors
/// As `Source::find`. After the first byte an error ends the stream without its last chunk.
pub fn get(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let source = find(call, request, response)?;
    let container = call.engine.containers()?.find(call.param("name"))?;
    whole(response.lazy_stream(200, "application/x-tar")?, &|out| source.write(out))?;
    call.engine.container_event(&container, "archive-path", &[]);
    Ok(())
}

/// Finds what the request is about, and tells of it in the answer's head.
fn find(call: &Call<'_>, request: &Request<'_>, response: &mut Response<'_>) -> Result<Source> {
    let name = call.param("name");
    let container = call.engine.containers()?.find(name)?;
    let source = Source::find(call.engine, &container, name, path(request)?)?;
    let stat = &source.stat;
    let shown = PathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: file_mode(stat.mode),
        mtime: stat.mtime,
        link_target: stat.link_target.clone(),
    };
    response.headers.set(PATH_STAT_HEADER, &base64::encode(json::to_string(&shown).as_bytes()));
    Ok(source)
}

/// `PUT /containers/{name}/archive`.
///
/// # Errors
/// As `archive::put`.
pub fn put(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let name = call.param("name");
    let container = call.engine.containers()?.find(name)?;
    let path = path(request)?.to_string();
    let options = PutOptions {
        keep_kinds: request.query.flag("noOverwriteDirNonDir"),
        to_user: request.query.flag("copyUIDGID"),
    };
    let mut content = decompress::open(&mut request.body)?;
    archive::put(call.engine, &container, name, &path, options, &mut content)?;
    drop(content);
    response.status(200)
}

fn path<'a>(request: &'a Request<'_>) -> Result<&'a str> {
    match request.query.text("path") {
        "" => Err(Error::invalid("bad parameter: pathcannot be empty")),
        path => Ok(path),
    }
}

/// `GET /containers/{name}/changes`.
///
/// # Errors
/// As `export::changes`.
pub fn changes(
    call: &Call<'_>,
    _request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let rows: Vec<Change> = export::changes(call.engine, &container)?
        .into_iter()
        .map(|change| Change {
            path: change.path.to_string_lossy().into_owned(),
            kind: change.kind as i64,
        })
        .collect();
    response.json(200, &rows)
}

/// `GET /containers/{name}/export`.
///
/// # Errors
/// As `export::export`. After the first byte an error ends the stream without its last chunk.
pub fn export(
    call: &Call<'_>,
    _request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let stream = response.lazy_stream(200, "application/octet-stream")?;
    whole(stream, &|out| export::export(call.engine, &container, out))
}

/// Sends what `write` writes; after an error the buffer must not go out as if all were well.
fn whole(stream: Stream, write: &dyn Fn(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, stream);
    if let Err(e) = write(&mut out) {
        let (_, _) = out.into_parts();
        return Err(e);
    }
    out.flush().map_err(Error::from)
}
