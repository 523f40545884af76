//! The columns that `ps` can show, and how each is made of a process.
//!
//! Spec: ps(1) of procps, "STANDARD FORMAT SPECIFIERS"; proc(5), `/proc/PID/stat`.

use std::fs;
use std::time::Duration;

use super::process::{Host, Process, TICKS};
use crate::base::time::Timestamp;

/// One column: its names in `-o` lists, its title, and the text of a cell.
pub(super) struct Column {
    pub(super) names: &'static [&'static str],
    pub(super) title: &'static str,
    pub(super) cell: fn(&Process, &Host) -> String,
}

const fn column(
    names: &'static [&'static str],
    title: &'static str,
    cell: fn(&Process, &Host) -> String,
) -> Column {
    Column { names, title, cell }
}

/// Every column. Those whose name begins with a colon belong to the fixed formats alone.
#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    column(&["pid"], "PID", |p, _| p.pid.to_string()),
    column(&["tgid"], "TGID", |p, _| p.pid.to_string()),
    column(&["tid"], "TID", |p, _| p.pid.to_string()),
    column(&["lwp"], "LWP", |p, _| p.pid.to_string()),
    column(&["spid"], "SPID", |p, _| p.pid.to_string()),
    column(&["ppid"], "PPID", |p, _| p.ppid.to_string()),
    column(&["pgid"], "PGID", |p, _| p.pgid.to_string()),
    column(&["pgrp"], "PGRP", |p, _| p.pgid.to_string()),
    column(&["sid"], "SID", |p, _| p.sid.to_string()),
    column(&["sess", "session"], "SESS", |p, _| p.sid.to_string()),
    column(&["tpgid"], "TPGID", |p, _| p.tpgid.to_string()),
    column(&["uid"], "UID", |p, _| p.uid.to_string()),
    column(&["euid"], "EUID", |p, _| p.uid.to_string()),
    column(&["ruid"], "RUID", |p, _| p.ruid.to_string()),
    column(&["gid"], "GID", |p, _| p.gid.to_string()),
    column(&["egid"], "EGID", |p, _| p.gid.to_string()),
    column(&["user", "uname"], "USER", |p, h| name(&h.users, p.uid)),
    column(&["euser"], "EUSER", |p, h| name(&h.users, p.uid)),
    column(&["ruser"], "RUSER", |p, h| name(&h.users, p.ruid)),
    column(&["group"], "GROUP", |p, h| name(&h.groups, p.gid)),
    column(&["egroup"], "EGROUP", |p, h| name(&h.groups, p.gid)),
    column(&[":uid"], "UID", |p, h| name(&h.users, p.uid)),
    column(&["c"], "C", |p, h| (p.cpu_ticks * 100 / age(p, h)).min(99).to_string()),
    column(&["pcpu", "%cpu"], "%CPU", |p, h| {
        format!("{:.1}", p.cpu_ticks as f64 * 100.0 / age(p, h) as f64)
    }),
    column(&["pmem", "%mem"], "%MEM", |p, h| {
        format!("{:.1}", p.rss_kib as f64 * 100.0 / h.memory_kib.max(1) as f64)
    }),
    column(&["vsz", "vsize"], "VSZ", |p, _| p.vsize_kib.to_string()),
    column(&["rss", "rssize"], "RSS", |p, _| p.rss_kib.to_string()),
    column(&["rsz"], "RSZ", |p, _| p.rss_kib.to_string()),
    column(&["sz"], "SZ", |p, h| (p.vsize_kib / h.page_kib).to_string()),
    column(&["tname"], "TTY", |p, _| tty(p.tty)),
    column(&["tty", "tt"], "TT", |p, _| tty(p.tty)),
    column(&["stat"], "STAT", |p, _| p.stat.clone()),
    column(&["s", "state"], "S", |p, _| p.state.to_string()),
    column(&["f", "flag", "flags"], "F", |p, _| format!("{:x}", p.flags >> 6 & 7)),
    column(&["pri"], "PRI", |p, _| (39 - p.priority).to_string()),
    column(&["opri"], "PRI", |p, _| (60 + p.priority).to_string()),
    column(&["ni", "nice"], "NI", |p, _| p.nice.to_string()),
    column(&["nlwp"], "NLWP", |p, _| p.threads.to_string()),
    column(&["thcount"], "THCNT", |p, _| p.threads.to_string()),
    column(&["psr"], "PSR", |p, _| p.processor.to_string()),
    column(&["policy"], "POL", |p, _| class(p.policy).into()),
    column(&["cls", "class"], "CLS", |p, _| class(p.policy).into()),
    column(&["rtprio"], "RTPRIO", |p, _| match p.rt_priority {
        0 => "-".into(),
        priority => priority.to_string(),
    }),
    column(&["addr"], "ADDR", |_, _| "-".into()),
    column(&["wchan"], "WCHAN", |p, _| wchan(p.pid)),
    column(&["label", "context"], "LABEL", |p, _| label(p.pid)),
    column(&[":stime"], "STIME", start),
    column(&["start_time", "bsdstart", "start", "stime"], "START", start),
    column(&["lstart"], "STARTED", |p, h| {
        let (year, month, day, hour, minute, second) = started(p, h).civil();
        format!("{} {day:>2} {hour:02}:{minute:02}:{second:02} {year}", MONTHS[month as usize - 1])
    }),
    column(&["etime"], "ELAPSED", |p, h| elapsed(age(p, h) / TICKS)),
    column(&["etimes"], "ELAPSED", |p, h| (age(p, h) / TICKS).to_string()),
    column(&["time", "cputime"], "TIME", |p, _| {
        let seconds = p.cpu_ticks / TICKS;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }),
    column(&["bsdtime"], "TIME", |p, _| {
        let seconds = p.cpu_ticks / TICKS;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }),
    column(&[":comm", "ucmd"], "CMD", |p, _| p.name.clone()),
    column(&["comm", "ucomm", "fname"], "COMMAND", |p, _| p.name.clone()),
    column(&["cmd"], "CMD", |p, _| p.command.clone()),
    column(&["args", "command"], "COMMAND", |p, _| p.command.clone()),
];

