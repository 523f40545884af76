//! System call filters of containers: Docker's default profile, profiles from files, and the way from
//! either to a program for the kernel.
//!
//! [`compile_default`] goes straight from a table to the program, as nearly every container takes that way;
//! [`compile`] takes a specification's filter, [`load_profile`] makes one from a profile file.
//!
//! Names that an architecture lacks are skipped, so one list serves all. When unlisted calls fail, calls
//! newer than every listed one fail with ENOSYS instead, as runc does: C libraries then use the older call.
//!
//! Spec: OCI runtime-spec config-linux.md "Seccomp"; libseccomp's names; moby `profiles/seccomp`.

mod default;
mod profile;

use super::spec::{LinuxSeccomp, LinuxSeccompArg, LinuxSyscall};
use crate::base::{Error, Result};
use crate::sys::seccomp::arch::{Names, is_x32_own};
use crate::sys::seccomp::{self, Action, Arch, Compare, Filter, Insn, Op};

pub use default::{compile_default, default_profile};
pub use profile::load_profile;

/// A filter that is ready for [`seccomp::load`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The program.
    pub program: Vec<Insn>,
    /// Flags for loading it.
    pub flags: u32,
    /// Whether a rule asks a listening process, so that the descriptor from loading must be handed to it.
    pub notifies: bool,
}

/// One rule, owned by nobody: names, what to do, and conditions.
struct Rule<'a> {
    names: &'a mut dyn Iterator<Item = &'a str>,
    action: Action,
    compares: &'a [Compare],
}

/// Collects rules for several architectures.
struct Builder {
    filter: Filter,
    default: Action,
    /// Names of each architecture, and the largest number that was listed.
    arches: Vec<(Arch, Names, u32)>,
}

impl Builder {
    fn new(default: Action, arches: &[Arch]) -> Builder {
        let mut filter = Filter::new(default);
        let mut known: Vec<(Arch, Names, u32)> = Vec::with_capacity(arches.len());
        for arch in arches {
            if known.iter().all(|(a, ..)| a != arch) {
                filter.add_arch(*arch);
                known.push((*arch, Names::of(*arch), 0));
            }
        }
        Builder { filter, default, arches: known }
    }

    fn add(&mut self, rule: Rule<'_>) {
        // The default again is no rule of its own, but its names still count as known.
        let is_default = rule.action == self.default;
        for name in rule.names {
            for (arch, names, last) in &mut self.arches {
                if let Some(number) = names.number(name) {
                    if !is_x32_own(number) {
                        *last = number.max(*last);
                    }
                    if !is_default {
                        add_compares(&mut self.filter, *arch, number, rule.compares, rule.action);
                    }
                }
                // The other way in hides the arguments behind a pointer, so only a rule without
                // conditions can be held there.
                if let Some((number, call)) = names.multiplexed(name)
                    && !is_default
                    && rule.compares.is_empty()
                {
                    let compare = Compare { argument: 0, op: Op::Eq, value: call };
                    self.filter.add_rule(*arch, number, &[compare], rule.action);
                }
            }
        }
    }

    fn finish(mut self, unknown_is_enosys: bool) -> Vec<Insn> {
        if unknown_is_enosys {
            for (arch, _, last) in &self.arches {
                // An architecture that no rule names keeps the default for everything.
                if *last != 0 {
                    self.filter.unknown_above(*arch, *last);
                }
            }
        }
        self.filter.compile()
    }
}

/// Conditions hold together, unless two look at the same argument: then each is a rule by itself, which
/// is how runc reads such profiles.
fn add_compares(filter: &mut Filter, arch: Arch, number: u32, all: &[Compare], action: Action) {
    let repeated =
        all.iter().enumerate().any(|(i, c)| all[..i].iter().any(|d| d.argument == c.argument));
    if repeated {
        for compare in all {
            filter.add_rule(arch, number, &[*compare], action);
        }
    } else {
        filter.add_rule(arch, number, all, action);
    }
}

