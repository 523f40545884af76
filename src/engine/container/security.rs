//! What a container's processes may do: capabilities, seccomp, labels, from `--cap-add`, `--security-opt`
//! and `--privileged`.
//!
//! Spec: Docker Engine API 1.51, CapAdd, CapDrop and SecurityOpt; texts of moby `oci/caps` and
//! `daemon/daemon_unix.go`.

use std::path::Path;
use std::sync::OnceLock;

use crate::base::json::Words;
use crate::base::{At, Error, Result};
use crate::engine::Engine;
use crate::engine::model::host::HostConfig;
use crate::runtime::defaults;
use crate::runtime::seccomp::load_profile;
use crate::sys::{caps, selinux};

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

impl Seccomp {
    /// The one that a word of Docker's names, or that is given as text; `None` for no word.
    fn named(word: &str) -> Option<Seccomp> {
        match word {
            "" => None,
            "unconfined" => Some(Seccomp::Unconfined),
            "builtin" => Some(Seccomp::Default),
            profile => Some(Seccomp::Profile(profile.into())),
        }
    }

    /// The daemon's, of `--seccomp-profile`: a word of Docker's or the text of a profile.
    pub fn of_daemon(text: &str) -> Seccomp {
        Seccomp::named(text).unwrap_or(Seccomp::Default)
    }
}

/// Everything that `--security-opt` says; what it does not name is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `unconfined`, `builtin` or the text of a profile.
    pub seccomp: String,
    /// Whether the no_new_privs bit is set.
    pub no_new_privileges: Option<bool>,
    /// Leave /proc and /sys uncovered.
    pub system_paths_unconfined: bool,
    /// AppArmor profile.
    pub apparmor: String,
    /// SELinux: `disable`, or `type:T` and the like.
    pub labels: Vec<String>,
    /// Whether the container may write to its own cgroup.
    pub writable_cgroups: Option<bool>,
}

/// Reads the security options of `host`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn options(host: &HostConfig) -> Result<Options> {
    let mut found = Options::default();
    for option in host.security_opt.iter().flatten() {
        let bad = || Error::invalid(format_args!("invalid --security-opt 2: {option:?}"));
        match option.as_str() {
            "no-new-privileges" => {
                found.no_new_privileges = Some(true);
                continue;
            }
            "writable-cgroups" => {
                found.writable_cgroups = Some(true);
                continue;
            }
            "disable" => {
                found.labels.push("disable".into());
                continue;
            }
            _ => {}
        }
        let (key, value) = option
            .split_once('=')
            .or_else(|| option.split_once(':'))
            .ok_or_else(|| Error::invalid(format_args!("invalid --security-opt 1: {option:?}")))?;
        match key {
            "label" => found.labels.push(value.into()),
            "apparmor" => found.apparmor = value.into(),
            "seccomp" => found.seccomp = value.into(),
            "no-new-privileges" => {
                found.no_new_privileges = Some(go_bool(value).ok_or_else(bad)?);
            }
            "writable-cgroups" => found.writable_cgroups = Some(go_bool(value).ok_or_else(bad)?),
            "systempaths" if value == "unconfined" => found.system_paths_unconfined = true,
            _ => return Err(bad()),
        }
    }
    Ok(found)
}

