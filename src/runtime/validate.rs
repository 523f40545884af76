//! What a configuration cannot ask for: settings of a namespace that the container does not have.
//!
//! They would be the host's: a host name set without a UTS namespace is the name of the machine.
//!
//! Spec: OCI runtime-spec 1.2 `config.md` and `config-linux.md`; rules and texts of runc
//! `libcontainer/configs/validate`.

use std::os::unix::fs::MetadataExt;

use super::spec::{Linux, Spec};
use crate::base::{At, Error, Result};

/// Checks what this host could not keep inside the container.
///
/// # Errors
/// `InvalidParameter` with runc's texts; `Io` if the namespace of the network is not there.
pub(super) fn check(spec: &Spec, linux: &Linux) -> Result<()> {
    let has = |kind: &str| linux.namespaces.iter().any(|namespace| namespace.kind == kind);
    if !has("uts") {
        for (name, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
            if !value.is_empty() {
                let text = format!("unable to set {name} without a private UTS namespace");
                return Err(Error::invalid(text));
            }
        }
    }
    for key in linux.sysctl.keys() {
        let key = dotted(key);
        let refused = match key.as_str() {
            key if is_ipc(key) => (!has("ipc"))
                .then(|| format!("sysctl {key:?} is not allowed in the hosts ipc namespace")),
            key if key.starts_with("net.") => shares_network(linux)?
                .then(|| format!("sysctl {key:?} not allowed in host network namespace")),
            "kernel.domainname" if has("uts") => None,
            "kernel.hostname" if has("uts") => Some(format!(
                "sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            )),
            key if key.starts_with("user.") => (!has("user"))
                .then(|| format!("setting ucounts without a user namespace not allowed: {key}")),
            key => Some(format!("sysctl {key:?} is not in a separate kernel namespace")),
        };
        if let Some(text) = refused {
            return Err(Error::invalid(text));
        }
    }
    Ok(())
}

/// The file of a sysctl below `/proc/sys`.
///
/// # Errors
/// `InvalidParameter` for a name that would lead elsewhere.
pub(super) fn sysctl_file(key: &str) -> Result<String> {
    let path = swap(&dotted(key));
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::invalid(format_args!("sysctl {key:?} is not a name")));
    }
    Ok(path)
}

/// The form with dots between the parts: whichever separator comes first is the one that is meant, and the
/// other is then part of a name (sysctl(8)): `net/ipv4/conf/eth0.1/forwarding`.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => swap(key),
        _ => key.into(),
    }
}

fn swap(key: &str) -> String {
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(swapped).collect()
}

fn is_ipc(key: &str) -> bool {
    const KEYS: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    KEYS.contains(&key) || key.starts_with("fs.mqueue.")
}

/// Whether the network of the container is that of this process.
fn shares_network(linux: &Linux) -> Result<bool> {
    let Some(namespace) = linux.namespaces.iter().find(|n| n.kind == "network") else {
        return Ok(true);
    };
    if namespace.path.is_empty() {
        return Ok(false);
    }
    let identity = |path: &str| {
        let found = std::fs::metadata(path).at("invalid netns path")?;
        Ok::<_, Error>((found.dev(), found.ino()))
    };
    Ok(identity(&namespace.path)? == identity("/proc/self/ns/net")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::defaults;

    fn checked(key: &str, without: &str) -> String {
        let spec = defaults::spec();
        let mut linux = spec.linux.clone().unwrap();
        linux.namespaces.retain(|namespace| namespace.kind != without);
        linux.sysctl.insert(key.into(), "1".into());
        check(&spec, &linux).map_or_else(|e| e.message().into(), |()| "".into())
    }

    #[test]
    fn only_settings_of_the_containers_own_namespaces_can_be_made() {
        for key in ["net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.sem", "fs.mqueue.msg_max"]
        {
            assert_eq!(checked(key, ""), "", "{key}");
        }
        assert_eq!(
            checked("net/ipv4/ip_forward", "network"),
            "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace"
        );
        assert_eq!(
            checked("kernel.sem", "ipc"),
            "sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace"
        );
        assert!(checked("kernel.hostname", "").contains("conflicts"));
        assert_eq!(checked("kernel.domainname", ""), "");
        assert!(checked("kernel.domainname", "uts").contains("separate kernel namespace"));
        assert!(checked("user.max_user_namespaces", "").starts_with("setting ucounts"));
        for key in ["kernel.core_pattern", "vm.swappiness", "net", "netx.y", ""] {
            assert!(checked(key, "").ends_with("is not in a separate kernel namespace"), "{key}");
        }
    }

    #[test]
    fn a_host_name_needs_a_namespace_for_it() {
        let mut spec = defaults::spec();
        spec.hostname = "box".into();
        let mut linux = spec.linux.clone().unwrap();
        assert!(check(&spec, &linux).is_ok());
        linux.namespaces.retain(|namespace| namespace.kind != "uts");
        let e = check(&spec, &linux).unwrap_err();
        assert_eq!(e.message(), "unable to set hostname without a private UTS namespace");
    }

    #[test]
    fn names_of_interfaces_may_hold_the_other_separator() {
        assert_eq!(
            sysctl_file("net.ipv4.conf.eth0/1.forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            sysctl_file("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        for bad in ["net/../kernel", "net...kernel", "", "net//x", "net.//.x"] {
            assert!(sysctl_file(bad).is_err(), "{bad}");
        }
    }
}
