//! Scheduler, I/O priority and execution domain of a process, from their names.
//!
//! Spec: OCI runtime-spec 1.2, `config.md#linux-process` and `config-linux.md#personality`.

use super::spec::{IoPriority, Personality, Process, Scheduler};
use crate::base::{Error, Result};
use crate::sys::sched::{self, Attributes};

/// Policies by number; 4 was never one.
const POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

const CLASSES: &[(&str, u32)] =
    &[("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Gives the calling process what `process` and `personality` ask for.
///
/// # Errors
/// `InvalidParameter` for an unknown name; `Io`.
pub(super) fn apply(process: &Process, personality: Option<&Personality>) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        sched::set_scheduler(&attributes(scheduler)?)?;
    }
    if let Some(IoPriority { class, priority }) = &process.io_priority {
        sched::set_io_priority(named(CLASSES, class, "I/O priority class")?, *priority)?;
    }
    if let Some(personality) = personality {
        sched::set_personality(domain(personality)?)?;
    }
    Ok(())
}

fn attributes(scheduler: &Scheduler) -> Result<Attributes> {
    let mut flags = 0;
    for name in &scheduler.flags {
        flags |= named(FLAGS, name, "scheduler flag")?;
    }
    let priority = u32::try_from(scheduler.priority)
        .map_err(|_| Error::invalid("the scheduler's priority is below 0"))?;
    Ok(Attributes {
        policy: named(POLICIES, &scheduler.policy, "scheduler policy")?,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        ..Attributes::default()
    })
}

fn domain(personality: &Personality) -> Result<u64> {
    if !personality.flags.is_empty() {
        return Err(Error::unsupported("personality flags are not supported"));
    }
    named(&[("LINUX", 0), ("LINUX32", 8)], &personality.domain, "personality domain")
}

fn named<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T> {
    let row = table.iter().find(|(known, _)| *known == name);
    row.map(|(_, value)| *value)
        .ok_or_else(|| Error::invalid(format_args!("invalid {what} {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_unknown_ones_are_told() {
        let scheduler = Scheduler {
            policy: "SCHED_FIFO".into(),
            priority: 10,
            flags: vec!["SCHED_FLAG_RESET_ON_FORK".into()],
            ..Scheduler::default()
        };
        let made = attributes(&scheduler).unwrap();
        assert_eq!((made.policy, made.priority, made.flags), (1, 10, 1));
        let e = attributes(&Scheduler::default()).unwrap_err();
        assert_eq!(e.message(), "invalid scheduler policy \"\"");
        let linux32 = Personality { domain: "LINUX32".into(), flags: vec![] };
        assert_eq!(domain(&linux32).unwrap(), 8);
    }
}
