//! The configuration that `spec` writes for people to start from: a shell at a terminal.

use crate::runtime::defaults;
use crate::runtime::spec::{
    Capabilities, Linux, LinuxDeviceCgroup, LinuxResources, Process, Rlimit, Root, Spec,
};

/// The template, the same as runc's but for the name of the host.
pub fn template() -> Spec {
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
    spec
}
