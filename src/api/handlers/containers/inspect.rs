//! `GET /containers/{name}/json`.

use std::collections::BTreeMap;

use crate::api::Call;
use crate::api::types::container::{
    DriverData, Health, HealthcheckResult, InspectResponse, NetworkSettings, State,
};
use crate::api::types::mount::MountPoint;
use crate::base::Result;
use crate::base::digest::Digest;
use crate::engine::Engine;
use crate::engine::container::record::{self, Record};
use crate::engine::container::{Container, exec, health, links};
use crate::engine::model::host::{HostConfig, PortMap};
use crate::http::{Request, Response};

/// Shows one container.
///
/// # Errors
/// `NotFound`; `Io` if its size is asked for and cannot be read.
pub fn inspect(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let mut shown = show(call.engine, &container);
    if request.query.flag("size") {
        let (size_rw, size_root_fs) = sizes(call.engine, &container)?;
        shown.size_rw = Some(size_rw);
        shown.size_root_fs = Some(size_root_fs);
    }
    response.json(200, &shown)
}

/// Bytes that the container changed, and that its whole file system holds.
pub(super) fn sizes(engine: &Engine, container: &Container) -> Result<(i64, i64)> {
    let own = engine.store.layers().rw_size(&container.id)?;
    let image = Digest::parse(&container.data().record.image)?;
    // The image may be gone; its layers are then only the container's.
    let image =
        engine.store.images().get(&image).and_then(|image| engine.store.size(&image)).unwrap_or(0);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Ok((signed(own), signed(own.saturating_add(image))))
}

fn show(engine: &Engine, container: &Container) -> InspectResponse {
    let (record, host, execs, health) = {
        let data = container.data();
        let running: Vec<String> = data
            .execs
            .iter()
            .filter(|(_, exec)| !matches!(exec.status, exec::Status::Ended(_)))
            .map(|(id, _)| id.clone())
            .collect();
        (data.record.clone(), data.host.clone(), running, data.health.as_deref().map(shown_health))
    };
    let driver_data = engine.store.layers().rw_metadata(&container.id).unwrap_or_default();
    InspectResponse {
        id: container.id.clone(),
        created: record.created,
        path: record.path.clone(),
        args: record.args.clone(),
        state: Some(State { health, ..state(&record.state) }),
        image: record.image.clone(),
        resolv_conf_path: record.resolv_conf_path.clone(),
        hostname_path: record.hostname_path.clone(),
        hosts_path: record.hosts_path.clone(),
        log_path: record.log_path.clone(),
        name: record.name.clone(),
        restart_count: record.restart_count,
        driver: record.driver.clone(),
        platform: record.os.clone(),
        mount_label: record.mount_label.clone(),
        process_label: record.process_label.clone(),
        app_armor_profile: record.apparmor_profile.clone(),
        exec_ids: (!execs.is_empty()).then_some(execs),
        graph_driver: DriverData { data: Some(driver_data), name: record.driver.clone() },
        mounts: record.mount_points.values().map(mount_point).collect(),
        network_settings: Some(network(&record, &host)),
        host_config: Some(HostConfig {
            links: links::inspected(engine, container),
            ..(*host).clone()
        }),
        config: Some(record.config),
        ..InspectResponse::default()
    }
}

fn shown_health(health: &health::Health) -> Health {
    let shown = |outcome: &health::Outcome| HealthcheckResult {
        start: outcome.start,
        end: outcome.end,
        exit_code: outcome.exit_code,
        output: outcome.output.clone(),
    };
    Health {
        status: health.status.word().into(),
        failing_streak: health.failing_streak,
        log: Some(health.log.iter().map(shown).collect()),
    }
}

fn state(state: &record::State) -> State {
    State {
        status: state.status().into(),
        running: state.running,
        paused: state.paused,
        restarting: state.restarting,
        oom_killed: state.oom_killed,
        dead: state.dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: state.started_at,
        finished_at: state.finished_at,
        health: None,
    }
}

/// A mount as inspect shows it.
pub(super) fn mount_point(point: &record::MountPoint) -> MountPoint {
    MountPoint {
        kind: point.kind.clone(),
        name: point.name.clone(),
        source: point.source.clone(),
        destination: point.destination.clone(),
        driver: point.driver.clone(),
        mode: point.mode.clone(),
        rw: point.rw,
        propagation: point.propagation.clone(),
    }
}

fn network(record: &Record, host: &HostConfig) -> NetworkSettings {
    let settings = &record.network;
    // The fields of the default network are repeated at the top, where the first clients look for them.
    let bridge = settings.networks.get("bridge").cloned().unwrap_or_default();
    let ports = if record.state.running && host.network_mode != "host" {
        let mut ports: PortMap =
            record.config.exposed_ports.keys().map(|key| (key.clone(), None)).collect();
        ports.extend(settings.ports.clone().unwrap_or_default());
        ports
    } else {
        BTreeMap::new()
    };
    NetworkSettings {
        bridge: settings.bridge.clone(),
        sandbox_id: settings.sandbox_id.clone(),
        sandbox_key: settings.sandbox_key.clone(),
        ports: Some(ports),
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        mac_address: bridge.mac_address,
        networks: settings.networks.clone(),
        ..NetworkSettings::default()
    }
}
