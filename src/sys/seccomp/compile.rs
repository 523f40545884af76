//! From rules to one short program.
//!
//! For each architecture the numbers are cut into ranges with the same outcome, and a binary tree finds the
//! range: Docker's default profile is some hundred ranges, so seven or eight comparisons decide. Until a
//! decision that needs arguments only architecture and number are looked at; then kernels since 5.11
//! find out while loading which calls are always allowed, and skip the program for them.
//!
//! Rules for one call: one without conditions wins over all with conditions, else the first whose conditions
//! all hold, else the default. A call of an architecture without rules kills the thread, as with libseccomp.

use super::arch::{X32_BIT, X32_OWN_END, X32_OWN_FIRST, is_x32_own};
use super::{Action, Arch, Insn};

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Greater.
    Gt,
    /// The bits of this mask are equal.
    MaskedEq(u64),
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How.
    pub op: Op,
    /// With what.
    pub value: u64,
}

/// Rules of one call.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rules {
    always: Option<Action>,
    conditional: Vec<(Vec<Compare>, Action)>,
}

/// Rules of one architecture.
#[derive(Clone, Debug)]
struct Calls {
    arch: Arch,
    /// By number, ascending.
    rules: Vec<(u32, Rules)>,
    /// Later numbers are unknown ones.
    last: Option<u32>,
}

/// A filter in the making.
#[derive(Clone, Debug)]
pub struct Filter {
    default: Action,
    arches: Vec<Calls>,
}

/// What a range of numbers leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome<'a> {
    Return(Action),
    /// With conditions; `narrow` if arguments have 32 bits.
    Conditions {
        rules: &'a [(Vec<Compare>, Action)],
        narrow: bool,
    },
}

impl Filter {
    /// A filter that does `default` for calls without a rule.
    pub fn new(default: Action) -> Filter {
        Filter { default, arches: Vec::new() }
    }

    fn calls(&mut self, arch: Arch) -> Option<&mut Calls> {
        self.arches.iter_mut().find(|calls| calls.arch == arch)
    }

    /// Lets calls of `arch` in at all.
    pub fn add_arch(&mut self, arch: Arch) {
        if self.calls(arch).is_none() {
            self.arches.push(Calls { arch, rules: Vec::new(), last: None });
        }
    }

    /// Adds a rule for call `number` of `arch`. It counts only if `arch` was added. Fastest in ascending order
    /// of numbers.
    pub fn add_rule(&mut self, arch: Arch, number: u32, conditions: &[Compare], action: Action) {
        let Some(Calls { rules, .. }) = self.calls(arch) else { return };
        let at = match rules.last() {
            Some((last, _)) if *last >= number => rules.partition_point(|(n, _)| *n < number),
            _ => rules.len(),
        };
        if rules.get(at).is_none_or(|(n, _)| *n != number) {
            rules.insert(at, (number, Rules::default()));
        }
        let rules = &mut rules[at].1;
        if !conditions.is_empty() {
            rules.conditional.push((conditions.to_vec(), action));
        } else if rules.always.is_none() {
            rules.always = Some(action);
        }
    }

    /// Calls of `arch` with numbers above `last` are answered with ENOSYS, whatever the default: programs
    /// then fall back to older calls, where another error would end them.
    pub fn unknown_above(&mut self, arch: Arch, last: u32) {
        if let Some(calls) = self.calls(arch) {
            calls.last = Some(last);
        }
    }

    /// The program.
    pub fn compile(&self) -> Vec<Insn> {
        let mut program = vec![load(OFFSET_ARCH)];
        let mut audits: Vec<u32> = self.arches.iter().map(|calls| calls.arch.audit()).collect();
        audits.sort_unstable();
        audits.dedup();
        // The native one first: it is what nearly every call is of.
        audits.sort_by_key(|audit| *audit != Arch::NATIVE.audit());
        for audit in audits {
            let ranges = self.ranges(audit);
            program.push(Insn { code: JEQ, jt: 1, jf: 0, k: audit });
            let over = program.len();
            program.push(jump(0));
            program.push(load(OFFSET_NUMBER));
            tree(&ranges, self.default, &mut program);
            program[over] = jump(program.len() - over - 1);
        }
        program.push(ret(Action::KILL_THREAD));
        program
    }

