//! Limits into the control files of version 1.
//!
//! Orders that the kernel forces: memory and memory+swap so that the second is never below the first
//! meanwhile; period before quota or after it, whichever the parent admits; real-time budgets and
//! cpusets before the first process joins.
//!
//! Spec: Documentation/admin-guide/cgroup-v1/{memory,blkio-controller,cpusets,hugetlb,net_cls}.rst;
//! Documentation/scheduler/{sched-bwc,sched-rt-group}.rst.

use std::path::Path;

use super::Group;
use crate::base::{Error, Result};
use crate::cgroup::control::{self, write};
use crate::cgroup::devices::Devices;
use crate::cgroup::resources::*;

/// Whether the cgroup is new.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Just made: everything is at the kernel's defaults and nobody is in it.
    Create,
    /// Has limits and processes.
    Update,
}

pub(super) fn apply(group: &Group, resources: &LinuxResources, when: When) -> Result<()> {
    if !resources.unified.is_empty() {
        return Err(Error::unsupported("invalid configuration: cannot use unified on cgroup v1"));
    }
    let cpu = resources.cpu.clone().unwrap_or_default();
    cpuset(group, &cpu, when)?;
    cpu_time(group, &cpu)?;
    if let Some(memory) = &resources.memory {
        apply_memory(group, memory)?;
    }
    if let Some(pids) = &resources.pids {
        apply_pids(group, pids, when)?;
    }
    if let Some(block_io) = &resources.block_io {
        apply_block_io(group, block_io)?;
    }
    if let Some(devices) = Devices::from_rules(&resources.devices)? {
        devices.write_v1(group.need("devices", "device rules")?)?;
    }
    for huge in &resources.hugepage_limits {
        apply_hugepages(group.need("hugetlb", "huge page limit")?, huge)?;
    }
    if let Some(network) = &resources.network {
        apply_network(group, network)?;
    }
    for (device, limit) in &resources.rdma {
        let dir = group.need("rdma", "RDMA limit")?;
        write(dir, "rdma.max", &rdma_line(device, limit))?;
    }
    Ok(())
}

/// `mlx5_0 hca_handle=3 hca_object=10000`.
pub(in crate::cgroup) fn rdma_line(device: &str, limit: &LinuxRdma) -> String {
    let mut line = device.to_string();
    for (key, value) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
        if let Some(value) = value {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    line
}

fn cpuset(group: &Group, cpu: &LinuxCpu, when: When) -> Result<()> {
    let Some(dir) = group.dir("cpuset") else {
        return match (cpu.cpus.as_str(), cpu.mems.as_str()) {
            ("", "") => Ok(()),
            _ => group.need("cpuset", "cpuset").map(drop),
        };
    };
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if when == When::Create {
            inherit_cpuset(dir, file, value)?;
        } else if !value.is_empty() {
            write(dir, file, value)?;
        }
    }
    Ok(())
}

/// Sets `file` to `value`, or to the parent's value if that is empty: a new v1 cpuset has none, and no
/// process can join it then. Parents made on the way are in the same need.
fn inherit_cpuset(dir: &Path, file: &str, value: &str) -> Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    let mut inherited = control::read(parent, file)?.trim().to_string();
    if inherited.is_empty() && parent != dir {
        inherit_cpuset(parent, file, "")?;
        inherited = control::read(parent, file)?.trim().to_string();
    }
    write(dir, file, if value.is_empty() { &inherited } else { value })
}

fn cpu_time(group: &Group, cpu: &LinuxCpu) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        let dir = group.need("cpu", "CPU shares")?;
        write(dir, "cpu.shares", &shares.to_string())?;
        // The kernel moves the value into its range without a word; a limit that differs is an error.
        let got = control::read_number(dir, "cpu.shares")?;
        if got != shares {
            let bound = if shares > got { "maximum" } else { "minimum" };
            return Err(Error::invalid(format_args!("the {bound} allowed cpu-shares is {got}")));
        }
    }
    let period = cpu.period.filter(|period| *period != 0);
    let quota = cpu.quota.filter(|quota| *quota != 0);
    if period.is_some() || quota.is_some() || cpu.burst.is_some() {
        let dir = group.need("cpu", "CPU quota")?;
        let mut late_period = None;
        if let Some(period) = period {
            match control::raw_write(dir, "cpu.cfs_period_us", &period.to_string()) {
                Ok(()) => {}
                // Below the parent's share until the quota has changed, too.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && quota.is_some() => {
                    late_period = Some(period);
                }
                Err(_) => write(dir, "cpu.cfs_period_us", &period.to_string())?,
            }
        }
        if let Some(quota) = quota {
            write(dir, "cpu.cfs_quota_us", &quota.to_string())?;
        }
        if let Some(period) = late_period {
            write(dir, "cpu.cfs_period_us", &period.to_string())?;
        }
        if let Some(burst) = cpu.burst {
            write(dir, "cpu.cfs_burst_us", &burst.to_string())?;
        }
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        let dir = group.need("cpu", "CPU real-time period")?;
        write(dir, "cpu.rt_period_us", &period.to_string())?;
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        let dir = group.need("cpu", "CPU real-time runtime")?;
        write(dir, "cpu.rt_runtime_us", &runtime.to_string())?;
    }
    if let Some(idle) = cpu.idle {
        write(group.need("cpu", "CPU idle")?, "cpu.idle", &idle.to_string())?;
    }
    Ok(())
}

