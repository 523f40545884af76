//! The kernel's side of a filter, for tests: runs a program over one call.

use super::compile::{AND, JA, JEQ, JGE, JGT, LOAD, RET};
use super::{Action, Arch, Insn};

/// What `program` returns for call `number` of `arch` with `arguments`, and the instructions it took.
pub(crate) fn run(program: &[Insn], arch: Arch, number: u32, arguments: &[u64]) -> (Action, usize) {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.audit().to_ne_bytes());
    for (i, argument) in arguments.iter().enumerate() {
        data[16 + 8 * i..24 + 8 * i].copy_from_slice(&argument.to_ne_bytes());
    }
    let (mut at, mut a, mut steps) = (0usize, 0u32, 0usize);
    loop {
        let insn = program[at];
        at += 1;
        steps += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { insn.jt } else { insn.jf });
        match insn.code {
            LOAD => {
                let k = insn.k as usize;
                a = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
            }
            AND => a &= insn.k,
            JA => at += insn.k as usize,
            JEQ => branch(a == insn.k),
            JGT => branch(a > insn.k),
            JGE => branch(a >= insn.k),
            RET => return (Action(insn.k), steps),
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}
