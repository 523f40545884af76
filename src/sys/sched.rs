//! How the kernel runs a process: scheduling policy, I/O priority, execution domain.
//!
//! Spec: sched_setattr(2), ioprio_set(2), personality(2).

use std::mem::size_of;

use crate::base::{At, Error, Result};

/// `struct sched_attr`, the size of its first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Size of this structure; set by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value of `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Static priority of `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds of `SCHED_DEADLINE`.
    pub runtime: u64,
    /// As `runtime`.
    pub deadline: u64,
    /// As `runtime`.
    pub period: u64,
}

/// Gives the calling thread a scheduling policy.
///
/// # Errors
/// `Io`: EPERM without CAP_SYS_NICE, EINVAL for values that do not fit together.
pub fn set_scheduler(attributes: &Attributes) -> Result<()> {
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..*attributes };
    // SAFETY: the structure has the size it says and outlives the call; 0 is the calling thread.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    check(rc).at("setting the scheduler")
}

/// Gives the calling process an I/O priority: class 1 (real time), 2 (best effort) or 3 (idle), and a
/// level from 0 (first) to 7.
///
/// # Errors
/// `Io`: EPERM for the real-time class without CAP_SYS_ADMIN, EINVAL for other numbers.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    // Newer kernels take the bits above the level for hints.
    if class > 3 || level > 7 {
        return Err(Error::from_errno(libc::EINVAL).at("setting the I/O priority"));
    }
    let value = class << CLASS_SHIFT | level;
    // SAFETY: the call takes integers only; 0 is the calling process.
    let rc = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    check(rc).at("setting the I/O priority")
}

/// Gives the calling process an execution domain, such as `PER_LINUX32`.
///
/// # Errors
/// `Io`: EINVAL for one that the kernel lacks.
pub fn set_personality(domain: u64) -> Result<()> {
    // SAFETY: the call takes an integer only.
    let rc = unsafe { libc::personality(domain as libc::c_ulong) };
    check(rc.into()).at("setting the personality")
}

fn check(rc: libc::c_long) -> Result<()> {
    if rc < 0 { Err(Error::last_os()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_what_it_asks_for() {
        std::thread::spawn(|| {
            // SCHED_BATCH.
            set_scheduler(&Attributes { policy: 3, nice: 7, ..Attributes::default() }).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            assert_eq!((fields[16], fields[38]), ("7", "3"));
            set_io_priority(2, 5).unwrap();
            assert_eq!(set_io_priority(2, 9).unwrap_err().errno(), Some(libc::EINVAL));
        })
        .join()
        .unwrap();
    }
}
