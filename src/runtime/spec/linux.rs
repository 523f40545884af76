//! The Linux part of the specification: namespaces, devices, seccomp, paths to hide.
//!
//! Spec: OCI runtime-spec 1.2, `config-linux.md`.

use std::collections::BTreeMap;

use super::LinuxResources;

crate::wire! {
    /// What only Linux has.
    pub struct Linux {
        "uidMappings" omit uid_mappings: Vec<IdMapping>,
        "gidMappings" omit gid_mappings: Vec<IdMapping>,
        "sysctl" omit sysctl: BTreeMap<String, String>,
        "resources" omit resources: Option<LinuxResources>,
        "cgroupsPath" omit cgroups_path: String,
        "namespaces" omit namespaces: Vec<Namespace>,
        "devices" omit devices: Vec<Device>,
        "seccomp" omit seccomp: Option<LinuxSeccomp>,
        "rootfsPropagation" omit rootfs_propagation: String,
        "maskedPaths" omit masked_paths: Vec<String>,
        "readonlyPaths" omit readonly_paths: Vec<String>,
        "mountLabel" omit mount_label: String,
        "timeOffsets" omit time_offsets: BTreeMap<String, TimeOffset>,
        "personality" omit personality: Option<Personality>,
    }
}

crate::wire! {
    /// How far a clock of a time namespace (`monotonic` or `boottime`) is from the host's.
    pub struct TimeOffset { "secs" omit secs: i64, "nanosecs" omit nanosecs: u32 }
}

crate::wire! {
    /// Execution domain: `LINUX` or `LINUX32`.
    pub struct Personality { "domain" keep domain: String, "flags" omit flags: Vec<String> }
}

crate::wire! {
    /// A range of ids of a user namespace.
    pub struct IdMapping {
        "containerID" keep container_id: u32,
        "hostID" keep host_id: u32,
        "size" keep size: u32,
    }
}

crate::wire! {
    /// A namespace of the container: a new one, or the one at `path`. `kind` is one of pid, network,
    /// mount, ipc, uts, user, cgroup, time.
    pub struct Namespace { "type" keep kind: String, "path" omit path: String }
}

crate::wire! {
    /// A device node; `kind` is c, u, b or p.
    pub struct Device {
        "path" keep path: String,
        "type" keep kind: String,
        "major" keep major: i64,
        "minor" keep minor: i64,
        "fileMode" omit file_mode: Option<u32>,
        "uid" omit uid: Option<u32>,
        "gid" omit gid: Option<u32>,
    }
}

crate::wire! {
    /// A system call filter, in the names of libseccomp.
    pub struct LinuxSeccomp {
        "defaultAction" keep default_action: String,
        "defaultErrnoRet" omit default_errno_ret: Option<u32>,
        "architectures" omit architectures: Vec<String>,
        "flags" omit flags: Vec<String>,
        "listenerPath" omit listener_path: String,
        "listenerMetadata" omit listener_metadata: String,
        "syscalls" omit syscalls: Vec<LinuxSyscall>,
    }
}

crate::wire! {
    /// One rule of [`LinuxSeccomp`].
    pub struct LinuxSyscall {
        "names" keep names: Vec<String>,
        "action" keep action: String,
        "errnoRet" omit errno_ret: Option<u32>,
        "args" omit args: Vec<LinuxSeccompArg>,
    }
}

crate::wire! {
    /// A comparison of one system call argument.
    pub struct LinuxSeccompArg {
        "index" keep index: u32,
        "value" keep value: u64,
        "valueTwo" omit value_two: u64,
        "op" keep op: String,
    }
}
