//! One thread that hears what happens to all containers, and that knows what time it is.
//!
//! It sleeps in epoll on the event connections of the shims, until the next timer. What it hears it applies at once if that is
//! quick (the end of an exec), or hands to a thread of its own (the end of a container, which unmounts
//! and disconnects), so that no container waits for another one's clean-up.
//!
//! The events of one shim are read and applied under that shim's lock, so whoever needs the present
//! truth (`inspect` of an exec whose stream has just ended) may read them too: [`Supervisor::drain`].

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Engine;
use super::container::exit::{self, Exit};
use super::container::{Container, exec};
use super::timers::{Job, Key, Timers};
use crate::base::worker::{self, Worker};
use crate::base::{At, Result};
use crate::runtime::shim::{self, Event, Shim};

/// The key of the descriptor that ends the thread.
const STOP: u64 = 0;
/// The key of the descriptor that tells of an earlier timer.
const WAKE: u64 = 1;
/// Events taken from the kernel at a time.
const BATCH: usize = 32;

struct Watched {
    container: Arc<Container>,
    shim: Arc<Shim>,
    /// Held while events are read and applied; true once the end was seen.
    reading: Mutex<bool>,
}

struct Shared {
    epoll: Epoll,
    stop: EventFd,
    wake: EventFd,
    timers: Timers,
    watched: Mutex<(HashMap<u64, Arc<Watched>>, u64)>,
}

