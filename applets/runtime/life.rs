//! Commands that make, start, hold, limit and remove containers.

use std::io::Read as _;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use multi_core::base::{At, Error, Result, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::values;
use multi_core::runtime::oci::{self, Options, Runtime};
use multi_core::runtime::spec::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use multi_core::sys::memfd;

use super::{OneFlags, Outcome};

pub(super) const CREATE: Spec = Spec {
    usage: "CONTAINER",
    about: "Make a container, up to the moment before its program",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const RUN: Spec = Spec {
    usage: "CONTAINER",
    about: "Make a container, run its program and remove it",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const START: Spec = Spec {
    usage: "CONTAINER",
    about: "Run the program of a created container",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const DELETE: Spec = Spec {
    usage: "CONTAINER",
    about: "Remove a container that has ended",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const PAUSE: Spec = Spec {
    usage: "CONTAINER",
    about: "Stop all processes of a container where they are",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const RESUME: Spec = Spec {
    usage: "CONTAINER",
    about: "Let the processes of a paused container go on",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

pub(super) const UPDATE: Spec = Spec {
    usage: "CONTAINER",
    about: "Change limits of a container",
    arity: Arity::Exactly(1),
    ..Spec::NEW
};

/// make a container
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct CreateFlags {
    /// directory of the bundle (default is the working directory)
    #[argh(option, short = 'b', arg_name = "string")]
    bundle: Option<PathBuf>,
    /// file in the bundle that holds the configuration (default "config.json")
    #[argh(option, short = 'f', arg_name = "string")]
    config: Option<PathBuf>,
    /// socket that receives the master of the container's terminal
    #[argh(option, arg_name = "string")]
    console_socket: Option<PathBuf>,
    /// keep the session keyring of the caller
    #[argh(switch)]
    no_new_keyring: bool,
    /// move the root file system instead of pivot_root, for a root on a ramdisk
    #[argh(switch)]
    no_pivot: bool,
    /// file to write the process id to
    #[argh(option, arg_name = "string")]
    pid_file: Option<PathBuf>,
    /// descriptors from 3 on that the program gets, beside those of LISTEN_FDS
    #[argh(option, arg_name = "uint", default = "0")]
    preserve_fds: u32,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

/// run a container
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct RunFlags {
    /// directory of the bundle (default is the working directory)
    #[argh(option, short = 'b', arg_name = "string")]
    bundle: Option<PathBuf>,
    /// file in the bundle that holds the configuration (default "config.json")
    #[argh(option, short = 'f', arg_name = "string")]
    config: Option<PathBuf>,
    /// socket that receives the master of the container's terminal
    #[argh(option, arg_name = "string")]
    console_socket: Option<PathBuf>,
    /// leave the container alone once its program runs
    #[argh(switch, short = 'd')]
    detach: bool,
    /// do not remove the container when it has ended
    #[argh(switch)]
    keep: bool,
    /// keep the session keyring of the caller
    #[argh(switch)]
    no_new_keyring: bool,
    /// move the root file system instead of pivot_root, for a root on a ramdisk
    #[argh(switch)]
    no_pivot: bool,
    /// do not adopt orphans of the container; this is always so
    #[argh(switch)]
    #[allow(dead_code, reason = "it is always so")]
    no_subreaper: bool,
    /// file to write the process id to
    #[argh(option, arg_name = "string")]
    pid_file: Option<PathBuf>,
    /// descriptors from 3 on that the program gets, beside those of LISTEN_FDS
    #[argh(option, arg_name = "uint", default = "0")]
    preserve_fds: u32,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

/// remove a container
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct DeleteFlags {
    /// kill it if it runs; one that does not exist is no error
    #[argh(switch, short = 'f')]
    force: bool,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

/// change limits
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(super) struct UpdateFlags {
    /// share of block I/O, from 10 to 1000
    #[argh(option, arg_name = "uint")]
    blkio_weight: Option<u16>,
    /// period of the CPU quota in microseconds
    #[argh(option, arg_name = "uint")]
    cpu_period: Option<u64>,
    /// CPU time in each period in microseconds
    #[argh(option, arg_name = "int")]
    cpu_quota: Option<i64>,
    /// period of real-time CPU in microseconds
    #[argh(option, arg_name = "uint")]
    cpu_rt_period: Option<u64>,
    /// real-time CPU in each period in microseconds
    #[argh(option, arg_name = "int")]
    cpu_rt_runtime: Option<i64>,
    /// share of CPU time
    #[argh(option, arg_name = "uint")]
    cpu_share: Option<u64>,
    /// CPUs to use
    #[argh(option, arg_name = "string")]
    cpuset_cpus: Option<String>,
    /// memory nodes to use
    #[argh(option, arg_name = "string")]
    cpuset_mems: Option<String>,
    /// limit of memory
    #[argh(option, arg_name = "bytes")]
    memory: Option<String>,
    /// soft limit of memory
    #[argh(option, arg_name = "bytes")]
    memory_reservation: Option<String>,
    /// limit of memory and swap together; -1 for none
    #[argh(option, arg_name = "bytes")]
    memory_swap: Option<String>,
    /// limit of processes; -1 for none
    #[argh(option, arg_name = "int")]
    pids_limit: Option<i64>,
    /// file with the limits as JSON, - for standard input; other options are not looked at then
    #[argh(option, short = 'r', arg_name = "string")]
    resources: Option<String>,
    /// the container
    #[argh(positional, greedy)]
    id: Vec<String>,
}

pub(super) fn create(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: CreateFlags = pflag::parse(&CREATE, called, argv)?;
    memfd::go_on_sealed()?;
    let options = Options {
        bundle: flags.bundle.unwrap_or_default(),
        config: flags.config.unwrap_or_default(),
        console_socket: flags.console_socket,
        pid_file: flags.pid_file,
        preserve_fds: flags.preserve_fds,
        no_pivot: flags.no_pivot,
        no_new_keyring: flags.no_new_keyring,
        ..Options::default()
    };
    runtime.create(&flags.id[0], &options)?;
    Ok(0)
}

pub(super) fn run(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: RunFlags = pflag::parse(&RUN, called, argv)?;
    memfd::go_on_sealed()?;
    let options = Options {
        bundle: flags.bundle.unwrap_or_default(),
        config: flags.config.unwrap_or_default(),
        console_socket: flags.console_socket,
        pid_file: flags.pid_file,
        preserve_fds: flags.preserve_fds,
        no_pivot: flags.no_pivot,
        no_new_keyring: flags.no_new_keyring,
        detach: flags.detach,
        keep: flags.keep,
    };
    Ok(oci::run(runtime, &flags.id[0], &options)?)
}

pub(super) fn start(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: OneFlags = pflag::parse(&START, called, argv)?;
    oci::start(&runtime.load(&flags.id[0])?)?;
    Ok(0)
}

pub(super) fn delete(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: DeleteFlags = pflag::parse(&DELETE, called, argv)?;
    oci::delete(runtime, &flags.id[0], flags.force)?;
    Ok(0)
}

pub(super) fn pause(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: OneFlags = pflag::parse(&PAUSE, called, argv)?;
    runtime.load(&flags.id[0])?.set_paused(true)?;
    Ok(0)
}

pub(super) fn resume(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: OneFlags = pflag::parse(&RESUME, called, argv)?;
    runtime.load(&flags.id[0])?.set_paused(false)?;
    Ok(0)
}

pub(super) fn update(runtime: &Runtime, called: &str, argv: &[String]) -> Outcome {
    let flags: UpdateFlags = pflag::parse(&UPDATE, called, argv)?;
    let container = runtime.load(&flags.id[0])?;
    container.update(&resources(&flags)?)?;
    Ok(0)
}

fn resources(flags: &UpdateFlags) -> Result<LinuxResources> {
    if let Some(file) = &flags.resources {
        let mut bytes = Vec::new();
        match file.as_str() {
            "-" => drop(std::io::stdin().read_to_end(&mut bytes).at("reading standard input")?),
            file => bytes = std::fs::read(file).at(format_args!("reading {file}"))?,
        }
        return json::parse(&bytes).at("reading limits");
    }
    let bytes = |value: &Option<String>| {
        let parsed = value.as_deref().map(values::bytes_or_unlimited).transpose();
        parsed.map_err(Error::invalid)
    };
    let memory = LinuxMemory {
        limit: bytes(&flags.memory)?,
        reservation: bytes(&flags.memory_reservation)?,
        swap: bytes(&flags.memory_swap)?,
        ..LinuxMemory::default()
    };
    let cpu = LinuxCpu {
        shares: flags.cpu_share,
        quota: flags.cpu_quota,
        period: flags.cpu_period,
        realtime_runtime: flags.cpu_rt_runtime,
        realtime_period: flags.cpu_rt_period,
        cpus: flags.cpuset_cpus.clone().unwrap_or_default(),
        mems: flags.cpuset_mems.clone().unwrap_or_default(),
        ..LinuxCpu::default()
    };
    let io = LinuxBlockIo { weight: flags.blkio_weight, ..LinuxBlockIo::default() };
    Ok(LinuxResources {
        memory: (memory != LinuxMemory::default()).then_some(memory),
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        block_io: flags.blkio_weight.map(|_| io),
        pids: flags.pids_limit.map(|limit| LinuxPids { limit }),
        ..LinuxResources::default()
    })
}
