//! Seccomp profiles from files, in Docker's format: a specification's filter whose rules may depend on
//! capabilities, architecture and kernel.
//!
//! People write these files, so an error says where: serde_json tells line and column.
//!
//! Spec: Docker documentation "Seccomp security profiles"; moby `profiles/seccomp` (format, texts).

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer};

use crate::base::{Error, Result};
use crate::runtime::spec::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use crate::sys::caps::{self, Set};
use crate::sys::seccomp::Arch;

/// Longest profile. Docker's own has 14 KB.
const MAX_BYTES: usize = 4 << 20;

/// `null` is the zero value, as in Go.
fn zero<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Profile {
    #[serde(deserialize_with = "zero")]
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "zero")]
    architectures: Vec<String>,
    #[serde(deserialize_with = "zero")]
    arch_map: Vec<ArchMap>,
    #[serde(deserialize_with = "zero")]
    flags: Vec<String>,
    #[serde(deserialize_with = "zero")]
    listener_path: String,
    #[serde(deserialize_with = "zero")]
    listener_metadata: String,
    #[serde(deserialize_with = "zero")]
    syscalls: Vec<Syscall>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(deserialize_with = "zero")]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Syscall {
    #[serde(deserialize_with = "zero")]
    name: String,
    #[serde(deserialize_with = "zero")]
    names: Vec<String>,
    #[serde(deserialize_with = "zero")]
    action: String,
    errno_ret: Option<u32>,
    #[serde(deserialize_with = "zero")]
    args: Vec<Arg>,
    #[serde(deserialize_with = "zero")]
    includes: Condition,
    #[serde(deserialize_with = "zero")]
    excludes: Condition,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Arg {
    index: u32,
    value: u64,
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(deserialize_with = "zero")]
    caps: Vec<String>,
    #[serde(deserialize_with = "zero")]
    arches: Vec<String>,
    #[serde(deserialize_with = "zero")]
    min_kernel: String,
}

/// Reads a profile and applies its conditions for a container with the bounding set `bounding`. `None` if it
/// has neither a default nor rules, which switches filtering off.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn load_profile(bytes: &[u8], bounding: Set) -> Result<Option<LinuxSeccomp>> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::invalid("Decoding seccomp profile failed: it is longer than 4 MiB"));
    }
    let profile: Profile = serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid(format_args!("Decoding seccomp profile failed: {e}")))?;
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return Ok(None);
    }
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
             'architectures' or 'archMap'",
        ));
    }
    let mut architectures = profile.architectures;
    let native = Arch::NATIVE.scmp_name();
    if let Some(map) = profile.arch_map.into_iter().find(|map| map.architecture == native) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures);
    }
    let mut syscalls = Vec::with_capacity(profile.syscalls.len());
    for mut call in profile.syscalls {
        if !call.name.is_empty() {
            if !call.names.is_empty() {
                return Err(Error::invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either \
                     'name' or 'names'",
                ));
            }
            call.names.push(std::mem::take(&mut call.name));
        }
        if is_excluded(&call.excludes, bounding)? || !is_included(&call.includes, bounding)? {
            continue;
        }
        let args = call.args.into_iter().map(|arg| LinuxSeccompArg {
            index: arg.index,
            value: arg.value,
            value_two: arg.value_two,
            op: arg.op,
        });
        syscalls.push(LinuxSyscall {
            names: call.names,
            action: call.action,
            errno_ret: call.errno_ret,
            args: args.collect(),
        });
    }
    Ok(Some(LinuxSeccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags,
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls,
    }))
}

/// One match is enough to exclude.
fn is_excluded(condition: &Condition, bounding: Set) -> Result<bool> {
    Ok(condition.arches.iter().any(|arch| is_native(arch))
        || condition.caps.iter().any(|cap| has_capability(bounding, cap))
        || kernel_condition(&condition.min_kernel)? == Some(true))
}

