//! The default profile's decisions, by simulation and in the kernel.

use super::*;
use crate::base::json;
use crate::runtime::defaults;
use crate::sys::caps::Set;
use crate::sys::seccomp::simulate::run;

const EPERM: Action = Action::errno(1);
const ENOSYS: Action = Action::errno(38);

fn docker() -> Set {
    Set::parse(defaults::CAPABILITIES).unwrap()
}

/// What `program` decides on a call by name.
fn decide(program: &[Insn], arch: Arch, name: &str, arguments: &[u64]) -> Action {
    let number = Names::of(arch).number(name).unwrap_or_else(|| panic!("{arch:?} has no {name}"));
    run(program, arch, number, arguments).0
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_decides_as_docker() {
    let program = compile_default(docker());
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for (name, arguments, action) in [
            ("read", &[][..], Action::ALLOW),
            ("execve", &[], Action::ALLOW),
            ("openat2", &[], Action::ALLOW),
            ("ptrace", &[], Action::ALLOW),
            ("io_uring_setup", &[], EPERM),
            ("mount", &[], EPERM),
            ("unshare", &[], EPERM),
            ("setns", &[], EPERM),
            ("bpf", &[], EPERM),
            ("keyctl", &[], EPERM),
            ("add_key", &[], EPERM),
            ("reboot", &[], EPERM),
            ("kexec_load", &[], EPERM),
            ("init_module", &[], EPERM),
            ("userfaultfd", &[], EPERM),
            ("perf_event_open", &[], EPERM),
            ("clock_settime", &[], EPERM),
            ("chroot", &[], Action::ALLOW),
            ("clone3", &[], ENOSYS),
            ("clone", &[0x11], Action::ALLOW),
            ("clone", &[0x1000_0000], EPERM),
            ("clone", &[0x0002_0011], EPERM),
            ("socket", &[1], Action::ALLOW),
            ("socket", &[16], Action::ALLOW),
            ("socket", &[38], EPERM),
            ("socket", &[39], Action::ALLOW),
            ("socket", &[40], EPERM),
            ("socket", &[41], Action::ALLOW),
            ("socket", &[43], Action::ALLOW),
            ("socket", &[45], Action::ALLOW),
            ("socket", &[48], Action::ALLOW),
            ("socket", &[0x1_0000_0026], EPERM),
            ("personality", &[0], Action::ALLOW),
            ("personality", &[0x2_0008], Action::ALLOW),
            ("personality", &[0xffff_ffff], Action::ALLOW),
            ("personality", &[0x40000], EPERM),
            ("arch_prctl", &[], Action::ALLOW),
            ("removexattrat", &[], Action::ALLOW),
            ("open_tree_attr", &[], ENOSYS),
            ("file_setattr", &[], ENOSYS),
        ] {
            let got = decide(&program, arch, name, arguments);
            assert_eq!(got, action, "{arch:?} {name} {arguments:x?}");
        }
    }
    assert_eq!(decide(&program, Arch::X86, "socketcall", &[1]), Action::ALLOW);
    assert_eq!(run(&program, Arch::Aarch64, 56, &[]).0, Action::KILL_THREAD);
}

#[test]
fn capabilities_open_their_calls() {
    for (cap, name, arguments) in [
        ("SYS_ADMIN", "mount", &[][..]),
        ("SYS_ADMIN", "clone3", &[]),
        ("SYS_ADMIN", "clone", &[0x1000_0000]),
        ("SYS_TIME", "clock_settime", &[]),
        ("SYS_MODULE", "init_module", &[]),
        ("SYS_BOOT", "reboot", &[]),
        ("BPF", "bpf", &[]),
        ("PERFMON", "perf_event_open", &[]),
        ("SYSLOG", "syslog", &[]),
        ("SYS_NICE", "mbind", &[]),
        ("DAC_READ_SEARCH", "open_by_handle_at", &[]),
        ("SYS_PTRACE", "kcmp", &[]),
    ] {
        let without = compile_default(docker());
        assert_ne!(decide(&without, Arch::NATIVE, name, arguments), Action::ALLOW, "{name}");
        let with = compile_default(docker().union(Set::parse(&[cap]).unwrap()));
        assert_eq!(decide(&with, Arch::NATIVE, name, arguments), Action::ALLOW, "{cap} {name}");
    }
    let without = docker().minus(Set::parse(&["SYS_CHROOT"]).unwrap());
    assert_eq!(decide(&compile_default(without), Arch::NATIVE, "chroot", &[]), EPERM);
}