/// The column of that name.
pub(super) fn find(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.names.contains(&name))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn age(process: &Process, host: &Host) -> u64 {
    host.uptime_ticks.saturating_sub(process.start_ticks).max(1)
}

fn started(process: &Process, host: &Host) -> Timestamp {
    let age_ns = age(process, host).saturating_mul(1_000_000_000 / TICKS);
    host.now.minus_ns(i64::try_from(age_ns).unwrap_or(i64::MAX))
}

/// Hour and minute of the start, or the day for older processes, in UTC as everything here.
fn start(process: &Process, host: &Host) -> String {
    let (_, month, day, hour, minute, _) = started(process, host).civil();
    let age = Duration::from_secs(age(process, host) / TICKS);
    if age < Duration::from_secs(86_400) {
        format!("{hour:02}:{minute:02}")
    } else {
        format!("{}{day:02}", MONTHS[month as usize - 1])
    }
}

/// `[[DD-]hh:]mm:ss`.
fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let rest = format!("{minutes:02}:{:02}", seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

/// Names of terminals by device number (kernel Documentation/admin-guide/devices.txt).
fn tty(device: i64) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        0 => "?".into(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// Scheduling classes by number (sched.h).
fn class(policy: u64) -> &'static str {
    ["TS", "FF", "RR", "B", "ISO", "IDL", "DLN"]
        .get(usize::try_from(policy).unwrap_or(usize::MAX))
        .copied()
        .unwrap_or("?")
}

/// The kernel function that the process sleeps in.
fn wchan(pid: i64) -> String {
    match fs::read_to_string(format!("/proc/{pid}/wchan")) {
        Ok(text) if !text.is_empty() && text != "0" => text.chars().take(6).collect(),
        _ => "-".into(),
    }
}

fn label(pid: i64) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap_or_default();
    let text = text.trim_end_matches(['\0', '\n']);
    if text.is_empty() { "-".into() } else { text.into() }
}

/// The host's name of a user or group from the text of its own file, else the number.
fn name(file: &str, id: u32) -> String {
    file.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse::<u32>() == Ok(id)).then(|| name.to_string())
        })
        .unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_each_of_one_column() {
        for column in COLUMNS {
            for name in column.names {
                let owners = COLUMNS.iter().filter(|c| c.names.contains(name)).count();
                assert_eq!(owners, 1, "{name}");
            }
        }
    }

    #[test]
    fn ages_and_terminals_are_written_as_ps_does() {
        assert_eq!(elapsed(5), "00:05");
        assert_eq!(elapsed(3725), "01:02:05");
        assert_eq!(elapsed(90_000), "1-01:00:00");
        assert_eq!((tty(0), tty(0x8803)), ("?".into(), "pts/3".into()));
        assert_eq!(name("root:x:0:0::/:\nme:x:7:7::/:\n", 7), "me");
        assert_eq!(name("", 7), "7");
    }
}
