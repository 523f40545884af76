//! Docker's default profile as a table.
//!
//! Calls are listed by name and given free under a condition: always, with a capability in the bounding
//! set, or on some architectures. Conditions on arguments are a table of their own. Everything else fails with
//! EPERM; `clone3` fails with ENOSYS without `CAP_SYS_ADMIN`, because its flags lie behind a pointer where no
//! filter can see whether a namespace is asked for.
//!
//! Decision: Docker allows every socket family above `AF_VSOCK`, compared as 64 bits, which lets the refused
//! families in with a high bit set. Here the families up to 63 are allowed; the kernel knows 46.
//!
//! Spec: moby `profiles/seccomp/default.json` (decisions), as of Docker 29, which beside the sockets of
//! Docker 28 also refuses `AF_ALG`.

use crate::runtime::spec::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use crate::sys::caps::Set;
use crate::sys::seccomp::arch::*;
use crate::sys::seccomp::{Action, Compare, Filter, Insn, Op};

/// When a group of calls is allowed.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// With this capability.
    Capability(&'static str),
    /// On this native architecture.
    Native(Arch),
    /// From this kernel on.
    Kernel(u32, u32),
}

macro_rules! names {
    ($($name:ident)*) => { &[$(stringify!($name)),*] };
}

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[(When, &[&str])] = &[
    (
        When::Always,
        names! {
            accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod
            chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64
            clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close
            close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
            epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
            eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64
            fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
            fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
            fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue
            futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents
            getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
            getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
            getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid
            getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
            getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
            ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get
            ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset
            landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
            listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
            madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat
            mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify
            mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
            mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
            name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause
            pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
            ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
            pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
            recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
            removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq
            rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
            rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
            sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
            sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
            sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
            seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
            sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid
            setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
            setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
            set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32
            setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd
            signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
            statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee
            tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
            timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
            timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
            uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
            vmsplice wait4 waitid waitpid write writev
        },
    ),
    (When::Kernel(4, 8), names! { process_vm_readv process_vm_writev ptrace }),
    (
        When::Native(Arch::Aarch64),
        names! { arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls },
    ),
    (When::Native(Arch::X86_64), names! { arch_prctl }),
    (When::Native(Arch::X86_64), names! { modify_ldt }),
    (When::Capability("DAC_READ_SEARCH"), names! { open_by_handle_at }),
    (
        When::Capability("SYS_ADMIN"),
        names! {
            bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
            lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
            open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns
            syslog umount umount2 unshare
        },
    ),
    (When::Capability("SYS_BOOT"), names! { reboot }),
    (When::Capability("SYS_CHROOT"), names! { chroot }),
    (When::Capability("SYS_MODULE"), names! { delete_module init_module finit_module }),
    (When::Capability("SYS_PACCT"), names! { acct }),
    (
        When::Capability("SYS_PTRACE"),
        names! { kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace },
    ),
    (When::Capability("SYS_RAWIO"), names! { iopl ioperm }),
    (When::Capability("SYS_TIME"), names! { settimeofday stime clock_settime clock_settime64 }),
    (When::Capability("SYS_TTY_CONFIG"), names! { vhangup }),
    (
        When::Capability("SYS_NICE"),
        names! { get_mempolicy mbind set_mempolicy set_mempolicy_home_node },
    ),
    (When::Capability("SYSLOG"), names! { syslog }),
    (When::Capability("BPF"), names! { bpf }),
    (When::Capability("PERFMON"), names! { perf_event_open }),
];

/// Calls that are allowed if one condition on an argument holds.
const CONDITIONAL: &[(&str, Compare)] = &[
    ("socket", argument(0, Op::Lt, AF_ALG)),
    ("socket", argument(0, Op::Eq, AF_ALG + 1)),
    // 41 to 63 in exact terms. The kernel takes the family as 32 bits, but "greater than 40" would look at
    // 64 and let 2^32 + AF_ALG through.
    ("socket", argument(0, Op::Eq, AF_VSOCK + 1)),
    ("socket", argument(0, Op::MaskedEq(!1), 42)),
    ("socket", argument(0, Op::MaskedEq(!3), 44)),
    ("socket", argument(0, Op::MaskedEq(!15), 48)),
    ("personality", argument(0, Op::Eq, 0)),
    ("personality", argument(0, Op::Eq, 0x0008)),
    ("personality", argument(0, Op::Eq, 0x2_0000)),
    ("personality", argument(0, Op::Eq, 0x2_0008)),
    ("personality", argument(0, Op::Eq, 0xffff_ffff)),
];

