//! Limits into the control files of version 2, from values that were made for version 1.
//!
//! Decisions: CPU shares become weights by runc's curve, which maps least, default and most to each
//! other; memory+swap becomes swap alone; `unified` entries come last and are written as they are.
//!
//! Spec: Documentation/admin-guide/cgroup-v2.rst "Controllers"; OCI runtime-spec config-linux.md "Unified".

use std::path::Path;

use crate::base::{At, Error, Result};
use crate::cgroup::control::{self, write};
use crate::cgroup::resources::*;
use crate::cgroup::v1;

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    if let Some(pids) = &resources.pids {
        let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".into() };
        set(dir, "pids.max", &value, "pids limit")?;
    }
    if let Some(memory) = &resources.memory {
        apply_memory(dir, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        apply_cpu(dir, cpu)?;
    }
    if let Some(block_io) = &resources.block_io {
        apply_block_io(dir, block_io)?;
    }
    for huge in &resources.hugepage_limits {
        let value = huge.limit.to_string();
        set(dir, &format!("hugetlb.{}.max", huge.page_size), &value, "huge page limit")?;
        let reserved = format!("hugetlb.{}.rsvd.max", huge.page_size);
        if dir.join(&reserved).exists() {
            write(dir, &reserved, &value)?;
        }
    }
    for (device, limit) in &resources.rdma {
        set(dir, "rdma.max", &v1::rdma_line(device, limit), "RDMA limit")?;
    }
    if resources.network.as_ref().is_some_and(|n| *n != LinuxNetwork::default()) {
        return Err(Error::unsupported(
            "cannot set network class or priority: they do not exist in cgroup version 2",
        ));
    }
    for (file, value) in &resources.unified {
        apply_unified(dir, file, value)?;
    }
    Ok(())
}

/// Writes a limit; a missing file means that the controller could not be enabled.
fn set(dir: &Path, file: &str, value: &str, what: &str) -> Result<()> {
    match control::raw_write(dir, file, value) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            let controller = file.split('.').next().unwrap_or(file);
            Err(Error::unsupported(format_args!(
                "cannot set {what}: the {controller} cgroup controller is not available ({file} is \
                 missing in {})",
                dir.display()
            )))
        }
        result => result.at(format_args!("writing \"{value}\" to {}", dir.join(file).display())),
    }
}

fn apply_unified(dir: &Path, file: &str, value: &str) -> Result<()> {
    if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
        return Err(Error::invalid(format_args!("unified resource {file:?} must be a file name")));
    }
    // Keyed files take one line a write.
    for line in value.lines().filter(|line| !line.is_empty()) {
        set(dir, file, line, "unified resource")?;
    }
    Ok(())
}

/// `max` for -1, nothing for 0.
fn bytes_text(bytes: i64) -> Option<String> {
    match bytes {
        0 => None,
        -1 => Some("max".into()),
        _ => Some(bytes.to_string()),
    }
}

fn apply_memory(dir: &Path, memory: &LinuxMemory) -> Result<()> {
    let (limit, swap) = (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0));
    if let Some(value) = swap_alone(limit, swap)? {
        match control::raw_write(dir, "memory.swap.max", &value) {
            // Without swap accounting "no swap" and "any swap" are held anyhow.
            Err(e)
                if e.raw_os_error() == Some(libc::ENOENT) && (value == "0" || value == "max") => {}
            _ => set(dir, "memory.swap.max", &value, "swap limit")?,
        }
    }
    if let Some(value) = bytes_text(limit) {
        set(dir, "memory.max", &value, "memory limit")?;
    }
    if let Some(value) = memory.reservation.and_then(bytes_text) {
        set(dir, "memory.low", &value, "memory reservation")?;
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(Error::unsupported(
            "cannot disable the OOM killer: cgroup version 2 has no such setting",
        ));
    }
    Ok(())
}

/// The value of `memory.swap.max` for v1's sum of memory and swap; `None` leaves it as it is.
fn swap_alone(limit: i64, sum: i64) -> Result<Option<String>> {
    Ok(match (limit, sum) {
        // Unlimited memory with nothing said about swap: swap is unlimited, too.
        (-1, 0) => Some("max".into()),
        (_, 0) => None,
        (_, -1) => Some("max".into()),
        (0 | -1, _) => {
            return Err(Error::invalid("unable to set swap limit without memory limit"));
        }
        (limit, sum) if limit < 0 || sum < 0 => {
            return Err(Error::invalid(format_args!("invalid memory value: {}", limit.min(sum))));
        }
        (limit, sum) if sum < limit => {
            return Err(Error::invalid("memory+swap limit should be >= memory limit"));
        }
        (limit, sum) => Some((sum - limit).to_string()),
    })
}