    /// The number space of one `AUDIT_ARCH`: first number and outcome of each range, from 0 on.
    fn ranges(&self, audit: u32) -> Vec<(u32, Outcome<'_>)> {
        let mut ranges = Vec::with_capacity(256);
        let space = [
            (Arch::X86_64, 0, X32_BIT),
            (Arch::X32, X32_BIT, u32::MAX),
            (Arch::X86, 0, u32::MAX),
            (Arch::Aarch64, 0, u32::MAX),
            (Arch::Arm, 0, u32::MAX),
        ];
        for (arch, base, end) in space.into_iter().filter(|(arch, ..)| arch.audit() == audit) {
            match self.arches.iter().find(|calls| calls.arch == arch) {
                Some(calls) => self.ranges_of(calls, base, end, &mut ranges),
                // The part of the number space that belongs to an architecture that was not added.
                None => push(&mut ranges, base, Outcome::Return(Action::KILL_THREAD)),
            }
        }
        // A tracer cancels a call by this number.
        push(&mut ranges, u32::MAX, Outcome::Return(self.default));
        ranges
    }

    fn ranges_of<'a>(
        &self,
        calls: &'a Calls,
        base: u32,
        end: u32,
        ranges: &mut Vec<(u32, Outcome<'a>)>,
    ) {
        let first_unknown = calls.last.map_or(base, |last| last + 1);
        let unlisted = |number: u32| {
            let unknown = calls.last.is_some() && number >= first_unknown && !is_x32_own(number);
            Outcome::Return(if unknown { Action::errno(ENOSYS) } else { self.default })
        };
        // What numbers without a rule lead to changes at these.
        let borders = [first_unknown, X32_OWN_FIRST, X32_OWN_END];
        let gap = |ranges: &mut Vec<_>, from: u32, to: u32| {
            if from < to {
                push(ranges, from, unlisted(from));
                for border in borders.into_iter().filter(|border| from < *border && *border < to) {
                    push(ranges, border, unlisted(border));
                }
            }
        };
        let mut at = base;
        for (number, rules) in &calls.rules {
            gap(ranges, at, *number);
            let outcome = match rules.always {
                Some(action) => Outcome::Return(action),
                None => Outcome::Conditions {
                    rules: &rules.conditional,
                    narrow: calls.arch.is_narrow(),
                },
            };
            push(ranges, *number, outcome);
            at = number.saturating_add(1);
        }
        gap(ranges, at, end);
    }
}

/// Starts a range, or goes on with the one before if it leads to the same. Ranges with conditions stay
/// apart: their code is as long as they are many.
fn push<'a>(ranges: &mut Vec<(u32, Outcome<'a>)>, from: u32, outcome: Outcome<'a>) {
    let same = ranges
        .last()
        .is_some_and(|(_, before)| *before == outcome && matches!(outcome, Outcome::Return(_)));
    if !same {
        ranges.push((from, outcome));
    }
}

const ENOSYS: u16 = libc::ENOSYS as u16;

