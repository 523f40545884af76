//! UDP through the proxy: a connected socket per client, forgotten when idle.
//!
//! The answer leaves from the address that the client asked, which on a socket bound to all addresses
//! has to be said with every packet (IP_PKTINFO).

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn,
    SockaddrStorage, connect, recv, recvmsg, send, sendmsg, socket,
};

use super::Listener;
use super::event_loop::session_token;

/// As Docker's proxy, and about as conntrack.
const IDLE: Duration = Duration::from_secs(90);
/// Sessions of one proxy; beyond them new clients wait until old ones are forgotten.
const MAX_SESSIONS: usize = 4096;
const MAX_DATAGRAM: usize = 65_535;
/// Packets taken from one socket before others get their turn.
const BURST: usize = 64;

/// The address of ours that a packet came to.
#[derive(Clone, Copy)]
enum Local {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
    Unknown,
}

impl Local {
    /// The address as bytes, which tells sessions of one client to different addresses apart.
    fn key(self) -> [u8; 16] {
        match self {
            Local::V4(info) => u128::from(u32::from_be(info.ipi_spec_dst.s_addr)).to_be_bytes(),
            Local::V6(info) => info.ipi6_addr.s6_addr,
            Local::Unknown => [0; 16],
        }
    }
}

struct Session {
    key: (usize, SockaddrStorage, [u8; 16]),
    local: Local,
    socket: OwnedFd,
    used: Instant,
}

/// All sessions of the process.
#[derive(Default)]
pub(super) struct Udp {
    sessions: Vec<Option<Session>>,
    by_client: HashMap<(usize, SockaddrStorage, [u8; 16]), usize>,
    swept: Option<Instant>,
    buffer: Vec<u8>,
}

impl Udp {
    pub(super) fn is_empty(&self) -> bool {
        self.by_client.is_empty()
    }

    /// Takes packets of clients and passes them on.
    pub(super) fn receive(&mut self, index: usize, listener: &Listener, epoll: &Epoll) {
        self.buffer.resize(MAX_DATAGRAM, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BURST {
            let mut space = nix::cmsg_space!(libc::in6_pktinfo);
            let mut iov = [IoSliceMut::new(&mut buffer)];
            let fd = listener.socket.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let received = recvmsg::<SockaddrStorage>(fd, &mut iov, Some(&mut space), flags);
            let Ok(message) = received else { break };
            let Some(client) = message.address else { continue };
            let local = message.cmsgs().map_or(Local::Unknown, |mut all| {
                all.find_map(|control| match control {
                    ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(info)),
                    ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
                    _ => None,
                })
                .unwrap_or(Local::Unknown)
            });
            let n = message.bytes;
            let key = (index, client, local.key());
            if let Some(session) = self.session(key, local, listener, epoll) {
                session.used = Instant::now();
                // A full queue loses the packet, as any network may; a refusal is the container's
                // answer to an earlier packet and is used up by trying again.
                if send(session.socket.as_raw_fd(), &buffer[..n], MsgFlags::MSG_DONTWAIT)
                    == Err(Errno::ECONNREFUSED)
                {
                    let _ = send(session.socket.as_raw_fd(), &buffer[..n], MsgFlags::MSG_DONTWAIT);
                }
            }
        }
        self.buffer = buffer;
    }

    fn session(
        &mut self,
        key: (usize, SockaddrStorage, [u8; 16]),
        local: Local,
        listener: &Listener,
        epoll: &Epoll,
    ) -> Option<&mut Session> {
        if let Some(index) = self.by_client.get(&key) {
            return self.sessions[*index].as_mut();
        }
        if self.by_client.len() >= MAX_SESSIONS {
            return None;
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None).ok()?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(listener.target)).ok()?;
        let index = self.sessions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sessions.push(None);
            self.sessions.len() - 1
        });
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, session_token(index))).ok()?;
        self.by_client.insert(key, index);
        let session = Session { key, local, socket, used: Instant::now() };
        Some(self.sessions[index].insert(session))
    }

    /// Passes the container's answers of one session back.
    pub(super) fn answer(&mut self, index: usize, listeners: &[Listener]) {
        self.buffer.resize(MAX_DATAGRAM, 0);
        let Some(session) = self.sessions.get_mut(index).and_then(Option::as_mut) else { return };
        let listener = listeners[session.key.0].socket.as_raw_fd();
        for _ in 0..BURST {
            let fd = session.socket.as_raw_fd();
            let n = match recv(fd, &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => n,
                // The container's port is closed now; it may open.
                Err(Errno::ECONNREFUSED) => continue,
                Err(_) => return,
            };
            session.used = Instant::now();
            let iov = [IoSlice::new(&self.buffer[..n])];
            let flags = MsgFlags::MSG_DONTWAIT;
            let client = Some(&session.key.1);
            // What cannot be sent is lost, as any datagram may be.
            let _ = match &session.local {
                Local::V4(info) => {
                    let mut info = *info;
                    info.ipi_ifindex = 0;
                    sendmsg(listener, &iov, &[ControlMessage::Ipv4PacketInfo(&info)], flags, client)
                }
                Local::V6(info) => {
                    sendmsg(listener, &iov, &[ControlMessage::Ipv6PacketInfo(info)], flags, client)
                }
                Local::Unknown => sendmsg(listener, &iov, &[], flags, client),
            };
        }
    }

    /// Forgets sessions that were idle too long; looks only now and then.
    pub(super) fn sweep(&mut self, epoll: &Epoll) {
        let now = Instant::now();
        if self.by_client.is_empty() {
            // Idle: the buffer is given back too.
            self.buffer = Vec::new();
            return;
        }
        if self.swept.is_some_and(|at| now.duration_since(at) < IDLE / 9) {
            return;
        }
        self.swept = Some(now);
        for slot in &mut self.sessions {
            if let Some(session) = slot.take_if(|s| now.duration_since(s.used) > IDLE) {
                let _ = epoll.delete(&session.socket);
                self.by_client.remove(&session.key);
            }
        }
    }
}