const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;

/// Every `CLONE_NEW...` flag that clone takes.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// `clone` without `CAP_SYS_ADMIN`.
const CLONE: Compare = argument(0, Op::MaskedEq(NAMESPACE_FLAGS), 0);

const fn argument(argument: u8, op: Op, value: u64) -> Compare {
    Compare { argument, op, value }
}

const DEFAULT: Action = Action::errno(libc::EPERM as u16);
const NO_CLONE3: Action = Action::errno(libc::ENOSYS as u16);

/// Calls with rules on arguments, or with an error of their own.
const SPECIAL: &[&str] = names! { socket personality clone clone3 };

impl When {
    fn holds(self, bounding: Set) -> bool {
        match self {
            When::Always => true,
            When::Capability(name) => bounding.has(name),
            When::Native(arch) => arch == Arch::NATIVE,
            When::Kernel(major, minor) => super::profile::kernel_is_at_least(major, minor),
        }
    }
}

/// The allowed calls for a bounding set, group by group.
fn allowed(bounding: Set) -> impl Iterator<Item = &'static [&'static str]> {
    ALLOWED.iter().filter(move |(when, _)| when.holds(bounding)).map(|(_, names)| *names)
}

/// The program of the default profile for a container with the bounding set `bounding`. Takes a tenth of a
/// millisecond: which group a number belongs to was found when this program was compiled.
pub fn compile_default(bounding: Set) -> Vec<Insn> {
    let groups = ALLOWED.iter().zip(0..).filter(|((when, _), _)| when.holds(bounding));
    let active = groups.fold(0u32, |set, (_, bit)| set | 1 << bit);
    let mut filter = Filter::new(DEFAULT);
    for (arch, table) in TABLES {
        filter.add_arch(*arch);
        let base = if *arch == Arch::X32 { X32_BIT } else { 0 };
        let numbers = (base..).zip(table.iter().copied());
        let own = ARM_OWN.iter().filter(|_| *arch == Arch::Arm);
        let own = own.map(|(name, number)| (*number, groups_of(name)));
        let mut last = 0;
        for (number, groups) in numbers.chain(own) {
            let special = groups >> SPECIAL_BIT;
            if groups & active != 0 {
                filter.add_rule(*arch, number, &[], Action::ALLOW);
            } else if special != 0 {
                add_special(&mut filter, *arch, number, SPECIAL[special.trailing_zeros() as usize]);
            } else {
                continue;
            }
            if !is_x32_own(number) {
                last = number;
            }
        }
        filter.unknown_above(*arch, last);
    }
    filter.compile()
}

fn add_special(filter: &mut Filter, arch: Arch, number: u32, name: &str) {
    match name {
        "clone" => filter.add_rule(arch, number, &[CLONE], Action::ALLOW),
        "clone3" => filter.add_rule(arch, number, &[], NO_CLONE3),
        _ => {
            for (_, compare) in CONDITIONAL.iter().filter(|(n, _)| *n == name) {
                filter.add_rule(arch, number, &[*compare], Action::ALLOW);
            }
        }
    }
}

/// First bit that stands for a [`SPECIAL`] call; those below stand for groups of [`ALLOWED`].
const SPECIAL_BIT: usize = 28;

/// A bit for every group of [`ALLOWED`] and for the place in [`SPECIAL`] that have the call `name`.
const fn groups_of(name: &str) -> u32 {
    let (mut set, mut group) = (0, 0);
    while group < ALLOWED.len() {
        if contains(ALLOWED[group].1, name) {
            set |= 1 << group;
        }
        group += 1;
    }
    let mut special = 0;
    while special < SPECIAL.len() {
        if str_eq(SPECIAL[special], name) {
            set |= 1 << (SPECIAL_BIT + special);
        }
        special += 1;
    }
    set
}

const fn contains(list: &[&str], name: &str) -> bool {
    let mut i = 0;
    while i < list.len() {
        if str_eq(list[i], name) {
            return true;
        }
        i += 1;
    }
    false
}

