//! The flags that `create` and `run` share, declared once.

use std::sync::LazyLock;

use argh::{
    ArgsInfo, CommandInfoWithArgs, EarlyExit, FlagInfo, FlagInfoKind, FromArgs, Optionality,
};
use multi_core::api::types::host::{DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
use multi_core::api::types::mount::Mount;
use multi_core::cli::options::network::Attachment;
use multi_core::cli::options::{device, keyvalue, limit, mount, network};
use multi_core::cli::values;

/// Flags of `docker run`; `create` takes all but the first three.
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
/// make a container
pub(crate) struct RunFlags {
    /// run container in background and print container ID
    #[argh(switch, short = 'd')]
    pub(crate) detach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) detach_keys: String,
    /// proxy received signals to the process (default true)
    #[argh(option, arg_name = "bool", default = "true")]
    pub(crate) sig_proxy: bool,
    #[argh(
        option,
        arg_name = "string",
        default = "String::from(\"missing\")",
        description = "pull image before running (\"always\", \"missing\", \"never\") (default \"missing\")"
    )]
    pub(crate) pull: String,
    /// suppress the pull output
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,
    /// assign a name to the container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) name: String,
    /// set platform if server is multi-platform capable
    #[argh(option, arg_name = "string")]
    pub(crate) platform: Option<String>,
    /// skip image verification (default true)
    #[argh(option, arg_name = "bool", default = "true")]
    pub(crate) disable_content_trust: bool,
    #[argh(
        option,
        arg_name = "list",
        from_str_fn(extra_host),
        description = "add a custom host-to-IP mapping (host:ip)"
    )]
    pub(crate) add_host: Vec<String>,
    /// add an annotation to the container (passed through to the OCI runtime) (default map[])
    #[argh(option, arg_name = "map")]
    pub(crate) annotation: Vec<String>,
    /// attach to STDIN, STDOUT or STDERR
    #[argh(option, short = 'a', arg_name = "list", from_str_fn(stream))]
    pub(crate) attach: Vec<String>,
    /// block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[argh(option, arg_name = "uint16", default = "0")]
    pub(crate) blkio_weight: u16,
    /// block IO weight (relative device weight) (default [])
    #[argh(option, arg_name = "list", from_str_fn(weight))]
    pub(crate) blkio_weight_device: Vec<WeightDevice>,
    /// add Linux capabilities
    #[argh(option, arg_name = "list")]
    pub(crate) cap_add: Vec<String>,
    /// drop Linux capabilities
    #[argh(option, arg_name = "list")]
    pub(crate) cap_drop: Vec<String>,
    /// optional parent cgroup for the container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) cgroup_parent: String,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "cgroup namespace to use (host|private)\n'host':    Run the container in the Docker host's cgroup namespace\n'private': Run the container in its own private cgroup namespace\n'':        Use the cgroup namespace as configured by the\n           default-cgroupns-mode option on the daemon (default)"
    )]
    pub(crate) cgroupns: String,
    /// write the container ID to the file
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) cidfile: String,
    #[argh(
        hidden_help,
        option,
        arg_name = "int",
        default = "0",
        description = "CPU count (Windows only)"
    )]
    pub(crate) cpu_count: i64,
    #[argh(
        hidden_help,
        option,
        arg_name = "int",
        default = "0",
        description = "CPU percent (Windows only)"
    )]
    pub(crate) cpu_percent: i64,
    /// limit CPU CFS (Completely Fair Scheduler) period
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) cpu_period: i64,
    /// limit CPU CFS (Completely Fair Scheduler) quota
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) cpu_quota: i64,
    /// limit CPU real-time period in microseconds
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) cpu_rt_period: i64,
    /// limit CPU real-time runtime in microseconds
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) cpu_rt_runtime: i64,
    #[argh(
        option,
        short = 'c',
        arg_name = "int",
        default = "0",
        description = "CPU shares (relative weight)"
    )]
    pub(crate) cpu_shares: i64,
    /// number of CPUs
    #[argh(option, arg_name = "decimal", default = "0", from_str_fn(nano_cpus))]
    pub(crate) cpus: i64,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "CPUs in which to allow execution (0-3, 0,1)"
    )]
    pub(crate) cpuset_cpus: String,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "MEMs in which to allow execution (0-3, 0,1)"
    )]
    pub(crate) cpuset_mems: String,
    /// add a host device to the container
    #[argh(option, arg_name = "list")]
    pub(crate) device: Vec<String>,
    /// add a rule to the cgroup allowed devices list
    #[argh(option, arg_name = "list", from_str_fn(cgroup_rule))]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// limit read rate (bytes per second) from a device (default [])
    #[argh(option, arg_name = "list", from_str_fn(bytes_rate))]
    pub(crate) device_read_bps: Vec<ThrottleDevice>,
    /// limit read rate (IO per second) from a device (default [])
    #[argh(option, arg_name = "list", from_str_fn(operations_rate))]
    pub(crate) device_read_iops: Vec<ThrottleDevice>,
    /// limit write rate (bytes per second) to a device (default [])
    #[argh(option, arg_name = "list", from_str_fn(bytes_rate))]
    pub(crate) device_write_bps: Vec<ThrottleDevice>,
    /// limit write rate (IO per second) to a device (default [])
    #[argh(option, arg_name = "list", from_str_fn(operations_rate))]
    pub(crate) device_write_iops: Vec<ThrottleDevice>,
    /// set custom DNS servers
    #[argh(option, arg_name = "list", from_str_fn(ip))]
    pub(crate) dns: Vec<String>,
    /// set DNS options
    #[argh(option, arg_name = "list")]
    pub(crate) dns_option: Vec<String>,
    /// set custom DNS search domains
    #[argh(option, arg_name = "list", from_str_fn(dns_search))]
    pub(crate) dns_search: Vec<String>,
    /// container NIS domain name
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) domainname: String,
    /// overwrite the default ENTRYPOINT of the image
    #[argh(option, arg_name = "string")]
    pub(crate) entrypoint: Option<String>,
    /// set environment variables
    #[argh(option, short = 'e', arg_name = "list", from_str_fn(env))]
    pub(crate) env: Vec<String>,
    /// read in a file of environment variables
    #[argh(option, arg_name = "list")]
    pub(crate) env_file: Vec<String>,
    /// expose a port or a range of ports
    #[argh(option, arg_name = "list")]
    pub(crate) expose: Vec<String>,
    #[argh(
        option,
        arg_name = "gpu-request",
        from_str_fn(gpus),
        description = "GPU devices to add to the container ('all' to pass all GPUs)"
    )]
    pub(crate) gpus: Vec<DeviceRequest>,
    /// add additional groups to join
    #[argh(option, arg_name = "list")]
    pub(crate) group_add: Vec<String>,
    /// command to run to check health
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) health_cmd: String,
    /// time between running the check (ms|s|m|h) (default 0s)
    #[argh(option, arg_name = "duration", default = "0", from_str_fn(duration_ns))]
    pub(crate) health_interval: i64,
    /// consecutive failures needed to report unhealthy
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) health_retries: i64,
    /// time between running the check during the start period (ms|s|m|h) (default 0s)
    #[argh(option, arg_name = "duration", default = "0", from_str_fn(duration_ns))]
    pub(crate) health_start_interval: i64,
    /// start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)
    #[argh(option, arg_name = "duration", default = "0", from_str_fn(duration_ns))]
    pub(crate) health_start_period: i64,
    /// maximum time to allow one check to run (ms|s|m|h) (default 0s)
    #[argh(option, arg_name = "duration", default = "0", from_str_fn(duration_ns))]
    pub(crate) health_timeout: i64,
    /// container host name
    #[argh(option, short = 'h', arg_name = "string", default = "String::new()")]
    pub(crate) hostname: String,
    /// run an init inside the container that forwards signals and reaps processes
    #[argh(option, arg_name = "bool")]
    pub(crate) init: Option<bool>,
    /// keep STDIN open even if not attached
    #[argh(switch, short = 'i')]
    pub(crate) interactive: bool,
    /// maximum IO bandwidth limit for the system drive (Windows only)
    #[argh(hidden_help, option, arg_name = "bytes", default = "0", from_str_fn(bytes))]
    pub(crate) io_maxbandwidth: i64,
    /// maximum IOps limit for the system drive (Windows only)
    #[argh(hidden_help, option, arg_name = "uint", default = "0")]
    pub(crate) io_maxiops: u64,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "IPv4 address (e.g., 172.30.100.104)"
    )]
    pub(crate) ip: String,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "IPv6 address (e.g., 2001:db8::33)"
    )]
    pub(crate) ip6: String,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "IPC mode to use"
    )]
    pub(crate) ipc: String,
    /// container isolation technology
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) isolation: String,
    /// kernel memory limit
    #[argh(option, arg_name = "bytes", default = "0", from_str_fn(bytes))]
    pub(crate) kernel_memory: i64,
    /// set meta data on a container
    #[argh(option, short = 'l', arg_name = "list", from_str_fn(label))]
    pub(crate) label: Vec<String>,
    /// read in a line delimited file of labels
    #[argh(option, arg_name = "list")]
    pub(crate) label_file: Vec<String>,
    /// add link to another container
    #[argh(option, arg_name = "list", from_str_fn(link))]
    pub(crate) link: Vec<String>,
    /// container IPv4/IPv6 link-local addresses
    #[argh(option, arg_name = "list")]
    pub(crate) link_local_ip: Vec<String>,
    /// logging driver for the container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) log_driver: String,
    /// log driver options
    #[argh(option, arg_name = "list")]
    pub(crate) log_opt: Vec<String>,
    /// container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) mac_address: String,
    /// memory limit
    #[argh(option, short = 'm', arg_name = "bytes", default = "0", from_str_fn(bytes))]
    pub(crate) memory: i64,
    /// memory soft limit
    #[argh(option, arg_name = "bytes", default = "0", from_str_fn(bytes))]
    pub(crate) memory_reservation: i64,
    /// swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[argh(option, arg_name = "bytes", default = "0", from_str_fn(bytes_or_unlimited))]
    pub(crate) memory_swap: i64,
    /// tune container memory swappiness (0 to 100) (default -1)
    #[argh(option, arg_name = "int", default = "-1")]
    pub(crate) memory_swappiness: i64,
    /// attach a filesystem mount to the container
    #[argh(option, arg_name = "mount", from_str_fn(mount_value))]
    pub(crate) mount: Vec<Mount>,
    /// connect a container to a network
    #[argh(option, arg_name = "network", from_str_fn(attachment))]
    pub(crate) network: Vec<Attachment>,
    /// add network-scoped alias for the container
    #[argh(option, arg_name = "list")]
    pub(crate) network_alias: Vec<String>,
    /// disable any container-specified HEALTHCHECK
    #[argh(switch)]
    pub(crate) no_healthcheck: bool,
    /// disable OOM Killer
    #[argh(switch)]
    pub(crate) oom_kill_disable: bool,
    /// tune host's OOM preferences (-1000 to 1000)
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) oom_score_adj: i64,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "PID namespace to use"
    )]
    pub(crate) pid: String,
    /// tune container pids limit (set -1 for unlimited)
    #[argh(option, arg_name = "int", default = "0")]
    pub(crate) pids_limit: i64,
    /// give extended privileges to this container
    #[argh(switch)]
    pub(crate) privileged: bool,
    /// publish a container's port(s) to the host
    #[argh(option, short = 'p', arg_name = "list")]
    pub(crate) publish: Vec<String>,
    /// publish all exposed ports to random ports
    #[argh(switch, short = 'P')]
    pub(crate) publish_all: bool,
    /// mount the container's root filesystem as read only
    #[argh(switch)]
    pub(crate) read_only: bool,
    /// restart policy to apply when a container exits (default "no")
    #[argh(option, arg_name = "string", default = "String::from(\"no\")")]
    pub(crate) restart: String,
    /// automatically remove the container and its associated anonymous volumes when it exits
    #[argh(switch)]
    pub(crate) rm: bool,
    /// runtime to use for this container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) runtime: String,
    /// security Options
    #[argh(option, arg_name = "list")]
    pub(crate) security_opt: Vec<String>,
    /// size of /dev/shm
    #[argh(option, arg_name = "bytes", default = "0", from_str_fn(bytes))]
    pub(crate) shm_size: i64,
    /// signal to stop the container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) stop_signal: String,
    /// timeout (in seconds) to stop a container
    #[argh(option, arg_name = "int")]
    pub(crate) stop_timeout: Option<i64>,
    /// storage driver options for the container
    #[argh(option, arg_name = "list")]
    pub(crate) storage_opt: Vec<String>,
    /// sysctl options (default map[])
    #[argh(option, arg_name = "map", from_str_fn(sysctl))]
    pub(crate) sysctl: Vec<String>,
    /// mount a tmpfs directory
    #[argh(option, arg_name = "list")]
    pub(crate) tmpfs: Vec<String>,
    /// allocate a pseudo-TTY
    #[argh(switch, short = 't')]
    pub(crate) tty: bool,
    /// ulimit options (default [])
    #[argh(option, arg_name = "ulimit", from_str_fn(ulimit))]
    pub(crate) ulimit: Vec<Ulimit>,
    /// username or UID (format: <name|uid>[:<group|gid>])
    #[argh(option, short = 'u', arg_name = "string", default = "String::new()")]
    pub(crate) user: String,
    /// user namespace to use
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) userns: String,
    #[argh(
        option,
        arg_name = "string",
        default = "String::new()",
        description = "UTS namespace to use"
    )]
    pub(crate) uts: String,
    /// bind mount a volume
    #[argh(option, short = 'v', arg_name = "list")]
    pub(crate) volume: Vec<String>,
    /// optional volume driver for the container
    #[argh(option, arg_name = "string", default = "String::new()")]
    pub(crate) volume_driver: String,
    /// mount volumes from the specified container(s)
    #[argh(option, arg_name = "list")]
    pub(crate) volumes_from: Vec<String>,
    /// working directory inside the container
    #[argh(option, short = 'w', arg_name = "string", default = "String::new()")]
    pub(crate) workdir: String,
    /// image, command and its arguments
    #[argh(positional, greedy)]
    pub(crate) arguments: Vec<String>,
}

