//! Noticing that a client went away while its request is being worked on.
//!
//! One thread watches every such connection by epoll for `EPOLLRDHUP` and cancels the request's token.
//! The thread is made when it is first needed. A client that closes only its sending side counts as
//! gone, as it does for Go's server; taken over connections are not watched.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Conn;
use crate::base::cancel::Cancel;
use crate::base::{At, Result, worker};

struct Watcher {
    epoll: Epoll,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    next: u64,
    tokens: HashMap<u64, Cancel>,
}

/// Ends the watching when dropped.
pub struct Guard {
    watcher: Arc<Watcher>,
    conn: Conn,
    token: u64,
}

/// Cancels `cancel` when the peer of `conn` closes it.
///
/// # Errors
/// `Io` when the watcher cannot be made or the connection cannot be watched.
pub fn watch(conn: &Conn, cancel: Cancel) -> Result<Guard> {
    let watcher = watcher()?;
    let token = {
        let mut watched = watcher.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.next += 1;
        let token = watched.next;
        watched.tokens.insert(token, cancel);
        token
    };
    let guard = Guard { watcher: watcher.clone(), conn: conn.clone(), token };
    let flags = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
    watcher.epoll.add(conn.as_fd(), EpollEvent::new(flags, token)).at("watching a connection")?;
    Ok(guard)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails only if adding failed, in which case there is nothing to remove.
        let _ = self.watcher.epoll.delete(self.conn.as_fd());
        let mut watched = self.watcher.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.tokens.remove(&self.token);
    }
}

fn watcher() -> Result<Arc<Watcher>> {
    static WATCHER: OnceLock<Arc<Watcher>> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(watcher) = WATCHER.get() {
        return Ok(watcher.clone());
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = WATCHER.get() {
        return Ok(watcher.clone());
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).at("making an epoll")?;
    let watcher = Arc::new(Watcher { epoll, watched: Mutex::default() });
    let copy = watcher.clone();
    worker::builder("hangup").spawn(move || copy.run()).at("starting thread hangup")?;
    Ok(WATCHER.get_or_init(|| watcher).clone())
}

impl Watcher {
    fn run(&self) {
        let mut events = [EpollEvent::empty(); 16];
        loop {
            // EINTR is the only failure of a valid epoll.
            let n = self.epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
            for event in &events[..n] {
                let cancel = {
                    let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                    watched.tokens.get(&event.data()).cloned()
                };
                if let Some(cancel) = cancel {
                    cancel.cancel();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn a_closed_peer_cancels_and_a_live_one_does_not() {
        let (a, b) = UnixStream::pair().unwrap();
        let (c, _d) = UnixStream::pair().unwrap();
        let (gone, there) = (Cancel::new(), Cancel::new());
        let _first = watch(&Conn::plain(a.into()), gone.clone()).unwrap();
        let _second = watch(&Conn::plain(c.into()), there.clone()).unwrap();
        drop(b);
        assert!(gone.wait(Duration::from_secs(10)));
        assert!(!there.is_cancelled());
    }

    #[test]
    fn dropping_the_guard_ends_the_watching() {
        let (a, b) = UnixStream::pair().unwrap();
        let (c, d) = UnixStream::pair().unwrap();
        let (unwatched, marker) = (Cancel::new(), Cancel::new());
        drop(watch(&Conn::plain(a.into()), unwatched.clone()).unwrap());
        let _marker = watch(&Conn::plain(c.into()), marker.clone()).unwrap();
        drop(b);
        drop(d);
        assert!(marker.wait(Duration::from_secs(10)));
        assert!(!unwatched.is_cancelled());
    }
}
