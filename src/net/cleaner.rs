//! Work that nobody waits for: removing interfaces and namespaces, and keeping one namespace spare.
//!
//! Deleting a veth waits for RCU grace periods: 30 ms here for each one, whereas the kernel takes all
//! dead namespaces with their interfaces together. So a namespace is let go at once, and an interface
//! is deleted by name only if it is still there when things are quiet (somebody holds the namespace).
//! Making a namespace costs 0.6 ms; one is kept ready, so that the start of a container does not pay. The
//! spare is only held by a descriptor: if the daemon dies, the kernel takes it back. Jobs are not
//! lost: a veth carries our mark, a bind mount lies in our directory, and `Controller::restore`
//! finds both. Dropping the cleaner finishes the queue.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sandbox::{Sandbox, unbind};
use crate::base::{At, Result, worker};
use crate::sys::netlink::{Batch, Socket};

/// How long nothing must happen before the spare is made: not while a container starts.
const QUIET: Duration = Duration::from_millis(20);

/// Interfaces that may wait for the kernel at most.
const MAX_LINKS: usize = 256;

pub(super) enum Job {
    /// Delete an interface of the host, unless it goes by itself.
    Link(String),
    /// End a bind mount.
    Sandbox(PathBuf),
    /// Have a spare namespace ready.
    Spare,
    /// Tell when everything before is done.
    Done(Sender<()>),
}

/// The thread and its queue.
pub(super) struct Cleaner {
    queue: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    spare: Arc<Mutex<Option<Sandbox>>>,
}

impl Cleaner {
    /// Starts the thread, in the caller's network namespace.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn start() -> Result<Cleaner> {
        let mut socket = Socket::route()?;
        let (queue, jobs) = channel();
        let spare = Arc::new(Mutex::new(None));
        let slot = spare.clone();
        let thread = worker::builder("net-cleaner")
            .spawn(move || work(&mut socket, &jobs, &slot))
            .at("starting thread net-cleaner")?;
        Ok(Cleaner { queue: Some(queue), thread: Some(thread), spare })
    }

    /// Adds a job.
    pub(super) fn push(&self, job: Job) {
        if let Some(queue) = &self.queue {
            // The thread only ends after the queue was closed.
            let _ = queue.send(job);
        }
    }

    /// The spare namespace if there is one.
    pub(super) fn take_spare(&self) -> Option<Sandbox> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until all jobs of now are done.
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        self.push(Job::Done(done));
        let _ = wait.recv();
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(socket: &mut Socket, jobs: &Receiver<Job>, spare: &Mutex<Option<Sandbox>>) {
    let mut wanted = false;
    let mut links: Vec<String> = Vec::new();
    loop {
        let job = match wanted || !links.is_empty() {
            true => jobs.recv_timeout(QUIET),
            false => jobs.recv().map_err(RecvTimeoutError::from),
        };
        // A container has ended or nothing happens: time for the spare, before anything slow.
        if wanted && !matches!(job, Ok(Job::Spare)) {
            make_spare(spare);
            wanted = false;
        }
        match job {
            Ok(Job::Spare) => wanted = true,
            Ok(Job::Link(name)) => links.push(name),
            Ok(Job::Sandbox(path)) => {
                if let Err(e) = unbind(&path) {
                    log::warn!("cleaning up network: {e}");
                }
            }
            Ok(Job::Done(done)) => {
                delete(socket, &mut links);
                // The one who waits may have given up.
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => delete(socket, &mut links),
            Err(RecvTimeoutError::Disconnected) => return delete(socket, &mut links),
        }
        if links.len() >= MAX_LINKS {
            delete(socket, &mut links);
        }
    }
}

/// Deletes what did not go with its namespace.
fn delete(socket: &mut Socket, links: &mut Vec<String>) {
    for name in links.drain(..) {
        let mut batch = Batch::new();
        batch.delete_link(&name);
        match socket.execute(batch) {
            Err(e) if e.errno() != Some(libc::ENODEV) => log::warn!("cleaning up network: {e}"),
            _ => {}
        }
    }
}

fn make_spare(spare: &Mutex<Option<Sandbox>>) {
    match Sandbox::unbound() {
        Ok(made) => *spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(made),
        // The next container makes its own and reports what is wrong.
        Err(e) => log::debug!("no spare network namespace: {e}"),
    }
}
