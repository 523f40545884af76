//! What this kernel can limit, and what becomes of a limit that it cannot.
//!
//! The texts are Docker's: users and clients know them. A limit that is given up is taken out of the
//! resources and named in a warning; one that makes no sense is an error.
//!
//! Spec: moby `verifyPlatformContainerResources` and `pkg/sysinfo` (behaviour and texts).

use std::path::Path;

use super::control;
use super::layout::{Host, Layout, detect};
use super::resources::*;
use crate::base::{Error, Result};

/// Docker's warning about weights of single devices.
pub const NO_WEIGHT_DEVICE: &str = "Your kernel does not support Block I/O weight_device or the cgroup \
                                    is not mounted. Weight-device discarded.";
/// Least memory limit that Docker takes.
const MIN_MEMORY: i64 = 6 << 20;

/// What this kernel can limit; the names are those of `docker info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Features {
    pub memory_limit: bool,
    pub swap_limit: bool,
    pub memory_reservation: bool,
    pub memory_swappiness: bool,
    pub oom_kill_disable: bool,
    pub kernel_memory: bool,
    pub kernel_memory_tcp: bool,
    pub cpu_shares: bool,
    pub cpu_cfs: bool,
    pub cpu_realtime: bool,
    pub cpuset: bool,
    pub pids_limit: bool,
    pub blkio_weight: bool,
    pub blkio_weight_device: bool,
    pub blkio_throttle: bool,
    pub devices: bool,
    /// CPUs that a container may be bound to, as a list like `0-3`.
    pub cpus: String,
    /// Memory nodes, likewise.
    pub mems: String,
}

impl Features {
    /// Those of this host. All false if there are no cgroups.
    pub fn detect() -> Features {
        detect().map(Features::of).unwrap_or_default()
    }

    pub(super) fn of(host: &Host) -> Features {
        match (host.layout, &host.unified) {
            (Layout::V2, Some(unified)) => Features::of_v2(&unified.mountpoint, &unified.own_dir()),
            _ => Features::of_v1(host),
        }
    }

    fn of_v1(host: &Host) -> Features {
        let top = |controller| host.v1_of(controller).map(|h| h.mountpoint.as_path());
        let has = |controller, file: &str| top(controller).is_some_and(|d| d.join(file).exists());
        let cpuset = |file| {
            let dir = top("cpuset")?;
            control::read_optional(dir, file)
        };
        // The root of the blkio hierarchy has no weight file of BFQ's, so the kernel is asked for BFQ.
        let bfq = has("blkio", "blkio.bfq.io_service_bytes");
        Features {
            memory_limit: top("memory").is_some(),
            swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            memory_swappiness: has("memory", "memory.swappiness"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            // The file still exists where the kernel has long stopped to hold the limit.
            kernel_memory: false,
            kernel_memory_tcp: has("memory", "memory.kmem.tcp.limit_in_bytes"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_cfs: has("cpu", "cpu.cfs_quota_us"),
            cpu_realtime: has("cpu", "cpu.rt_period_us"),
            cpuset: top("cpuset").is_some(),
            pids_limit: top("pids").is_some(),
            blkio_weight: has("blkio", "blkio.weight") || bfq,
            blkio_weight_device: has("blkio", "blkio.weight_device") || bfq,
            blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
            devices: top("devices").is_some(),
            cpus: cpuset("cpuset.cpus").unwrap_or_default(),
            mems: cpuset("cpuset.mems").unwrap_or_default(),
        }
    }

    fn of_v2(top: &Path, own: &Path) -> Features {
        let controllers = control::read_optional(top, "cgroup.controllers").unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|c| c == name);
        let cpuset = |file| control::read_optional(top, file).unwrap_or_default();
        Features {
            memory_limit: has("memory"),
            // The root has no such file; where this process is, it exists with swap accounting.
            swap_limit: has("memory") && (own == top || own.join("memory.swap.max").exists()),
            memory_reservation: has("memory"),
            cpu_shares: has("cpu"),
            cpu_cfs: has("cpu"),
            cpuset: has("cpuset"),
            pids_limit: has("pids"),
            blkio_weight: has("io"),
            blkio_weight_device: has("io"),
            blkio_throttle: has("io"),
            devices: true,
            cpus: cpuset("cpuset.cpus.effective"),
            mems: cpuset("cpuset.mems.effective"),
            ..Features::default()
        }
    }

    /// Takes out of `resources` what this kernel cannot hold and returns Docker's warnings for it. `update`
    /// is for a container that exists: swap alone may change then.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts for limits that make no sense.
    pub fn check(&self, resources: &mut LinuxResources, update: bool) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        if let Some(memory) = &mut resources.memory {
            self.check_memory(memory, update, &mut warnings)?;
        }
        if !self.pids_limit && resources.pids.take().is_some_and(|p| p.limit > 0) {
            warnings.push(discarded("PIDs limit capabilities", "PIDs limit discarded."));
        }
        if let Some(cpu) = &mut resources.cpu {
            self.check_cpu(cpu, &mut warnings)?;
        }
        if let Some(block_io) = &mut resources.block_io {
            self.check_block_io(block_io, &mut warnings)?;
        }
        Ok(warnings)
    }

