//! What happens when a container's process has ended, seen live or found after a restart.
//!
//! The state changes first, so that waiting clients go on at once; then what the run held is given back
//! (attached clients, network, mount); then the container is removed or started again if it asked for
//! that. All of it runs under the operation lock, so a `start` or `rm` that comes early waits its turn.

use std::sync::Arc;

use super::{Container, health, ipc, links, mounts, remove, restart};
use crate::base::Result;
use crate::base::time::Timestamp;
use crate::engine::Engine;

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// Exit code, or 128 plus the signal.
    pub code: i64,
    /// The kernel killed it, or a child of it, for want of memory.
    pub oom_killed: bool,
    /// When it ended.
    pub time: Timestamp,
}

/// Handles the end of the run of `container`; does nothing if it was handled already. Failures of the
/// clean-up are logged: nobody waits for them, and the next start sweeps what they leave.
pub fn exited(engine: &Arc<Engine>, container: &Arc<Container>, exit: Exit) {
    let operation = container.begin();
    let (auto_remove, again, seconds) = {
        let mut data = container.data();
        if !data.record.state.running || data.record.state.restarting {
            return;
        }
        let data = &mut *data;
        let state = &mut data.record.state;
        let seconds = state.started_at.seconds_until(exit.time).max(0);
        let again = !data.stop_requested
            && !engine.is_ending()
            && restart::applies(&data.host.restart_policy, exit.code, data.record.restart_count);
        state.running = again;
        state.restarting = again;
        state.paused = false;
        state.pid = 0;
        state.exit_code = exit.code;
        state.oom_killed = exit.oom_killed;
        state.finished_at = exit.time;
        data.exits += 1;
        health::suspend(engine, data);
        data.shim = None;
        for exec in data.execs.values_mut() {
            exec.ended_with_container();
        }
        let pause = again.then(|| restart::pause(data.pause, seconds));
        data.pause = pause;
        (data.host.auto_remove && !std::mem::take(&mut data.keep_once), pause, seconds)
    };
    container.data().finished.cancel();
    container.notify();
    if exit.oom_killed && !std::mem::take(&mut container.data().oom_told) {
        engine.container_event(container, "oom", &[]);
    }
    let code = exit.code.to_string();
    let attributes = [("exitCode", code.as_str()), ("execDuration", &seconds.to_string())];
    engine.container_event(container, "die", &attributes);
    release(engine, container);
    if auto_remove {
        let options = remove::Options { force: false, volumes: true };
        if let Err(e) = remove::remove_locked(engine, container, options) {
            log::error!("removing container {} after its end: {e}", container.id);
        }
    } else if let Err(e) = container.save() {
        log::error!("recording the end of container {}: {e}", container.id);
    }
    drop(operation);
    if let Some(pause) = again {
        restart::run_again(engine, container, pause);
    }
}

/// Gives back what a run held: its network, its mount, its shim's directory. Used after an end, after a
/// failed start, and for what a dead daemon left. Each step is tried whatever the others do.
pub(in crate::engine) fn release(engine: &Engine, container: &Container) {
    let report = |step: &str, result: Result<()>| {
        if let Err(e) = result {
            log::warn!("{step} of container {}: {e}", container.id);
        }
    };
    report("releasing the network", engine.network_release(container));
    links::child_changed(engine, container);
    report("unmounting the file system", engine.store.layers().unmount_rw(&container.id));
    report("unmounting the shared memory", ipc::release(container));
    report("giving back the volumes", mounts::setup::tear_down(engine, container));
    report("removing the run state", engine.discard_bundle(&container.id));
}

/// The end of a run whose exit status nobody saw, after a crash of the host or of the shim.
pub fn unknown_end() -> Exit {
    Exit { code: 255, oom_killed: false, time: Timestamp::now() }
}