/// A boolean as Go's ParseBool reads it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Adds what Docker adds to the options by itself: who shares the processes or the memory of others has
/// their label, and who sees the host has none.
///
/// # Errors
/// `InvalidParameter` if two containers with different labels are to be joined.
pub fn complete(engine: &Engine, host: &mut HostConfig) -> Result<()> {
    let has_label = |option: &String| option.split('=').next() == Some("label");
    if host.security_opt.iter().flatten().any(has_label) {
        return Ok(());
    }
    let add = |host: &mut HostConfig, options: Vec<String>| {
        if !options.is_empty() {
            let options = options.into_iter().map(|option| format!("label={option}"));
            host.security_opt.get_or_insert_default().extend(options);
        }
    };
    if host.privileged || host.ipc_mode == "host" || host.pid_mode == "host" {
        add(host, vec!["disable".into()]);
        return Ok(());
    }
    let labels_of = |mode: &str| -> Result<Option<Vec<String>>> {
        let Some(other) = mode.strip_prefix("container:") else { return Ok(None) };
        let other = engine.containers()?.find(other)?;
        let label = other.data().record.process_label.clone();
        Ok(Some(selinux::options_of(&label)))
    };
    match (labels_of(&host.ipc_mode)?, labels_of(&host.pid_mode)?) {
        (Some(ipc), Some(pid)) if ipc != pid => {
            Err(Error::invalid("--ipc and --pid containers SELinux labels aren't the same"))
        }
        (Some(labels), _) | (None, Some(labels)) => {
            add(host, labels);
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// Checks everything that can be wrong about the security part of `host`; returns warnings.
///
/// # Errors
/// As [`options`] and [`capabilities`]; `InvalidParameter` for a profile that is not one.
pub fn check(engine: &Engine, host: &HostConfig) -> Result<Vec<String>> {
    let bounding = caps::Set::parse(&capabilities(host)?)?;
    let options = options(host)?;
    if let Some(Seccomp::Profile(text)) = Seccomp::named(&options.seccomp) {
        load_profile(text.as_bytes(), bounding)?;
    }
    let mut warnings = Vec::new();
    if !matches!(options.apparmor.as_str(), "" | "unconfined") && !has_apparmor() {
        warnings.push(format!(
            "Your kernel does not support AppArmor. Profile {:?} discarded.",
            options.apparmor
        ));
    }
    if !engine.settings.selinux {
        let discarded = options.labels.iter().filter(|label| *label != "disable");
        warnings.extend(discarded.map(|label| {
            format!("SELinux is not enabled. Security option \"label={label}\" discarded.")
        }));
    }
    Ok(warnings)
}

/// The filter of a container: what it asks for, none for a privileged one, else the daemon's.
pub fn seccomp(engine: &Engine, host: &HostConfig, options: &Options) -> Seccomp {
    match Seccomp::named(&options.seccomp) {
        Some(asked) => asked,
        None if host.privileged => Seccomp::Unconfined,
        None => Seccomp::of_daemon(&engine.settings.seccomp),
    }
}

/// The AppArmor profile of a container's processes; empty where there is nothing to set.
pub fn apparmor(host: &HostConfig, options: &Options) -> String {
    if !has_apparmor() {
        return String::new();
    }
    match options.apparmor.as_str() {
        "" if host.privileged => "unconfined".into(),
        "" if is_loaded(DEFAULT_PROFILE) => DEFAULT_PROFILE.into(),
        asked => asked.into(),
    }
}

/// What an unprivileged container finds empty unless it says otherwise: also where each processor tells of
/// its heat, by which others can be watched.
pub fn masked_paths() -> Vec<String> {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    let find = || {
        let mut all: Vec<String> = defaults::MASKED_PATHS.iter().map(ToString::to_string).collect();
        let heat = |n: usize| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle");
        let there = (0..possible_processors()).map(heat).filter(|p| Path::new(p).exists());
        all.extend(there);
        all
    };
    ALL.get_or_init(find).clone()
}

/// One more than the highest number that a processor can have here.
fn possible_processors() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<usize>().ok());
    last.map_or(0, |last| last + 1)
}

/// The name of Docker's AppArmor profile.
const DEFAULT_PROFILE: &str = "docker-default";

/// Whether the kernel has AppArmor switched on; that does not change while it runs.
pub fn has_apparmor() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with('Y'))
    })
}

/// What the host's administrator should know: nobody has loaded Docker's profile, so that containers which
/// name none are not held by AppArmor.
pub fn missing_profile() -> Option<&'static str> {
    (has_apparmor() && !is_loaded(DEFAULT_PROFILE)).then_some(DEFAULT_PROFILE)
}

/// Whether somebody has given the kernel the AppArmor profile `name`.
fn is_loaded(name: &str) -> bool {
    let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles");
    loaded.is_ok_and(|text| text.lines().any(|line| line.split(" (").next() == Some(name)))
}

/// The labels of a new container: of its processes, and of what is mounted for it. Empty without SELinux.
///
/// # Errors
/// `InvalidParameter` with Docker's text for an option that is none; `Io` if the contexts of containers
/// cannot be read.
pub fn labels(engine: &Engine, options: &Options) -> Result<(String, String)> {
    if !engine.settings.selinux {
        return Ok(Default::default());
    }
    let taken: Vec<String> = engine
        .containers()?
        .all()
        .iter()
        .map(|container| container.data().record.process_label.clone())
        .collect();
    selinux::labels(&selinux::Contexts::read()?, &options.labels, &taken)
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
    fn options_are_read_in_dockers_forms() {
        let words = ["no-new-privileges:1", "seccomp=builtin", "label:type:t", "writable-cgroups"];
        let host = HostConfig {
            security_opt: Some(words.map(String::from).into()),
            ..HostConfig::default()
        };
        let found = options(&host).unwrap();
        assert_eq!((found.no_new_privileges, found.writable_cgroups), (Some(true), Some(true)));
        assert_eq!(
            (found.seccomp.as_str(), &found.labels[..]),
            ("builtin", &["type:t".into()][..])
        );
        assert_eq!(Seccomp::of_daemon(""), Seccomp::Default);
        assert_eq!(Seccomp::of_daemon("unconfined"), Seccomp::Unconfined);
    }

    #[test]
    fn unknown_security_options_are_refused() {
        for bad in ["x", "x=y", "no-new-privileges=maybe", "writable-cgroups=x"] {
            let host = HostConfig { security_opt: Some(vec![bad.into()]), ..HostConfig::default() };
            assert!(options(&host).is_err(), "{bad}");
        }
    }
}