    fn check_memory(
        &self,
        memory: &mut LinuxMemory,
        update: bool,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let limit = memory.limit.unwrap_or(0);
        if limit != 0 && limit != -1 && limit < MIN_MEMORY {
            return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
        }
        if limit > 0 && !self.memory_limit {
            warnings.push(discarded("memory limit capabilities", "Limitation discarded."));
            (memory.limit, memory.swap) = (None, None);
        }
        let (limit, swap) = (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0));
        if limit > 0 && swap != -1 && !self.swap_limit {
            warnings.push(discarded("swap limit capabilities", "Memory limited without swap."));
            memory.swap = None;
        } else {
            if limit > 0 && swap > 0 && swap < limit {
                return Err(Error::invalid(
                    "Minimum memoryswap limit should be larger than memory limit, see usage",
                ));
            }
            if limit == 0 && swap > 0 && !update {
                return Err(Error::invalid(
                    "You should always set the Memory limit when using Memoryswap limit, see usage",
                ));
            }
        }
        if let Some(swappiness) = memory.swappiness.filter(|v| *v != u64::MAX) {
            if !self.memory_swappiness {
                warnings.push(discarded(
                    "memory swappiness capabilities",
                    "Memory swappiness discarded.",
                ));
                memory.swappiness = None;
            } else if swappiness > 100 {
                return Err(Error::invalid(format_args!(
                    "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
                )));
            }
        }
        let reservation = memory.reservation.unwrap_or(0);
        if reservation > 0 && !self.memory_reservation {
            warnings.push(discarded("memory soft limit capabilities", "Limitation discarded."));
            memory.reservation = None;
        } else if reservation > 0 && reservation < MIN_MEMORY {
            return Err(Error::invalid("Minimum memory reservation allowed is 6MB"));
        } else if limit > 0 && reservation > 0 && limit < reservation {
            return Err(Error::invalid(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ));
        }
        if memory.kernel.is_some_and(|bytes| bytes > 0) && !self.kernel_memory {
            warnings.push(discarded("kernel memory limit capabilities", "Limitation discarded."));
            memory.kernel = None;
        }
        if let Some(disable) = memory.disable_oom_killer {
            if !self.oom_kill_disable {
                if disable {
                    warnings.push(
                        "Your kernel does not support OomKillDisable. OomKillDisable discarded."
                            .into(),
                    );
                }
                memory.disable_oom_killer = None;
            } else if disable && memory.limit.unwrap_or(0) == 0 {
                warnings.push(
                    "OOM killer is disabled for the container, but no memory limit is set, this can \
                     result in the system running out of resources."
                        .into(),
                );
            }
        }
        Ok(())
    }

    fn check_cpu(&self, cpu: &mut LinuxCpu, warnings: &mut Vec<String>) -> Result<()> {
        if cpu.shares.is_some_and(|shares| shares > 0) && !self.cpu_shares {
            warnings.push(
                "Your kernel does not support CPU shares or the cgroup is not mounted. Shares \
                 discarded."
                    .into(),
            );
            cpu.shares = None;
        }
        let (period, quota) = (cpu.period.unwrap_or(0), cpu.quota.unwrap_or(0));
        if (period != 0 || quota != 0) && !self.cpu_cfs {
            warnings.push(
                "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                    .into(),
            );
            (cpu.period, cpu.quota) = (None, None);
        } else if period != 0 && !(1000..=1_000_000).contains(&period) {
            return Err(Error::invalid(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ));
        } else if quota > 0 && quota < 1000 {
            return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
        }
        if (!cpu.cpus.is_empty() || !cpu.mems.is_empty()) && !self.cpuset {
            warnings.push(
                "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded."
                    .into(),
            );
            (cpu.cpus, cpu.mems) = (String::new(), String::new());
        }
        for (wanted, available, short, long) in [
            (&cpu.cpus, &self.cpus, "cpus", "CPUs"),
            (&cpu.mems, &self.mems, "mems", "memory nodes"),
        ] {
            let within = list_within(wanted, available)
                .map_err(|e| e.at(format_args!("Invalid value {wanted} for cpuset {short}")))?;
            if !within {
                return Err(Error::invalid(format_args!(
                    "Requested {long} are not available - requested {wanted}, available: {available}"
                )));
            }
        }
        Ok(())
    }

    fn check_block_io(
        &self,
        block_io: &mut LinuxBlockIo,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let weight = block_io.weight.unwrap_or(0);
        if weight > 0 && !self.blkio_weight {
            warnings.push(
                "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight \
                 discarded."
                    .into(),
            );
            block_io.weight = None;
        } else if weight > 0 && !(10..=1000).contains(&weight) {
            return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
        }
        if !block_io.weight_device.is_empty() && !self.blkio_weight_device {
            warnings.push(NO_WEIGHT_DEVICE.into());
            block_io.weight_device.clear();
        }
        for (devices, what) in [
            (&mut block_io.throttle_read_bps_device, ("BPS Block I/O read", "Block I/O BPS read")),
            (
                &mut block_io.throttle_write_bps_device,
                ("BPS Block I/O write", "Block I/O BPS write"),
            ),
            (&mut block_io.throttle_read_iops_device, ("IOPS Block read", "Block I/O IOPS read")),
            (
                &mut block_io.throttle_write_iops_device,
                ("IOPS Block write", "Block I/O IOPS write"),
            ),
        ] {
            if !devices.is_empty() && !self.blkio_throttle {
                warnings.push(format!(
                    "Your kernel does not support {} limit or the cgroup is not mounted. {} limit \
                     discarded.",
                    what.0, what.1
                ));
                devices.clear();
            }
        }
        Ok(())
    }
}

