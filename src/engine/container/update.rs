//! Changing the limits and the restart policy of a container, running or not.
//!
//! The record changes first and the kernel second, as in Docker; if the kernel refuses, the record is put
//! back. A field that is absent (zero, or empty) stays as it is.
//!
//! Spec: moby `daemon/update.go` and `container/container_unix.go`, UpdateContainer (behaviour and texts).

use std::sync::Arc;

use super::record::save_host_config;
use super::{Container, durability, limits, pause, restart};
use crate::base::{Error, Kind, Result};
use crate::cgroup::resources::{LinuxMemory, LinuxPids, LinuxResources};
use crate::engine::Engine;
use crate::engine::model::host::HostConfig;

/// Changes what `asked` names in the container called `name`; returns what the user should know. Members
/// of `asked` that cannot be changed are checked and then ignored.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for values that cannot be meant; `NotFound`; `Conflict` for what
/// does not go with the container's own limits; `Internal` if the kernel refuses. Nothing has changed in
/// the record then; limits that were set before the refused one stay set until the next start.
pub fn update(engine: &Engine, name: &str, asked: &HostConfig) -> Result<Vec<String>> {
    let mut change = only_changeable(asked);
    if let Some(most) = &mut change.pids_limit {
        // 0 and -1 both mean no limit.
        *most = (*most).max(0);
    }
    restart::check(&change)?;
    let (resources, warnings) = limits::for_update(engine, &mut change)?;
    let container = engine.containers()?.find(name)?;
    apply(engine, &container, &change, resources)
        .map_err(|e| e.at(format_args!("Cannot update container {}", container.id)))?;
    Ok(warnings)
}

fn apply(
    engine: &Engine,
    container: &Arc<Container>,
    change: &HostConfig,
    mut resources: LinuxResources,
) -> Result<()> {
    // No start, end or pause comes between the record and the kernel.
    let _operation = container.begin();
    let (before, merged, running) = {
        let data = container.data();
        let state = &data.record.state;
        if state.removal_in_progress || state.dead || data.removed {
            return Err(Error::conflict(
                "container is marked for removal and cannot be \"update\"",
            ));
        }
        let running = state.running && !state.restarting;
        (data.host.clone(), Arc::new(merge(&data.host, change)?), running)
    };
    keep(container, &merged)?;
    let mut in_kernel = || -> Result<()> {
        if !running {
            return Ok(());
        }
        complete(&mut resources, change, &merged);
        pause::cgroup(engine, container)?.update(&resources)
    };
    if let Err(e) = in_kernel() {
        if let Err(undo) = keep(container, &before) {
            log::error!("putting the limits of container {} back: {undo}", container.id);
        }
        return Err(e.with_kind(Kind::Internal));
    }
    container.notify();
    engine.container_event(container, "update", &[]);
    Ok(())
}

/// Writes `host` and makes it the container's.
fn keep(container: &Container, host: &Arc<HostConfig>) -> Result<()> {
    save_host_config(host, &container.dir, durability(host))?;
    container.data().host = host.clone();
    Ok(())
}

/// The members of `asked` that an update may change.
fn only_changeable(asked: &HostConfig) -> HostConfig {
    HostConfig {
        restart_policy: asked.restart_policy.clone(),
        blkio_weight: asked.blkio_weight,
        cpu_shares: asked.cpu_shares,
        nano_cpus: asked.nano_cpus,
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        cpu_realtime_period: asked.cpu_realtime_period,
        cpu_realtime_runtime: asked.cpu_realtime_runtime,
        cpuset_cpus: asked.cpuset_cpus.clone(),
        cpuset_mems: asked.cpuset_mems.clone(),
        memory: asked.memory,
        memory_swap: asked.memory_swap,
        memory_reservation: asked.memory_reservation,
        kernel_memory: asked.kernel_memory,
        pids_limit: asked.pids_limit,
        ..HostConfig::default()
    }
}

