//! Starting a container: the path whose every millisecond `docker run` shows.
//!
//! Two things take long, the network (a namespace, a veth pair, addresses) and the process (a shim,
//! namespaces, mounts). They run side by side: one thread makes the sandbox and, as soon as its
//! namespace exists, this one starts the shim in it; the container's process is made and waits while the
//! first thread connects the sandbox. When both are done the process may go on to its program. Nothing
//! polls, and a failure of either side undoes both.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};

use super::{Container, attach, exit, health, ipc, links, logs, mounts, remove, spec};
use crate::base::cancel::Cancel;
use crate::base::time::Timestamp;
use crate::base::{At, Error, Kind, Result};
use crate::engine::Engine;
use crate::engine::network::{Mode, Plan};
use crate::runtime::shim::{self, Shim, StartRequest};

/// Starts `container` because a client asked for it.
///
/// # Errors
/// `NotModified` if it runs already; `Conflict` if it is paused or being removed; otherwise what kept it
/// from starting, with Docker's text. After an error nothing of the attempt is left, and the state holds
/// the error and an exit code of 126, 127 or 128.
pub fn start(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let _operation = container.begin();
    {
        let mut data = container.data();
        let state = &data.record.state;
        if state.running && state.paused {
            return Err(Error::conflict("cannot start a paused container, try unpause instead"));
        }
        if state.running {
            return Err(Error::new(Kind::NotModified, "container is already running"));
        }
        data.record.restart_count = 0;
        data.pause = None;
    }
    start_locked(engine, container)
}

/// Starts `container` because its restart policy says so.
///
/// # Errors
/// As [`start`].
pub(super) fn start_again(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let _operation = container.begin();
    {
        let mut data = container.data();
        // Stopped or removed at the last moment.
        if !data.record.state.restarting || data.stop_requested {
            data.record.state.running = false;
            data.record.state.restarting = false;
            drop(data);
            container.notify();
            return Ok(());
        }
        data.record.state.running = false;
        data.record.state.restarting = false;
    }
    start_locked(engine, container)
}

fn start_locked(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    if engine.is_ending() {
        return Err(Error::new(Kind::Unavailable, "the daemon is shutting down"));
    }
    {
        let data = container.data();
        if data.record.state.removal_in_progress || data.record.state.dead || data.removed {
            return Err(Error::conflict("container is marked for removal and cannot be started"));
        }
    }
    if let Err(e) = bring_up(engine, container) {
        fail(engine, container, &e);
        return Err(e);
    }
    links::child_changed(engine, container);
    health::begin(engine, container);
    engine.container_event(container, "start", &[]);
    Ok(())
}

fn bring_up(engine: &Engine, container: &Arc<Container>) -> Result<()> {
    let plan = engine.network_plan(container)?;
    links::check_start(engine, container)?;
    engine.write_network_files(container, &plan)?;
    logs::prepare(container)?;
    ipc::prepare(engine, container)?;
    if container.data().host.auto_remove {
        engine.store.layers().rw_will_be_removed(&container.id);
    }
    let label = container.data().record.mount_label.clone();
    let root = engine.store.layers().mount_rw(&container.id, &label)?;
    let ready = mounts::setup::set_up(engine, container)?;
    let request = |plan: &Plan| spec::start_request(engine, container, &root, plan, &ready);
    let (shim, pid) = match &plan.mode {
        Mode::Host | Mode::Container(_) => {
            let shim = spawn(container, &request(&plan)?, None)?;
            let pid = shim.wait_created()?;
            engine.tell_connected(container);
            (shim, pid)
        }
        Mode::None | Mode::Bridge => with_sandbox(engine, container, &plan, &request)?,
    };
    let before = {
        // Before the program runs, so that its end, however early, finds a running container.
        let mut data = container.data();
        let before = (data.record.state.clone(), data.record.has_been_started_before);
        data.stop_requested = false;
        data.record.has_been_manually_stopped = false;
        data.record.has_been_started_before = true;
        data.shim = Some(shim.clone());
        data.execs.clear();
        data.oom_told = false;
        data.finished = Cancel::new();
        let state = &mut data.record.state;
        state.running = true;
        state.paused = false;
        state.restarting = false;
        state.oom_killed = false;
        state.dead = false;
        state.pid = i64::from(pid);
        state.exit_code = 0;
        state.error.clear();
        state.started_at = Timestamp::now();
        state.finished_at = Timestamp::ZERO;
        before
    };
    let started = shim.go().and_then(|()| {
        engine.supervisor.watch(container.clone(), shim.clone()).inspect_err(|_| {
            // It runs, and nobody would hear of its end: a shim lives on without its handle. One that
            // ended already is as well.
            let _ = shim.signal("", libc::SIGKILL);
        })
    });
    if let Err(e) = started {
        let mut data = container.data();
        // Dropping the handle of a shim that was not let go kills what it keeps.
        data.shim = None;
        // It never ran: what was true before still is.
        (data.record.state, data.record.has_been_started_before) = before;
        data.record.state.running = false;
        data.record.state.restarting = false;
        data.record.state.pid = 0;
        return Err(e);
    }
    let late = std::mem::take(&mut container.data().waiting_attaches);
    for client in late {
        // It came between the making of the process and now; its stream closes if the program has ended.
        if let Err(e) = shim.attach(&client.into_attach()) {
            log::debug!("attaching to container {}: {e}", container.id);
        }
    }
    // The program runs already; the disk may take its time now. Should we be killed before the record is
    // there, or the disk be full, the next daemon learns from the shim that the container runs.
    if let Err(e) = container.save() {
        log::error!("recording the start of container {}: {e}", container.id);
    }
    Ok(())
}

