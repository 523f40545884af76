//! The end of processes: what is read, killed, removed, recorded and told, in this order.
//!
//! The output of the container's process is in the log, its leftovers are dead and its cgroup is gone
//! before `exit.json` appears, and that is on disk before anybody is told. So whoever learns of the end
//! may remove the container or start it again at once.

use std::path::Path;
use std::time::Instant;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::external::{self, What};
use super::protocol::{CGROUP_LEFT, EXIT_RECORD, ExitRecord, Reply, VERSION};
use super::server::{OUTPUT_PATIENCE, Proc, Server, to_log};
use super::start;
use crate::base::file::{Durable, write_atomic};
use crate::base::{Error, Kind, Result, json};
use crate::sys::pidfd;

/// Acts on ends that were noticed since the last event.
pub(super) fn settle(server: &mut Server) {
    for i in 0..server.procs.len() {
        if server.procs[i].exited.is_some() && server.procs[i].channel.is_some() {
            start::hear_out(server, i);
        }
    }
    let starts = server.helpers.iter().any(|h| matches!(h.what, What::Start));
    // One whose start is still being told of has run all the same.
    if server.procs[0].exited.is_some() && !server.procs[0].over && !starts {
        first_ended(server);
        return;
    }
    let now = Instant::now();
    for i in 1..server.procs.len() {
        let proc = &mut server.procs[i];
        if proc.exited.is_none() || proc.over {
            continue;
        }
        proc.streams.drain(&mut server.buffer, &mut |_, _| {});
        let deadline = *proc.deadline.get_or_insert(now + OUTPUT_PATIENCE);
        if proc.streams.output_ended() || now >= deadline || !proc.started {
            exec_ended(server, i);
        }
    }
    let mut first = true;
    server.procs.retain(|p| std::mem::take(&mut first) || !p.over || p.streams.has_clients());
}

fn exec_ended(server: &mut Server, i: usize) {
    let proc = &mut server.procs[i];
    proc.over = true;
    proc.deadline = None;
    let (status, time) = proc.exited.unwrap_or_default();
    if proc.started {
        let exec_id = proc.exec_id.clone();
        server.tell(Reply { kind: "execExit".into(), exec_id, status, time, ..Reply::default() });
    }
    // After the event: a client that has seen the end of its stream asks for the exit code at once.
    server.procs[i].streams.end();
}

fn first_ended(server: &mut Server) {
    server.stop_listening();
    kill_the_rest(server);
    // Exec processes died with it; their ends are told first.
    for i in 1..server.procs.len() {
        if server.procs[i].over {
            continue;
        }
        if server.procs[i].pid == 0 {
            let e = Error::new(Kind::Conflict, "the container has ended");
            start::stage_failed(server, i, &e);
            continue;
        }
        if server.procs[i].exited.is_none() {
            server.procs[i].exited = wait(&server.procs[i]);
        }
        // One that was still on its way in has somebody waiting for it.
        start::hear_out(server, i);
        server.procs[i].streams.drain(&mut server.buffer, &mut |_, _| {});
        exec_ended(server, i);
    }
    let proc = &mut server.procs[0];
    proc.streams.drain(&mut server.buffer, &mut to_log(server.log.as_mut()));
    proc.over = true;
    finish_log(server);
    let proc = &mut server.procs[0];
    let (status, time) = proc.exited.unwrap_or_default();
    let (pid, started) = (proc.pid, proc.started);
    let oom = server.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
    server.oom_watch = None;
    external::remove_container(server);
    if let Some(cgroup) = &server.cgroup {
        // A process that cannot die now (a dead network filesystem) keeps it; the daemon sweeps later.
        if cgroup.delete().is_err() {
            mark_left(&server.bundle);
        }
    }
    // Orphans that were ours to wait for must not look alive to whoever is told of the end.
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive)
    {
    }
    if started {
        let boot_id = server.boot_id.clone();
        let record = ExitRecord { version: VERSION, boot_id, pid, status, oom, time };
        // On a full disk the daemon still is told by the event, if there is one.
        let _ = record_end(server, &record);
        server.tell(Reply { kind: "exit".into(), status, oom, time, ..Reply::default() });
    }
    server.procs[0].streams.end();
}

/// Says in the bundle that the cgroup is still there.
pub(super) fn mark_left(bundle: &Path) {
    // On a full disk of the run state the cgroup stays until the boot.
    let _ = std::fs::write(bundle.join(CGROUP_LEFT), "");
}

/// The log is whole when this returns, or has lost what the daemon is told.
fn finish_log(server: &mut Server) {
    let Some(log) = &mut server.log else { return };
    log.finish();
    let failures = log.failures();
    server.pass_complaint();
    server.log = None;
    if failures > 1 {
        let message = format!("{failures} writes to the log failed");
        server.tell(Reply { kind: "logFailed".into(), message, ..Reply::default() });
    }
}

fn record_end(server: &Server, record: &ExitRecord) -> Result<()> {
    let text = json::to_string_plain(record);
    write_atomic(&server.bundle.join(EXIT_RECORD), text.as_bytes(), 0o600, Durable::No)
}

/// With a pid namespace of its own the kernel has killed everything; else the cgroup knows what is left.
fn kill_the_rest(server: &Server) {
    let own =
        server.header.spec.linux.namespaces.iter().any(|ns| ns.kind == "pid" && ns.path.is_empty());
    if !own && let Some(cgroup) = &server.cgroup {
        let _ = cgroup.kill_all();
    }
    for proc in &server.procs[1..] {
        // 0 is one that another runtime has not made yet, and would be all of us.
        if proc.exited.is_none() && proc.pid != 0 {
            let _ = pidfd::kill(proc.pid, libc::SIGKILL);
        }
    }
}

fn wait(proc: &Proc) -> Option<(i32, crate::base::time::Timestamp)> {
    let status = match waitpid(nix::unistd::Pid::from_raw(proc.pid), None) {
        Ok(WaitStatus::Exited(_, status)) => status,
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        _ => 137,
    };
    Some((status, crate::base::time::Timestamp::now()))
}

/// Ends the container's process that never started, and removes its cgroup.
pub(super) fn remove_cgroup_of_failed(server: &mut Server) {
    let first = &mut server.procs[0];
    if first.exited.is_none() {
        first.exited = wait(first);
    }
    external::remove_container(server);
    if let Some(cgroup) = server.cgroup.take() {
        let _ = cgroup.delete();
    }
}