/// Flags of `docker create`: those of `run` without what concerns a running container.
pub(crate) struct CreateFlags(pub(crate) RunFlags);

static CREATE: LazyLock<Vec<FlagInfo<'static>>> = LazyLock::new(|| {
    let own = ["--detach", "--detach-keys", "--sig-proxy"];
    let mut flags: Vec<FlagInfo<'static>> = Vec::new();
    for flag in RunFlags::get_args_info().flags {
        if own.contains(&flag.long) {
            continue;
        }
        let description = match flag.long {
            "--pull" => PULL_BEFORE_CREATING,
            _ => flag.description,
        };
        flags.push(FlagInfo {
            kind: match flag.kind {
                FlagInfoKind::Switch => FlagInfoKind::Switch,
                FlagInfoKind::Option { arg_name } => FlagInfoKind::Option { arg_name },
            },
            optionality: match flag.optionality {
                Optionality::Required => Optionality::Required,
                Optionality::Optional => Optionality::Optional,
                Optionality::Repeating => Optionality::Repeating,
                Optionality::Greedy => Optionality::Greedy,
            },
            long: flag.long,
            short: flag.short,
            description,
            hidden: flag.hidden,
        });
    }
    flags
});

/// The stray bar is Docker's.
const PULL_BEFORE_CREATING: &str =
    "pull image before creating (\"always\", \"|missing\", \"never\") (default \"missing\")";

impl ArgsInfo for CreateFlags {
    fn get_args_info() -> CommandInfoWithArgs {
        CommandInfoWithArgs { flags: &CREATE, ..RunFlags::get_args_info() }
    }
}

impl FromArgs for CreateFlags {
    fn from_args(command: &[&str], args: &[&str]) -> Result<Self, EarlyExit> {
        RunFlags::from_args(command, args).map(CreateFlags)
    }
}

fn env(text: &str) -> Result<String, String> {
    keyvalue::env(text, &keyvalue::own_env)
}

fn mount_value(text: &str) -> Result<Mount, String> {
    mount::parse(text, &std::env::current_dir().unwrap_or_default())
}

use device::{bytes_rate, cgroup_rule, gpus, operations_rate, weight};
use keyvalue::{dns_search, extra_host, ip, label, link, stream, sysctl};
use limit::ulimit;
use network::parse as attachment;
use values::{bytes, bytes_or_unlimited, duration_ns, nano_cpus};
