//! System call filters: building, compiling, loading.
//!
//! [`Filter`] collects rules by architecture and system call number, [`Filter::compile`] makes one classic BPF
//! program for all of them, [`load`] gives it to the kernel. [`arch`] knows the numbers by name.
//!
//! Spec: seccomp(2); linux/seccomp.h; Documentation/userspace-api/seccomp_filter.rst.

pub mod arch;
mod compile;
#[cfg(test)]
pub(crate) mod simulate;

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::base::{At, Error, Result};

pub use arch::Arch;
pub use compile::{Compare, Filter, Op};

/// What the kernel does with a call; the value is the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(pub u32);

impl Action {
    /// Kills the whole process.
    pub const KILL_PROCESS: Action = Action(0x8000_0000);
    /// Kills the thread.
    pub const KILL_THREAD: Action = Action(0);
    /// Sends SIGSYS.
    pub const TRAP: Action = Action(0x0003_0000);
    /// Asks the process that holds the listener.
    pub const NOTIFY: Action = Action(0x7fc0_0000);
    /// Allows and logs.
    pub const LOG: Action = Action(0x7ffc_0000);
    /// Allows.
    pub const ALLOW: Action = Action(0x7fff_0000);

    /// Fails the call with `errno`.
    pub const fn errno(errno: u16) -> Action {
        Action(0x0005_0000 | errno as u32)
    }

    /// Tells a tracer, with `data` as message.
    pub const fn trace(data: u16) -> Action {
        Action(0x7ff0_0000 | data as u32)
    }
}

/// One instruction of classic BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Most instructions the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_TSYNC`.
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SET_MODE_FILTER: libc::c_ulong = 1;
const GET_ACTION_AVAIL: libc::c_ulong = 2;

/// Puts `program` on the calling thread, for good; children inherit it. Needs `no_new_privs` or
/// `CAP_SYS_ADMIN`. Returns the listener's descriptor if `flags` ask for one. Does not allocate unless it
/// fails.
///
/// # Errors
/// `InvalidParameter` for a program that is too long; `Io`: EACCES without the privilege, EINVAL for
/// flags that the kernel does not know.
pub fn load(program: &[Insn], flags: u32) -> Result<Option<OwnedFd>> {
    if program.len() > MAX_INSNS {
        return Err(Error::invalid(format_args!(
            "seccomp filter has {} instructions, the kernel takes {MAX_INSNS}",
            program.len()
        )));
    }
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `header` describes `program`, which has the layout of sock_filter; the kernel copies it and
    // writes nothing.
    let rc = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const header) };
    match Errno::result(rc) {
        Ok(fd) if flags & FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with this flag the call returns a new descriptor that nobody else owns.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
        }
        Ok(_) => Ok(None),
        // Before 3.17 there is only prctl, without flags.
        Err(Errno::ENOSYS) if flags == 0 => {
            // SAFETY: as above; the unused arguments are zero.
            let rc = unsafe {
                libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER as libc::c_ulong,
                    &raw const header,
                    0 as libc::c_ulong,
                    0 as libc::c_ulong,
                )
            };
            Errno::result(rc).at("loading the seccomp filter")?;
            Ok(None)
        }
        Err(e) => Err(e).at("loading the seccomp filter"),
    }
}

/// Whether this kernel can filter system calls.
pub fn is_supported() -> bool {
    let action = Action::ALLOW.0;
    // SAFETY: the kernel reads one u32 through the pointer.
    let rc = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    if Errno::result(rc).is_ok() {
        return true;
    }
    // Before 4.14. EFAULT says that the mode is known and that only the program is missing.
    let null = std::ptr::null::<libc::sock_fprog>();
    let zero: libc::c_ulong = 0;
    // SAFETY: a null program is refused without effect.
    let rc = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER as libc::c_ulong,
            null,
            zero,
            zero,
        )
    };
    Errno::result(rc) == Err(Errno::EFAULT)
}

#[cfg(test)]
mod tests;
