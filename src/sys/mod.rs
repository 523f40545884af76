//! The kernel: thin, owned, safe wrappers over system calls, named in the kernel's words.
//!
//! The only home of unsafe code beside `runtime/stages`. Wrappers return owned descriptors; "not
//! available" (ENOSYS, and EINVAL or EPERM where the kernel means the same) is told apart from
//! failure, probed once and cached, and every fallback has a test.
#![allow(unsafe_code)]

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod listenfds;
pub mod localtime;
pub mod memfd;
pub mod mount;
pub mod mountflags;
pub mod netlink;
pub mod outq;
pub mod pidfd;
pub mod procfs;
pub mod pty;
pub mod random;
pub mod rootfd;
pub mod sched;
pub mod scm;
pub mod seccomp;
pub mod selinux;
pub mod signal;
pub mod trim;
pub mod winsize;
pub mod xattr;
