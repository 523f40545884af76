//! What daemon and shim say to each other, and what a shim leaves on disk.
//!
//! The transport is a SOCK_SEQPACKET socket: one JSON object a message, descriptors beside it. A message
//! longer than [`INLINE_MAX`] travels in a sealed memfd, which is then the message's first descriptor,
//! and its packet is `{}`. Both sides ignore keys they do not know, so a field may be added without a
//! new [`VERSION`]; a change of meaning needs one.
//!
//! ```text
//! starting connection (made by spawn, later the event connection):
//!     daemon: start request (memfd; network namespace; streams)    shim: created | failed
//!     daemon: go                                                   shim: started | failed
//!                                                                  shim: events
//! <bundle>/shim.sock, one connection a call:
//!     daemon: attach | exec | resize | signal | closeStdin         shim: ok | started | failed
//!     daemon: subscribe                                            shim: state, then events
//! ```

use super::super::spec::{ConsoleSize, LinuxResources, Namespace, Process, Spec};
use super::external::External;
use crate::base::Kind;
use crate::base::time::Timestamp;
use crate::cgroup::Record;
pub use crate::logs::Config as LogConfig;

/// Version of the protocol; a shim answers a call of a newer one with an error. A daemon speaks the
/// version of the shim that it found: shims outlive an upgrade of the executable.
pub const VERSION: u32 = 1;
/// The oldest version that daemons still speak, and in which they ask for a shim's own.
pub(super) const OLDEST: u32 = 1;
/// What is said of a container whose process has ended when its end may not be known above yet; the
/// error is of kind `NotFound`.
pub const ENDED: &str = "the container's process has ended";
/// Longest message in a packet; longer ones travel in a memfd.
pub(super) const INLINE_MAX: usize = 16 * 1024;
/// Longest message at all.
pub(in super::super) const MESSAGE_MAX: u64 = 64 << 20;
/// Socket in the bundle.
pub const SOCKET: &str = "shim.sock";
/// Record of a running shim in the bundle: [`RunRecord`].
pub const RUN_RECORD: &str = "run.json";
/// Record of the container's end in the bundle: [`ExitRecord`].
pub const EXIT_RECORD: &str = "exit.json";
/// File in the bundle that says that the container's cgroup could not be removed.
pub const CGROUP_LEFT: &str = "cgroup-left";

crate::wire! {
    /// All a shim needs to start a container.
    pub struct StartRequest {
        /// Set by `Shim::spawn`.
        "version" keep version: u32,
        "id" keep id: String,
        /// Directory for the run state of this container on the host; made when missing.
        "bundle" keep bundle: String,
        /// `root.path` is the mounted root on the host; `process.terminal` asks for a terminal;
        /// `linux.cgroupsPath` is the path below each hierarchy, empty for none of its own.
        "spec" keep spec: Spec,
        /// Docker's `user[:group]`, looked up in the container; empty: `process.user` as it is.
        "user" omit user: String,
        /// Docker's `--group-add`: names or numbers, looked up in the container.
        "groups" omit groups: Vec<String>,
        /// Keep standard input open and feed it from attached streams.
        "openStdin" omit open_stdin: bool,
        /// Close standard input when the first attached stream ends it.
        "stdinOnce" omit stdin_once: bool,
        /// Run our reaper as the first process (`docker run --init`).
        "init" omit init: bool,
        /// Do not use pivot_root, as the host's root is a ramfs.
        "noPivot" omit no_pivot: bool,
        /// Use Docker's default seccomp profile instead of `linux.seccomp`.
        "defaultSeccomp" omit default_seccomp: bool,
        /// Where output goes; absent: nowhere but to attached streams.
        "log" omit log: Option<LogConfig>,
        /// Another program that makes the container instead of the shim itself.
        "runtime" omit runtime: Option<External>,
    }
}

crate::wire! {
    /// What the shim itself reads of a start request; the rest is for the stages only.
    pub(super) struct StartHeader {
        "version" keep version: u32,
        "id" omit id: String,
        "runtime" omit runtime: Option<External>,
        "bundle" keep bundle: String,
        "spec" keep spec: HeaderSpec,
        "openStdin" omit open_stdin: bool,
        "stdinOnce" omit stdin_once: bool,
        "log" omit log: Option<LogConfig>,
    }
}

