//! Processes by descriptor, so that a number used again never gets a signal meant for another.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::base::{Error, Result};

/// A descriptor for process `pid` (Linux 5.3); readable in poll when the process has ended.
///
/// # Errors
/// `Io`: ESRCH when there is none, ENOSYS on older kernels.
pub fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(Error::last_os());
    }
    // SAFETY: the kernel just returned this new descriptor (always close-on-exec).
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends `signal` to the process behind `pidfd` (Linux 5.1).
///
/// # Errors
/// `Io`: ESRCH when it has ended, EINVAL for a number that is no signal.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let (fd, info) = (pidfd.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a null siginfo is allowed and means kill(2)'s values.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
    if done < 0 { Err(Error::last_os()) } else { Ok(()) }
}

/// Sends any signal, also a real-time one, to a process by number. Safe only for a child that was not
/// reaped, whose number cannot be used again.
///
/// # Errors
/// `Io`: ESRCH when there is no such process.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: the call takes integers only.
    let done = unsafe { libc::kill(pid, signal) };
    if done < 0 { Err(Error::last_os()) } else { Ok(()) }
}
