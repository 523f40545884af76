//! Architectures of a filter and the numbers of their system calls.
//!
//! The kernel tells x32 from x86-64 only by a bit in the number. On 32-bit x86 the socket and IPC calls
//! also come through `socketcall` and `ipc` with a number of their own as first argument; a rule by name
//! must cover both ways.
//!
//! Spec: linux/audit.h; the kernel's arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/linux/net.h, ipc.h.

/// An architecture whose calls can be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
}

/// The bit that marks an x32 call.
pub const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// What this program runs as.
    pub const NATIVE: Arch =
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    /// By libseccomp's name; `None` for one that this machine cannot run anyway.
    pub fn from_scmp(name: &str) -> Option<Arch> {
        Some(match name.strip_prefix("SCMP_ARCH_")? {
            "X86_64" => Arch::X86_64,
            "X86" => Arch::X86,
            "X32" => Arch::X32,
            "AARCH64" => Arch::Aarch64,
            "ARM" => Arch::Arm,
            _ => return None,
        })
    }

    /// libseccomp's name.
    pub fn scmp_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "SCMP_ARCH_X86_64",
            Arch::X86 => "SCMP_ARCH_X86",
            Arch::X32 => "SCMP_ARCH_X32",
            Arch::Aarch64 => "SCMP_ARCH_AARCH64",
            Arch::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Whether its calls take arguments of 32 bits.
    pub const fn is_narrow(self) -> bool {
        matches!(self, Arch::X86 | Arch::X32 | Arch::Arm)
    }

    /// The kernel's `AUDIT_ARCH_...` value.
    pub const fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }
}

/// The numbers of one architecture by name.
pub struct Names {
    arch: Arch,
    sorted: Vec<(&'static str, u32)>,
}

impl Names {
    /// All of `arch`. Takes some microseconds, so make it once for many names.
    pub fn of(arch: Arch) -> Names {
        // By number: the crate's own iterator is slow over Arm's gap and leaves the last call out.
        macro_rules! table {
            ($sysno:ty) => {
                (0..LAST_NUMBER)
                    .filter_map(<$sysno>::new)
                    .map(|call| (call.name(), call.id().cast_unsigned()))
                    .collect()
            };
        }
        let mut sorted: Vec<(&'static str, u32)> = match arch {
            Arch::X86_64 | Arch::X32 => table!(syscalls::x86_64::Sysno),
            Arch::X86 => table!(syscalls::x86::Sysno),
            Arch::Aarch64 => table!(syscalls::aarch64::Sysno),
            Arch::Arm => table!(syscalls::arm::Sysno),
        };
        if arch == Arch::Arm {
            sorted.extend(ARM_OWN);
        }
        if arch == Arch::X32 {
            sorted.retain_mut(|(name, number)| match x32_number(name, *number) {
                Some(x32) => {
                    *number = x32;
                    true
                }
                None => false,
            });
        }
        sorted.sort_unstable();
        Names { arch, sorted }
    }

    /// The number of the call `name`, or `None` if this architecture has no such call.
    pub fn number(&self, name: &str) -> Option<u32> {
        let at = self.sorted.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(self.sorted[at].1)
    }

    /// The number of the multiplexing call that also reaches `name`, and the first argument it does so
    /// with.
    pub fn multiplexed(&self, name: &str) -> Option<(u32, u64)> {
        if self.arch != Arch::X86 {
            return None;
        }
        let position =
            |list: &[(&str, u64)]| list.iter().find(|(n, _)| *n == name).map(|(_, n)| *n);
        if let Some(call) = position(SOCKETCALLS) {
            return Some((self.number("socketcall")?, call));
        }
        Some((self.number("ipc")?, position(IPC_CALLS)?))
    }
}

/// Larger than any number that is in a table.
const LAST_NUMBER: usize = 1024;

/// The calls of arch/arm/include/uapi/asm/unistd.h that are in no table.
pub const ARM_OWN: [(&str, u32); 6] = [
    ("breakpoint", 0x000f_0001),
    ("cacheflush", 0x000f_0002),
    ("usr26", 0x000f_0003),
    ("usr32", 0x000f_0004),
    ("set_tls", 0x000f_0005),
    ("get_tls", 0x000f_0006),
];

/// Calls that x32 has at numbers of its own, from 512 on, in the kernel's order.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// Calls that only the 64-bit table has.
const NOT_X32: [&str; 12] = [
    "uselib",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "uretprobe",
    "map_shadow_stack",
];

/// First number of x32's block of its own.
pub const X32_OWN_FIRST: u32 = X32_BIT | 512;
/// First number after it.
pub const X32_OWN_END: u32 = X32_OWN_FIRST + X32_OWN.len() as u32;

/// Whether `number` is in x32's block of numbers of its own, whose order tells nothing of a call's age.
pub fn is_x32_own(number: u32) -> bool {
    (X32_OWN_FIRST..X32_OWN_END).contains(&number)
}

/// The number of a call on x32, which has `number` in the 64-bit table; `None` if x32 lacks it.
pub const fn x32_number(name: &str, number: u32) -> Option<u32> {
    let mut i = 0;
    while i < NOT_X32.len() {
        if str_eq(NOT_X32[i], name) {
            return None;
        }
        i += 1;
    }
    i = 0;
    while i < X32_OWN.len() {
        if str_eq(X32_OWN[i], name) {
            return Some(X32_OWN_FIRST + i as u32);
        }
        i += 1;
    }
    Some(X32_BIT | number)
}

/// `a == b`, also at compile time.
pub const fn str_eq(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const SOCKETCALLS: &[(&str, u64)] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC_CALLS: &[(&str, u64)] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (arch, name, number) in [
            (Arch::X86_64, "read", Some(0)),
            (Arch::X86_64, "clone3", Some(435)),
            (Arch::X86_64, "mseal", Some(462)),
            (Arch::X86_64, "file_setattr", Some(469)),
            (Arch::X86_64, "socketcall", None),
            (Arch::X86, "read", Some(3)),
            (Arch::X86, "socketcall", Some(102)),
            (Arch::X32, "read", Some(X32_BIT)),
            (Arch::X32, "rt_sigaction", Some(X32_BIT | 512)),
            (Arch::X32, "pwritev2", Some(X32_BIT | 547)),
            (Arch::X32, "uselib", None),
            (Arch::Aarch64, "openat", Some(56)),
            (Arch::Aarch64, "open", None),
            (Arch::Arm, "read", Some(3)),
            (Arch::Arm, "cacheflush", Some(0x000f_0002)),
            (Arch::Arm, "set_tls", Some(0x000f_0005)),
            (Arch::X86_64, "no_such_call", None),
        ] {
            assert_eq!(Names::of(arch).number(name), number, "{arch:?} {name}");
        }
    }

    #[test]
    fn socket_and_ipc_calls_have_a_second_way_on_x86() {
        let names = Names::of(Arch::X86);
        assert_eq!(names.multiplexed("connect"), Some((102, 3)));
        assert_eq!(names.multiplexed("shmat"), Some((117, 21)));
        assert_eq!(names.multiplexed("read"), None);
        assert_eq!(Names::of(Arch::X86_64).multiplexed("connect"), None);
    }

    #[test]
    fn every_name_of_libseccomp_reads_back() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            assert_eq!(Arch::from_scmp(arch.scmp_name()), Some(arch));
        }
        assert_eq!(Arch::from_scmp("SCMP_ARCH_S390X"), None);
    }
}