fn apply_memory(group: &Group, memory: &LinuxMemory) -> Result<()> {
    let dir = group.need("memory", "memory limit")?;
    let limit = memory.limit.filter(|limit| *limit != 0);
    let mut swap = memory.swap.filter(|swap| *swap != 0);
    // Unlimited memory cannot stay below an old limit of memory and swap together.
    if limit == Some(-1) && swap.is_none() && dir.join(SWAP_FILE).exists() {
        swap = Some(-1);
    }
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            // Memory and swap together must never be below memory alone.
            let now = control::read_number(dir, MEMORY_FILE)?;
            if swap == -1 || u64::try_from(swap).is_ok_and(|swap| now < swap) {
                set_memory(dir, SWAP_FILE, swap)?;
                set_memory(dir, MEMORY_FILE, limit)?;
            } else {
                set_memory(dir, MEMORY_FILE, limit)?;
                set_memory(dir, SWAP_FILE, swap)?;
            }
        }
        (Some(limit), None) => set_memory(dir, MEMORY_FILE, limit)?,
        (None, Some(swap)) => set_memory(dir, SWAP_FILE, swap)?,
        (None, None) => {}
    }
    if let Some(reservation) = memory.reservation.filter(|bytes| *bytes != 0) {
        write(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    // `kernel` is not written: the kernel has ignored it since 5.4 and refuses it since 6.1.
    if let Some(tcp) = memory.kernel_tcp.filter(|bytes| *bytes != 0) {
        write(dir, "memory.kmem.tcp.limit_in_bytes", &tcp.to_string())?;
    }
    // -1 travels as the largest number in Docker's own configurations: leave the default.
    if let Some(swappiness) = memory.swappiness.filter(|value| *value != u64::MAX) {
        if swappiness > 100 {
            return Err(Error::invalid(format_args!(
                "invalid memory swappiness value: {swappiness} (valid range is 0-100)"
            )));
        }
        write(dir, "memory.swappiness", &swappiness.to_string())?;
    }
    if let Some(disable) = memory.disable_oom_killer {
        write(dir, "memory.oom_control", if disable { "1" } else { "0" })?;
    }
    Ok(())
}

const MEMORY_FILE: &str = "memory.limit_in_bytes";
const SWAP_FILE: &str = "memory.memsw.limit_in_bytes";

fn set_memory(dir: &Path, file: &str, bytes: i64) -> Result<()> {
    match control::raw_write(dir, file, &bytes.to_string()) {
        Ok(()) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            let usage = control::read_number_optional(dir, "memory.usage_in_bytes").unwrap_or(0);
            let peak = control::read_number_optional(dir, "memory.max_usage_in_bytes").unwrap_or(0);
            Err(Error::conflict(format_args!(
                "unable to set memory limit to {bytes} (current usage: {usage}, peak usage: {peak})"
            )))
        }
        Err(_) => write(dir, file, &bytes.to_string()),
    }
}

fn apply_pids(group: &Group, pids: &LinuxPids, when: When) -> Result<()> {
    match pids.limit {
        1.. => write(group.need("pids", "pids limit")?, "pids.max", &pids.limit.to_string()),
        // A new cgroup has no limit.
        _ if when == When::Create => Ok(()),
        _ => write(group.need("pids", "pids limit")?, "pids.max", "max"),
    }
}

fn apply_block_io(group: &Group, block_io: &LinuxBlockIo) -> Result<()> {
    let weight_wanted = block_io.weight.is_some_and(|weight| weight != 0);
    if *block_io == LinuxBlockIo::default() {
        return Ok(());
    }
    let dir = group.need("blkio", "block I/O limit")?;
    // CFQ's files went with 5.0; BFQ has the same under its own name.
    let prefix = if dir.join("blkio.weight").exists() { "blkio" } else { "blkio.bfq" };
    if weight_wanted {
        write(dir, &format!("{prefix}.weight"), &block_io.weight.unwrap_or(0).to_string())?;
    }
    if let Some(weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        write(dir, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in &block_io.weight_device {
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            write(dir, &format!("{prefix}.weight_device"), &line(weight))?;
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            write(dir, "blkio.leaf_weight_device", &line(weight))?;
        }
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops_device),
    ] {
        for device in devices {
            write(dir, file, &format!("{}:{} {}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

fn apply_hugepages(dir: &Path, huge: &LinuxHugepageLimit) -> Result<()> {
    let value = huge.limit.to_string();
    write(dir, &format!("hugetlb.{}.limit_in_bytes", huge.page_size), &value)?;
    // Reservations have their own limit since 5.7; without it a reservation gets round the other one.
    let reserved = format!("hugetlb.{}.rsvd.limit_in_bytes", huge.page_size);
    if dir.join(&reserved).exists() {
        write(dir, &reserved, &value)?;
    }
    Ok(())
}

fn apply_network(group: &Group, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        let dir = group.need("net_cls", "network class")?;
        write(dir, "net_cls.classid", &class.to_string())?;
    }
    for priority in &network.priorities {
        let dir = group.need("net_prio", "network priority")?;
        let line = format!("{} {}", priority.name, priority.priority);
        write(dir, "net_prio.ifpriomap", &line)?;
    }
    Ok(())
}
