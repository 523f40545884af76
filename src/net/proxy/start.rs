//! The daemon's side of a userland proxy: starting one, finding one again, ending one.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Listener, Orders};
use crate::base::{At, Result};
use crate::net::config::Executable;
use crate::net::endpoint::Endpoint;
use crate::net::portmap::Held;
use crate::sys::{pidfd, scm};

/// A running proxy.
pub(in crate::net) enum Proxy {
    /// Started by this daemon, which has to collect it.
    Ours(Child),
    /// Started by the daemon before this one.
    Adopted(OwnedFd),
}

impl Proxy {
    /// Starts one for the held ports; their sockets are its own from now on.
    ///
    /// # Errors
    /// `Io`; the ports are given up.
    pub(in crate::net) fn start(
        executable: &Executable,
        endpoint: &Endpoint,
        held: Vec<Held>,
        life: Option<&OwnedFd>,
    ) -> Result<Proxy> {
        let ip = endpoint.ip();
        let listener = |held: Held| {
            Some(Listener {
                protocol: held.port.transport(),
                socket: held.socket?,
                target: SocketAddrV4::new(ip, held.port.container_port),
            })
        };
        let orders = Orders {
            link_index: endpoint.host_index,
            life: life.map(OwnedFd::try_clone).transpose().at("starting userland proxy")?,
            listeners: held.into_iter().filter_map(listener).collect(),
        };
        let (control, theirs) = scm::pair()?;
        let mut child = Command::new(executable()?)
            .arg0("multi")
            .arg("proxy")
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the terminal's group: an interrupt that stops the daemon is not for it.
            .process_group(0)
            .spawn()
            .at("starting userland proxy")?;
        if let Err(e) = super::send(&control, &orders) {
            // It ended at once; there is nothing to say goodbye to.
            let _ = child.kill();
            let _ = child.wait();
            return Err(e).at("starting userland proxy");
        }
        Ok(Proxy::Ours(child))
    }

    /// The proxy with that pid and start time, if it still runs.
    pub(in crate::net) fn adopt(pid: i32, start: u64) -> Option<Proxy> {
        if pid <= 0 || start == 0 {
            return None;
        }
        let fd = pidfd::open(pid).ok()?;
        // Read after the descriptor was opened: if it matches now, the descriptor is the right one.
        (start_time(pid) == Some(start)).then_some(Proxy::Adopted(fd))
    }

    /// Pid and start time.
    pub(in crate::net) fn identity(&self) -> (i32, u64) {
        match self {
            Proxy::Ours(child) => {
                let pid = i32::try_from(child.id()).unwrap_or(0);
                (pid, start_time(pid).unwrap_or(0))
            }
            Proxy::Adopted(_) => (0, 0),
        }
    }

    /// Kills it and waits until its sockets are closed.
    pub(in crate::net) fn stop(self) {
        match self {
            Proxy::Ours(mut child) => {
                // It may have ended with the container already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Proxy::Adopted(fd) => {
                let _ = pidfd::send_signal(&fd, libc::SIGKILL);
                let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&fd), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(1000u16));
            }
        }
    }
}

/// Field 22 of /proc/PID/stat; `None` if there is no such process, or only its corpse.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses and spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
