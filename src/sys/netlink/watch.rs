//! Being told by the kernel that a link is gone, and of nothing else.

use std::os::fd::AsRawFd;

use super::Socket;
use crate::base::{At, Error, Result};

const RTNLGRP_LINK: u32 = 1;

impl Socket {
    /// Makes the socket readable when link `index` is deleted. A filter in the kernel (classic BPF)
    /// drops all other news of links: a process that watches is not woken by every container that
    /// comes or goes. After an overrun the socket is readable too: look whether the link is there.
    ///
    /// # Errors
    /// `Io`.
    pub fn watch_link_removal(&mut self, index: u32) -> Result<()> {
        // Offsets in the message: type at 4, ifi_index at 20. BPF loads big-endian, netlink writes in
        // the host's order.
        let kind = u32::from(libc::RTM_DELLINK.to_be());
        let filter = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
            code: u16::try_from(code).unwrap_or(0),
            jt,
            jf,
            k,
        };
        let load = libc::BPF_LD | libc::BPF_ABS;
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let mut program = [
            filter(load | libc::BPF_H, 0, 0, 4),
            filter(equal, 0, 3, kind),
            filter(load | libc::BPF_W, 0, 0, 20),
            filter(equal, 0, 1, index.to_be()),
            filter(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            filter(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog { len: 6, filter: program.as_mut_ptr() };
        let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(16);
        // SAFETY: the program and its instructions live through the call, which copies them.
        let rc = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size,
            )
        };
        if rc != 0 {
            return Err(Error::last_os()).at("attaching filter to netlink socket");
        }
        self.join(RTNLGRP_LINK)
    }

    /// Throws away what is there to read.
    pub fn drain(&mut self) {
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: pointer and length describe `buffer`, which is writable through the call.
            let n = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if n < 0 && Error::last_os().errno() != Some(libc::ENOBUFS) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sys::netlink::testing::in_netns;
    use crate::sys::netlink::{Batch, Socket};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    #[test]
    fn only_the_removal_of_that_link_is_told() {
        in_netns(|| {
            let mut socket = Socket::route().unwrap();
            let change = |socket: &mut Socket, build: &dyn Fn(&mut Batch)| {
                let mut batch = Batch::new();
                build(&mut batch);
                socket.execute(batch).unwrap();
            };
            change(&mut socket, &|b| b.create_bridge("br0", 1500, [2, 0, 0, 0, 0, 1]));
            change(&mut socket, &|b| b.create_bridge("br1", 1500, [2, 0, 0, 0, 0, 2]));
            let mut watch = Socket::route().unwrap();
            watch.watch_link_removal(socket.link_index("br0").unwrap()).unwrap();
            let readable = |watch: &Socket| {
                let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
            };
            let index = socket.link_index("br0").unwrap();
            change(&mut socket, &|b| b.set_up(index));
            change(&mut socket, &|b| b.delete_link("br1"));
            assert!(!readable(&watch));
            change(&mut socket, &|b| b.delete_link("br0"));
            assert!(readable(&watch));
            watch.drain();
            assert!(!readable(&watch));
        });
    }
}
