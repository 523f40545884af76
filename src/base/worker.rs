//! Threads that have a name, an owner and an end.

use std::thread::{Builder, JoinHandle};

use super::{At, Result, cancel::Cancel};

/// Stack of ordinary threads, in bytes. The kernel commits pages only as they are touched.
pub const STACK_BYTES: usize = 256 * 1024;

/// A long-lived thread. Dropping it asks the thread to stop and waits for it.
pub struct Worker {
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `body` on a thread named `name`; it should return soon after its token is cancelled.
    ///
    /// # Errors
    /// `Io` if the thread cannot be made.
    pub fn spawn(name: &str, body: impl FnOnce(Cancel) + Send + 'static) -> Result<Worker> {
        let stop = Cancel::new();
        let token = stop.clone();
        let thread =
            builder(name).spawn(move || body(token)).at(format_args!("starting thread {name}"))?;
        Ok(Worker { stop, thread: Some(thread) })
    }

    /// Asks the thread to stop without waiting.
    pub fn request_stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the thread was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// A thread builder with our stack size; for per-connection threads that nobody joins.
pub fn builder(name: &str) -> Builder {
    Builder::new().name(name.into()).stack_size(STACK_BYTES)
}
