//! From a container's configuration to what the runtime is told.
//!
//! Spec: OCI runtime-spec 1.2; moby `daemon/oci_linux.go` for what Docker puts where.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use super::exec::Options as ExecOptions;
use super::mounts::setup::{self, Ready};
use super::record::Record;
use super::security::{self, Seccomp};
use super::{Container, devices, limits, links, logs, modes, runtime};
use crate::base::Result;
use crate::cgroup;
use crate::engine::Engine;
use crate::engine::model::host::HostConfig;
use crate::engine::network::{Mode, Plan};
use crate::runtime::defaults;
use crate::runtime::seccomp::load_profile;
use crate::runtime::shim::StartRequest;
use crate::runtime::spec::{Linux, Mount, Process, Root, Spec};
use crate::sys::caps;

/// Everything the shim needs to start `container` on the mounted `root`.
///
/// # Errors
/// `InvalidParameter` for configurations that name what is not there any more; `Conflict` if another
/// container whose namespaces it wants does not run.
pub fn start_request(
    engine: &Engine,
    container: &Container,
    root: &Path,
    plan: &Plan,
    ready: &Ready,
) -> Result<StartRequest> {
    let (record, host) = {
        let data = container.data();
        (data.record.clone(), data.host.clone())
    };
    let options = security::options(&host)?;
    let mut spec = defaults::spec();
    let capabilities = defaults::capabilities(&security::capabilities(&host)?);
    spec.process = Some(Process {
        terminal: record.config.tty,
        args: std::iter::once(record.path.clone()).chain(record.args.iter().cloned()).collect(),
        env: environment(&record, links::environment(engine, container)),
        cwd: match record.config.working_dir.as_str() {
            "" => "/".into(),
            dir => dir.into(),
        },
        capabilities: Some(capabilities),
        rlimits: limits::rlimits(&host)?,
        no_new_privileges: record.no_new_privileges,
        apparmor_profile: security::apparmor(&host, &options),
        selinux_label: record.process_label.clone(),
        oom_score_adj: Some(host.oom_score_adj),
        console_size: console_size(&host),
        ..Process::default()
    });
    spec.root =
        Some(Root { path: root.to_string_lossy().into_owned(), readonly: host.readonly_rootfs });
    if host.uts_mode != "host" {
        spec.hostname = record.config.hostname.clone();
    }
    spec.domainname = record.config.domainname.clone();
    spec.annotations = host.annotations.clone();
    let propagation = mounts(engine, container, &record, &host, plan, ready, &mut spec.mounts)?;
    let linux = spec.linux.get_or_insert_default();
    linux.resources = Some(limits::for_start(engine, &host)?);
    linux.cgroups_path = cgroup_path(engine, &host, &container.id);
    if let (period, runtime) = engine.settings.cpu_realtime
        && (period, runtime) != (0, 0)
    {
        cgroup::share_realtime(&linux.cgroups_path, period, runtime)?;
    }
    linux.sysctl = sysctls(&host);
    linux.rootfs_propagation = propagation.into();
    modes::namespaces(engine, &host, plan, linux)?;
    paths(&host, options.system_paths_unconfined, linux);
    linux.mount_label.clone_from(&record.mount_label);
    let default_seccomp = match security::seccomp(engine, &host, &options) {
        Seccomp::Default => true,
        Seccomp::Unconfined => false,
        Seccomp::Profile(text) => {
            let bounding = caps::Set::parse(&security::capabilities(&host)?)?;
            linux.seccomp = load_profile(text.as_bytes(), bounding)?;
            false
        }
    };
    let writable_cgroups = options.writable_cgroups.unwrap_or(host.privileged);
    for mount in &mut spec.mounts {
        let writable = match mount.kind.as_str() {
            "sysfs" => host.privileged,
            "cgroup" => writable_cgroups,
            _ => false,
        };
        if writable {
            mount.options.retain(|option| option != "ro");
        }
    }
    let init = wants_init(engine, &host);
    let init_path = &engine.settings.init_path;
    if init && !init_path.is_empty() {
        spec.mounts.push(bind(init_path, INIT_PATH, &["bind", "ro"]));
        if let Some(process) = &mut spec.process {
            process.args.splice(0..0, [INIT_PATH.to_string(), "--".into()]);
        }
    }
    devices::add(engine, &host, &mut spec)?;
    let mut request = StartRequest {
        id: container.id.clone(),
        bundle: engine.bundle_dir(&container.id).to_string_lossy().into_owned(),
        user: user_or_root(&record.config.user),
        groups: groups(&host, &spec),
        spec,
        open_stdin: record.config.open_stdin,
        stdin_once: record.config.stdin_once,
        init: init && init_path.is_empty(),
        // Docker's word for a host that runs from an initramfs.
        no_pivot: std::env::var_os("DOCKER_RAMDISK").is_some_and(|value| !value.is_empty()),
        default_seccomp,
        log: logs::config_of(container, &record, &host)?,
        ..StartRequest::default()
    };
    runtime::choose(engine, &host.runtime, &mut request)?;
    Ok(request)
}

