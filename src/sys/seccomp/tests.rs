//! Programs against their rules, in the simulator and in the kernel.

use super::simulate::run;
use super::*;

const ALL_OPS: [Op; 8] = [
    Op::Ne,
    Op::Lt,
    Op::Le,
    Op::Eq,
    Op::Ge,
    Op::Gt,
    Op::MaskedEq(0xffff_0000_0000_00ff),
    Op::MaskedEq(0x7e02_0000),
];

fn holds(op: Op, argument: u64, value: u64) -> bool {
    match op {
        Op::Ne => argument != value,
        Op::Lt => argument < value,
        Op::Le => argument <= value,
        Op::Eq => argument == value,
        Op::Ge => argument >= value,
        Op::Gt => argument > value,
        Op::MaskedEq(mask) => argument & mask == value,
    }
}

#[test]
fn comparisons_are_exact_over_both_halves() {
    let edges = [
        0,
        1,
        0x1_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        0x1_ffff_ffff,
        0x2_0000_0000,
        0xffff_0000_0000_0012,
        u64::MAX,
    ];
    for op in ALL_OPS {
        for value in edges {
            let mut filter = Filter::new(Action::errno(1));
            filter.add_arch(Arch::X86_64);
            let compare = Compare { argument: 3, op, value };
            filter.add_rule(Arch::X86_64, 7, &[compare], Action::ALLOW);
            let program = filter.compile();
            for argument in edges {
                let got = run(&program, Arch::X86_64, 7, &[9, 9, 9, argument]).0 == Action::ALLOW;
                assert_eq!(got, holds(op, argument, value), "{op:?} {argument:#x} {value:#x}");
            }
        }
    }
}

#[test]
fn random_filters_decide_like_their_rules() {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let default = Action::errno(1);
    for _ in 0..60 {
        let mut filter = Filter::new(default);
        filter.add_arch(Arch::X86_64);
        filter.add_arch(Arch::X86);
        filter.add_arch(Arch::X32);
        let mut rules: Vec<(Arch, u32, Vec<Compare>, Action)> = Vec::new();
        for _ in 0..next(700) {
            let arch = [Arch::X86_64, Arch::X86, Arch::X32][next(3) as usize];
            let base = if arch == Arch::X32 { arch::X32_BIT } else { 0 };
            let number = base + next(500) as u32;
            let compares: Vec<Compare> = (0..next(3))
                .map(|i| Compare {
                    argument: i as u8,
                    op: ALL_OPS[next(8) as usize],
                    value: next(4) << (32 * next(2)),
                })
                .collect();
            let action = [Action::ALLOW, Action::errno(38), Action::LOG][next(3) as usize];
            filter.add_rule(arch, number, &compares, action);
            rules.push((arch, number, compares, action));
        }
        let program = filter.compile();
        for _ in 0..2000 {
            let arch = [Arch::X86_64, Arch::X86, Arch::X32][next(3) as usize];
            let base = if arch == Arch::X32 { arch::X32_BIT } else { 0 };
            let number = base + next(505) as u32;
            let arguments = [next(4) << (32 * next(2)), next(4), next(4)];
            let mine = || rules.iter().filter(|r| (r.0, r.1) == (arch, number));
            let expected = mine()
                .find(|r| r.2.is_empty())
                .or_else(|| {
                    mine().find(|r| {
                        r.2.iter().all(|c| {
                            let argument = arguments[usize::from(c.argument)];
                            match (arch.is_narrow(), c.op) {
                                (false, op) => holds(op, argument, c.value),
                                (true, Op::MaskedEq(mask)) => {
                                    argument & mask & 0xffff_ffff == c.value & 0xffff_ffff
                                }
                                (true, op) => {
                                    holds(op, argument & 0xffff_ffff, c.value & 0xffff_ffff)
                                }
                            }
                        })
                    })
                })
                .map_or(default, |r| r.3);
            assert_eq!(run(&program, arch, number, &arguments).0, expected, "{arch:?} {number}");
        }
    }
}

#[test]
fn calls_of_an_architecture_that_was_not_added_kill() {
    let mut filter = Filter::new(Action::errno(1));
    filter.add_arch(Arch::X86_64);
    filter.add_rule(Arch::X86_64, 1, &[], Action::ALLOW);
    filter.unknown_above(Arch::X86_64, 400);
    let program = filter.compile();
    let decide = |arch, number| run(&program, arch, number, &[]).0;
    assert_eq!(decide(Arch::X86_64, 1), Action::ALLOW);
    assert_eq!(decide(Arch::X86_64, 2), Action::errno(1));
    assert_eq!(decide(Arch::X86_64, 400), Action::errno(1));
    assert_eq!(decide(Arch::X86_64, 401), Action::errno(38));
    assert_eq!(decide(Arch::X32, arch::X32_BIT | 1), Action::KILL_THREAD);
    // A call that a tracer cancelled.
    assert_eq!(decide(Arch::X86_64, u32::MAX), Action::errno(1));
    assert_eq!(decide(Arch::X86, 1), Action::KILL_THREAD);
    assert_eq!(decide(Arch::Arm, 1), Action::KILL_THREAD);
}

#[test]
fn a_loaded_filter_is_obeyed_by_the_kernel() {
    assert!(is_supported());
    // A filter stays for good, so it goes on a thread that ends; the thread's own end must be allowed.
    let (kill_errno, personality) = std::thread::spawn(|| {
        let native = arch::Names::of(Arch::NATIVE);
        let mut filter = Filter::new(Action::ALLOW);
        filter.add_arch(Arch::NATIVE);
        let number = |name| native.number(name).unwrap();
        filter.add_rule(Arch::NATIVE, number("getppid"), &[], Action::errno(77));
        let seven = Compare { argument: 0, op: Op::Eq, value: 0x7_0000_0000 };
        filter.add_rule(Arch::NATIVE, number("getpgid"), &[seven], Action::errno(78));
        let program = filter.compile();
        // SAFETY: integers only.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        load(&program, 0).unwrap();
        // SAFETY: getppid takes no arguments.
        let a = Errno::result(unsafe { libc::syscall(libc::SYS_getppid) });
        // SAFETY: getpgid takes one integer.
        let b = Errno::result(unsafe { libc::syscall(libc::SYS_getpgid, 0x7_0000_0000u64) });
        // SAFETY: as above; this value is allowed through.
        let c = Errno::result(unsafe { libc::syscall(libc::SYS_getpgid, 0u64) });
        assert!(c.is_ok());
        (a, b)
    })
    .join()
    .unwrap();
    assert_eq!(kill_errno, Err(Errno::from_raw(77)));
    assert_eq!(personality, Err(Errno::from_raw(78)));
}

#[test]
fn a_program_that_is_too_long_is_refused_before_the_kernel() {
    let program = vec![Insn { code: 6, jt: 0, jf: 0, k: Action::ALLOW.0 }; MAX_INSNS + 1];
    let e = load(&program, 0).unwrap_err();
    assert_eq!(e.to_string(), "seccomp filter has 4097 instructions, the kernel takes 4096");
}