/// Makes the container's process in a new network sandbox, connecting the sandbox meanwhile.
fn with_sandbox(
    engine: &Engine,
    container: &Arc<Container>,
    plan: &Plan,
    request: &dyn Fn(&Plan) -> Result<StartRequest>,
) -> Result<(Arc<Shim>, i32)> {
    let (send, receive) = mpsc::channel::<Result<OwnedFd>>();
    let (send_life, life) = mpsc::channel::<OwnedFd>();
    std::thread::scope(|scope| {
        let network = crate::base::worker::builder("network").spawn_scoped(scope, move || {
            let sandbox = match engine.sandbox_create(container) {
                Ok(sandbox) => sandbox,
                Err(e) => {
                    // The receiver is waiting for exactly this message.
                    let _ = send.send(Err(e));
                    return Ok(());
                }
            };
            let namespace = sandbox.netns().try_clone_to_owned().map_err(Error::from);
            let _ = send.send(namespace);
            engine.network_connect(container, plan, &sandbox, &life)
        });
        let network = network.at("starting the network thread")?;
        let process = (move || {
            let request = request(plan)?;
            let namespace =
                receive.recv().map_err(|_| Error::internal("the network thread ended early"))??;
            let shim = spawn(container, &request, Some(namespace))?;
            // The network thread waits for it if there are ports to publish, and is gone if it failed.
            let _ = send_life.send(shim.life()?);
            let pid = shim.wait_created()?;
            Ok((shim, pid))
        })();
        let network =
            network.join().unwrap_or_else(|_| Err(Error::internal("network thread died")));
        match (process, network) {
            (Ok(process), Ok(())) => Ok(process),
            // The handle is dropped here, and the process with it.
            (Ok(_), Err(e)) | (Err(e), _) => Err(e),
        }
    })
}

fn spawn(
    container: &Container,
    request: &StartRequest,
    namespace: Option<OwnedFd>,
) -> Result<Arc<Shim>> {
    let waiting = std::mem::take(&mut container.data().waiting_attaches);
    let attaches: Vec<_> = waiting.into_iter().map(attach::Waiting::into_attach).collect();
    Shim::spawn(request, namespace.as_ref().map(AsFd::as_fd), &attaches).map(Arc::new)
}

/// Records a start that failed and takes everything back.
fn fail(engine: &Engine, container: &Arc<Container>, error: &Error) {
    exit::release(engine, container);
    let code = i64::from(shim::exit_code_of(error));
    let auto_remove = {
        let mut data = container.data();
        data.waiting_attaches.clear();
        // No run ended: who waits for the next end goes on waiting, as with Docker.
        data.record.state.exit_code = code;
        data.record.state.error = error.to_string();
        data.host.auto_remove
    };
    container.notify();
    let saved = if auto_remove {
        remove::remove_locked(engine, container, remove::Options { force: false, volumes: true })
    } else {
        container.save()
    };
    if let Err(e) = saved {
        log::error!("after the failed start of container {}: {e}", container.id);
    }
}