crate::wire! {
    /// Part of [`StartHeader`].
    pub(super) struct HeaderSpec {
        "process" keep process: HeaderProcess,
        "linux" keep linux: HeaderLinux,
    }
}

crate::wire! {
    /// Part of [`StartHeader`].
    pub(super) struct HeaderProcess { "terminal" omit terminal: bool }
}

crate::wire! {
    /// Part of [`StartHeader`].
    pub(super) struct HeaderLinux {
        "resources" keep resources: LinuxResources,
        "cgroupsPath" omit cgroups_path: String,
        "namespaces" omit namespaces: Vec<Namespace>,
    }
}

crate::wire! {
    /// A further process for a running container.
    pub struct ExecRequest {
        "execId" keep exec_id: String,
        /// `capabilities` absent means none at all.
        "process" keep process: Process,
        /// As in [`StartRequest`].
        "user" omit user: String,
        "groups" omit groups: Vec<String>,
        "openStdin" omit open_stdin: bool,
    }
}

crate::wire! {
    /// How an attached stream is served; the descriptor travels beside it.
    pub(super) struct AttachHeader {
        "stdin" omit stdin: bool,
        "stdout" omit stdout: bool,
        "stderr" omit stderr: bool,
        "multiplexed" omit multiplexed: bool,
        "detachKeys" omit detach_keys: Vec<u8>,
        "preread" omit preread: Vec<u8>,
    }
}

crate::wire! {
    /// Daemon to shim.
    pub(super) struct Call {
        "version" keep version: u32,
        "op" keep op: String,
        "execId" omit exec_id: String,
        "signal" omit signal: i32,
        "size" omit size: Option<ConsoleSize>,
        "attach" omit attach: Vec<AttachHeader>,
        "netns" omit netns: bool,
        "exec" omit exec: Option<ExecRequest>,
    }
}

crate::wire! {
    /// Shim to daemon: an answer or an event.
    pub(super) struct Reply {
        "type" keep kind: String,
        "pid" omit pid: i32,
        "errorKind" omit error_kind: String,
        "message" omit message: String,
        "execId" omit exec_id: String,
        "status" omit status: i32,
        "oom" omit oom: bool,
        "time" omit time: Timestamp,
        "state" omit state: Option<ShimState>,
    }
}

crate::wire! {
    /// What a shim tells a daemon that connects anew.
    pub struct ShimState {
        "version" keep version: u32,
        "pid" keep pid: i32,
        "execs" omit execs: Vec<ExecState>,
    }
}

crate::wire! {
    /// An exec process that runs, or that ended while no daemon listened.
    pub struct ExecState {
        "execId" keep exec_id: String,
        "pid" keep pid: i32,
        "exited" omit exited: bool,
        "status" omit status: i32,
    }
}

crate::wire! {
    /// `exit.json`: how a container ended; valid only while the boot id is this boot's.
    pub struct ExitRecord {
        "version" keep version: u32,
        "bootId" keep boot_id: String,
        "pid" keep pid: i32,
        /// Docker's exit code: 128 plus the signal's number when one killed it.
        "status" keep status: i32,
        "oom" omit oom: bool,
        "time" keep time: Timestamp,
    }
}

crate::wire! {
    /// `run.json`: who is to be killed should the shim vanish without a word.
    pub struct RunRecord {
        "version" keep version: u32,
        "bootId" keep boot_id: String,
        "shimPid" keep shim_pid: i32,
        "pid" keep pid: i32,
        /// Field 22 of `/proc/PID/stat`, so that another process with that number is left alone.
        "startTime" keep start_time: u64,
        "cgroup" omit cgroup: Option<Record>,
        /// The container's name and the runtime that made it, if that was not the shim.
        "id" omit id: String,
        "runtime" omit runtime: Option<External>,
    }
}

/// The name of an error kind in a [`Reply`].
pub(in super::super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidParameter => "invalid",
        Kind::NotFound => "notFound",
        Kind::Conflict => "conflict",
        Kind::Unsupported => "unsupported",
        Kind::Internal => "internal",
        _ => "io",
    }
}

/// The inverse of [`kind_name`].
pub(in super::super) fn kind_of(name: &str) -> Kind {
    match name {
        "invalid" => Kind::InvalidParameter,
        "notFound" => Kind::NotFound,
        "conflict" => Kind::Conflict,
        "unsupported" => Kind::Unsupported,
        "internal" => Kind::Internal,
        _ => Kind::Io,
    }
}
