//! `dockerd`: the options, the locks, the sockets, the signals. The engine does the rest.
//!
//! The sockets answer before containers are restored: restoring runs on a thread of its own, and requests
//! about containers wait for it. SIGTERM and SIGINT end the daemon, a second one at once; SIGHUP reloads
//! the configuration.

mod lock;
mod notify;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use multi_core::api::Api;
use multi_core::base::worker::{self, Worker};
use multi_core::base::{At, Error, Result, log as logging};
use multi_core::cli::print;
use multi_core::config::daemon::{self, DaemonConfig, Loaded};
use multi_core::engine::Engine;
use multi_core::engine::settings::{Live, Settings};
use multi_core::http::address::{Address, Side};
use multi_core::http::listen::{self, Listener};
use multi_core::http::{server, tls};
use multi_core::{image, net, registry, storage, sys};
use nix::sys::signal::{SigSet, Signal};

use crate::table::Call;

/// Runs the daemon until it is told to end; gives the exit code.
pub(crate) fn run(call: &Call) -> u8 {
    let config = match daemon::load(&call.called, &call.args) {
        Ok(Loaded::Run(config)) => *config,
        Ok(Loaded::Version(text)) => {
            print::out(&format!("{text}\n"));
            return 0;
        }
        Ok(Loaded::Valid) => {
            print::out("configuration OK\n");
            return 0;
        }
        Err(stop) => return stop.print(),
    };
    match serve(config) {
        Ok(()) => 0,
        Err(e) => {
            print::err(&format!("failed to start daemon: {e}\n"));
            1
        }
    }
}

fn serve(config: DaemonConfig) -> Result<()> {
    let (level, format) = config.log()?;
    logging::init(level, format);
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::unsupported("dockerd needs to be started with root privileges"));
    }
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    // Before any thread exists, so that all of them leave the signals to this one.
    let signals = block_signals()?;
    // Whatever we were started with: nothing of ours is writable for others by accident.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let data_root = make_root(&config.data_root, 0o710)?;
    let exec_root = make_root(&config.exec_root, 0o711)?;
    let _pid_file = lock::PidFile::take(Path::new(&config.pidfile))?;
    let _data_lock = lock::directory(&data_root)?;

    let listeners = listen(&config)?;
    let engine = open_engine(&config, data_root, exec_root)?;
    let api = Arc::new(Api::new(engine.clone(), &config.api_cors_header));
    let workers = listeners
        .into_iter()
        .map(|listener| {
            log::info!("API listen on {}", listener.name());
            server::serve(listener, api.clone())
        })
        .collect::<Result<Vec<Worker>>>()?;
    let restoring = restore(&engine)?;
    let current = Mutex::new(config);
    let result = wait_for_end(&signals, &engine, &current);
    log::info!("Daemon shutdown: stopping");
    notify::state("STOPPING=1");
    drop(workers);
    // Restoring makes what shutting down takes away: the one must be over before the other begins.
    drop(restoring);
    engine.shut_down();
    log::info!("Daemon shutdown complete");
    result
}

