//! Work that nobody waits for: removing interfaces and namespaces, and keeping one namespace spare.
//!
//! Deleting a veth waits for RCU grace periods (30 ms here), making a namespace costs 0.6 ms; both
//! happen on one thread, so that neither the end of a container nor the start of the next pays. The
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

pub(super) enum Job {
    /// Delete an interface of the host.
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
    loop {
        let job = match wanted {
            true => jobs.recv_timeout(QUIET),
            false => jobs.recv().map_err(RecvTimeoutError::from),
        };
        match job {
            Ok(Job::Spare) => wanted = true,
            Ok(job) => {
                if wanted && matches!(job, Job::Link(_) | Job::Sandbox(_)) {
                    // A container has ended; the next may be waiting already, the removal is slow.
                    make_spare(spare);
                    wanted = false;
                }
                run(socket, job);
            }
            Err(RecvTimeoutError::Timeout) => {
                make_spare(spare);
                wanted = false;
            }
            Err(RecvTimeoutError::Disconnected) => return,
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

fn run(socket: &mut Socket, job: Job) {
    let result = match job {
        Job::Link(name) => {
            let mut batch = Batch::new();
            batch.delete_link(&name);
            match socket.execute(batch) {
                // It went with its namespace.
                Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
                other => other,
            }
        }
        Job::Sandbox(path) => unbind(&path),
        Job::Spare => Ok(()),
        Job::Done(done) => {
            // The one who waits may have given up.
            let _ = done.send(());
            Ok(())
        }
    };
    if let Err(e) = result {
        log::warn!("cleaning up network: {e}");
    }
}
