//! `GET /containers/{name}/stats`.

use std::io::Write;

use crate::api::Call;
use crate::api::types::stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    Throttling,
};
use crate::base::json;
use crate::base::{Error, Result};
use crate::cgroup::stats::BlockIoEntry;
use crate::engine::container::stats::{Counters, Sample, Sampler};
use crate::http::{Request, Response};

/// Tells what a container uses: once a second until the client hangs up or the container is removed; once
/// with `stream=false`, and then without a first look a second before if `one-shot` is set.
///
/// # Errors
/// `NotFound`; `InvalidParameter` for a stream of one shot.
pub fn stats(
    call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let container = call.engine.containers()?.find(call.param("name"))?;
    let streams = request.query.flag_or("stream", true);
    let one_shot = request.query.flag("one-shot");
    if streams && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let mut sampler = Sampler::new(container.clone());
    let named = |sample: Option<Sample>, before: Option<&Stats>| Stats {
        name: container.data().record.name.clone(),
        id: container.id.clone(),
        preread: before.map(|b| b.read).unwrap_or_default(),
        precpu_stats: before.map(|b| b.cpu_stats.clone()).unwrap_or_default(),
        ..sample.map(shown).unwrap_or_default()
    };
    let cancel = request.cancel()?;
    let first = sampler.sample(call.engine)?;
    let is_complete = streams || one_shot || first.is_none();
    let mut last = named(first, None);
    let mut out = response.stream(200, "application/json")?;
    let mut send = |stats: &Stats| {
        let mut text = json::to_string(stats);
        text.push('\n');
        out.write_all(text.as_bytes())
    };
    if is_complete {
        send(&last)?;
    }
    if is_complete && !streams {
        return Ok(());
    }
    while sampler.wait(&cancel) {
        let sample = sampler.sample(call.engine)?;
        // The time before a start is not part of the run.
        let before = sample.is_some().then_some(&last);
        last = named(sample, before);
        // A client that is gone is how a stream ends.
        if send(&last).is_err() || !streams {
            break;
        }
    }
    Ok(())
}

fn shown(sample: Sample) -> Stats {
    let (group, unified) = (sample.group, sample.unified);
    let cpu = group.cpu.unwrap_or_default();
    let memory = group.memory.unwrap_or_default();
    let pids = group.pids.unwrap_or_default();
    let blocks = group.block_io;
    // Version 2 has only the first two of these.
    let list = |entries: Vec<BlockIoEntry>| Some(entries.into_iter().map(entry).collect());
    let of_v1 = |entries: Vec<BlockIoEntry>| if unified { None } else { list(entries) };
    Stats {
        read: sample.time,
        pids_stats: PidsStats {
            current: pids.current,
            // "No limit" is told on version 2 only.
            limit: if pids.limit == u64::MAX && !unified { 0 } else { pids.limit },
        },
        blkio_stats: BlkioStats {
            service_bytes: list(blocks.service_bytes),
            serviced: list(blocks.serviced),
            queued: of_v1(blocks.queued),
            service_time: of_v1(blocks.service_time),
            wait_time: of_v1(blocks.wait_time),
            merged: of_v1(blocks.merged),
            time: of_v1(blocks.time),
            sectors: of_v1(blocks.sectors),
        },
        cpu_stats: CpuStats {
            cpu_usage: CpuUsage {
                total_usage: cpu.total_ns,
                percpu_usage: cpu.per_cpu_ns,
                usage_in_kernelmode: cpu.kernel_ns,
                usage_in_usermode: cpu.user_ns,
            },
            system_cpu_usage: sample.system_cpu_ns,
            online_cpus: sample.online_cpus,
            throttling_data: Throttling {
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_time: cpu.throttled_ns,
            },
        },
        memory_stats: MemoryStats {
            usage: memory.usage,
            max_usage: memory.max_usage,
            stats: memory.stat,
            failcnt: memory.failures,
            limit: memory.limit,
        },
        networks: sample.networks.into_iter().map(|(name, n)| (name, network(&n))).collect(),
        ..Stats::default()
    }
}

fn entry(entry: BlockIoEntry) -> BlkioEntry {
    BlkioEntry { major: entry.major, minor: entry.minor, op: entry.op, value: entry.value }
}

fn network(counters: &Counters) -> NetworkStats {
    let Counters { rx, tx } = counters;
    NetworkStats {
        rx_bytes: rx.bytes,
        rx_packets: rx.packets,
        rx_errors: rx.errors,
        rx_dropped: rx.dropped,
        tx_bytes: tx.bytes,
        tx_packets: tx.packets,
        tx_errors: tx.errors,
        tx_dropped: tx.dropped,
    }
}
