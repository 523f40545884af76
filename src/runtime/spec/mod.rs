//! The OCI runtime specification as data: what a container's process is given.
//!
//! Field names are the specification's; numbers that may be absent are `Option`. Resource limits live
//! with the cgroup code that applies them.
//!
//! Spec: OCI runtime-spec 1.2, `config.md` and `config-linux.md`.

mod linux;

use std::collections::BTreeMap;

pub use crate::cgroup::resources::*;
pub use linux::*;

/// Version of the specification that the types follow.
pub const OCI_VERSION: &str = "1.2.0";

crate::wire! {
    /// The whole configuration of a container (`config.json`).
    pub struct Spec {
        "ociVersion" keep oci_version: String,
        "process" omit process: Option<Process>,
        "root" omit root: Option<Root>,
        "hostname" omit hostname: String,
        "domainname" omit domainname: String,
        "mounts" omit mounts: Vec<Mount>,
        "hooks" omit hooks: Option<Hooks>,
        "annotations" omit annotations: BTreeMap<String, String>,
        "linux" omit linux: Option<Linux>,
    }
}

crate::wire! {
    /// What hooks and seccomp agents are told of a container (runtime-spec `runtime.md#state`).
    pub struct State {
        "ociVersion" keep oci_version: String,
        "id" keep id: String,
        /// creating, created, running or stopped.
        "status" keep status: String,
        "pid" omit pid: i32,
        "bundle" keep bundle: String,
        "annotations" omit annotations: BTreeMap<String, String>,
    }
}

crate::wire! {
    /// A process to run in a container: its first one, or one of `exec`.
    pub struct Process {
        "terminal" omit terminal: bool,
        "consoleSize" omit console_size: Option<ConsoleSize>,
        "user" keep user: User,
        "args" omit args: Vec<String>,
        "env" omit env: Vec<String>,
        "cwd" keep cwd: String,
        "capabilities" omit capabilities: Option<Capabilities>,
        "rlimits" omit rlimits: Vec<Rlimit>,
        "noNewPrivileges" omit no_new_privileges: bool,
        "apparmorProfile" omit apparmor_profile: String,
        "oomScoreAdj" omit oom_score_adj: Option<i64>,
        "selinuxLabel" omit selinux_label: String,
        "scheduler" omit scheduler: Option<Scheduler>,
        "ioPriority" omit io_priority: Option<IoPriority>,
    }
}

crate::wire! {
    /// How a process is scheduled: `SCHED_...` policy and flags by name; runtime, deadline and period in
    /// nanoseconds.
    pub struct Scheduler {
        "policy" keep policy: String,
        "nice" omit nice: i32,
        "priority" omit priority: i32,
        "flags" omit flags: Vec<String>,
        "runtime" omit runtime: u64,
        "deadline" omit deadline: u64,
        "period" omit period: u64,
    }
}

crate::wire! {
    /// I/O priority; `class` is `IOPRIO_CLASS_...`.
    pub struct IoPriority { "class" keep class: String, "priority" omit priority: u32 }
}

crate::wire! {
    /// Size of a terminal in characters.
    pub struct ConsoleSize { "height" keep height: u64, "width" keep width: u64 }
}

crate::wire! {
    /// Ids a process runs with.
    pub struct User {
        "uid" keep uid: u32,
        "gid" keep gid: u32,
        "umask" omit umask: Option<u32>,
        "additionalGids" omit additional_gids: Vec<u32>,
    }
}

crate::wire! {
    /// The five capability sets, by `CAP_...` names.
    pub struct Capabilities {
        "bounding" omit bounding: Vec<String>,
        "effective" omit effective: Vec<String>,
        "inheritable" omit inheritable: Vec<String>,
        "permitted" omit permitted: Vec<String>,
        "ambient" omit ambient: Vec<String>,
    }
}

crate::wire! {
    /// One resource limit; `kind` is `RLIMIT_...`.
    pub struct Rlimit { "type" keep kind: String, "hard" keep hard: u64, "soft" keep soft: u64 }
}

crate::wire! {
    /// The root file system.
    pub struct Root { "path" keep path: String, "readonly" omit readonly: bool }
}

crate::wire! {
    /// One mount; the order of the list is the order of mounting.
    pub struct Mount {
        "destination" keep destination: String,
        "type" omit kind: String,
        "source" omit source: String,
        "options" omit options: Vec<String>,
        "uidMappings" omit uid_mappings: Vec<IdMapping>,
        "gidMappings" omit gid_mappings: Vec<IdMapping>,
    }
}

crate::wire! {
    /// Programs to run at points of a container's life.
    pub struct Hooks {
        "prestart" omit prestart: Vec<Hook>,
        "createRuntime" omit create_runtime: Vec<Hook>,
        "createContainer" omit create_container: Vec<Hook>,
        "startContainer" omit start_container: Vec<Hook>,
        "poststart" omit poststart: Vec<Hook>,
        "poststop" omit poststop: Vec<Hook>,
    }
}

crate::wire! {
    /// One program of [`Hooks`]; `timeout` in seconds.
    pub struct Hook {
        "path" keep path: String,
        "args" omit args: Vec<String>,
        "env" omit env: Vec<String>,
        "timeout" omit timeout: Option<i64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json;

    #[test]
    fn a_config_of_another_runtime_is_read_and_written_back() {
        let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1,"gid":2},"args":["sh"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":512}]},"root":{"path":"rootfs","readonly":true},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],"linux":{"namespaces":[{"type":"pid"}],"maskedPaths":["/proc/kcore"]}}"#;
        let spec: Spec = json::parse(text.as_bytes()).unwrap();
        assert_eq!(json::to_string(&spec), text);
        assert_eq!(spec.linux.unwrap().namespaces[0].kind, "pid");
    }
}
