//! Making a container: the request checked and completed from the image, the layer, the directory.
//!
//! Nothing exists before everything was checked. The directory comes first, under a temporary name, with
//! a record of the anonymous volumes that are about to be made, then the volumes and the layer, then both
//! complete records; the directory's rename is the moment the container exists. What an interruption
//! leaves before that (a temporary directory and the volumes it names, a layer without a directory) is
//! swept by the next start.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::record::{NetworkSettings, Record};
use super::{
    Container, durability, health, limits, links, logs, modes, mounts, restart, runtime, security,
};
use crate::base::digest::Digest;
use crate::base::file::{Durable, sync_dir};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::engine::model::config::Config;
use crate::engine::model::endpoint::NetworkingConfig;
use crate::engine::model::host::HostConfig;
use crate::engine::network;
use crate::sys::rootfd;
use crate::sys::{random, signal};

/// Prefix of container directories that are not complete.
pub const TEMPORARY_PREFIX: &str = ".creating-";

/// What `create` is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The name; one is generated if it is empty.
    pub name: String,
    /// The image-like part.
    pub config: Config,
    /// The host's side.
    pub host: HostConfig,
    /// Places in networks.
    pub networking: NetworkingConfig,
    /// Read-only binds leave what is mounted below them as it is, as before API 1.44.
    pub plain_read_only: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// The new id.
    pub id: String,
    /// What the user should know: limits that the kernel cannot hold and the like.
    pub warnings: Vec<String>,
}

/// Makes a container.
///
/// # Errors
/// `NotFound` for a missing image, network or container that is referred to; `InvalidParameter` for what
/// cannot be meant; `Conflict` for a taken name; `NotImplemented` for parts this engine does not have;
/// `Io`. Nothing is left of a container that could not be made.
pub fn create(engine: &Engine, request: Request) -> Result<Created> {
    let Request { name, mut config, mut host, networking, plain_read_only } = request;
    modes::check(&config, &host)?;
    let image = engine.store.resolve(&config.image)?;
    let image_config = engine.store.images().get(&image)?;
    health::check(&config)?;
    complete(&mut config, &image_config.run_config());
    check(&mut config)?;
    refuse_unsupported(&host)?;
    runtime::check(engine, &host.runtime)?;
    set_defaults(engine, &mut host);
    modes::resolve(engine, &mut host)?;
    security::complete(engine, &mut host)?;
    logs::complete(&engine.settings, &mut host)?;
    let mut warnings = limits::check(engine, &mut host)?;
    warnings.extend(security::check(engine, &host)?);
    warnings.extend(modes::warnings(engine, &host));
    restart::check(&host)?;
    network::check_ports(&config, &host)?;
    let linked = links::check(engine, &host)?;

    let id = random::id();
    let mount_points = mounts::resolve(engine, &id, &config, &host, plain_read_only)?;
    if mount_points.values().any(|point| point.kind == "image") {
        warnings.push("Image mount is an experimental feature".into());
    }
    modes::set_host_name(&id, &mut config, &host)?;
    let (path, args) = command_of(&config)?;
    let options = security::options(&host)?;
    let (process_label, mount_label) = security::labels(engine, &options)?;
    let name = engine.containers()?.reserve(&name, &id)?;
    let log_file = format!("{id}-json.log");
    let record = Record {
        log_path: match host.log_config.kind.as_str() {
            "json-file" => {
                engine.containers_dir().join(&id).join(log_file).to_string_lossy().into_owned()
            }
            _ => String::new(),
        },
        id: id.clone(),
        created: Timestamp::now(),
        path,
        args,
        image: image.to_string(),
        network: networks_of(&host, networking),
        name: format!("/{name}"),
        driver: engine.store.layers().driver().name().into(),
        os: "linux".into(),
        mount_points,
        no_new_privileges: options.no_new_privileges.unwrap_or(engine.settings.no_new_privileges),
        process_label,
        mount_label,
        apparmor_profile: options.apparmor,
        seccomp_profile: options.seccomp,
        config,
        ..Record::default()
    };
    let container = match materialise(engine, record, host, image_config.chain_id()) {
        Ok(container) => container,
        Err(e) => {
            engine.containers()?.release(&name, &id);
            return Err(e);
        }
    };
    engine.containers()?.insert(container.clone());
    links::register(engine, &name, &linked);
    engine.container_event(&container, "create", &[]);
    Ok(Created { id, warnings })
}

/// Makes the directory, the volumes and the layer; takes all of them back on failure.
fn materialise(
    engine: &Engine,
    mut record: Record,
    host: HostConfig,
    chain_id: Option<Digest>,
) -> Result<Arc<Container>> {
    let parent = engine.containers_dir();
    let dir = parent.join(&record.id);
    let temporary = parent.join(format!("{TEMPORARY_PREFIX}{}", record.id));
    fs::DirBuilder::new()
        .mode(0o710)
        .create(&temporary)
        .at(format_args!("creating {}", temporary.display()))?;
    let durable = durability(&host);
    let mut make = || -> Result<()> {
        if !mounts::anonymous_volumes(&record).is_empty() {
            // Volumes are on disk when they are made: the names of those nobody else knows are before.
            record.save(&temporary, Durable::Yes)?;
            sync_dir(&parent)?;
        }
        mounts::attach(engine, &mut record, durable)?;
        engine.store.layers().create_rw(&record.id, chain_id.as_ref(), &host.storage_opt)?;
        mounts::fill::fill(engine, &record)?;
        let each = if durable == Durable::Yes { Durable::Data } else { Durable::No };
        record.save(&temporary, each)?;
        super::record::save_host_config(&host, &temporary, each)?;
        if durable == Durable::Yes {
            sync_dir(&temporary)?;
        }
        fs::rename(&temporary, &dir).at(format_args!("creating {}", dir.display()))?;
        if durable == Durable::Yes { sync_dir(&parent) } else { Ok(()) }
    };
    if let Err(e) = make() {
        if let Err(undo) = engine.store.layers().remove_rw(&record.id) {
            log::warn!("removing the layer of container {}, which was not made: {undo}", record.id);
        }
        mounts::detach(engine, &record, true);
        // Under its final name only if it was the last step that failed.
        for left in [&temporary, &dir] {
            let _ = fs::remove_dir_all(left);
        }
        return Err(e);
    }
    Ok(Arc::new(Container::new(dir, record, host)))
}

