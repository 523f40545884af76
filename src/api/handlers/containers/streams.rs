//! Attach, logs and the size of the terminal.

use std::io::Write;

use crate::api::{Call, stream};
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::engine::container::attach::{self, parse_detach_keys};
use crate::engine::container::logs;
use crate::http::{Request, Response};

/// `POST /containers/{name}/attach`. The connection goes to the shim.
///
/// # Errors
/// Before the head is sent: `NotFound`, `Conflict`, `InvalidParameter`.
pub fn attach(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    attach::check(&container)?;
    let detach_keys = parse_detach_keys(request.query.text("detachKeys"))?;
    let (stdin, stdout, stderr) =
        (request.query.flag("stdin"), request.query.flag("stdout"), request.query.flag("stderr"));
    let (live, replay) = (request.query.flag("stream"), request.query.flag("logs"));
    if replay {
        logs::check(&container)?;
    }
    let tty = container.data().record.config.tty;
    let options = logs::Options { stdout, stderr, ..logs::Options::default() };
    let log = if replay { logs::open(&container, &options)? } else { None };
    let taken = response
        .take_over(request, stream::content_type(tty, call.version, request.wants_upgrade()))?;
    if let Some(log) = log {
        let mut client = std::fs::File::from(taken.stream.try_clone()?);
        log.read(&mut |entry| {
            stream::write_frame(&mut client, tty, entry.stream.number(), entry.bytes)
        })?;
    }
    if !live {
        return Ok(());
    }
    attach::attach(
        call.engine,
        &container,
        attach::Request {
            stream: taken.stream,
            preread: taken.preread,
            stdin,
            stdout,
            stderr,
            framed: true,
            detach_keys,
        },
    )
}

/// `POST /containers/{name}/resize`.
///
/// # Errors
/// `NotFound`; `Conflict` if it does not run; `InvalidParameter` for sizes that are none.
pub fn resize(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let (height, width) = size(request)?;
    let container = call.engine.containers()?.find(call.param("name"))?;
    container.running_shim()?.resize("", width, height)?;
    let (height, width) = (height.to_string(), width.to_string());
    call.engine.container_event(&container, "resize", &[("height", &height), ("width", &width)]);
    response.status(200)
}

/// Height and width of `resize` requests, in characters.
///
/// # Errors
/// `InvalidParameter`.
pub(in crate::api) fn size(request: &Request<'_>) -> Result<(u16, u16)> {
    let number = |name: &str| -> Result<u16> {
        let n = request.query.number(name)?.unwrap_or(0);
        u16::try_from(n).map_err(|_| Error::invalid(format_args!("invalid resize {name}: {n}")))
    };
    Ok((number("h")?, number("w")?))
}

/// `GET /containers/{name}/logs`.
///
/// # Errors
/// `NotFound`; `InvalidParameter` when no stream is asked for or a time is malformed.
pub fn logs(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let (stdout, stderr) = (request.query.flag("stdout"), request.query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let time = |name: &str| -> Result<Option<Timestamp>> {
        match request.query.text(name) {
            "" | "0" => Ok(None),
            text => Timestamp::parse_relative(text, Timestamp::now()).map(Some),
        }
    };
    let tail = match request.query.text("tail") {
        "" | "all" => None,
        // What is no number means everything, as in Docker.
        text => text.parse::<usize>().ok(),
    };
    let options = logs::Options {
        stdout,
        stderr,
        since: time("since")?,
        until: time("until")?,
        tail,
        follow: request.query.flag("follow"),
        ..logs::Options::default()
    };
    let (timestamps, details) = (request.query.flag("timestamps"), request.query.flag("details"));
    let tty = container.data().record.config.tty;
    logs::check(&container)?;
    let options = logs::Options { cancel: request.cancel()?, ..options };
    let log = logs::open(&container, &options)?;
    let mut out = response.stream(200, stream::content_type(tty, call.version, true))?;
    let Some(log) = log else { return Ok(()) };
    let mut line = Vec::new();
    log.read(&mut |entry| {
        line.clear();
        if timestamps {
            line.extend_from_slice(entry.time.fixed_nanos().as_bytes());
            line.push(b' ');
        }
        if details {
            line.extend_from_slice(entry.details().as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(entry.bytes);
        stream::write_frame(&mut out, tty, entry.stream.number(), &line)
    })?;
    out.flush().map_err(Error::from)
}