fn discarded(what: &str, then: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {then}")
}

/// Whether every number of the list `wanted` (`0-2,7`) is in the list `available`.
fn list_within(wanted: &str, available: &str) -> Result<bool> {
    let available = parse_list(available)?;
    Ok(parse_list(wanted)?.iter().all(|(first, last)| {
        // Ranges of the kernel are sorted and never touch, so one of them must hold it all.
        available.iter().any(|(a, b)| a <= first && last <= b)
    }))
}

fn parse_list(text: &str) -> Result<Vec<(u32, u32)>> {
    // Docker's limit against lists made to use up memory; here it only keeps numbers sane.
    const MAX: u32 = 8192;
    let bad = || Error::invalid(format_args!("invalid format: {text}"));
    let mut ranges = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| n.trim().parse::<u32>().ok().filter(|n| *n < MAX).ok_or_else(bad);
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(bad());
        }
        ranges.push((first, last));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(limit: i64, swap: i64) -> LinuxResources {
        let memory = LinuxMemory {
            limit: Some(limit),
            swap: Some(swap),
            reservation: Some(0),
            ..LinuxMemory::default()
        };
        LinuxResources { memory: Some(memory), ..LinuxResources::default() }
    }

    #[test]
    fn limits_without_controller_are_given_up_with_a_warning() {
        let none = Features { cpus: "0-1".into(), mems: "0".into(), ..Features::default() };
        let mut resources = memory(64 << 20, 0);
        resources.pids = Some(LinuxPids { limit: 5 });
        resources.cpu = Some(LinuxCpu { shares: Some(5), cpus: "0".into(), ..LinuxCpu::default() });
        let warnings = none.check(&mut resources, false).unwrap();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(
            warnings[0].starts_with("Your kernel does not support memory limit capabilities or")
        );
        assert_eq!(resources.memory.unwrap().limit, None);
        assert_eq!(resources.pids, None);
        assert_eq!(resources.cpu.unwrap(), LinuxCpu::default());
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        let all = Features {
            memory_limit: true,
            swap_limit: true,
            cpuset: true,
            cpu_cfs: true,
            cpus: "0-1,4".into(),
            ..Features::default()
        };
        let text = |mut r: LinuxResources| all.check(&mut r, false).unwrap_err().to_string();
        assert_eq!(text(memory(1 << 20, 0)), "Minimum memory limit allowed is 6MB");
        assert!(text(memory(64 << 20, 32 << 20)).starts_with("Minimum memoryswap limit should"));
        assert!(text(memory(0, 32 << 20)).starts_with("You should always set the Memory limit"));
        assert!(all.check(&mut memory(0, 32 << 20), true).is_ok());
        let cpus = |list: &str| LinuxResources {
            cpu: Some(LinuxCpu { cpus: list.into(), ..LinuxCpu::default() }),
            ..LinuxResources::default()
        };
        assert_eq!(
            text(cpus("0-2")),
            "Requested CPUs are not available - requested 0-2, available: 0-1,4"
        );
        assert_eq!(text(cpus("x")), "Invalid value x for cpuset cpus: invalid format: x");
        assert!(all.check(&mut cpus("0,4"), false).unwrap().is_empty());
    }
}
