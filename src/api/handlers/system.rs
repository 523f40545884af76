//! `_ping`, `version`, `events`.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::api::types::events::{Actor, Message};
use crate::api::types::system::{Component, PlatformName, Version};
use crate::api::{Call, filters, version};
use crate::base::time::Timestamp;
use crate::base::{Error, Result, json};
use crate::engine::events::{Event, Filter, Next};
use crate::engine::info as facts;
use crate::http::{Request, Response};

/// `OPTIONS` of any path: an empty 200 with the common fields.
///
/// # Errors
/// `Io` when the client is gone.
pub fn options(_: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    response.status(200)
}

/// `GET` and `HEAD /_ping`.
///
/// # Errors
/// `Io` when the client is gone.
pub fn ping(_: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let headers = &mut response.headers;
    headers.set("Cache-Control", "no-cache, no-store, must-revalidate");
    headers.set("Pragma", "no-cache");
    // The classic builder: version 2 would make clients open a BuildKit session.
    headers.set("Builder-Version", "1");
    headers.set("Swarm", "inactive");
    let body: &[u8] = if request.method == "HEAD" { b"" } else { b"OK" };
    response.send(200, "text/plain; charset=utf-8", body)
}

/// `GET /version`.
///
/// # Errors
/// `Io` when the client is gone.
pub fn version(_: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let host = facts::host();
    let arch = facts::architecture();
    let built = crate::BUILD_TIME.parse().map(Timestamp::from_secs).unwrap_or_default();
    let (newest, oldest, built) =
        (version::MAX.to_string(), version::MIN.to_string(), built.to_string());
    let details = [
        ("ApiVersion", newest.as_str()),
        ("Arch", arch),
        ("BuildTime", &built),
        ("Experimental", "false"),
        ("GitCommit", crate::REVISION),
        ("GoVersion", ""),
        ("KernelVersion", &host.kernel),
        ("MinAPIVersion", &oldest),
        ("Os", "linux"),
    ];
    let engine = Component {
        name: "Engine".into(),
        version: crate::VERSION.into(),
        details: details.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    };
    response.json(
        200,
        &Version {
            platform: PlatformName { name: "multi".into() },
            components: vec![engine],
            version: crate::VERSION.into(),
            api_version: newest,
            min_api_version: oldest,
            git_commit: crate::REVISION.into(),
            go_version: String::new(),
            os: "linux".into(),
            arch: arch.into(),
            kernel_version: host.kernel,
            experimental: false,
            build_time: built,
        },
    )
}

/// `GET /events`: what happened, then what happens, until the client hangs up.
///
/// # Errors
/// `InvalidParameter` for times and filters that cannot be read.
pub fn events(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let now = Timestamp::now();
    let time = |name: &str| match request.query.text(name) {
        "" => Ok(None),
        text => Timestamp::parse_relative(text, now).map(Some),
    };
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(s), Some(u)) = (since, until)
        && u < s
    {
        return Err(Error::invalid(format_args!(
            "`since` time ({}) cannot be after `until` time ({})",
            request.query.text("since"),
            request.query.text("until")
        )));
    }
    let filter = Filter::new(filters::parse(request.query.text("filters"))?);
    let cancel = request.cancel()?;
    let mut out = response.stream(200, "application/json")?;
    let (past, subscription) = call.engine.events.subscribe(since, until, filter);
    let mut send = |event: &Event| {
        // Creations of images became events with 1.46.
        let unknown = event.kind == "image" && event.action == "create";
        if unknown && call.version < version::Version(1, 46) {
            return Ok(());
        }
        let mut text = json::to_string(&message(event));
        text.push('\n');
        out.write_all(text.as_bytes())
    };
    for event in &past {
        send(event)?;
    }
    let deadline = match until {
        Some(until) if until < now => return Ok(()),
        Some(until) => {
            let ns = until.unix_nanos().saturating_sub(now.unix_nanos());
            Some(Instant::now() + Duration::from_nanos(ns.unsigned_abs()))
        }
        None => None,
    };
    let closer = subscription.clone();
    let _guard = cancel.on_cancel(move || closer.close());
    while let Next::Event(event) = subscription.next(deadline) {
        if send(&event).is_err() {
            // The client is gone, which is how this call ends.
            break;
        }
    }
    Ok(())
}

fn message(event: &Event) -> Message {
    // The old form, which Docker keeps for containers and images.
    let (status, id, from) = match event.kind.as_str() {
        "container" => {
            let from = event.attributes.get("image").cloned().unwrap_or_default();
            (event.action.clone(), event.id.clone(), from)
        }
        "image" => (event.action.clone(), event.id.clone(), String::new()),
        _ => Default::default(),
    };
    Message {
        status,
        id,
        from,
        kind: event.kind.clone(),
        action: event.action.clone(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".into(),
        time: event.time.secs,
        time_nano: event.time.unix_nanos(),
    }
}