fn open_engine(
    config: &DaemonConfig,
    data_root: PathBuf,
    exec_root: PathBuf,
) -> Result<Arc<Engine>> {
    log::info!("Docker daemon commit={} version={}", multi_core::REVISION, multi_core::VERSION);
    let driver = storage::open(&config.storage_driver, &data_root, &config.storage_opts)?;
    let temporary = std::env::var_os("DOCKER_TMPDIR").filter(|dir| !dir.is_empty());
    let temporary = temporary.map_or_else(|| data_root.join("tmp"), PathBuf::from);
    let store = Arc::new(image::Store::open(&data_root, driver)?.spool_in(&temporary)?);
    let network = net::Config {
        executable: Arc::new(|| Ok(sys::memfd::sealed_exe()?.path())),
        ..config.network()?
    };
    let net = Arc::new(net::Controller::open(network, &exec_root, &data_root)?);
    let settings = Settings {
        id: engine_id(&data_root)?,
        data_root,
        exec_root,
        cgroup_parent: config.cgroup_parent.clone(),
        default_shm_bytes: config.default_shm_size,
        cpu_realtime: (config.cpu_rt_period, config.cpu_rt_runtime),
        cdi_spec_dirs: match config.cdi_spec_dirs.as_slice() {
            [] => vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            dirs => dirs.iter().map(PathBuf::from).collect(),
        },
        log_driver: config.log_driver.clone(),
        log_opts: config.log_opts.clone(),
        default_ulimits: config
            .default_ulimits
            .values()
            .map(|limit| multi_core::engine::model::host::Ulimit {
                name: limit.name.clone(),
                hard: limit.hard,
                soft: limit.soft,
            })
            .collect(),
        host_gateway_ips: config.host_gateway_ips.clone(),
        dns: config.dns.clone(),
        dns_search: config.dns_search.clone(),
        dns_opts: config.dns_opts.clone(),
        auto_restart: config.restart,
        ipc_mode: config.default_ipc_mode.clone(),
        cgroupns_mode: config.default_cgroupns_mode.clone(),
        seccomp: seccomp_profile(&config.seccomp_profile)?,
        seccomp_profile: config.seccomp_profile.clone(),
        no_new_privileges: config.no_new_privileges,
        selinux: has_selinux(config),
        init: config.init,
        init_path: config.init_path.clone(),
    };
    if let Some(profile) = multi_core::engine::container::security::missing_profile() {
        log::warn!("AppArmor profile {profile} is not loaded: containers run without it");
    }
    Engine::open(settings, live(config), store, registries(config), net)
}

/// The text of the profile in a file; Docker's words for none and its own profile are kept.
fn seccomp_profile(path: &str) -> Result<String> {
    match path {
        "" | "builtin" | "unconfined" => Ok(path.into()),
        path => std::fs::read_to_string(path)
            .at(format_args!("opening seccomp profile ({path}) failed: open {path}")),
    }
}

fn has_selinux(config: &DaemonConfig) -> bool {
    let there = config.selinux_enabled && sys::selinux::is_enabled();
    if config.selinux_enabled && !there {
        log::warn!("Docker could not enable SELinux on the host system");
    }
    there
}

fn live(config: &DaemonConfig) -> Live {
    Live {
        runtimes: config.runtimes.clone(),
        default_runtime: config.default_runtime.clone(),
        live_restore: config.live_restore,
        labels: config.labels.clone(),
        debug: config.debug,
        shutdown_timeout_seconds: config.shutdown_timeout,
    }
}

fn registries(config: &DaemonConfig) -> registry::Settings {
    registry::Settings {
        insecure: config.insecure_registries.clone(),
        mirrors: config.registry_mirrors.clone(),
        proxies: registry::proxy::Proxies::from_env(),
        max_attempts: u32::try_from(config.max_download_attempts).unwrap_or(1),
        max_concurrent_downloads: usize::try_from(config.max_concurrent_downloads).unwrap_or(1),
        ..registry::Settings::default()
    }
}

fn restore(engine: &Arc<Engine>) -> Result<Worker> {
    let engine = engine.clone();
    Worker::spawn("restore", move |_| match engine.restore() {
        Ok(()) => {
            log::info!("Daemon has completed initialization");
            notify::state("READY=1");
            engine.collect_layers();
        }
        Err(e) => {
            log::error!("failed to start daemon: {e}");
            // The main thread waits for signals only; this one tells it that there is nothing to wait for.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), Signal::SIGUSR2);
        }
    })
}

const ENDS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

fn block_signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in ENDS.into_iter().chain([Signal::SIGHUP, Signal::SIGUSR2]) {
        signals.add(signal);
    }
    signals.thread_block().at("blocking signals")?;
    Ok(signals)
}

fn wait_for_end(
    signals: &SigSet,
    engine: &Arc<Engine>,
    current: &Mutex<DaemonConfig>,
) -> Result<()> {
    loop {
        match signals.wait().at("waiting for signals")? {
            Signal::SIGHUP => reload(engine, current),
            Signal::SIGUSR2 => return Err(Error::internal("the containers could not be restored")),
            signal => {
                log::info!("Processing signal '{signal}'");
                end_at_once_on_another(*signals)?;
                return Ok(());
            }
        }
    }
}

