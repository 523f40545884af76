//! What runs in a container: the part of its configuration that an image can give.
//!
//! Spec: Docker Engine API 1.51, ContainerConfig; `Config` of config.v2.json.

use crate::base::json::{Set, TextMap, Words};
use crate::wire;

wire! {
    /// How a container's health is checked. Durations are nanoseconds.
    pub struct HealthConfig {
        "Test" omit test: Vec<String>,
        "Interval" omit interval: i64,
        "Timeout" omit timeout: i64,
        "StartPeriod" omit start_period: i64,
        "StartInterval" omit start_interval: i64,
        "Retries" omit retries: i64,
    }
}

wire! {
    /// The part of a container's configuration that an image can give too.
    pub struct Config {
        "Hostname" keep hostname: String,
        "Domainname" keep domainname: String,
        "User" keep user: String,
        "AttachStdin" keep attach_stdin: bool,
        "AttachStdout" keep attach_stdout: bool,
        "AttachStderr" keep attach_stderr: bool,
        "ExposedPorts" omit exposed_ports: Set,
        "Tty" keep tty: bool,
        "OpenStdin" keep open_stdin: bool,
        "StdinOnce" keep stdin_once: bool,
        "Env" keep env: Option<Vec<String>>,
        "Cmd" keep cmd: Option<Words>,
        "Healthcheck" omit healthcheck: Option<HealthConfig>,
        "ArgsEscaped" omit args_escaped: bool,
        "Image" keep image: String,
        "Volumes" keep volumes: Option<Set>,
        "WorkingDir" keep working_dir: String,
        "Entrypoint" keep entrypoint: Option<Words>,
        "NetworkDisabled" omit network_disabled: bool,
        "MacAddress" omit mac_address: String,
        "OnBuild" keep on_build: Option<Vec<String>>,
        "Labels" keep labels: Option<TextMap>,
        "StopSignal" omit stop_signal: String,
        "StopTimeout" omit stop_timeout: Option<i64>,
        "Shell" omit shell: Option<Words>,
    }
}
