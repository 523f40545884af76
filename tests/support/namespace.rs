//! Network and mount namespaces of a test's own, in which bridges, rules and mounts are nobody else's.

use std::path::Path;
use std::process::Command;

use super::Process;

/// A network namespace with only `lo`, up, and a mount namespace whose mounts do not spread. Both end
/// with their owner and the processes in them.
pub struct Namespace {
    holder: Process,
}

impl Namespace {
    pub fn new() -> Namespace {
        let script = "ip link set lo up && echo ready && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "slave", "sh", "-c", script]);
        Namespace { holder: Process::start(&mut command, "ready") }
    }

    /// A process that lives as long as the namespaces.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// A command that will run in the namespaces. The process started is `program` itself, not a
    /// parent of it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        enter(self.pid(), program)
    }

    /// Where the namespaces' mounts end up, one a line.
    pub fn mounts(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mounts", self.pid())).unwrap()
    }
}

/// A command that will run in the network and mount namespaces of the process `pid`.
pub fn enter(pid: u32, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "--mount", "--"]).arg(program.as_ref());
    command
}
