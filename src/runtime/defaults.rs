//! Docker's values for a new container: mounts, hidden paths, devices, capabilities, namespaces.
//!
//! Spec: dockerd `oci/defaults.go` and `oci/caps/defaults.go`; the device nodes are those every OCI
//! runtime makes (runtime-spec `config-linux.md#default-devices`).

use super::spec::{
    Capabilities, Linux, LinuxDeviceCgroup, LinuxResources, Mount, Namespace, OCI_VERSION, Process,
    Root, Spec,
};

/// `PATH` of a process whose image names none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Capabilities of an ordinary container.
pub const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Paths that an unprivileged container finds empty.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that an unprivileged container cannot write.
pub const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Destination, type, source and options of each mount, in order.
pub const MOUNTS: &[(&str, &str, &str, &[&str])] = &[
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
];

/// Path, major and minor number of the character devices every container has, mode 0666.
pub const DEVICES: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that every container has in `/dev`: name and target.
pub const DEV_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Rules of the device cgroup: type, major, minor and access; everything else is denied.
pub const DEVICE_RULES: &[(&str, Option<i64>, Option<i64>, &str)] = &[
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(1), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

/// The configuration that Docker starts from: root file system, arguments and limits are still empty,
/// the network namespace is a new one, the cgroup namespace is the host's (a private one is Docker's
/// default on cgroup v2 only).
pub fn spec() -> Spec {
    Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(Process {
            cwd: "/".into(),
            capabilities: Some(capabilities(&strings(CAPABILITIES))),
            ..Process::default()
        }),
        root: Some(Root::default()),
        mounts: MOUNTS
            .iter()
            .map(|(destination, kind, source, options)| Mount {
                destination: (*destination).into(),
                kind: (*kind).into(),
                source: (*source).into(),
                options: strings(options),
                ..Mount::default()
            })
            .collect(),
        linux: Some(Linux {
            resources: Some(LinuxResources {
                devices: device_rules(),
                ..LinuxResources::default()
            }),
            namespaces: ["mount", "network", "uts", "pid", "ipc"]
                .map(|kind| Namespace { kind: kind.into(), path: String::new() })
                .into(),
            masked_paths: strings(MASKED_PATHS),
            readonly_paths: strings(READONLY_PATHS),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// The sets of a process that may use `names`: no inheritable and no ambient ones (CVE-2022-24769).
pub fn capabilities(names: &[String]) -> Capabilities {
    Capabilities {
        bounding: names.to_vec(),
        effective: names.to_vec(),
        permitted: names.to_vec(),
        ..Capabilities::default()
    }
}

/// [`DEVICE_RULES`] after a rule that denies everything.
pub fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let deny = LinuxDeviceCgroup { access: "rwm".into(), ..LinuxDeviceCgroup::default() };
    let allowed = DEVICE_RULES.iter().map(|(kind, major, minor, access)| LinuxDeviceCgroup {
        allow: true,
        kind: (*kind).into(),
        major: *major,
        minor: *minor,
        access: (*access).into(),
    });
    std::iter::once(deny).chain(allowed).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_string()).collect()
}
