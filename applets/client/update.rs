//! `docker update`.

use multi_core::api::types::host::{HostConfig, RestartPolicy};
use multi_core::api::types::update::UpdateResponse;
use multi_core::cli::options::limit;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::values::{bytes, bytes_or_unlimited, nano_cpus};

use super::failure::{Failure, Outcome};
use super::many;
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "CONTAINER [CONTAINER...]",
    about: "Update configuration of one or more containers",
    aliases: &["docker container update", "docker update"],
    arity: Arity::AtLeast(1),
    ..Spec::NEW
};

/// change limits
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[argh(option, arg_name = "uint16")]
    blkio_weight: Option<u16>,
    /// limit CPU CFS (Completely Fair Scheduler) period
    #[argh(option, arg_name = "int")]
    cpu_period: Option<i64>,
    /// limit CPU CFS (Completely Fair Scheduler) quota
    #[argh(option, arg_name = "int")]
    cpu_quota: Option<i64>,
    /// limit the CPU real-time period in microseconds
    #[argh(option, arg_name = "int")]
    cpu_rt_period: Option<i64>,
    /// limit the CPU real-time runtime in microseconds
    #[argh(option, arg_name = "int")]
    cpu_rt_runtime: Option<i64>,
    #[argh(option, short = 'c', arg_name = "int", description = "CPU shares (relative weight)")]
    cpu_shares: Option<i64>,
    /// number of CPUs
    #[argh(option, arg_name = "decimal", from_str_fn(nano_cpus))]
    cpus: Option<i64>,
    #[argh(
        option,
        arg_name = "string",
        description = "CPUs in which to allow execution (0-3, 0,1)"
    )]
    cpuset_cpus: Option<String>,
    #[argh(
        option,
        arg_name = "string",
        description = "MEMs in which to allow execution (0-3, 0,1)"
    )]
    cpuset_mems: Option<String>,
    /// kernel memory limit (deprecated)
    #[argh(hidden_help, option, arg_name = "bytes", from_str_fn(bytes))]
    kernel_memory: Option<i64>,
    /// memory limit
    #[argh(option, short = 'm', arg_name = "bytes", from_str_fn(bytes))]
    memory: Option<i64>,
    /// memory soft limit
    #[argh(option, arg_name = "bytes", from_str_fn(bytes))]
    memory_reservation: Option<i64>,
    /// swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[argh(option, arg_name = "bytes", from_str_fn(bytes_or_unlimited))]
    memory_swap: Option<i64>,
    /// tune container pids limit (set -1 for unlimited)
    #[argh(option, arg_name = "int")]
    pids_limit: Option<i64>,
    /// restart policy to apply when a container exits
    #[argh(option, arg_name = "string")]
    restart: Option<String>,
    /// containers
    #[argh(positional, greedy)]
    containers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let given = [
        flags.cpu_period,
        flags.cpu_quota,
        flags.cpu_rt_period,
        flags.cpu_rt_runtime,
        flags.cpu_shares,
        flags.cpus,
        flags.kernel_memory,
        flags.memory,
        flags.memory_reservation,
        flags.memory_swap,
        flags.pids_limit,
        flags.blkio_weight.map(i64::from),
    ];
    let texts = [&flags.cpuset_cpus, &flags.cpuset_mems, &flags.restart];
    if given.iter().all(Option::is_none) && texts.iter().all(|text| text.is_none()) {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let request = request(&flags)?;
    let (mut warnings, mut failures) = (Vec::new(), Vec::new());
    for name in &flags.containers {
        let path = format!("/containers/{name}/update");
        let answer = session.post_json(&path, &[], &request);
        match answer.and_then(|a| Ok(a.json::<UpdateResponse>()?)) {
            Ok(told) => {
                print::out(&format!("{name}\n"));
                warnings.extend(told.warnings);
            }
            Err(failure) => failures.push(failure),
        }
    }
    if !warnings.is_empty() {
        print::out(&format!("{}\n", warnings.join("\n")));
    }
    many::join(failures)
}

fn request(f: &Flags) -> Result<HostConfig, Failure> {
    let restart_policy = match &f.restart {
        Some(text) if !text.is_empty() => limit::restart_policy(text).map_err(Failure::new)?,
        _ => RestartPolicy::default(),
    };
    let number = |value: Option<i64>| value.unwrap_or(0);
    Ok(HostConfig {
        restart_policy,
        blkio_weight: f.blkio_weight.unwrap_or(0),
        cpu_period: number(f.cpu_period),
        cpu_quota: number(f.cpu_quota),
        cpu_realtime_period: number(f.cpu_rt_period),
        cpu_realtime_runtime: number(f.cpu_rt_runtime),
        cpu_shares: number(f.cpu_shares),
        nano_cpus: number(f.cpus),
        cpuset_cpus: f.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: f.cpuset_mems.clone().unwrap_or_default(),
        kernel_memory: number(f.kernel_memory),
        memory: number(f.memory),
        memory_reservation: number(f.memory_reservation),
        memory_swap: number(f.memory_swap),
        // 0 is "leave it", as with Docker's client.
        pids_limit: f.pids_limit.filter(|most| *most != 0),
        ..HostConfig::default()
    })
}