/// The container's configuration with `change` in it.
fn merge(own: &HostConfig, change: &HostConfig) -> Result<HostConfig> {
    let conflict = |text: &str| Err(Error::conflict(text));
    for (given, set, new, old) in [
        (change.nano_cpus, own.cpu_period, "Nano CPUs", "CPU Period"),
        (change.nano_cpus, own.cpu_quota, "Nano CPUs", "CPU Quota"),
        (change.cpu_period, own.nano_cpus, "CPU Period", "NanoCPUs"),
        (change.cpu_quota, own.nano_cpus, "CPU Quota", "NanoCPUs"),
    ] {
        if given > 0 && set > 0 {
            return conflict(&format!(
                "Conflicting options: {new} cannot be updated as {old} has already been set"
            ));
        }
    }
    if change.memory != 0 && change.memory > own.memory_swap && change.memory_swap == 0 {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at \
             the same time",
        );
    }
    let policy = &change.restart_policy;
    if own.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        );
    }
    let mut merged = own.clone();
    let set = |own: &mut i64, new: i64| {
        if new != 0 {
            *own = new;
        }
    };
    set(&mut merged.cpu_shares, change.cpu_shares);
    set(&mut merged.nano_cpus, change.nano_cpus);
    set(&mut merged.cpu_period, change.cpu_period);
    set(&mut merged.cpu_quota, change.cpu_quota);
    set(&mut merged.cpu_realtime_period, change.cpu_realtime_period);
    set(&mut merged.cpu_realtime_runtime, change.cpu_realtime_runtime);
    set(&mut merged.memory, change.memory);
    set(&mut merged.memory_swap, change.memory_swap);
    set(&mut merged.memory_reservation, change.memory_reservation);
    set(&mut merged.kernel_memory, change.kernel_memory);
    for (own, new) in [
        (&mut merged.cpuset_cpus, &change.cpuset_cpus),
        (&mut merged.cpuset_mems, &change.cpuset_mems),
    ] {
        if !new.is_empty() {
            own.clone_from(new);
        }
    }
    if change.blkio_weight != 0 {
        merged.blkio_weight = change.blkio_weight;
    }
    if change.pids_limit.is_some() {
        merged.pids_limit = change.pids_limit;
    }
    if !policy.name.is_empty() {
        merged.restart_policy = policy.clone();
    }
    Ok(merged)
}

/// What the kernel needs to be told beside what changes.
fn complete(resources: &mut LinuxResources, change: &HostConfig, merged: &HostConfig) {
    if change.pids_limit == Some(0) {
        resources.pids = Some(LinuxPids { limit: -1 });
    }
    // Version 2 has no limit of the sum of memory and swap: one of them follows from the other two.
    if let Some(LinuxMemory { limit, swap, .. }) = &mut resources.memory
        && (limit.is_some() || swap.is_some())
    {
        *limit = limit.or((merged.memory != 0).then_some(merged.memory));
        *swap = swap.or((merged.memory_swap != 0).then_some(merged.memory_swap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut host = HostConfig::default();
        change(&mut host);
        host
    }

    #[test]
    fn what_is_not_named_stays() {
        let own = host(|h| (h.memory, h.memory_swap, h.cpu_shares) = (64, 128, 512));
        let change = host(|h| (h.cpu_shares, h.pids_limit) = (100, Some(0)));
        let merged = merge(&own, &change).unwrap();
        assert_eq!((merged.memory, merged.cpu_shares, merged.pids_limit), (64, 100, Some(0)));
        let mut resources = LinuxResources::default();
        complete(&mut resources, &change, &merged);
        assert_eq!(resources.pids, Some(LinuxPids { limit: -1 }));
        assert_eq!(resources.memory, None);
    }

    #[test]
    fn a_new_limit_of_memory_brings_the_sum_with_it() {
        let own = host(|h| (h.memory, h.memory_swap) = (64, 128));
        let change = host(|h| h.memory = 100);
        let merged = merge(&own, &change).unwrap();
        let memory = LinuxMemory { limit: Some(100), ..LinuxMemory::default() };
        let mut resources = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
        complete(&mut resources, &change, &merged);
        let memory = resources.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(100), Some(128)));
    }

    #[test]
    fn what_contradicts_the_containers_own_limits_is_refused() {
        type Change = fn(&mut HostConfig);
        let cases: &[(Change, Change, &str)] = &[
            (
                |h| h.cpu_period = 1,
                |h| h.nano_cpus = 1,
                "Nano CPUs cannot be updated as CPU Period",
            ),
            (|h| h.nano_cpus = 1, |h| h.cpu_quota = 1, "CPU Quota cannot be updated as NanoCPUs"),
            (|h| h.memory_swap = 5, |h| h.memory = 6, "update the memoryswap at the same time"),
            (|_| {}, |h| h.memory = 6, "update the memoryswap at the same time"),
            (
                |h| h.auto_remove = true,
                |h| h.restart_policy.name = "always".into(),
                "AutoRemove is enabled",
            ),
        ];
        for (own, change, text) in cases {
            let e = merge(&host(own), &host(change)).unwrap_err();
            assert!(e.to_string().contains(text), "{e}");
        }
        let own = host(|h| h.memory_swap = 5);
        assert_eq!(merge(&own, &host(|h| h.memory = 5)).unwrap().memory, 5);
    }
}
