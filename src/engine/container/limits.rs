//! Limits: checked at create with Docker's texts, translated for the runtime at start.
//!
//! Spec: moby `daemon/daemon_unix.go`, verifyPlatformContainerResources; OCI runtime-spec resources.

use super::devices;
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::model::host::{HostConfig, ThrottleDevice};
use crate::runtime::spec::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxWeightDevice, Rlimit,
};

/// One CPU in the unit of `NanoCpus`.
const NANO: i64 = 1_000_000_000;
/// Scheduling period of a `--cpus` limit, in microseconds.
const CPU_PERIOD_US: i64 = 100_000;

/// Checks `host` and completes what follows from other limits. Limits that the kernel cannot hold are
/// named in the returned warnings, and left out at the start.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn check(engine: &Engine, host: &mut HostConfig) -> Result<Vec<String>> {
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    check_cpu(host)?;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format_args!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.memory_swappiness.is_some_and(|value| value < -1) {
        return Err(Error::invalid(format_args!(
            "Invalid value: {}, valid memory swappiness range is 0-100",
            host.memory_swappiness.unwrap_or(0)
        )));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    rlimits(host)?;
    check_realtime(engine, host)?;
    devices::check(host)?;
    // Swappiness and the number of tasks have more than one way to say "not limited".
    host.memory_swappiness = host.memory_swappiness.filter(|value| *value != -1);
    host.pids_limit = host.pids_limit.filter(|most| *most > 0);
    // Devices are looked up at the start: they may come until then.
    let asked = resources(host, &|_| Ok((0, 0)))?;
    let (resources, mut warnings) = held(engine, &asked, false)?;
    forget(host, &asked, &resources);
    discard_weights(host, &mut warnings);
    Ok(warnings)
}

/// What of `asked` this kernel can hold, and the warnings for the rest.
fn held(
    engine: &Engine,
    asked: &LinuxResources,
    update: bool,
) -> Result<(LinuxResources, Vec<String>)> {
    let mut resources = asked.clone();
    let warnings = engine.cgroup_features().check(&mut resources, update)?;
    Ok((resources, warnings))
}

/// Takes out of `host` what was asked for and cannot be held, so that nobody is shown a limit that is none.
fn forget(host: &mut HostConfig, asked: &LinuxResources, held: &LinuxResources) {
    let memory = |r: &LinuxResources| r.memory.clone().unwrap_or_default();
    let cpu = |r: &LinuxResources| r.cpu.clone().unwrap_or_default();
    let block_io = |r: &LinuxResources| r.block_io.clone().unwrap_or_default();
    let (a, h) = (memory(asked), memory(held));
    if a.limit.is_some() && h.limit.is_none() {
        host.memory = 0;
    }
    if a.swap.is_some() && h.swap.is_none() {
        host.memory_swap = -1;
    }
    if a.reservation != h.reservation {
        host.memory_reservation = 0;
    }
    if a.kernel != h.kernel {
        host.kernel_memory = 0;
    }
    if a.swappiness != h.swappiness {
        host.memory_swappiness = None;
    }
    if a.disable_oom_killer != h.disable_oom_killer {
        host.oom_kill_disable = None;
    }
    if asked.pids.is_some() && held.pids.is_none() {
        host.pids_limit = None;
    }
    let (a, h) = (cpu(asked), cpu(held));
    if a.shares != h.shares {
        host.cpu_shares = 0;
    }
    if (a.period, a.quota) != (h.period, h.quota) {
        (host.cpu_period, host.cpu_quota, host.nano_cpus) = (0, 0, 0);
    }
    if (&a.cpus, &a.mems) != (&h.cpus, &h.mems) {
        (host.cpuset_cpus, host.cpuset_mems) = (String::new(), String::new());
    }
    let (a, h) = (block_io(asked), block_io(held));
    if a.weight != h.weight {
        host.blkio_weight = 0;
    }
    if a.weight_device.len() != h.weight_device.len() {
        host.blkio_weight_device = Some(Vec::new());
    }
    for (asked, held, list) in [
        (&a.throttle_read_bps_device, &h.throttle_read_bps_device, &mut host.blkio_device_read_bps),
        (
            &a.throttle_write_bps_device,
            &h.throttle_write_bps_device,
            &mut host.blkio_device_write_bps,
        ),
        (
            &a.throttle_read_iops_device,
            &h.throttle_read_iops_device,
            &mut host.blkio_device_read_iops,
        ),
        (
            &a.throttle_write_iops_device,
            &h.throttle_write_iops_device,
            &mut host.blkio_device_write_iops,
        ),
    ] {
        if asked.len() != held.len() {
            *list = Some(Vec::new());
        }
    }
}

