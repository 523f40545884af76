//! Commands run inside a container that runs already.
//!
//! Spec: Docker Engine API 1.51, ExecConfig, ExecStartConfig, ExecInspectResponse.

use crate::wire;

wire! {
    /// The body of `POST /containers/{name}/exec`; the answer is an `IdResponse`.
    pub struct ExecCreateRequest {
        "User" keep user: String,
        "Privileged" keep privileged: bool,
        "Tty" keep tty: bool,
        "ConsoleSize" omit console_size: Option<[u64; 2]>,
        "AttachStdin" keep attach_stdin: bool,
        "AttachStderr" keep attach_stderr: bool,
        "AttachStdout" keep attach_stdout: bool,
        "DetachKeys" keep detach_keys: String,
        "Env" keep env: Option<Vec<String>>,
        "WorkingDir" keep working_dir: String,
        "Cmd" keep cmd: Option<Vec<String>>,
    }
}

wire! {
    /// The body of `POST /exec/{id}/start`. `ConsoleSize` is height, then width.
    pub struct ExecStartRequest {
        "Detach" keep detach: bool,
        "Tty" keep tty: bool,
        "ConsoleSize" omit console_size: Option<[u64; 2]>,
    }
}

wire! {
    /// The answer of `GET /exec/{id}/json`.
    pub struct ExecInspect {
        "ID" keep id: String,
        "Running" keep running: bool,
        "ExitCode" keep exit_code: Option<i64>,
        "ProcessConfig" keep process_config: Option<ExecProcessConfig>,
        "OpenStdin" keep open_stdin: bool,
        "OpenStderr" keep open_stderr: bool,
        "OpenStdout" keep open_stdout: bool,
        "CanRemove" keep can_remove: bool,
        "ContainerID" keep container_id: String,
        "DetachKeys" keep detach_keys: Option<String>,
        "Pid" keep pid: i64,
    }
}

wire! {
    /// What an exec runs.
    pub struct ExecProcessConfig {
        "tty" keep tty: bool,
        "entrypoint" keep entrypoint: String,
        "arguments" keep arguments: Vec<String>,
        "privileged" omit privileged: Option<bool>,
        "user" omit user: String,
    }
}
