//! `GET /containers/json`.

use crate::api::Call;
use crate::api::types::container::{Port, Summary, SummaryHost, SummaryNetworks};
use crate::base::time::Timestamp;
use crate::base::{Kind, Result};
use crate::engine::Engine;
use crate::engine::container::{Container, list};
use crate::http::{Request, Response};

/// Lists containers.
///
/// # Errors
/// As `engine::container::list::list`.
pub fn list(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let limit = request.query.number("limit")?.unwrap_or(0);
    let options = list::Options {
        all: request.query.flag("all"),
        limit: usize::try_from(limit).unwrap_or(0),
        filters: crate::api::filters::parse(request.query.text("filters"))?,
    };
    let sizes = request.query.flag("size");
    let now = Timestamp::now();
    let rows = list::list(call.engine, &options)?
        .iter()
        .map(|container| summary(call.engine, container, now, sizes))
        .collect::<Result<Vec<_>>>()?;
    response.json(200, &rows)
}

/// Every container with its sizes, for `GET /system/df`.
///
/// # Errors
/// `Unavailable` while the daemon ends; `Io`.
pub(in crate::api) fn all_with_sizes(engine: &Engine) -> Result<Vec<Summary>> {
    let options = list::Options { all: true, ..list::Options::default() };
    let now = Timestamp::now();
    let containers = list::list(engine, &options)?;
    // One that is removed meanwhile has no layer to measure.
    let shown = |container: &std::sync::Arc<Container>| match summary(engine, container, now, true)
    {
        Err(e) if e.kind() == Kind::NotFound => None,
        shown => Some(shown),
    };
    containers.iter().filter_map(shown).collect()
}

fn summary(engine: &Engine, container: &Container, now: Timestamp, sizes: bool) -> Result<Summary> {
    let (size_rw, size_root_fs) =
        if sizes { super::inspect::sizes(engine, container)? } else { (0, 0) };
    let data = container.data();
    let record = &data.record;
    let image = image_name(engine, &record.config.image, &record.image);
    let mut command = record.path.clone();
    for argument in &record.args {
        command.push(' ');
        if argument.contains(' ') {
            command.push_str(&format!("'{argument}'"));
        } else {
            command.push_str(argument);
        }
    }
    Ok(Summary {
        id: container.id.clone(),
        names: engine.containers_now().names_of(&container.id, &record.name),
        image,
        image_id: record.image.clone(),
        command,
        created: record.created.secs,
        ports: ports(&data),
        size_rw,
        size_root_fs,
        labels: record.config.labels.clone().unwrap_or_default(),
        state: record.state.status().into(),
        status: list::describe(&record.state, data.health.as_ref().map(|h| h.status), now),
        host_config: SummaryHost {
            network_mode: data.host.network_mode.clone(),
            annotations: data.host.annotations.clone(),
        },
        network_settings: Some(SummaryNetworks { networks: record.network.networks.clone() }),
        mounts: record.mount_points.values().map(super::inspect::mount_point).collect(),
        ..Summary::default()
    })
}

/// What the user called the image, unless that name means another one by now.
fn image_name(engine: &Engine, name: &str, id: &str) -> String {
    match engine.store.resolve(name) {
        Ok(found) if found.to_string() == id => name.into(),
        _ => id.into(),
    }
}

/// Exposed ports of a running container, and where they are published.
fn ports(data: &crate::engine::container::Data) -> Vec<Port> {
    let mut rows = Vec::new();
    if !data.record.state.running {
        return rows;
    }
    let row = |key: &str, ip: &str, public_port: u16| {
        let (port, kind) = key.split_once('/').unwrap_or((key, "tcp"));
        port.parse().ok().map(|private_port| Port {
            ip: ip.into(),
            private_port,
            public_port,
            kind: kind.into(),
        })
    };
    let published = data.record.network.ports.clone().unwrap_or_default();
    for (key, bindings) in &published {
        for binding in bindings.iter().flatten() {
            rows.extend(row(key, &binding.host_ip, binding.host_port.parse().unwrap_or(0)));
        }
    }
    for key in data.record.config.exposed_ports.keys().filter(|key| !published.contains_key(*key)) {
        rows.extend(row(key, "", 0));
    }
    rows
}