/// Where a program that reaps processes is, inside.
const INIT_PATH: &str = "/sbin/docker-init";

/// Whether a reaper is the first process; who shares the processes of others has one there already.
fn wants_init(engine: &Engine, host: &HostConfig) -> bool {
    host.pid_mode.is_empty() && host.init.unwrap_or(engine.settings.init)
}

/// The groups that the user adds, and those that devices bring along.
fn groups(host: &HostConfig, spec: &Spec) -> Vec<String> {
    let of_devices = spec.process.iter().flat_map(|process| &process.user.additional_gids);
    let mut groups = host.group_add.clone().unwrap_or_default();
    groups.extend(of_devices.map(u32::to_string));
    groups
}

/// The process of an exec: the container's own, with what the client changed.
///
/// # Errors
/// `InvalidParameter` as at the start of the container.
pub fn exec_process(
    engine: &Engine,
    container: &Container,
    options: &ExecOptions,
) -> Result<Process> {
    let (record, host) = {
        let data = container.data();
        (data.record.clone(), data.host.clone())
    };
    let names = if options.privileged {
        let privileged = HostConfig { privileged: true, ..(*host).clone() };
        security::capabilities(&privileged)?
    } else {
        security::capabilities(&host)?
    };
    let mut env = environment(&record, links::environment(engine, container));
    if options.tty {
        set_env(&mut env, "TERM=xterm");
    }
    for entry in &options.env {
        set_env(&mut env, entry);
    }
    Ok(Process {
        terminal: options.tty,
        args: options.command.clone(),
        env,
        cwd: match (options.working_dir.as_str(), record.config.working_dir.as_str()) {
            ("", "") => "/".into(),
            ("", own) => own.into(),
            (dir, _) => dir.into(),
        },
        capabilities: Some(defaults::capabilities(&names)),
        rlimits: limits::rlimits(&host)?,
        no_new_privileges: record.no_new_privileges,
        apparmor_profile: security::apparmor(&host, &security::options(&host)?),
        selinux_label: record.process_label.clone(),
        oom_score_adj: Some(host.oom_score_adj),
        console_size: options.console_size.map(|(height, width)| {
            crate::runtime::spec::ConsoleSize { height: height.into(), width: width.into() }
        }),
        ..Process::default()
    })
}

/// Who an exec runs as: the user it names, else the container's, with the container's extra groups.
pub fn exec_user(container: &Container, options: &ExecOptions) -> (String, Vec<String>) {
    let data = container.data();
    let user = if options.user.is_empty() { &data.record.config.user } else { &options.user };
    (user_or_root(user), data.host.group_add.clone().unwrap_or_default())
}

/// To be looked up in any case: root too has groups in the image.
fn user_or_root(user: &str) -> String {
    if user.is_empty() { "0".into() } else { user.into() }
}

/// Docker's own variables, those of links, then the container's.
fn environment(record: &Record, linked: Vec<String>) -> Vec<String> {
    let mut env =
        vec![format!("PATH={}", defaults::PATH), format!("HOSTNAME={}", record.config.hostname)];
    if record.config.tty {
        env.push("TERM=xterm".into());
    }
    for entry in linked.iter().chain(record.config.env.iter().flatten()) {
        set_env(&mut env, entry);
    }
    env
}

/// Sets `KEY=value`; a bare `KEY` takes the variable out.
fn set_env(env: &mut Vec<String>, entry: &str) {
    let key = entry.split('=').next().unwrap_or_default();
    let is_key = |other: &String| other.split('=').next() == Some(key);
    match (env.iter().position(is_key), entry.contains('=')) {
        (Some(at), true) => env[at] = entry.into(),
        (Some(at), false) => drop(env.remove(at)),
        (None, true) => env.push(entry.into()),
        (None, false) => {}
    }
}