/// All that is said must match to include.
fn is_included(condition: &Condition, bounding: Set) -> Result<bool> {
    Ok((condition.arches.is_empty() || condition.arches.iter().any(|arch| is_native(arch)))
        && condition.caps.iter().all(|cap| has_capability(bounding, cap))
        && kernel_condition(&condition.min_kernel)? != Some(false))
}

/// Only the long form counts, as in Docker.
fn has_capability(bounding: Set, name: &str) -> bool {
    name.starts_with("CAP_") && caps::number(name).is_ok_and(|cap| bounding.contains(cap))
}

fn is_native(arch: &str) -> bool {
    arch == if Arch::NATIVE == Arch::Aarch64 { "arm64" } else { "amd64" }
}

/// Whether the kernel is at least `text` (`4.8`); `None` if nothing is said.
fn kernel_condition(text: &str) -> Result<Option<bool>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?)));
    match parts {
        Some((0, 0)) | None => Err(Error::invalid(format_args!(
            "Decoding seccomp profile failed: invalid kernel version: \"{text}\", expected \
             \"<kernel>.<major>\""
        ))),
        Some((major, minor)) => Ok(Some(kernel_is_at_least(major.into(), minor.into()))),
    }
}

/// Whether the running kernel has this version or a later one.
pub(super) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    let version = VERSION.get_or_init(|| {
        let uname = nix::sys::utsname::uname().ok();
        let release = uname.as_ref().and_then(|u| u.release().to_str()).unwrap_or("");
        parse_release(release)
    });
    *version >= (major, minor)
}

/// The first two numbers of a release such as `6.1.0-13-amd64` or `3.12-rc5`; zeros if there are none.
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, caps: &[&str]) -> Result<Option<LinuxSeccomp>> {
        load_profile(text.as_bytes(), Set::parse(caps).unwrap())
    }

    #[test]
    fn conditions_choose_the_rules() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
            "syscalls":[
            {"name":"a","action":"SCMP_ACT_ALLOW","args":null,"comment":"x"},
            {"names":["b"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["c"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN","CAP_KILL"]}},
            {"names":["d"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","arm64"],"minKernel":"3.10"}},
            {"names":["f"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"255.0"}},
            {"names":["g"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"3.10"}}]}"#;
        let names = |caps: &[&str]| -> Vec<String> {
            load(text, caps).unwrap().unwrap().syscalls.into_iter().flat_map(|s| s.names).collect()
        };
        assert_eq!(names(&[]), ["a", "c", "e"]);
        assert_eq!(names(&["SYS_ADMIN"]), ["a", "b", "e"]);
        assert_eq!(names(&["KILL"]), ["a", "e"]);
        let profile = load(text, &[]).unwrap().unwrap();
        assert_eq!(profile.architectures[0], Arch::NATIVE.scmp_name());
    }

    #[test]
    fn errors_name_the_fault() {
        for (text, message) in [
            ("{", "Decoding seccomp profile failed: EOF while parsing"),
            (
                r#"{"defaultAction":5}"#,
                "Decoding seccomp profile failed: invalid type: integer `5`",
            ),
            (
                r#"{"defaultAction":"x","architectures":["a"],"archMap":[{"architecture":"b"}]}"#,
                "both 'architectures' and 'archMap'",
            ),
            (r#"{"syscalls":[{"name":"a","names":["b"]}]}"#, "both 'name' and 'names'"),
            (
                r#"{"syscalls":[{"names":["b"],"includes":{"minKernel":"4"}}]}"#,
                "Decoding seccomp profile failed: invalid kernel version: \"4\", expected",
            ),
        ] {
            let e = load(text, &[]).unwrap_err().to_string();
            assert!(e.starts_with(message), "{e}");
        }
        assert_eq!(load("{}", &[]).unwrap(), None);
    }

    #[test]
    fn releases_are_compared_by_their_first_two_numbers() {
        assert_eq!(parse_release("6.1.0-13-amd64"), (6, 1));
        assert_eq!(parse_release("3.12-rc5"), (3, 12));
        assert_eq!(parse_release("5"), (5, 0));
        assert!(kernel_is_at_least(3, 10) && !kernel_is_at_least(200, 0));
    }
}