#[test]
fn the_profile_as_a_specification_compiles_to_the_same_program() {
    for bounding in [docker(), Set::EMPTY, Set::NAMED] {
        let text = json::to_string(&default_profile(bounding));
        let read: LinuxSeccomp = json::parse(text.as_bytes()).unwrap();
        let compiled = compile(&read).unwrap();
        assert_eq!(compiled.program, compile_default(bounding));
        assert!(!compiled.notifies && compiled.flags == 0);
    }
}

#[test]
fn the_program_is_short_and_decides_fast() {
    let start = std::time::Instant::now();
    let program = compile_default(docker());
    println!("{} instructions in {:?}", program.len(), start.elapsed());
    assert!(program.len() < 1000, "{}", program.len());
    let names = Names::of(Arch::NATIVE);
    for name in ["read", "write", "futex", "openat", "epoll_pwait2"] {
        let (_, steps) = run(&program, Arch::NATIVE, names.number(name).unwrap(), &[]);
        assert!(steps < 16, "{name} took {steps}");
    }
}

fn config(text: &str) -> LinuxSeccomp {
    json::parse(text.as_bytes()).unwrap()
}

#[test]
fn profiles_are_read_as_runc_reads_them() {
    let compiled = compile(&config(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[
        {"names":["no_such_call","getpid"],"action":"SCMP_ACT_ERRNO","errnoRet":5},
        {"names":["kill"],"action":"SCMP_ACT_NOTIFY"},
        {"names":["dup"],"action":"SCMP_ACT_ERRNO","args":[
            {"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]},
        {"names":["dup3"],"action":"SCMP_ACT_TRACE","args":[
            {"index":0,"value":3,"op":"SCMP_CMP_EQ"},{"index":1,"value":5,"op":"SCMP_CMP_EQ"}]}]}"#,
    ))
    .unwrap();
    let decide = |name, arguments: &[u64]| decide(&compiled.program, Arch::NATIVE, name, arguments);
    assert_eq!(decide("getpid", &[]), Action::errno(5));
    assert_eq!(decide("kill", &[]), Action::NOTIFY);
    for (first, action) in [(3, EPERM), (4, Action::ALLOW), (5, EPERM)] {
        assert_eq!(decide("dup", &[first]), action, "{first}");
    }
    assert_eq!(decide("dup3", &[3, 5]), Action::trace(1));
    assert_eq!(decide("dup3", &[3, 4]), Action::ALLOW);
    assert!(compiled.notifies);
    assert_eq!(
        compiled.flags,
        crate::sys::seccomp::FLAG_LOG | crate::sys::seccomp::FLAG_NEW_LISTENER
    );
}

#[test]
fn a_name_also_covers_the_multiplexed_way() {
    let compiled = compile(&config(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
        "syscalls":[{"names":["connect","shmat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    ))
    .unwrap();
    let decide = |name, arguments: &[u64]| decide(&compiled.program, Arch::X86, name, arguments);
    assert_eq!(decide("connect", &[]), EPERM);
    assert_eq!(decide("socketcall", &[3]), EPERM);
    assert_eq!(decide("socketcall", &[2]), Action::ALLOW);
    assert_eq!(decide("ipc", &[21]), EPERM);
}

#[test]
fn faulty_profiles_are_refused_with_the_word_at_fault() {
    for (text, message) in [
        (r#"{"defaultAction":"ALLOW"}"#, "string ALLOW is not a valid action for seccomp"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["x86"]}"#,
            "string x86 is not a valid arch for seccomp",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["dup"],"action":"SCMP_ACT_KILL",
               "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
            "invalid seccomp argument index 6",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["dup"],"action":"SCMP_ACT_KILL",
               "args":[{"index":0,"value":1,"op":"=="}]}]}"#,
            "string == is not a valid operator for seccomp",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#,
            "invalid seccomp errnoRet 5000",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "seccomp flag \"X\" is not known"),
    ] {
        assert_eq!(compile(&config(text)).unwrap_err().to_string(), message);
    }
}

#[test]
fn the_default_profile_holds_in_the_kernel() {
    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    // A filter stays for good, so it goes on a thread that ends.
    let outcome = std::thread::spawn(|| {
        let open =
            |family| socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map(drop);
        let program = compile_default(docker());
        nix::sys::prctl::set_no_new_privs().unwrap();
        seccomp::load(&program, 0).unwrap();
        let files = std::fs::read("/proc/self/status").is_ok();
        let child = std::thread::spawn(|| 7).join();
        (
            unshare(CloneFlags::CLONE_NEWUTS),
            open(AddressFamily::Vsock),
            open(AddressFamily::Unix),
            files,
            child.ok(),
        )
    })
    .join()
    .unwrap();
    let denied = Err(Errno::EPERM);
    // The thread inside shows that clone3 falls back to clone.
    assert_eq!(outcome, (denied, denied, Ok(()), true, Some(7)));
}