/// Appends code that finds the range of the loaded number.
fn tree(ranges: &[(u32, Outcome<'_>)], default: Action, out: &mut Vec<Insn>) {
    match ranges {
        [] => out.push(ret(default)),
        [(_, Outcome::Return(action))] => out.push(ret(*action)),
        [(_, Outcome::Conditions { rules, narrow })] => conditions(rules, *narrow, default, out),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let at = out.len();
            out.push(Insn { code: JGE, jt: 0, jf: 0, k: right[0].0 });
            tree(left, default, out);
            let length = out.len() - at - 1;
            match u8::try_from(length) {
                Ok(skip) => out[at].jt = skip,
                // Farther than a conditional jump can reach.
                Err(_) => {
                    out[at].jf = 1;
                    out.insert(at + 1, jump(length));
                }
            }
            tree(right, default, out);
        }
    }
}

/// Appends code for rules with conditions; it always returns.
fn conditions(
    rules: &[(Vec<Compare>, Action)],
    narrow: bool,
    default: Action,
    out: &mut Vec<Insn>,
) {
    for (compares, action) in rules {
        let mut code = Vec::new();
        for compare in compares {
            code.extend(compare_argument(compare, narrow));
        }
        // Failure leads past the return at the end of this rule.
        let end = code.len();
        for (at, step) in code.iter().enumerate() {
            let far = |to: To| match to {
                To::Next => 0,
                To::Skip(n) => n,
                // At most six comparisons of eight instructions.
                To::Fail => (end - at) as u8,
            };
            out.push(Insn { code: step.code, jt: far(step.jt), jf: far(step.jf), k: step.k });
        }
        out.push(ret(*action));
    }
    out.push(ret(default));
}

/// A jump inside one rule.
#[derive(Clone, Copy)]
enum To {
    Next,
    Skip(u8),
    Fail,
}

struct Step {
    code: u16,
    jt: To,
    jf: To,
    k: u32,
}

/// Code that falls through if the condition holds. Only 32 bits can be loaded, so the halves of
/// argument and value are compared one after the other. A narrow argument is its low half: on x32 the
/// kernel ignores what a program left in the high one, so the filter must.
fn compare_argument(compare: &Compare, narrow: bool) -> Vec<Step> {
    let plain = |code, k| Step { code, jt: To::Next, jf: To::Next, k };
    let jump = |code, k, jt, jf| Step { code, jt, jf, k };
    let low = OFFSET_ARGUMENTS + 8 * u32::from(compare.argument);
    let (low, high) = if cfg!(target_endian = "little") { (low, low + 4) } else { (low + 4, low) };
    let (value_low, value_high) = (compare.value as u32, (compare.value >> 32) as u32);
    let halves = |first: Vec<Step>, second: Step| -> Vec<Step> {
        let mut code = vec![plain(LOAD, high)];
        code.extend(first);
        code.push(plain(LOAD, low));
        code.push(second);
        code
    };
    if narrow {
        let (code, mask, jt, jf) = match compare.op {
            Op::Eq => (JEQ, None, To::Next, To::Fail),
            Op::Ne => (JEQ, None, To::Fail, To::Next),
            Op::Gt => (JGT, None, To::Next, To::Fail),
            Op::Ge => (JGE, None, To::Next, To::Fail),
            Op::Lt => (JGE, None, To::Fail, To::Next),
            Op::Le => (JGT, None, To::Fail, To::Next),
            Op::MaskedEq(mask) => (JEQ, Some(mask as u32), To::Next, To::Fail),
        };
        let mask = mask.map(|mask| plain(AND, mask));
        let test = jump(code, value_low, jt, jf);
        return [plain(LOAD, low)].into_iter().chain(mask).chain([test]).collect();
    }
    // After the high half there are two instructions left, the load and the test of the low half.
    let done = |more: u8| To::Skip(2 + more);
    match compare.op {
        Op::Eq => halves(
            vec![jump(JEQ, value_high, To::Next, To::Fail)],
            jump(JEQ, value_low, To::Next, To::Fail),
        ),
        Op::Ne => halves(
            vec![jump(JEQ, value_high, To::Next, done(0))],
            jump(JEQ, value_low, To::Fail, To::Next),
        ),
        Op::Gt | Op::Ge => halves(
            vec![
                jump(JGT, value_high, done(1), To::Next),
                jump(JEQ, value_high, To::Next, To::Fail),
            ],
            jump(if compare.op == Op::Gt { JGT } else { JGE }, value_low, To::Next, To::Fail),
        ),
        Op::Lt | Op::Le => halves(
            vec![
                jump(JGT, value_high, To::Fail, To::Next),
                jump(JEQ, value_high, To::Next, done(0)),
            ],
            jump(if compare.op == Op::Lt { JGE } else { JGT }, value_low, To::Fail, To::Next),
        ),
        Op::MaskedEq(mask) => {
            let mut code = Vec::new();
            for (offset, mask, value) in
                [(high, (mask >> 32) as u32, value_high), (low, mask as u32, value_low)]
            {
                // Nothing of this half is looked at.
                if mask == 0 && value == 0 {
                    continue;
                }
                code.push(plain(LOAD, offset));
                code.push(plain(AND, mask));
                code.push(jump(JEQ, value, To::Next, To::Fail));
            }
            code
        }
    }
}

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

// linux/bpf_common.h: class, size, mode and operation of each instruction used.
pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const RET: u16 = 0x06;

fn load(offset: u32) -> Insn {
    Insn { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(count: usize) -> Insn {
    Insn { code: JA, jt: 0, jf: 0, k: count as u32 }
}

fn ret(action: Action) -> Insn {
    Insn { code: RET, jt: 0, jf: 0, k: action.0 }
}
