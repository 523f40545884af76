//! Devices of the host for a container: nodes, rules of the device cgroup, and requests by ability.
//!
//! What is not there is told at the start and not at create: a device may be plugged in until then.
//!
//! Spec: moby `daemon/oci_linux.go`, WithDevices, and `oci/devices_linux.go` (behaviour and texts).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::{cdi, hostdevs};
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::engine::model::host::{DeviceRequest, HostConfig};
use crate::runtime::defaults;
use crate::runtime::spec::{Device, LinuxDeviceCgroup, Spec};

/// Checks what can be checked before the start.
///
/// # Errors
/// `InvalidParameter` with Docker's text for a rule that is none.
pub fn check(host: &HostConfig) -> Result<()> {
    host.device_cgroup_rules.iter().flatten().try_for_each(|rule| parse_rule(rule).map(drop))
}

/// Puts all devices of `host` into `spec`: nodes, rules, and what CDI names.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for what is not there or is no device, and for requests that
/// nobody can fulfil.
pub fn add(engine: &Engine, host: &HostConfig, spec: &mut Spec) -> Result<()> {
    let mut nodes = Vec::new();
    let mut rules = Vec::new();
    if host.privileged {
        rules.push(LinuxDeviceCgroup {
            allow: true,
            access: "rwm".into(),
            ..LinuxDeviceCgroup::default()
        });
        nodes = hostdevs::all();
    } else {
        rules = defaults::device_rules();
    }
    for (device, access) in mapped(host)? {
        if !host.privileged {
            rules.push(rule_of(&device, &access));
        }
        nodes.retain(|known: &Device| known.path != device.path);
        nodes.push(device);
    }
    if !host.privileged {
        for rule in host.device_cgroup_rules.iter().flatten() {
            rules.push(parse_rule(rule)?);
        }
    }
    let linux = spec.linux.get_or_insert_default();
    linux.devices.extend(nodes);
    linux.resources.get_or_insert_default().devices.extend(rules);
    for request in host.device_requests.iter().flatten() {
        fulfil(engine, request, spec)?;
    }
    Ok(())
}

fn fulfil(engine: &Engine, request: &DeviceRequest, spec: &mut Spec) -> Result<()> {
    if request.driver == "cdi" {
        let names = request.device_ids.clone().unwrap_or_default();
        return cdi::inject(&engine.settings.cdi_spec_dirs, &names, spec)
            .at("CDI device injection failed");
    }
    let sets = request.capabilities.iter().flatten();
    let sets: Vec<String> = sets.map(|set| format!("[{}]", set.join(" "))).collect();
    Err(Error::invalid(format_args!(
        "could not select device driver {:?} with capabilities: [{}]",
        request.driver,
        sets.join(" ")
    )))
}

/// The rule that lets a container use `device`.
pub(super) fn rule_of(device: &Device, access: &str) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup {
        allow: true,
        kind: device.kind.clone(),
        major: Some(device.major),
        minor: Some(device.minor),
        access: access.into(),
    }
}

/// The nodes that `--device` adds, with what may be done to each.
fn mapped(host: &HostConfig) -> Result<Vec<(Device, String)>> {
    let mut found = Vec::new();
    for mapping in host.devices.iter().flatten() {
        let source = &mapping.path_on_host;
        let target =
            if mapping.path_in_container.is_empty() { source } else { &mapping.path_in_container };
        let access =
            if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        let before = found.len();
        let refused = |why: &str| {
            Error::invalid(format_args!(
                "error gathering device information while adding custom device \"{source}\": {why}"
            ))
        };
        collect(source, target, access, &mut found)
            .map_err(|e| refused(Error::from(e).message()))?;
        if found.len() == before {
            return Err(refused("not a device node"));
        }
    }
    Ok(found)
}

fn collect(
    source: &str,
    target: &str,
    access: &str,
    found: &mut Vec<(Device, String)>,
) -> std::io::Result<()> {
    // A link is followed where the user names it, but not inside a directory.
    let meta = fs::metadata(source)?;
    if !meta.is_dir() {
        found.extend(node(&meta, target).map(|device| (device, access.to_string())));
        return Ok(());
    }
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_symlink() {
            continue;
        }
        collect(&format!("{source}/{name}"), &format!("{target}/{name}"), access, found)?;
    }
    Ok(())
}

/// The node at `path` in the container for a device of the host; `None` for what is no device.
pub(super) fn node(meta: &fs::Metadata, path: &str) -> Option<Device> {
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    let (major, minor) = numbers(meta.rdev());
    Some(Device {
        path: path.into(),
        kind: kind.into(),
        major,
        minor,
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    })
}

fn numbers(rdev: u64) -> (i64, i64) {
    (i64::from(libc::major(rdev as _)), i64::from(libc::minor(rdev as _)))
}

/// The numbers of the block device at `path`.
///
/// # Errors
/// `InvalidParameter` for what is none, else `Io`.
pub(super) fn block_device(path: &str) -> Result<(i64, i64)> {
    let meta = fs::metadata(path).at(format_args!("stat {path}"))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::invalid(format_args!("{path} is not a block device")));
    }
    Ok(numbers(meta.rdev()))
}

/// Whether the scheduler of the block device at `path` knows weights. True where nobody can tell.
pub(super) fn takes_weights(path: &str) -> bool {
    let Ok((major, minor)) = block_device(path) else { return true };
    // A partition has its queue in the disk's directory.
    let dir = format!("/sys/dev/block/{major}:{minor}");
    let read = |file: &str| fs::read_to_string(format!("{dir}/{file}")).ok();
    read("queue/scheduler")
        .or_else(|| read("../queue/scheduler"))
        .is_none_or(|text| ["[bfq]", "[cfq]"].iter().any(|name| text.contains(name)))
}

/// `c 13:* rwm`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::host::DeviceMapping;

    fn map(source: &str, target: &str) -> Result<Vec<(Device, String)>> {
        let mapping = DeviceMapping {
            path_on_host: source.into(),
            path_in_container: target.into(),
            cgroup_permissions: "r".into(),
        };
        mapped(&HostConfig { devices: Some(vec![mapping]), ..HostConfig::default() })
    }

    #[test]
    fn rules_are_read() {
        let rule = parse_rule("c 13:* rwm").unwrap();
        assert_eq!((rule.major, rule.minor), (Some(13), None));
        for bad in ["", "c", "x 1:1 r", "c 1 r", "c 1:1 z", "c 1:1"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_have_a_place_and_an_access() {
        let found = map("/dev/null", "/dev/mine").unwrap();
        let [(device, access)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((device.path.as_str(), device.kind.as_str()), ("/dev/mine", "c"));
        assert_eq!((device.major, device.minor, access.as_str()), (1, 3, "r"));
        let text = |source: &str| map(source, "").unwrap_err().to_string();
        let intro = "error gathering device information while adding custom device";
        assert_eq!(
            text("/dev/nosuch"),
            format!("{intro} \"/dev/nosuch\": no such file or directory")
        );
        assert_eq!(text("/etc/passwd"), format!("{intro} \"/etc/passwd\": not a device node"));
    }
}
