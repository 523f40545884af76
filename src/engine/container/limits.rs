//! Limits: checked at create with Docker's texts, translated for the runtime at start.
//!
//! Spec: moby `daemon/daemon_unix.go`, verifyPlatformContainerResources; OCI runtime-spec resources.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::hostdevs;
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::engine::model::host::{HostConfig, ThrottleDevice};
use crate::runtime::defaults;
use crate::runtime::spec::{
    Device, LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources,
    LinuxThrottleDevice, LinuxWeightDevice, Rlimit,
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
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    rlimits(host)?;
    let mut resources = resources(host)?;
    engine.cgroup_features().check(&mut resources, false)
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

/// The limits for a start: those of `host` that this kernel can hold.
///
/// # Errors
/// As [`check`].
pub fn for_start(engine: &Engine, host: &HostConfig) -> Result<LinuxResources> {
    let mut resources = resources(host)?;
    // The warnings were given at create.
    engine.cgroup_features().check(&mut resources, false)?;
    Ok(resources)
}

/// What an update changes, as the runtime takes it, without what this kernel cannot hold; and the warnings
/// about that.
///
/// # Errors
/// As [`check`].
pub fn for_update(engine: &Engine, change: &HostConfig) -> Result<(LinuxResources, Vec<String>)> {
    check_cpu(change)?;
    let mut resources = resources(change)?;
    // Devices do not change.
    resources.devices.clear();
    let warnings = engine.cgroup_features().check(&mut resources, true)?;
    Ok((resources, warnings))
}

/// The limits as the runtime takes them.
fn resources(host: &HostConfig) -> Result<LinuxResources> {
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
        devices: device_rules(host)?,
        memory: (memory != LinuxMemory::default()).then_some(memory),
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        pids: host.pids_limit.filter(|n| *n > 0).map(|limit| LinuxPids { limit }),
        block_io: block_io(host)?,
        ..LinuxResources::default()
    })
}

fn block_io(host: &HostConfig) -> Result<Option<LinuxBlockIo>> {
    let throttles = |list: &Option<Vec<ThrottleDevice>>| -> Result<Vec<LinuxThrottleDevice>> {
        list.iter()
            .flatten()
            .map(|device| {
                let (major, minor) = block_device(&device.path)?;
                Ok(LinuxThrottleDevice { major, minor, rate: device.rate })
            })
            .collect()
    };
    let weights = host
        .blkio_weight_device
        .iter()
        .flatten()
        .map(|device| {
            let (major, minor) = block_device(&device.path)?;
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

fn block_device(path: &str) -> Result<(i64, i64)> {
    let meta = std::fs::metadata(path).at(format_args!("looking at device {path}"))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::invalid(format_args!("{path} is not a block device")));
    }
    Ok(split_device(meta.rdev()))
}

fn split_device(rdev: u64) -> (i64, i64) {
    (i64::from(libc::major(rdev as _)), i64::from(libc::minor(rdev as _)))
}

/// The device nodes that `--device` adds.
///
/// # Errors
/// `InvalidParameter` with Docker's text for a path that is no device.
pub fn devices(host: &HostConfig) -> Result<Vec<(Device, String)>> {
    let mut found = Vec::new();
    if host.privileged {
        found.extend(hostdevs::all().into_iter().map(|device| (device, "rwm".to_string())));
    }
    for mapping in host.devices.iter().flatten() {
        let source = &mapping.path_on_host;
        let target =
            if mapping.path_in_container.is_empty() { source } else { &mapping.path_in_container };
        if host.privileged && source == target {
            continue;
        }
        let access =
            if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        let before = found.len();
        collect_devices(source, target, access, &mut found).map_err(|e| {
            Error::invalid(format_args!(
                "error gathering device information while adding custom device \"{source}\": {e}"
            ))
        })?;
        if found.len() == before {
            return Err(Error::invalid(format_args!(
                "error gathering device information while adding custom device \"{source}\": not a device node"
            )));
        }
    }
    Ok(found)
}

fn collect_devices(
    source: &str,
    target: &str,
    access: &str,
    found: &mut Vec<(Device, String)>,
) -> std::io::Result<()> {
    let meta = std::fs::metadata(source)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        for entry in std::fs::read_dir(source)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            collect_devices(
                &format!("{source}/{name}"),
                &format!("{target}/{name}"),
                access,
                found,
            )?;
        }
        return Ok(());
    }
    let kind = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () => return Ok(()),
    };
    let (major, minor) = split_device(meta.rdev());
    let device = Device {
        path: target.into(),
        kind: kind.into(),
        major,
        minor,
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    };
    found.push((device, access.into()));
    Ok(())
}

fn device_rules(host: &HostConfig) -> Result<Vec<LinuxDeviceCgroup>> {
    if host.privileged {
        let all =
            LinuxDeviceCgroup { allow: true, access: "rwm".into(), ..LinuxDeviceCgroup::default() };
        return Ok(vec![all]);
    }
    let mut rules = defaults::device_rules();
    for (device, access) in devices(host)? {
        rules.push(LinuxDeviceCgroup {
            allow: true,
            kind: device.kind,
            major: Some(device.major),
            minor: Some(device.minor),
            access,
        });
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_device_rule(rule)?);
    }
    Ok(rules)
}

/// `c 13:* rwm`.
fn parse_device_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let bad = || Error::invalid(format_args!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words[..] else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ => text.parse::<i64>().map(Some).map_err(|_| bad()),
    };
    if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(bad());
    }
    Ok(LinuxDeviceCgroup {
        allow: true,
        kind: kind.into(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.into(),
    })
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
        let cpu = resources(&host).unwrap().cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(50_000), Some(100_000)));
    }

    #[test]
    fn device_rules_are_read() {
        let rule = parse_device_rule("c 13:* rwm").unwrap();
        assert_eq!((rule.major, rule.minor), (Some(13), None));
        for bad in ["", "c", "x 1:1 r", "c 1 r", "c 1:1 z", "c 1:1"] {
            assert!(parse_device_rule(bad).is_err(), "{bad}");
        }
    }
}