/// Larger than any number in the tables of the 64-bit and 32-bit architectures.
const NUMBERS: usize = 480;

/// [`groups_of`] by number, for the calls of one architecture.
macro_rules! table {
    ($sysno:ty) => {{
        assert!(<$sysno>::new(NUMBERS).is_none() && ALLOWED.len() < SPECIAL_BIT);
        let (mut table, mut number) = ([0; NUMBERS], 0);
        while number < NUMBERS {
            if let Some(call) = <$sysno>::new(number) {
                table[number] = groups_of(call.name());
            }
            number += 1;
        }
        table
    }};
}

#[cfg(not(target_arch = "aarch64"))]
mod tables {
    use super::*;
    use syscalls::x86_64::Sysno;

    #[allow(long_running_const_eval)]
    static X86_64: [u32; NUMBERS] = table!(Sysno);
    #[allow(long_running_const_eval)]
    static X86: [u32; NUMBERS] = table!(syscalls::x86::Sysno);

    const X32_NUMBERS: usize = (X32_OWN_END & !X32_BIT) as usize;
    static X32: [u32; X32_NUMBERS] = {
        let (mut table, mut number) = ([0; X32_NUMBERS], 0);
        while number < NUMBERS {
            if let Some(call) = Sysno::new(number)
                && let Some(own) = x32_number(call.name(), number as u32)
            {
                table[(own & !X32_BIT) as usize] = X86_64[number];
            }
            number += 1;
        }
        table
    };

    /// The native architecture first, then those whose programs it also runs.
    pub(super) static TABLES: &[(Arch, &[u32])] =
        &[(Arch::X86_64, &X86_64), (Arch::X86, &X86), (Arch::X32, &X32)];
}

#[cfg(target_arch = "aarch64")]
mod tables {
    use super::*;

    #[allow(long_running_const_eval)]
    static AARCH64: [u32; NUMBERS] = table!(syscalls::aarch64::Sysno);
    #[allow(long_running_const_eval)]
    static ARM: [u32; NUMBERS] = table!(syscalls::arm::Sysno);

    /// The native architecture first, then those whose programs it also runs.
    pub(super) static TABLES: &[(Arch, &[u32])] = &[(Arch::Aarch64, &AARCH64), (Arch::Arm, &ARM)];
}

use tables::TABLES;

/// The default profile as a specification, for runtimes that are other programs.
pub fn default_profile(bounding: Set) -> LinuxSeccomp {
    let rule = |names: &[&str], action: &str, errno_ret, args| LinuxSyscall {
        names: names.iter().map(|name| name.to_string()).collect(),
        action: action.into(),
        errno_ret,
        args,
    };
    let arg = |compare: &Compare| {
        let (op, value, value_two) = match compare.op {
            Op::Ne => ("SCMP_CMP_NE", compare.value, 0),
            Op::Lt => ("SCMP_CMP_LT", compare.value, 0),
            Op::Le => ("SCMP_CMP_LE", compare.value, 0),
            Op::Eq => ("SCMP_CMP_EQ", compare.value, 0),
            Op::Ge => ("SCMP_CMP_GE", compare.value, 0),
            Op::Gt => ("SCMP_CMP_GT", compare.value, 0),
            Op::MaskedEq(mask) => ("SCMP_CMP_MASKED_EQ", mask, compare.value),
        };
        vec![LinuxSeccompArg { index: compare.argument.into(), value, value_two, op: op.into() }]
    };
    let mut syscalls: Vec<LinuxSyscall> =
        allowed(bounding).map(|names| rule(names, "SCMP_ACT_ALLOW", None, Vec::new())).collect();
    for (name, compare) in CONDITIONAL {
        syscalls.push(rule(&[name], "SCMP_ACT_ALLOW", None, arg(compare)));
    }
    if !bounding.has("SYS_ADMIN") {
        syscalls.push(rule(&["clone"], "SCMP_ACT_ALLOW", None, arg(&CLONE)));
        let enosys = Some(libc::ENOSYS as u32);
        syscalls.push(rule(&["clone3"], "SCMP_ACT_ERRNO", enosys, Vec::new()));
    }
    LinuxSeccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: TABLES.iter().map(|(arch, _)| arch.scmp_name().to_string()).collect(),
        syscalls,
        ..LinuxSeccomp::default()
    }
}