fn apply_cpu(dir: &Path, cpu: &LinuxCpu) -> Result<()> {
    if let Some(idle) = cpu.idle {
        set(dir, "cpu.idle", &idle.to_string(), "CPU idle")?;
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        set(dir, "cpu.weight", &weight_of_shares(shares).to_string(), "CPU shares")?;
    }
    let period = cpu.period.filter(|period| *period != 0);
    let quota = cpu.quota.filter(|quota| *quota != 0);
    if period.is_some() || quota.is_some() {
        let mut value = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            Some(_) => "max".to_string(),
            // Only the period changes: keep the quota that is set.
            None => {
                let now = control::read_optional(dir, "cpu.max").unwrap_or_default();
                now.split(' ').next().filter(|q| !q.is_empty()).unwrap_or("max").to_string()
            }
        };
        if let Some(period) = period {
            value.push_str(&format!(" {period}"));
        }
        set(dir, "cpu.max", &value, "CPU quota")?;
    }
    if let Some(burst) = cpu.burst {
        set(dir, "cpu.max.burst", &burst.to_string(), "CPU burst")?;
    }
    if cpu.realtime_runtime.is_some_and(|v| v != 0) || cpu.realtime_period.is_some_and(|v| v != 0) {
        return Err(Error::unsupported(
            "cannot set CPU real-time budget: it does not exist in cgroup version 2",
        ));
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !value.is_empty() {
            set(dir, file, value, "cpuset")?;
        }
    }
    Ok(())
}

/// The weight for v1 shares: a curve through (2, 1), (1024, 100) and (262144, 10000).
fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The last bits differ between C libraries; a value that is whole but for them must stay so.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

/// The io weight (1 to 10000) for v1's blkio weight (10 to 1000).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

fn apply_block_io(dir: &Path, block_io: &LinuxBlockIo) -> Result<()> {
    // BFQ takes v1's range under its own name; io.weight belongs to the cost model.
    let bfq = dir.join("io.bfq.weight").exists();
    let (file, convert): (&str, fn(u16) -> u64) =
        if bfq { ("io.bfq.weight", u64::from) } else { ("io.weight", io_weight) };
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        set(dir, file, &convert(weight).to_string(), "block I/O weight")?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let line = format!("{}:{} {}", device.major, device.minor, convert(weight));
            match control::raw_write(dir, file, &line) {
                // BFQ is loaded, but the device has another scheduler.
                Err(e) if bfq && e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    let line = format!("{}:{} {}", device.major, device.minor, io_weight(weight));
                    set(dir, "io.weight", &line, "block I/O device weight")?;
                }
                _ => set(dir, file, &line, "block I/O device weight")?,
            }
        }
    }
    for (key, devices) in [
        ("rbps", &block_io.throttle_read_bps_device),
        ("wbps", &block_io.throttle_write_bps_device),
        ("riops", &block_io.throttle_read_iops_device),
        ("wiops", &block_io.throttle_write_iops_device),
    ] {
        for device in devices {
            // 0 lifts the limit on v1.
            let rate = if device.rate == 0 { "max".into() } else { device.rate.to_string() };
            let line = format!("{}:{} {key}={rate}", device.major, device.minor);
            set(dir, "io.max", &line, "block I/O limit")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weights_meet_at_the_fixed_points() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
            (512, 59),
            (2048, 174),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let mut last = 0;
        for shares in 2..5000 {
            let weight = weight_of_shares(shares);
            assert!(weight >= last);
            last = weight;
        }
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
    }

    #[test]
    fn swap_is_what_the_sum_leaves() {
        for (limit, sum, value) in [
            (0, 0, None),
            (-1, 0, Some("max")),
            (100, 0, None),
            (100, -1, Some("max")),
            (100, 100, Some("0")),
            (100, 300, Some("200")),
        ] {
            assert_eq!(swap_alone(limit, sum).unwrap().as_deref(), value, "{limit} {sum}");
        }
        for (limit, sum) in [(0, 5), (-1, 5), (100, 50), (-5, 50), (50, -5)] {
            assert!(swap_alone(limit, sum).is_err(), "{limit} {sum}");
        }
    }
}
