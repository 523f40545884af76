//! The loop of the proxy process: one epoll over listeners, connections and the container's life.
//!
//! Connections are watched edge-triggered and moved until the kernel says EAGAIN; one that is still
//! busy after its share goes to the end of a queue, so that a fast stream does not starve the rest.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::tcp::{Outcome, Pipes, Tcp};
use super::udp::Udp;
use super::{Listener, Orders};
use crate::base::{At, Result};
use crate::net::endpoint::Protocol;
use crate::sys::netlink::Socket;
use crate::sys::trim;

/// What an event's token means; the rest of the token is an index.
const KIND_SHIFT: u32 = 56;
const LIFE: u64 = 0;
const LINK: u64 = 1;
const LISTENER: u64 = 2;
const TCP: u64 = 3;
const SESSION: u64 = 4;

/// How often idle UDP sessions are looked for.
const SWEEP_MS: u16 = 10_000;
/// A proxy without traffic for so long gives back the memory of its code.
const QUIET_MS: u16 = 500;

pub(super) fn token(kind: u64, index: usize) -> u64 {
    kind << KIND_SHIFT | index as u64
}

/// Token of a UDP session.
pub(super) fn session_token(index: usize) -> u64 {
    token(SESSION, index)
}

struct Loop {
    epoll: Epoll,
    listeners: Vec<Listener>,
    /// Listeners that wait for a descriptor to become free.
    starved: Vec<usize>,
    connections: Vec<Option<Tcp>>,
    free: Vec<usize>,
    busy: VecDeque<usize>,
    pipes: Pipes,
    udp: Udp,
}

/// Carries traffic until the container is gone.
pub(super) fn run(orders: Orders) -> Result<()> {
    raise_descriptor_limit();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).at("creating epoll")?;
    let mut monitor = Socket::route()?;
    monitor.watch_link_removal(orders.link_index)?;
    // It may have gone before we watched.
    let exists =
        |s: &mut Socket| s.links().map(|all| all.iter().any(|l| l.index == orders.link_index));
    if !exists(&mut Socket::route()?)? {
        return Ok(());
    }
    let level = EpollFlags::EPOLLIN;
    epoll.add(&monitor, EpollEvent::new(level, token(LINK, 0)))?;
    if let Some(life) = &orders.life {
        epoll.add(life, EpollEvent::new(level, token(LIFE, 0)))?;
    }
    for (i, listener) in orders.listeners.iter().enumerate() {
        epoll.add(&listener.socket, EpollEvent::new(level, token(LISTENER, i)))?;
    }
    let mut this = Loop {
        epoll,
        listeners: orders.listeners,
        starved: Vec::new(),
        connections: Vec::new(),
        free: Vec::new(),
        busy: VecDeque::new(),
        pipes: Pipes::default(),
        udp: Udp::default(),
    };
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let timeout = match (this.busy.is_empty(), this.udp.is_empty()) {
            (false, _) => EpollTimeout::ZERO,
            (true, false) => EpollTimeout::from(SWEEP_MS),
            (true, true) => EpollTimeout::from(QUIET_MS),
        };
        let n = match this.epoll.wait(&mut events, timeout) {
            // Quiet for a while: nothing but this wait is needed of the program.
            Ok(0) if this.busy.is_empty() && this.udp.is_empty() => {
                trim::wait_without_code(this.epoll.0.as_fd());
                continue;
            }
            Ok(n) => n,
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e).at("waiting for traffic"),
        };
        for event in &events[..n] {
            let index = usize::try_from(event.data() & ((1 << KIND_SHIFT) - 1)).unwrap_or(0);
            match event.data() >> KIND_SHIFT {
                LIFE => return Ok(()),
                LINK => {
                    monitor.drain();
                    if !exists(&mut Socket::route()?)? {
                        return Ok(());
                    }
                }
                LISTENER => this.arrived(index),
                TCP => this.move_data(index),
                _ => this.udp.answer(index, &this.listeners),
            }
        }
        for _ in 0..this.busy.len() {
            if let Some(index) = this.busy.pop_front() {
                this.move_data(index);
            }
        }
        this.udp.sweep(&this.epoll);
    }
}

impl Loop {
    fn arrived(&mut self, index: usize) {
        let listener = &self.listeners[index];
        if listener.protocol == Protocol::Udp {
            self.udp.receive(index, listener, &self.epoll);
            return;
        }
        loop {
            match Tcp::accept(&self.listeners[index]) {
                Ok(Some(connection)) => self.insert(connection),
                Ok(None) => return,
                Err(e) if matches!(e.errno(), Some(libc::EMFILE | libc::ENFILE)) => {
                    // Would be reported again and again; goes on when a connection ends.
                    let socket = &self.listeners[index].socket;
                    let mut none = EpollEvent::new(EpollFlags::empty(), token(LISTENER, index));
                    let _ = self.epoll.modify(socket, &mut none);
                    self.starved.push(index);
                    return;
                }
                // This one is lost; there may be more behind it.
                Err(_) => {}
            }
        }
    }

    fn insert(&mut self, connection: Tcp) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        let watch =
            |fd: &OwnedFd| self.epoll.add(fd.as_fd(), EpollEvent::new(flags, token(TCP, index)));
        if watch(connection.client()).and_then(|()| watch(connection.server())).is_err() {
            // Out of kernel memory: the connection is closed by dropping it.
            self.free.push(index);
            return;
        }
        self.connections[index] = Some(connection);
        self.move_data(index);
    }

    fn move_data(&mut self, index: usize) {
        // An event may be left over from a connection that ended in the same round.
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        match connection.step(&mut self.pipes) {
            Outcome::Waits => {}
            Outcome::Busy if self.busy.contains(&index) => {}
            Outcome::Busy => self.busy.push_back(index),
            Outcome::Ended => {
                self.connections[index] = None;
                self.free.push(index);
                for index in std::mem::take(&mut self.starved) {
                    let socket = &self.listeners[index].socket;
                    let mut again = EpollEvent::new(EpollFlags::EPOLLIN, token(LISTENER, index));
                    let _ = self.epoll.modify(socket, &mut again);
                }
            }
        }
    }
}

/// A connection takes two descriptors, and four more while data moves.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
