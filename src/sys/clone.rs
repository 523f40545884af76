//! Making a process: fork, straight into a cgroup where the kernel can.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::base::{At, Error, Result};

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The process that called.
    Parent {
        /// The new process.
        child: i32,
        /// It was born in the cgroup that was asked for; otherwise it still has to be moved there.
        in_cgroup: bool,
    },
    /// The new process.
    Child,
}

/// `struct clone_args` of clone3(2), version 2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The new process is a child of this one's parent.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
/// The new process is the first of a new pid namespace.
pub const CLONE_NEWPID: u64 = libc::CLONE_NEWPID as u64;
/// The new process is in a new user namespace.
pub const CLONE_NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

/// Forks; with `cgroup`, a directory of a v2 hierarchy, the child is born there if the kernel can do it.
/// That saves the write to `cgroup.procs`, which takes a lock over all processes of the host.
///
/// # Errors
/// `Io`: EAGAIN at the limit of processes, ENOMEM also when this process's children would be in a pid
/// namespace whose first process has ended.
///
/// # Safety
/// The process must have one thread only: the child has the memory of all and runs just this one.
pub unsafe fn fork(cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    // SAFETY: the caller vouches for the single thread.
    unsafe { fork_into(0, cgroup) }
}

/// [`fork`] with `CLONE_*` flags that make namespaces or choose the parent.
///
/// # Errors
/// As [`fork`]; EPERM or ENOSPC for a namespace that cannot be had.
///
/// # Safety
/// As [`fork`].
pub unsafe fn fork_into(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    if let Some(cgroup) = cgroup {
        let args = CloneArgs {
            flags: CLONE_INTO_CGROUP | flags,
            exit_signal: libc::SIGCHLD as u64,
            cgroup: cgroup.as_raw_fd() as u64,
            ..CloneArgs::default()
        };
        // SAFETY: args describes a plain fork (no stack, no shared memory) and outlives the call; the
        // caller vouches for the single thread, so no lock of the C library is held.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
        match pid {
            0 => return Ok(Fork::Child),
            1.. => return Ok(Fork::Parent { child: pid as i32, in_cgroup: true }),
            // Too old, filtered, or a cgroup that takes no processes: the plain way tells which.
            _ => {}
        }
    }
    if flags != 0 {
        let flags = flags | libc::SIGCHLD as u64;
        // SAFETY: no stack and no pointers: a plain fork in new namespaces. The caller vouches for the
        // single thread, so no lock of the C library is held.
        return match unsafe { libc::syscall(libc::SYS_clone, flags, 0u64, 0u64, 0u64, 0u64) } {
            -1 => Err(Error::last_os()).at("forking"),
            0 => Ok(Fork::Child),
            child => Ok(Fork::Parent { child: child as i32, in_cgroup: false }),
        };
    }
    // SAFETY: the caller vouches for the single thread.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os()).at("forking"),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent { child, in_cgroup: false }),
    }
}

/// Gives signals their default action back: SIGPIPE, which the Rust runtime ignores, and the two that
/// glibc keeps for itself and leaves ignored in what posix_spawn starts. A program inherits that.
pub fn restore_signals() {
    for signal in [libc::SIGPIPE, 32, 33] {
        // The kernel's sigaction of all zeros, on every architecture: SIG_DFL, no flags, empty mask. By
        // the bare call, as the C library refuses its own signals.
        let default = [0u64; 4];
        let old = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads at most 32 bytes of `default` and installs no handler of ours; the last
        // argument is the size of its signal set.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8) };
    }
}

/// Joins a new, empty session keyring, so that a container does not find the daemon's (keyctl(2)).
/// Kernels without keyrings, and hosts that are out of quota, go without.
pub fn new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let (op, name) = (KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>());
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, op, name) };
}

/// close_range(2) flag: set close-on-exec instead of closing (Linux 5.11).
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Sets close-on-exec on every descriptor from `first` on.
///
/// # Errors
/// `Io` when an older kernel has no `/proc` to list the descriptors by.
pub fn close_on_exec_from(first: i32) -> Result<()> {
    // SAFETY: the call takes integers only, and closes nothing.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    };
    if done == 0 {
        return Ok(());
    }
    for_each_open(|fd| {
        if fd >= first {
            // SAFETY: F_SETFD takes an integer; a number that is not open is answered by EBADF.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    })
}

fn for_each_open(mut visit: impl FnMut(i32)) -> Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd").at("listing descriptors")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            visit(fd);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_open_descriptor_is_listed() {
        let file = std::fs::File::open("/").unwrap();
        let mut seen = false;
        for_each_open(|fd| seen |= fd == file.as_raw_fd()).unwrap();
        assert!(seen);
    }
}
