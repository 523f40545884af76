//! Execs over HTTP.

use crate::api::handlers::containers::streams;
use crate::api::types::IdResponse;
use crate::api::types::exec::{
    ExecCreateRequest, ExecInspect, ExecProcessConfig, ExecStartRequest,
};
use crate::api::{Call, stream};
use crate::base::{Error, Result};
use crate::engine::container::attach::{self, parse_detach_keys};
use crate::engine::container::exec::{self, Options, Status};
use crate::http::{Request, Response};

/// `POST /containers/{name}/exec`.
///
/// # Errors
/// As `engine::container::exec::create`.
pub fn create(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let body: ExecCreateRequest = request
        .json()?
        .ok_or_else(|| Error::invalid("invalid JSON: got EOF while reading request body"))?;
    let container = call.engine.containers()?.find(call.param("name"))?;
    let id = exec::create(
        call.engine,
        &container,
        Options {
            command: body.cmd.unwrap_or_default(),
            env: body.env.unwrap_or_default(),
            user: body.user,
            working_dir: body.working_dir,
            privileged: body.privileged,
            tty: body.tty,
            stdin: body.attach_stdin,
            stdout: body.attach_stdout,
            stderr: body.attach_stderr,
            detach_keys: parse_detach_keys(&body.detach_keys).map_err(|_| {
                Error::invalid(format_args!("Invalid escape keys ({}) provided", body.detach_keys))
            })?,
            console_size: body.console_size.map(console_size),
        },
    )?;
    response.json(201, &IdResponse { id })
}

fn console_size([height, width]: [u64; 2]) -> (u16, u16) {
    let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    (clamp(height), clamp(width))
}

/// `POST /exec/{id}/start`.
///
/// # Errors
/// Before the head is sent: `NotFound`, `Conflict`, `InvalidParameter`. Later ones reach the client in
/// its stream, as Docker's do.
pub fn start(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let body: ExecStartRequest = request.json()?.unwrap_or_default();
    let id = call.param("id");
    let (_, found) = exec::check_start(call.engine, id)?;
    if body.detach {
        exec::start(call.engine, id, None)?;
        return response.status(200);
    }
    let tty = found.options.tty;
    let kind = stream::content_type(tty, call.version, request.wants_upgrade());
    let taken = response.take_over(request, kind)?;
    let mut errors = std::fs::File::from(taken.stream.try_clone()?);
    let client = attach::Request {
        stream: taken.stream,
        preread: taken.preread,
        stdin: true,
        stdout: true,
        stderr: true,
        framed: true,
        detach_keys: Vec::new(),
    };
    exec::start(call.engine, id, Some(client)).inspect_err(|e| {
        // The head is out: the stream is the only way left. A client that is gone needs no message.
        let text = format!("{e}\r\n");
        let _ = stream::write_frame(&mut errors, tty, stream::STDERR, text.as_bytes());
    })
}

/// `POST /exec/{id}/resize`.
///
/// # Errors
/// `NotFound`; `Conflict` if it does not run.
pub fn resize(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let (height, width) = streams::size(request)?;
    let id = call.param("id");
    let (container, _) = exec::find(call.engine, id)?;
    container.running_shim()?.resize(id, width, height)?;
    response.status(200)
}

/// `GET /exec/{id}/json`.
///
/// # Errors
/// `NotFound`.
pub fn inspect(call: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let id = call.param("id");
    let (container, found) = exec::settled(call.engine, id)?;
    let (exit_code, pid) = match found.status {
        Status::Created => (None, 0),
        Status::Running(pid) => (None, pid),
        Status::Ended(code) => (Some(code), 0),
    };
    let options = found.options;
    let mut command = options.command.into_iter();
    response.json(
        200,
        &ExecInspect {
            id: id.into(),
            running: matches!(found.status, Status::Running(_)),
            exit_code,
            process_config: Some(ExecProcessConfig {
                tty: options.tty,
                entrypoint: command.next().unwrap_or_default(),
                arguments: command.collect(),
                privileged: Some(options.privileged),
                user: options.user,
            }),
            open_stdin: options.stdin,
            open_stderr: options.stderr,
            open_stdout: options.stdout,
            can_remove: false,
            container_id: container.id.clone(),
            detach_keys: None,
            pid: i64::from(pid),
        },
    )
}