fn console_size(host: &HostConfig) -> Option<crate::runtime::spec::ConsoleSize> {
    let [height, width] = host.console_size;
    (height != 0 && width != 0).then_some(crate::runtime::spec::ConsoleSize { height, width })
}

/// Where the cgroup of container `id` is.
pub fn cgroup_path(engine: &Engine, host: &HostConfig, id: &str) -> String {
    cgroup::container_path(&[&host.cgroup_parent, &engine.settings.cgroup_parent], id)
}

fn paths(host: &HostConfig, unconfined: bool, linux: &mut Linux) {
    if host.privileged || unconfined {
        linux.masked_paths.clear();
        linux.readonly_paths.clear();
        return;
    }
    if let Some(masked) = &host.masked_paths {
        linux.masked_paths.clone_from(masked);
    }
    if let Some(readonly) = &host.readonly_paths {
        linux.readonly_paths.clone_from(readonly);
    }
}

fn sysctls(host: &HostConfig) -> BTreeMap<String, String> {
    let mut sysctls = host.sysctls.clone();
    // As Docker does since 20.10: no capability is needed for low ports and ping in an own network.
    if host.network_mode != "host" && !host.network_mode.starts_with("container:") {
        for (key, value) in default_sysctls() {
            sysctls.entry((*key).into()).or_insert_with(|| (*value).into());
        }
    }
    sysctls
}

/// Those of our own that this kernel has: the first came with 4.11.
fn default_sysctls() -> &'static [(&'static str, &'static str)] {
    const ALL: &[(&str, &str)] = &[
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
    ];
    static THERE: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    THERE.get_or_init(|| {
        let is_there =
            |(key, _): &&(&str, &str)| Path::new("/proc/sys").join(key.replace('.', "/")).exists();
        ALL.iter().filter(is_there).copied().collect()
    })
}

/// All mounts, and how the root's own spread: a shared bind mount inside needs its parent mount to be a
/// shared one as well.
fn mounts(
    engine: &Engine,
    container: &Container,
    record: &Record,
    host: &HostConfig,
    plan: &Plan,
    ready: &Ready,
    mounts: &mut Vec<Mount>,
) -> Result<&'static str> {
    let covered = |destination: &str| {
        record.mount_points.contains_key(destination) || host.tmpfs.contains_key(destination)
    };
    // What the user mounts over a default replaces it.
    let below_dev = covered("/dev");
    mounts.retain(|mount| {
        !(covered(&mount.destination) || below_dev && mount.destination.starts_with("/dev/"))
    });
    shared_memory(record, host, mounts);
    let read_only = if host.readonly_rootfs { "ro" } else { "rw" };
    let mut own = setup::entries(engine, record, host, ready)?;
    for (name, destination) in super::super::network::FILES {
        let destination = (*destination).to_string();
        if covered(&destination) {
            continue;
        }
        let source = match &plan.mode {
            Mode::Container(other) => other.dir.join(name),
            _ => container.dir.join(name),
        };
        own.mounts.push(bind(
            &source.to_string_lossy(),
            &destination,
            &["rbind", "rprivate", read_only],
        ));
    }
    // In the order of their depth, so that a mount below another one is not covered by it.
    own.mounts.sort_by_key(|mount| mount.destination.matches('/').count());
    mounts.extend(own.mounts);
    Ok(own.root_propagation)
}

fn shared_memory(record: &Record, host: &HostConfig, mounts: &mut Vec<Mount>) {
    let Some(mount) = mounts.iter_mut().find(|mount| mount.destination == "/dev/shm") else {
        return;
    };
    if host.ipc_mode == "none" {
        mounts.retain(|mount| mount.destination != "/dev/shm");
    } else if record.shm_path.is_empty() {
        mount.options.retain(|option| !option.starts_with("size="));
        mount.options.push(format!("size={}", host.shm_size));
    } else {
        *mount = bind(&record.shm_path, "/dev/shm", &["rbind", "rprivate"]);
    }
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.into(),
        options: options.iter().map(|option| (*option).to_string()).collect(),
        ..Mount::default()
    }
}