/// Compiles a specification's filter.
///
/// # Errors
/// `InvalidParameter` for an unknown action, operator, architecture name or flag, an argument index above
/// 5, or a filter that is longer than the kernel takes.
pub fn compile(config: &LinuxSeccomp) -> Result<Compiled> {
    let default = action(&config.default_action, config.default_errno_ret)?;
    let mut arches = Vec::new();
    for name in &config.architectures {
        match Arch::from_scmp(name) {
            Some(arch) => arches.push(arch),
            None if name.starts_with("SCMP_ARCH_") => {}
            None => {
                return Err(Error::invalid(format_args!(
                    "string {name} is not a valid arch for seccomp"
                )));
            }
        }
    }
    // As with libseccomp, the native one is always in.
    if !arches.contains(&Arch::NATIVE) {
        arches.push(Arch::NATIVE);
    }
    let mut flags = flags(&config.flags)?;
    let mut notifies = default == Action::NOTIFY;
    let mut builder = Builder::new(default, &arches);
    for syscall in &config.syscalls {
        let action = action(&syscall.action, syscall.errno_ret)?;
        notifies |= action == Action::NOTIFY;
        let compares: Vec<Compare> = syscall.args.iter().map(compare).collect::<Result<_>>()?;
        check_names(syscall)?;
        builder.add(Rule {
            names: &mut syscall.names.iter().map(String::as_str),
            action,
            compares: &compares,
        });
    }
    if notifies {
        flags |= seccomp::FLAG_NEW_LISTENER;
    }
    let enosys = wants_enosys(default) && config.default_errno_ret != Some(libc::ENOSYS as u32);
    let program = builder.finish(enosys);
    if program.len() > seccomp::MAX_INSNS {
        return Err(Error::invalid(format_args!(
            "seccomp filter is too long: {} instructions, the kernel takes {}",
            program.len(),
            seccomp::MAX_INSNS
        )));
    }
    Ok(Compiled { program, flags, notifies })
}

fn check_names(syscall: &LinuxSyscall) -> Result<()> {
    if syscall.names.is_empty() {
        return Err(Error::invalid("seccomp rule without system call names"));
    }
    Ok(())
}

/// Every action that a rule may name.
pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
/// Every operator of a condition.
pub const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];
/// Every flag of a filter.
pub const FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The architectures whose calls can be told apart, by libseccomp's names.
pub fn architectures() -> Vec<String> {
    [Arch::Aarch64, Arch::Arm, Arch::X32, Arch::X86, Arch::X86_64]
        .map(|arch| arch.scmp_name().to_string())
        .into()
}

/// Whether calls newer than the profile get ENOSYS: only where unlisted ones do not pass anyway.
fn wants_enosys(default: Action) -> bool {
    !matches!(default, Action::ALLOW | Action::LOG | Action::NOTIFY)
        && default.0 & 0xffff_0000 != Action::trace(0).0
}

fn action(name: &str, errno: Option<u32>) -> Result<Action> {
    let data = u16::try_from(errno.unwrap_or(libc::EPERM as u32)).ok().filter(|e| *e < 4096);
    let data = data.ok_or_else(|| {
        Error::invalid(format_args!("invalid seccomp errnoRet {}", errno.unwrap_or(0)))
    });
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_ERRNO" => Action::errno(data?),
        "SCMP_ACT_TRACE" => Action::trace(data?),
        "SCMP_ACT_TRAP" => Action::TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_NOTIFY" => Action::NOTIFY,
        _ => {
            return Err(Error::invalid(format_args!(
                "string {name} is not a valid action for seccomp"
            )));
        }
    })
}

fn compare(arg: &LinuxSeccompArg) -> Result<Compare> {
    let argument = u8::try_from(arg.index).ok().filter(|i| *i < 6).ok_or_else(|| {
        Error::invalid(format_args!("invalid seccomp argument index {}", arg.index))
    })?;
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (Op::Ne, arg.value),
        "SCMP_CMP_LT" => (Op::Lt, arg.value),
        "SCMP_CMP_LE" => (Op::Le, arg.value),
        "SCMP_CMP_EQ" => (Op::Eq, arg.value),
        "SCMP_CMP_GE" => (Op::Ge, arg.value),
        "SCMP_CMP_GT" => (Op::Gt, arg.value),
        // The first value is the mask.
        "SCMP_CMP_MASKED_EQ" => (Op::MaskedEq(arg.value), arg.value_two),
        op => {
            return Err(Error::invalid(format_args!(
                "string {op} is not a valid operator for seccomp"
            )));
        }
    };
    Ok(Compare { argument, op, value })
}

fn flags(names: &[String]) -> Result<u32> {
    names.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                // One thread loads the filter before the program runs: there is nothing to synchronise.
                "SECCOMP_FILTER_FLAG_TSYNC" => 0,
                "SECCOMP_FILTER_FLAG_LOG" => seccomp::FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => seccomp::FLAG_SPEC_ALLOW,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => seccomp::FLAG_WAIT_KILLABLE_RECV,
                _ => {
                    return Err(Error::invalid(format_args!("seccomp flag {name:?} is not known")));
                }
            })
    })
}

#[cfg(test)]
mod known {
    use super::*;

    #[test]
    fn the_lists_hold_what_is_understood() {
        for name in ACTIONS {
            action(name, None).unwrap();
        }
        flags(&FLAGS.iter().map(|f| (*f).to_string()).collect::<Vec<_>>()).unwrap();
        for op in OPERATORS {
            compare(&LinuxSeccompArg { op: (*op).into(), ..LinuxSeccompArg::default() }).unwrap();
        }
    }
}

#[cfg(test)]
mod tests;