/// Weights of devices whose scheduler knows none: the kernel refuses them.
fn discard_weights(host: &mut HostConfig, warnings: &mut Vec<String>) {
    let Some(list) = &mut host.blkio_weight_device else { return };
    let before = list.len();
    list.retain(|device| devices::takes_weights(&device.path));
    if list.len() != before {
        warnings.push(crate::cgroup::NO_WEIGHT_DEVICE.into());
    }
}

fn check_realtime(engine: &Engine, host: &HostConfig) -> Result<()> {
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if (period != 0 || runtime != 0) && !engine.cgroup_features().cpu_realtime {
        return Err(Error::invalid("kernel does not support CPU real-time scheduler"));
    }
    if period != 0 && runtime > period {
        return Err(Error::invalid(
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ));
    }
    Ok(())
}

fn check_cpu(host: &HostConfig) -> Result<()> {
    if host.nano_cpus != 0 {
        for (other, name) in [(host.cpu_period, "Period"), (host.cpu_quota, "Quota")] {
            if other > 0 {
                return Err(Error::invalid(format_args!(
                    "Conflicting options: Nano CPUs and CPU {name} cannot both be set"
                )));
            }
        }
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
        let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(NANO);
        if host.nano_cpus < 0 || host.nano_cpus > most {
            return Err(Error::invalid(format_args!(
                "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            )));
        }
    }
    if host.cpu_shares < 0 {
        return Err(Error::invalid(format_args!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        )));
    }
    Ok(())
}

/// The limits for a start: those of `host` that this kernel can hold, without those of devices' nodes.
///
/// # Errors
/// As [`check`]; those of block devices that are not there.
pub fn for_start(engine: &Engine, host: &HostConfig) -> Result<LinuxResources> {
    let asked = resources(host, &devices::block_device)?;
    // The warnings were given at create.
    held(engine, &asked, false).map(|(resources, _)| resources)
}

/// What an update changes, as the runtime takes it, without what this kernel cannot hold, which is taken
/// out of `change` as well; and the warnings about that.
///
/// # Errors
/// As [`check`].
pub fn for_update(
    engine: &Engine,
    change: &mut HostConfig,
) -> Result<(LinuxResources, Vec<String>)> {
    check_cpu(change)?;
    check_realtime(engine, change)?;
    let asked = resources(change, &devices::block_device)?;
    let (resources, warnings) = held(engine, &asked, true)?;
    forget(change, &asked, &resources);
    Ok((resources, warnings))
}

/// Gives the numbers of a block device.
type Lookup = dyn Fn(&str) -> Result<(i64, i64)>;

/// The limits as the runtime takes them.
fn resources(host: &HostConfig, lookup: &Lookup) -> Result<LinuxResources> {
    let some = |n: i64| (n != 0).then_some(n);
    let mut cpu = LinuxCpu {
        shares: u64::try_from(host.cpu_shares).ok().filter(|n| *n != 0),
        quota: some(host.cpu_quota),
        period: u64::try_from(host.cpu_period).ok().filter(|n| *n != 0),
        realtime_runtime: some(host.cpu_realtime_runtime),
        realtime_period: u64::try_from(host.cpu_realtime_period).ok().filter(|n| *n != 0),
        cpus: host.cpuset_cpus.clone(),
        mems: host.cpuset_mems.clone(),
        ..LinuxCpu::default()
    };
    if host.nano_cpus > 0 {
        cpu.period = Some(CPU_PERIOD_US as u64);
        cpu.quota = Some(host.nano_cpus / (NANO / CPU_PERIOD_US));
    }
    let memory = LinuxMemory {
        limit: some(host.memory),
        reservation: some(host.memory_reservation),
        swap: some(host.memory_swap),
        swappiness: host.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        disable_oom_killer: host.oom_kill_disable.filter(|disable| *disable),
        kernel: some(host.kernel_memory),
        ..LinuxMemory::default()
    };
    Ok(LinuxResources {
        memory: (memory != LinuxMemory::default()).then_some(memory),
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        pids: host.pids_limit.filter(|n| *n > 0).map(|limit| LinuxPids { limit }),
        block_io: block_io(host, lookup)?,
        ..LinuxResources::default()
    })
}

fn block_io(host: &HostConfig, lookup: &Lookup) -> Result<Option<LinuxBlockIo>> {
    let throttles = |list: &Option<Vec<ThrottleDevice>>| -> Result<Vec<LinuxThrottleDevice>> {
        list.iter()
            .flatten()
            .map(|device| {
                let (major, minor) = lookup(&device.path)?;
                Ok(LinuxThrottleDevice { major, minor, rate: device.rate })
            })
            .collect()
    };
    let weights = host
        .blkio_weight_device
        .iter()
        .flatten()
        .map(|device| {
            let (major, minor) = lookup(&device.path)?;
            Ok(LinuxWeightDevice { major, minor, weight: Some(device.weight), leaf_weight: None })
        })
        .collect::<Result<_>>()?;
    let block_io = LinuxBlockIo {
        weight: (host.blkio_weight != 0).then_some(host.blkio_weight),
        weight_device: weights,
        throttle_read_bps_device: throttles(&host.blkio_device_read_bps)?,
        throttle_write_bps_device: throttles(&host.blkio_device_write_bps)?,
        throttle_read_iops_device: throttles(&host.blkio_device_read_iops)?,
        throttle_write_iops_device: throttles(&host.blkio_device_write_iops)?,
        ..LinuxBlockIo::default()
    };
    Ok((block_io != LinuxBlockIo::default()).then_some(block_io))
}

/// The process's resource limits.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn rlimits(host: &HostConfig) -> Result<Vec<Rlimit>> {
    const NAMES: &[&str] = &[
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    host.ulimits
        .iter()
        .flatten()
        .map(|limit| {
            let name =
                limit.name.strip_prefix("RLIMIT_").unwrap_or(&limit.name).to_ascii_lowercase();
            if !NAMES.contains(&name.as_str()) {
                return Err(Error::invalid(format_args!("invalid ulimit type: {}", limit.name)));
            }
            if limit.hard != -1 && (limit.soft > limit.hard || limit.soft == -1) {
                return Err(Error::invalid(format_args!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    limit.soft, limit.hard
                )));
            }
            // -1 is the kernel's RLIM_INFINITY in two's complement.
            Ok(Rlimit {
                kind: format!("RLIMIT_{}", name.to_ascii_uppercase()),
                hard: limit.hard as u64,
                soft: limit.soft as u64,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::host::Ulimit;

    #[test]
    fn limits_that_cannot_be_meant_are_refused() {
        type Case = (fn(&mut HostConfig), &'static str);
        let cases: &[Case] = &[
            (|h| h.nano_cpus = i64::MAX, "range of CPUs"),
            (|h| (h.nano_cpus, h.cpu_quota) = (NANO / 2, 5000), "cannot both be set"),
            (|h| h.cpu_shares = -1, "invalid CPU shares"),
        ];
        for (change, text) in cases {
            let mut host = HostConfig::default();
            change(&mut host);
            let e = check_cpu(&host).unwrap_err();
            assert!(e.to_string().contains(text), "{e}");
        }
        let ulimits = Some(vec![Ulimit { name: "nofile".into(), soft: 20, hard: 10 }]);
        let e = rlimits(&HostConfig { ulimits, ..HostConfig::default() }).unwrap_err();
        assert!(e.to_string().contains("soft limit must be less"), "{e}");
    }

    #[test]
    fn half_a_cpu_is_half_a_period() {
        let host = HostConfig { nano_cpus: NANO / 2, ..HostConfig::default() };
        let cpu = resources(&host, &|_| Ok((0, 0))).unwrap().cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(50_000), Some(100_000)));
    }

    #[test]
    fn what_cannot_be_held_is_not_recorded() {
        let mut host = HostConfig { memory: 64 << 20, cpu_shares: 5, ..HostConfig::default() };
        host.pids_limit = Some(7);
        let asked = resources(&host, &|_| Ok((0, 0))).unwrap();
        let mut left = asked.clone();
        left.memory = None;
        forget(&mut host, &asked, &left);
        assert_eq!((host.memory, host.cpu_shares, host.pids_limit), (0, 5, Some(7)));
        left = LinuxResources::default();
        forget(&mut host, &asked, &left);
        assert_eq!((host.cpu_shares, host.pids_limit), (0, None));
    }
}
