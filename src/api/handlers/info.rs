//! `GET /info`: the host, the engine, what it was told, and what users should know.

use std::collections::BTreeMap;

use crate::api::Call;
use crate::api::types::system::{
    Commit, FirewallInfo, IndexInfo, Info, Plugins, RegistryConfig, Runtime, Swarm,
};
use crate::api::version::Version;
use crate::base::Result;
use crate::engine::Engine;
use crate::engine::container::runtime::{self, BUILT_IN};
use crate::engine::info as facts;
use crate::engine::settings;
use crate::http::{Request, Response};
use crate::registry;

/// Where Docker Hub says who may log in.
const INDEX_SERVER: &str = "https://index.docker.io/v1/";
/// Networks that are always insecure: this machine itself.
const LOOPBACK: [&str; 2] = ["::1/128", "127.0.0.0/8"];

/// Answers with everything. Counts are of what was restored so far; nothing is waited for.
///
/// # Errors
/// Those of the stores that are counted.
pub fn info(call: &Call<'_>, _: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let engine = call.engine;
    let (settings, live) = (&engine.settings, engine.live());
    let (host, process, limits) = (facts::host(), facts::process(), engine.cgroup_features());
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for container in engine.containers_now().all() {
        let state = container.data().record.state.clone();
        match (state.running, state.paused) {
            (true, true) => paused += 1,
            (true, false) => running += 1,
            (false, _) => stopped += 1,
        }
    }
    let driver = engine.store.layers().driver();
    let registries = engine.images.registries();
    let commit = Commit { id: crate::REVISION.into(), expected: String::new() };
    let firewall = engine.net.firewall_backend();
    let mut info = Info {
        id: settings.id.clone(),
        containers: running + paused + stopped,
        containers_running: running,
        containers_paused: paused,
        containers_stopped: stopped,
        images: engine.images.count()? as i64,
        driver: driver.name().into(),
        driver_status: driver.status(),
        plugins: Plugins {
            volume: names(&["local"]),
            network: names(&["bridge", "host", "null"]),
            authorization: None,
            log: names(&crate::logs::names()),
        },
        memory_limit: limits.memory_limit,
        swap_limit: limits.swap_limit,
        kernel_memory_tcp: limits.kernel_memory_tcp,
        cpu_cfs_period: limits.cpu_cfs,
        cpu_cfs_quota: limits.cpu_cfs,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpuset,
        pids_limit: limits.pids_limit,
        ipv4_forwarding: host.ipv4_forwarding,
        debug: live.debug,
        n_fd: process.descriptors as i64,
        oom_kill_disable: limits.oom_kill_disable,
        n_goroutines: process.threads as i64,
        system_time: facts::time(),
        logging_driver: settings.log_driver.clone(),
        cgroup_driver: "cgroupfs".into(),
        cgroup_version: facts::cgroup_version().into(),
        n_events_listener: engine.events.listeners() as i64,
        kernel_version: host.kernel,
        operating_system: host.system,
        os_version: host.system_version,
        os_type: "linux".into(),
        architecture: host.machine,
        index_server_address: INDEX_SERVER.into(),
        ncpu: host.processors as i64,
        mem_total: host.memory_bytes as i64,
        docker_root_dir: settings.data_root.display().to_string(),
        http_proxy: masked(&registries.proxies.http),
        https_proxy: masked(&registries.proxies.https),
        no_proxy: registries.proxies.no_proxy.clone(),
        registry_config: Some(registry_config(&registries)),
        name: host.name,
        labels: live.labels,
        server_version: crate::VERSION.into(),
        runtimes: runtimes(&live.runtimes),
        default_runtime: runtime::default(engine),
        swarm: Swarm { local_node_state: "inactive".into(), ..Swarm::default() },
        live_restore_enabled: live.live_restore,
        cdi_spec_dirs: match call.version >= Version(1, 44) {
            true => settings.cdi_spec_dirs.iter().map(|dir| dir.display().to_string()).collect(),
            false => Vec::new(),
        },
        init_binary: "docker-init".into(),
        runc_commit: commit.clone(),
        init_commit: commit,
        security_options: security_options(host.apparmor, host.seccomp, call.engine),
        firewall_backend: firewall
            .filter(|_| call.version >= Version(1, 49))
            .map(|driver| FirewallInfo { driver: driver.into(), info: Vec::new() }),
        ..Info::default()
    };
    // Version 2 has no such settings at all.
    let unified = facts::cgroup_version() == "2";
    let missing = [
        (limits.memory_limit, "memory limit"),
        (limits.swap_limit, "swap limit"),
        (limits.kernel_memory_tcp || unified, "kernel memory TCP limit"),
        (limits.oom_kill_disable || unified, "oom kill disable"),
        (limits.cpu_cfs, "cpu cfs quota"),
        (limits.cpu_cfs, "cpu cfs period"),
        (limits.cpu_shares, "cpu shares"),
        (limits.cpuset, "cpuset"),
        (limits.pids_limit, "pids limit"),
        (limits.blkio_weight, "blkio weight"),
        (limits.blkio_weight_device, "blkio weight_device"),
        (limits.blkio_throttle, "blkio throttle.read_bps_device"),
        (limits.blkio_throttle, "blkio throttle.write_bps_device"),
        (limits.blkio_throttle, "blkio throttle.read_iops_device"),
        (limits.blkio_throttle, "blkio throttle.write_iops_device"),
    ];
    let warnings = missing.iter().filter(|(there, _)| !there);
    let mut warnings: Vec<String> =
        warnings.map(|(_, what)| format!("WARNING: No {what} support")).collect();
    if !info.ipv4_forwarding {
        warnings.push("WARNING: IPv4 forwarding is disabled".into());
    }
    if host.seccomp && call.engine.settings.seccomp_profile != "builtin" {
        warnings.push("WARNING: daemon is not using the default seccomp profile".into());
    }
    info.warnings = Some(warnings).filter(|list| !list.is_empty());
    response.json(200, &info)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The built-in runtime, under the name that containers of Docker are recorded with, and the others.
fn runtimes(known: &BTreeMap<String, settings::Runtime>) -> BTreeMap<String, Runtime> {
    let built_in = Runtime {
        path: "multi".into(),
        runtime_args: vec!["runtime".into()],
        ..Runtime::default()
    };
    let others = known.iter().map(|(name, runtime)| {
        let (path, runtime_args) = (runtime.path.clone(), runtime.args.clone());
        (name.clone(), Runtime { path, runtime_args, ..Runtime::default() })
    });
    std::iter::once((BUILT_IN.to_string(), built_in)).chain(others).collect()
}

fn security_options(apparmor: bool, seccomp: bool, engine: &Engine) -> Vec<String> {
    let settings = &engine.settings;
    let mut options = Vec::new();
    if apparmor {
        options.push("name=apparmor".to_string());
    }
    if seccomp {
        options.push(format!("name=seccomp,profile={}", settings.seccomp_profile));
    }
    if settings.selinux {
        options.push("name=selinux".to_string());
    }
    if facts::cgroup_version() == "2" {
        options.push("name=cgroupns".to_string());
    }
    if settings.no_new_privileges {
        options.push("name=no-new-privileges".to_string());
    }
    options
}

fn registry_config(settings: &registry::Settings) -> RegistryConfig {
    let (networks, hosts): (Vec<&String>, Vec<&String>) =
        settings.insecure.iter().partition(|entry| entry.contains('/'));
    let hub = IndexInfo {
        name: registry::reference::DEFAULT_DOMAIN.into(),
        mirrors: settings.mirrors.clone(),
        secure: true,
        official: true,
    };
    let mut indexes = BTreeMap::from([(hub.name.clone(), hub)]);
    for host in hosts {
        let index = IndexInfo { name: host.clone(), ..IndexInfo::default() };
        indexes.insert(host.clone(), index);
    }
    let mut insecure: Vec<String> = networks.into_iter().cloned().collect();
    insecure.extend(names(&LOOPBACK));
    RegistryConfig {
        insecure_registry_cidrs: insecure,
        index_configs: indexes,
        mirrors: Some(settings.mirrors.clone()).filter(|list| !list.is_empty()),
    }
}

/// A proxy's address without the name and the password in it.
fn masked(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(s, r)| (s, r));
    match rest.rsplit_once('@') {
        None => address.to_string(),
        Some((_, host)) if scheme.is_empty() => format!("xxxxx:xxxxx@{host}"),
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_proxies_are_not_shown() {
        assert_eq!(masked("http://u:p@h:1"), "http://xxxxx:xxxxx@h:1");
        assert_eq!(masked("http://u:p@q@h:1"), "http://xxxxx:xxxxx@h:1");
        assert_eq!(masked("http://h:1"), "http://h:1");
        assert_eq!(masked(""), "");
    }

    #[test]
    fn insecure_registries_are_told_from_networks() {
        let settings = registry::Settings {
            insecure: vec!["10.0.0.0/8".into(), "reg:5000".into()],
            ..registry::Settings::default()
        };
        let shown = registry_config(&settings);
        assert_eq!(shown.insecure_registry_cidrs, ["10.0.0.0/8", "::1/128", "127.0.0.0/8"]);
        assert!(!shown.index_configs["reg:5000"].secure);
        assert!(shown.index_configs["docker.io"].official);
    }
}