/// Hears of the ends of containers and execs.
pub struct Supervisor {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

impl Supervisor {
    /// A supervisor whose thread does not run yet.
    ///
    /// # Errors
    /// `Io` if the kernel gives no descriptors.
    pub fn new() -> Result<Supervisor> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).at("creating the event poll")?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).at("creating the stop event")?;
        epoll
            .add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))
            .at("watching the stop event")?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags).at("creating the timer event")?;
        epoll
            .add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))
            .at("watching the timer event")?;
        let watched = Mutex::new((HashMap::new(), WAKE + 1));
        let shared = Shared { epoll, stop, wake, timers: Timers::default(), watched };
        Ok(Supervisor { shared: Arc::new(shared), worker: Mutex::new(None) })
    }

    /// Starts the thread. It ends with [`Supervisor::stop`], or when the engine is gone.
    ///
    /// # Errors
    /// `Io` if the thread cannot be made.
    pub fn run(&self, engine: Weak<Engine>) -> Result<()> {
        let shared = self.shared.clone();
        let started = Worker::spawn("supervisor", move |_| shared.serve(&engine))?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(())
    }

    /// Listens to the shim of a running container. Events it has sent already are not lost.
    ///
    /// # Errors
    /// `Io` if the kernel refuses to watch the connection.
    pub fn watch(&self, container: Arc<Container>, shim: Arc<Shim>) -> Result<()> {
        let mut watched = self.shared.lock();
        let key = watched.1;
        watched.1 += 1;
        let entry = Arc::new(Watched { container, shim, reading: Mutex::new(false) });
        watched.0.insert(key, entry.clone());
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key);
        self.shared.epoll.add(entry.shim.event_fd(), event).map_err(|e| {
            watched.0.remove(&key);
            crate::base::Error::from(e).at("watching a shim")
        })
    }

    /// Applies what the shim of `container` has said up to now.
    pub fn drain(&self, engine: &Arc<Engine>, container: &Container) {
        let found = self.shared.lock().0.iter().find_map(|(key, entry)| {
            (entry.container.id == container.id).then(|| (*key, entry.clone()))
        });
        if let Some((key, entry)) = found {
            self.shared.read(engine, key, &entry);
        }
    }

    /// Does `job` on the supervisor's thread when `delay` has passed; it must be quick.
    pub fn after(&self, delay: Duration, job: Job) -> Key {
        let (key, is_next) = self.shared.timers.add(Instant::now() + delay, job);
        if is_next {
            // The counter cannot overflow: the thread empties it each time.
            let _ = self.shared.wake.write(1);
        }
        key
    }

    /// Takes a timer back; nothing if its job was done already.
    pub fn cancel(&self, key: Key) {
        self.shared.timers.cancel(key);
    }

    /// Ends the thread. Containers go on; their events stay with the shims.
    pub fn stop(&self) {
        // The counter cannot overflow by one more.
        let _ = self.shared.stop.write(1);
        drop(self.worker.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (HashMap<u64, Arc<Watched>>, u64)> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, engine: &Weak<Engine>) {
        let mut events = [EpollEvent::empty(); BATCH];
        loop {
            let count = match self.epoll.wait(&mut events, self.patience()) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => {
                    log::error!("the supervisor ends: waiting for events: {e}");
                    return;
                }
            };
            for event in &events[..count] {
                if event.data() == STOP {
                    return;
                }
                if event.data() == WAKE {
                    let _ = self.wake.read();
                    continue;
                }
                let Some(engine) = engine.upgrade() else { return };
                let entry = self.lock().0.get(&event.data()).cloned();
                if let Some(entry) = entry {
                    self.read(&engine, event.data(), &entry);
                }
            }
            while let Some(job) = self.timers.take_due(Instant::now()) {
                let Some(engine) = engine.upgrade() else { return };
                job(&engine);
            }
        }
    }

    /// How long to sleep: until the next timer, rounded up so that it is due then.
    fn patience(&self) -> EpollTimeout {
        let Some(next) = self.timers.next() else { return EpollTimeout::NONE };
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
    }

    /// Reads and applies everything that is there.
    fn read(&self, engine: &Arc<Engine>, key: u64, entry: &Arc<Watched>) {
        let mut ended = entry.reading.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            match entry.shim.event() {
                Ok(None) => return,
                Ok(Some(Event::ExecExit { exec_id, status, .. })) => {
                    exec::ended(engine, &entry.container, &exec_id, i64::from(status));
                }
                Ok(Some(Event::Detached { exec_id })) => {
                    let action = if exec_id.is_empty() { "detach" } else { "exec_detach" };
                    engine.container_event(&entry.container, action, &[]);
                }
                Ok(Some(Event::LogFailed(text))) => {
                    log::error!("container {}: {text}", entry.container.id);
                }
                Ok(Some(Event::Oom)) => {
                    entry.container.data().oom_told = true;
                    engine.container_event(&entry.container, "oom", &[]);
                }
                Ok(Some(Event::Exit { status, oom, time })) => {
                    *ended = true;
                    self.finish(
                        engine,
                        key,
                        entry,
                        Some(Exit { code: i64::from(status), oom_killed: oom, time }),
                    );
                }
                Ok(Some(Event::Closed)) => {
                    *ended = true;
                    self.closed(engine, key, entry);
                }
                Err(e) => {
                    log::error!("the shim of container {}: {e}", entry.container.id);
                    *ended = true;
                    self.closed(engine, key, entry);
                }
            }
        }
    }

    /// A connection ends with its shim, or because we were too slow to read what it had to say: then the
    /// container runs on and is listened to anew.
    fn closed(&self, engine: &Arc<Engine>, key: u64, entry: &Arc<Watched>) {
        let container = &entry.container;
        if let Ok(shim) = Shim::connect(&engine.bundle_dir(&container.id)).map(Arc::new) {
            // Before it is listened to: its end, if that is what it says, takes it away again.
            container.data().shim = Some(shim.clone());
            match engine.supervisor.watch(container.clone(), shim) {
                Ok(()) => {
                    log::warn!("connected anew to the shim of container {}", container.id);
                    let _ = self.epoll.delete(entry.shim.event_fd().as_fd());
                    self.lock().0.remove(&key);
                    return;
                }
                Err(e) => log::error!("the shim of container {}: {e}", container.id),
            }
        }
        self.finish(engine, key, entry, None);
    }

    /// Stops watching and handles the end on a thread of its own; how it ended is found out there if the
    /// shim has not told.
    fn finish(&self, engine: &Arc<Engine>, key: u64, entry: &Arc<Watched>, told: Option<Exit>) {
        // At once: whose stream has just ended asks for the exit code now.
        for exec in entry.container.data().execs.values_mut() {
            exec.ended_with_container();
        }
        let _ = self.epoll.delete(entry.shim.event_fd().as_fd());
        self.lock().0.remove(&key);
        let (worker_engine, ended) = (engine.clone(), entry.clone());
        let handle = move || {
            let exit = told.unwrap_or_else(|| lost(&worker_engine, &ended.container));
            exit::exited(&worker_engine, &ended.container, exit);
            ended.shim.wait_gone();
        };
        if worker::builder("exit").spawn(handle).is_err() {
            // No thread is to be had: late is better than never.
            let exit = told.unwrap_or_else(|| lost(engine, &entry.container));
            exit::exited(engine, &entry.container, exit);
        }
    }
}

/// The end of a container whose shim went without a word: by its record, or unknown.
pub(super) fn lost(engine: &Engine, container: &Container) -> Exit {
    let bundle = engine.bundle_dir(&container.id);
    match shim::exit_record(&bundle) {
        Ok(Some(record)) => {
            Exit { code: i64::from(record.status), oom_killed: record.oom, time: record.time }
        }
        _ => {
            if let Err(e) = shim::kill_leftovers(&bundle) {
                log::warn!("killing what is left of container {}: {e}", container.id);
            }
            exit::unknown_end()
        }
    }
}
