//! What a container's processes may do: capabilities, seccomp, labels, from `--cap-add`, `--security-opt`
//! and `--privileged`.
//!
//! Spec: Docker Engine API 1.51, CapAdd, CapDrop and SecurityOpt; texts of moby `oci/caps` and
//! `daemon/daemon_unix.go`.

use std::sync::OnceLock;

use crate::base::json::Words;
use crate::base::{At, Error, Kind, Result};
use crate::engine::model::host::HostConfig;
use crate::runtime::defaults;
use crate::runtime::seccomp::load_profile;
use crate::sys::caps;

/// Which system call filter a container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// Docker's default profile.
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(String),
}

/// Everything that `--security-opt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The filter.
    pub seccomp: Seccomp,
    /// Set the no_new_privs bit.
    pub no_new_privileges: bool,
    /// Leave /proc and /sys uncovered.
    pub system_paths_unconfined: bool,
    /// AppArmor profile; empty if none was named.
    pub apparmor: String,
}

/// Reads the security options of `host`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts; `Unsupported` for labels on a kernel without SELinux.
pub fn options(host: &HostConfig) -> Result<Options> {
    let mut found = Options {
        seccomp: if host.privileged { Seccomp::Unconfined } else { Seccomp::Default },
        no_new_privileges: false,
        system_paths_unconfined: false,
        apparmor: String::new(),
    };
    for option in host.security_opt.iter().flatten() {
        let bad = || Error::invalid(format_args!("invalid --security-opt 2: {option:?}"));
        if option == "no-new-privileges" {
            found.no_new_privileges = true;
            continue;
        }
        let (key, value) = option
            .split_once(['=', ':'])
            .ok_or_else(|| Error::invalid(format_args!("invalid --security-opt 1: {option:?}")))?;
        match key {
            "no-new-privileges" => {
                found.no_new_privileges = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(bad()),
                };
            }
            "seccomp" => {
                found.seccomp = match value {
                    "unconfined" => Seccomp::Unconfined,
                    "builtin" | "" => Seccomp::Default,
                    profile => Seccomp::Profile(profile.into()),
                };
            }
            "apparmor" => found.apparmor = value.into(),
            // Where SELinux is absent every process is unlabelled: disabling labels is the state of things.
            "label" if value == "disable" => {}
            "label" => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format_args!("--security-opt {option}: this kernel has no SELinux enabled"),
                ));
            }
            "systempaths" if value == "unconfined" => found.system_paths_unconfined = true,
            "writable-cgroups" => {
                return Err(Error::new(
                    Kind::NotImplemented,
                    "this version of the engine has no writable-cgroups option",
                ));
            }
            _ => return Err(bad()),
        }
    }
    if !found.apparmor.is_empty() && found.apparmor != "unconfined" && !has_apparmor() {
        return Err(Error::new(
            Kind::Unsupported,
            format_args!(
                "AppArmor profile {:?}: this kernel has no AppArmor enabled",
                found.apparmor
            ),
        ));
    }
    Ok(found)
}

fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with('Y'))
}

/// Checks everything that can be wrong about the security part of `host`.
///
/// # Errors
/// As [`options`] and [`capabilities`]; `InvalidParameter` for a profile that is not one.
pub fn check(host: &HostConfig) -> Result<()> {
    let bounding = caps::Set::parse(&capabilities(host)?)?;
    if let Seccomp::Profile(text) = options(host)?.seccomp {
        load_profile(text.as_bytes(), bounding)?;
    }
    Ok(())
}

/// Whether the no_new_privs bit is asked for; the options were checked at create.
pub fn no_new_privileges(host: &HostConfig) -> bool {
    options(host).is_ok_and(|found| found.no_new_privileges)
}

/// Whether `/proc` and `/sys` stay uncovered.
pub fn system_paths_unconfined(host: &HostConfig) -> bool {
    options(host).is_ok_and(|found| found.system_paths_unconfined)
}

/// The capabilities of the container's processes, by `CAP_` names: Docker's default set, changed by
/// `CapAdd` and `CapDrop`, or all that this host has for a privileged container.
///
/// # Errors
/// `InvalidParameter` with Docker's text for a name that is unknown or not to be had here.
pub fn capabilities(host: &HostConfig) -> Result<Vec<String>> {
    let available = available();
    let words =
        |list: &Option<Words>| list.iter().flat_map(|w| w.iter().cloned()).collect::<Vec<_>>();
    let (adds, drops) = (words(&host.cap_add), words(&host.cap_drop));
    for (names, field) in [(&adds, "CapAdd"), (&drops, "CapDrop")] {
        caps::adjust(caps::Set::EMPTY, names, &[], available)
            .at(format_args!("invalid {field}"))?;
    }
    if host.privileged {
        return Ok(available.names());
    }
    let base = caps::Set::parse(defaults::CAPABILITIES)?.intersection(available);
    Ok(caps::adjust(base, &adds, &drops, available)?.names())
}

/// What this process may give to others; it takes some hundred system calls to find out, and it does
/// not change while the daemon runs.
fn available() -> caps::Set {
    static AVAILABLE: OnceLock<caps::Set> = OnceLock::new();
    *AVAILABLE.get_or_init(|| caps::bounding().intersection(caps::known_to_kernel()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(add: &[&str], drop: &[&str]) -> HostConfig {
        let words = |list: &[&str]| Some(Words(list.iter().map(|w| (*w).to_string()).collect()));
        HostConfig { cap_add: words(add), cap_drop: words(drop), ..HostConfig::default() }
    }

    #[test]
    fn sets_are_changed_as_docker_changes_them() {
        let default = capabilities(&host(&[], &[])).unwrap();
        assert_eq!(default.len(), 14);
        let one = capabilities(&host(&["net_admin"], &["all"])).unwrap();
        assert_eq!(one, ["CAP_NET_ADMIN"]);
        let less = capabilities(&host(&["ALL"], &["CAP_CHOWN"])).unwrap();
        assert!(
            !less.contains(&"CAP_CHOWN".to_string()) && less.contains(&"CAP_SYS_ADMIN".to_string())
        );
        let e = capabilities(&host(&["FLY"], &[])).unwrap_err();
        assert_eq!(e.to_string(), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
    }

    #[test]
    fn unknown_security_options_are_refused() {
        for bad in ["x", "x=y", "no-new-privileges=maybe", "label=type:t"] {
            let host = HostConfig { security_opt: Some(vec![bad.into()]), ..HostConfig::default() };
            assert!(options(&host).is_err(), "{bad}");
        }
    }
}
