//! Sockets that a service manager passed on (socket activation).
//!
//! Spec: sd_listen_fds(3): `LISTEN_PID` names this process, `LISTEN_FDS` counts descriptors from 3 on.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use crate::base::{At, Error, Result};

/// First descriptor that is passed on.
const FIRST: i32 = 3;
/// More than any unit has; bounds a hostile environment.
const MOST: i32 = 1024;

/// Takes the inherited sockets, or only the one of `number`, with their numbers; empty if none (or none
/// any more) were meant for this process. They are close-on-exec.
///
/// # Errors
/// `Io` for a number that is no open descriptor.
pub fn take(number: Option<i32>) -> Result<Vec<(i32, OwnedFd)>> {
    static LEFT: Mutex<Option<Vec<(i32, OwnedFd)>>> = Mutex::new(None);
    let mut left = LEFT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if left.is_none() {
        *left = Some(inherited()?);
    }
    let all = left.take().unwrap_or_default();
    let (taken, rest) =
        all.into_iter().partition(|(n, _)| number.is_none_or(|wanted| *n == wanted));
    *left = Some(rest);
    Ok(taken)
}

/// How many descriptors from 3 on were passed to this process.
pub fn announced() -> i32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<i32>().ok());
    if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
        return 0;
    }
    number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST)
}

fn inherited() -> Result<Vec<(i32, OwnedFd)>> {
    (FIRST..FIRST + announced()).map(|n| Ok((n, adopt(n)?))).collect()
}

fn adopt(number: i32) -> Result<OwnedFd> {
    // SAFETY: borrowed for two calls only, which report a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // A parent that promised more than it passed must not make us own a file that we opened ourselves.
    let mode = nix::sys::stat::fstat(borrowed)
        .at(format_args!("using activated descriptor {number}"))?
        .st_mode;
    if mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(Error::invalid(format_args!("activated descriptor {number} is not a socket")));
    }
    nix::fcntl::fcntl(borrowed, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .at(format_args!("using activated descriptor {number}"))?;
    // SAFETY: the descriptor is open, was given to this process by its parent under a protocol that
    // makes us the owner, and `inherited` runs only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
