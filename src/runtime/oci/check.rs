//! What of a configuration cannot be done here: refused by name before anything is made. What would reach
//! the host is refused by the stages.
//!
//! Spec: OCI runtime-spec 1.2 `config.md`, `config-linux.md`; the checks of runc's validator.

use crate::base::json::{self, Nothing};
use crate::base::{At, Error, Result};
use crate::runtime::spec::{Linux, Spec};

crate::wire! {
    /// Parts that this runtime does not have; their presence is all that matters.
    struct Foreign {
        "windows" omit windows: Option<Nothing>,
        "solaris" omit solaris: Option<Nothing>,
        "vm" omit vm: Option<Nothing>,
        "zos" omit zos: Option<Nothing>,
        "freebsd" omit freebsd: Option<Nothing>,
        "linux" omit linux: Option<ForeignLinux>,
        "process" omit process: Option<ForeignProcess>,
    }
}

crate::wire! {
    /// Part of [`Foreign`].
    struct ForeignLinux {
        "intelRdt" omit intel_rdt: Option<Nothing>,
        "netDevices" omit net_devices: Option<Nothing>,
        "memoryPolicy" omit memory_policy: Option<Nothing>,
    }
}

crate::wire! {
    /// Part of [`Foreign`].
    struct ForeignProcess { "execCPUAffinity" omit exec_cpu_affinity: Option<Nothing> }
}

/// Reads a configuration and checks it.
///
/// # Errors
/// `InvalidParameter` for what contradicts itself; `Unsupported` for what is not done here.
pub(super) fn read(text: &[u8]) -> Result<Spec> {
    let spec: Spec = json::parse(text)?;
    foreign(&json::parse(text).at("reading parts of other platforms")?)?;
    let version = spec.oci_version.as_str();
    if !version.starts_with("1.") {
        return Err(Error::invalid(format_args!("unsupported ociVersion {version:?}")));
    }
    if spec.root.as_ref().is_none_or(|root| root.path.is_empty()) {
        return Err(Error::invalid("the configuration has no root.path"));
    }
    let Some(process) = &spec.process else {
        return Err(Error::invalid("the configuration has no process"));
    };
    if process.args.is_empty() {
        return Err(Error::invalid("args must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::invalid("Cwd must be an absolute path"));
    }
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    namespaces(linux)?;
    let domain = linux.sysctl.get("kernel.domainname");
    if domain.is_some_and(|d| !spec.domainname.is_empty() && *d != spec.domainname) {
        return Err(Error::invalid(
            "sysctl \"kernel.domainname\" conflicts with the OCI \"domainname\" field",
        ));
    }
    Ok(spec)
}

fn foreign(found: &Foreign) -> Result<()> {
    let linux = found.linux.clone().unwrap_or_default();
    let process = found.process.clone().unwrap_or_default();
    for (name, part) in [
        ("windows", found.windows),
        ("solaris", found.solaris),
        ("vm", found.vm),
        ("zos", found.zos),
        ("freebsd", found.freebsd),
        ("linux.intelRdt", linux.intel_rdt),
        ("linux.netDevices", linux.net_devices),
        ("linux.memoryPolicy", linux.memory_policy),
        ("process.execCPUAffinity", process.exec_cpu_affinity),
    ] {
        if part.is_some() {
            return Err(Error::unsupported(format_args!("{name} is not supported")));
        }
    }
    Ok(())
}

fn namespaces(linux: &Linux) -> Result<()> {
    for (i, ns) in linux.namespaces.iter().enumerate() {
        if linux.namespaces[..i].iter().any(|other| other.kind == ns.kind) {
            let text = format!("malformed spec file: duplicated ns {:?}", ns.kind);
            return Err(Error::invalid(text));
        }
        if !ns.path.is_empty() && !ns.path.starts_with('/') {
            let text = format!("namespace path {:?} is not absolute", ns.path);
            return Err(Error::invalid(text));
        }
    }
    let maps = linux.uid_mappings.len() + linux.gid_mappings.len();
    let user = linux.namespaces.iter().find(|ns| ns.kind == "user");
    match user {
        None if maps > 0 => Err(Error::invalid(
            "user namespace mappings specified, but user namespace isn't enabled in the config",
        )),
        Some(ns)
            if ns.path.is_empty()
                && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) =>
        {
            Err(Error::invalid("a user namespace needs uidMappings and gidMappings"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(more: &str) -> String {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"r"}},"process":{{"user":{{}},"args":["x"],"cwd":"/"}}{more}}}"#
        );
        read(text.as_bytes()).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_not_done_is_named() {
        assert_eq!(error(""), "");
        assert_eq!(error(r#","vm":{"kernel":{"path":"/x"}}"#), "vm is not supported");
        assert_eq!(error(r#","windows":{}"#), "windows is not supported");
        assert_eq!(
            error(r#","linux":{"intelRdt":{"closID":"a"}}"#),
            "linux.intelRdt is not supported"
        );
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        let twice = error(r#","linux":{"namespaces":[{"type":"ipc"},{"type":"ipc"}]}"#);
        assert!(twice.contains("duplicated ns \"ipc\""), "{twice}");
        let relative = error(r#","linux":{"namespaces":[{"type":"ipc","path":"x"}]}"#);
        assert!(relative.contains("is not absolute"), "{relative}");
        let maps = r#","linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#;
        assert!(error(maps).contains("user namespace isn't enabled"));
        assert!(
            error(r#","linux":{"namespaces":[{"type":"user"}]}"#).contains("needs uidMappings")
        );
    }
}