/// Someone who asks twice does not want to wait.
fn end_at_once_on_another(signals: SigSet) -> Result<()> {
    let watch = move || {
        while let Ok(signal) = signals.wait() {
            if ENDS.contains(&signal) {
                log::warn!("Processing signal '{signal}' again: ending at once");
                std::process::exit(1);
            }
        }
    };
    worker::builder("signals").spawn(watch).at("starting the signal thread").map(drop)
}

fn reload(engine: &Engine, current: &Mutex<DaemonConfig>) {
    let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
    let (config, changed) = match daemon::reload(&current) {
        Ok(reloaded) => reloaded,
        Err(e) => {
            log::error!("reloading the configuration: {e}");
            return;
        }
    };
    if let Ok((level, format)) = config.log() {
        logging::init(level, format);
    }
    *engine.live.write().unwrap_or_else(PoisonError::into_inner) = live(&config);
    engine.images.set_registries(registries(&config));
    log::info!(
        "Got signal to reload configuration, reloading from: {} ({})",
        config.source.file.display(),
        changed.join(", ")
    );
    let attributes: BTreeMap<String, String> = daemon::attributes(&config).into_iter().collect();
    engine.daemon_event("reload", attributes);
    *current = config;
}

fn listen(config: &DaemonConfig) -> Result<Vec<Listener>> {
    let speaks_tls = config.tls || config.tls_verify;
    let server_tls = if speaks_tls {
        let ca = config.tls_verify.then(|| Path::new(&config.tls_ca));
        Some(tls::server_config(Path::new(&config.tls_cert), Path::new(&config.tls_key), ca)?)
    } else {
        None
    };
    let hosts = match config.hosts.as_slice() {
        [] if speaks_tls => &[String::from("tcp://localhost:2376")],
        [] => &[String::new()],
        hosts => hosts,
    };
    let mut listeners = Vec::new();
    for host in hosts {
        let address = Address::parse(host, Side::Listen, speaks_tls)?;
        let options = listen::Options { group: socket_group(config), tls: server_tls.clone() };
        for listener in Listener::bind(&address, &options)? {
            if listener.is_tcp() && !config.tls_verify {
                log::warn!(
                    "Binding to IP address {} without --tlsverify is insecure and gives root access on \
                     this machine to everyone who has access to your network.",
                    listener.name()
                );
            }
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// The group of the unix socket: by name or number; root's if there is no such group.
fn socket_group(config: &DaemonConfig) -> Option<u32> {
    if config.group.is_empty() {
        return None;
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(&config.group)).then(|| fields.nth(1)?.parse().ok())?
    });
    let found = named.or_else(|| config.group.parse().ok());
    if found.is_none() {
        log::warn!(
            "could not change group of the socket to {}: group {} not found",
            config.group,
            config.group
        );
    }
    found
}

/// Makes the directory and gives its real path: it may be a symbolic link.
fn make_root(path: &str, mode: u32) -> Result<PathBuf> {
    let path = Path::new(path);
    if !path.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .at(format_args!("creating {}", path.display()))?;
    }
    let real = fs::canonicalize(path).at(format_args!("resolving {}", path.display()))?;
    let meta = fs::metadata(&real).at(format_args!("looking at {}", real.display()))?;
    if !meta.is_dir() {
        return Err(Error::invalid(format_args!("{} is not a directory", real.display())));
    }
    if meta.uid() != 0 {
        log::warn!("{} does not belong to root", real.display());
    }
    Ok(real)
}

/// The id of this data root, made at the first start.
fn engine_id(data_root: &Path) -> Result<String> {
    let path = data_root.join("engine-id");
    if let Some(bytes) = multi_core::base::file::read_optional(&path)? {
        let id = String::from_utf8_lossy(&bytes).trim().to_string();
        if !id.is_empty() {
            return Ok(id);
        }
    }
    let mut bytes = [0u8; 16];
    sys::random::fill(&mut bytes);
    // Version 4, variant 1: RFC 9562 section 5.4.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = multi_core::base::hex::encode(&bytes);
    let id =
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    multi_core::base::file::write_atomic(
        &path,
        id.as_bytes(),
        0o600,
        multi_core::base::file::Durable::Yes,
    )?;
    Ok(id)
}