/// Fills what the user left open from the image (moby `runconfig.Merge`).
pub(super) fn complete(config: &mut Config, image: &Config) {
    let text = |own: &mut String, other: &String| {
        if own.is_empty() {
            own.clone_from(other);
        }
    };
    text(&mut config.user, &image.user);
    text(&mut config.working_dir, &image.working_dir);
    text(&mut config.stop_signal, &image.stop_signal);
    for (port, nothing) in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_insert(*nothing);
    }
    let env = config.env.get_or_insert_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_string();
    let own: Vec<String> = env.iter().map(|entry| key(entry)).collect();
    env.extend(image.env.iter().flatten().filter(|entry| !own.contains(&key(entry))).cloned());
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(|words| words.is_empty()) {
        if config.cmd.as_ref().is_none_or(|words| words.is_empty()) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if config.volumes.as_ref().is_none_or(|volumes| volumes.is_empty()) {
        // Also an empty list of the user's: Docker's records have none then.
        config.volumes.clone_from(&image.volumes);
    }
    for (path, nothing) in image.volumes.iter().flatten() {
        config.volumes.get_or_insert_default().entry(path.clone()).or_insert(*nothing);
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    health::complete(&mut config.healthcheck, image.healthcheck.as_ref());
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
}

fn check(config: &mut Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format_args!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if !config.working_dir.is_empty() {
        let clean = Path::new("/").join(rootfd::clean(Path::new(&config.working_dir)));
        config.working_dir = clean.to_string_lossy().into_owned();
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format_args!("invalid environment variable: {entry}")));
        }
        if entry.contains('\0') {
            return Err(Error::invalid(format_args!("invalid environment variable: {entry:?}")));
        }
    }
    command_of(config).map(drop)
}

/// The program and its arguments.
fn command_of(config: &Config) -> Result<(String, Vec<String>)> {
    let entrypoint = config.entrypoint.iter().flat_map(|words| words.iter());
    // `--entrypoint ""` arrives as one empty word and means none.
    let entrypoint: Vec<&String> = entrypoint.collect();
    let entrypoint = if entrypoint == [""] { Vec::new() } else { entrypoint };
    let mut words = entrypoint.into_iter().chain(config.cmd.iter().flat_map(|words| words.iter()));
    let Some(path) = words.next() else {
        return Err(Error::invalid("no command specified"));
    };
    let words: Vec<String> = words.cloned().collect();
    if path.contains('\0') || words.iter().any(|word| word.contains('\0')) {
        return Err(Error::invalid("invalid command: it holds a NUL character"));
    }
    Ok((path.clone(), words))
}

/// What users may ask for and this engine does not do yet is refused by name, never ignored.
fn refuse_unsupported(host: &HostConfig) -> Result<()> {
    let policy = host.restart_policy.name.as_str();
    if host.auto_remove && !matches!(policy, "" | "no") {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(())
}

fn set_defaults(engine: &Engine, host: &mut HostConfig) {
    let text = |own: &mut String, default: &str| {
        if own.is_empty() {
            *own = default.into();
        }
    };
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = if engine.net.config().has_bridge() { "bridge" } else { "none" }.into();
    }
    text(&mut host.restart_policy.name, "no");
    text(&mut host.ipc_mode, &engine.settings.ipc_mode);
    text(&mut host.ipc_mode, "private");
    text(&mut host.runtime, &runtime::default(engine));
    let v2 = crate::cgroup::detect().is_ok_and(|host| host.layout == crate::cgroup::Layout::V2);
    if v2 || !host.privileged {
        text(&mut host.cgroupns_mode, &engine.settings.cgroupns_mode);
    }
    text(&mut host.cgroupns_mode, if v2 { "private" } else { "host" });
    for limit in &engine.settings.default_ulimits {
        let ulimits = host.ulimits.get_or_insert_default();
        if !ulimits.iter().any(|own| own.name == limit.name) {
            ulimits.push(limit.clone());
        }
    }
    if host.shm_size == 0 {
        host.shm_size = engine.settings.default_shm_bytes;
    }
    if !host.privileged && !security::system_paths_unconfined(host) {
        let defaults = |list: &[&str]| list.iter().map(|path| (*path).to_string()).collect();
        host.masked_paths.get_or_insert_with(security::masked_paths);
        host.readonly_paths
            .get_or_insert_with(|| defaults(crate::runtime::defaults::READONLY_PATHS));
    }
}

fn networks_of(host: &HostConfig, mut asked: NetworkingConfig) -> NetworkSettings {
    let mut settings = NetworkSettings::default();
    if let Some(name) = network::network_name(&host.network_mode) {
        let entry = asked
            .endpoints_config
            .remove(name)
            .or_else(|| asked.endpoints_config.remove("default"))
            .unwrap_or_default();
        settings.networks.insert(name.into(), entry);
    }
    settings
}
