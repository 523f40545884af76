//! The configuration that `spec` writes for people to start from: a shell at a terminal.

use crate::runtime::defaults;
use crate::runtime::spec::{
    Capabilities, IdMapping, Linux, LinuxDeviceCgroup, LinuxResources, Namespace, Process, Rlimit,
    Root, Spec,
};

/// The template, the same as runc's but for the name of the host. `rootless`: for a user `uid:gid` who has no
/// privileges, and so no network and no limits of his own.
pub fn template(rootless: Option<(u32, u32)>) -> Spec {
    let names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(String::from).to_vec();
    let mut spec = defaults::spec();
    spec.process = Some(Process {
        terminal: true,
        args: vec!["sh".into()],
        env: vec![format!("PATH={}", defaults::PATH), "TERM=xterm".into()],
        cwd: "/".into(),
        capabilities: Some(Capabilities {
            bounding: names.clone(),
            effective: names.clone(),
            permitted: names.clone(),
            ambient: names,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    });
    spec.root = Some(Root { path: "rootfs".into(), readonly: true });
    spec.hostname = "multi".into();
    let deny = LinuxDeviceCgroup { access: "rwm".into(), ..LinuxDeviceCgroup::default() };
    let linux = spec.linux.get_or_insert_with(Linux::default);
    linux.resources = Some(LinuxResources { devices: vec![deny], ..LinuxResources::default() });
    let Some((uid, gid)) = rootless else { return spec };
    linux.resources = None;
    linux.namespaces.retain(|ns| ns.kind != "network");
    linux.namespaces.push(Namespace { kind: "user".into(), path: String::new() });
    linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
    linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
    for mount in &mut spec.mounts {
        // Ids that are not mapped cannot be given.
        mount.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        if mount.destination == "/sys" {
            (mount.kind, mount.source) = ("none".into(), "/sys".into());
            mount.options = ["rbind", "nosuid", "noexec", "nodev", "ro"].map(String::from).into();
        }
    }
    spec
}
