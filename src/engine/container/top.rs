//! The processes of a container, read from /proc: the host needs no `ps` program.

use std::fs;
use std::time::Duration;

use super::{Container, spec};
use crate::base::{At, Error, Result};
use crate::cgroup::Cgroup;
use crate::engine::Engine;

/// A table of processes: titles and one row each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process, as many cells as titles.
    pub rows: Vec<Vec<String>>,
}

/// Clock ticks a second of the times in /proc: a constant of the kernel's interface to programs.
const TICKS: u64 = 100;

/// One process, as far as `ps` shows it.
struct Process {
    pid: i64,
    ppid: i64,
    uid: u32,
    tty: i64,
    state: char,
    start_ticks: u64,
    cpu_ticks: u64,
    vsize_kib: u64,
    rss_kib: u64,
    name: String,
    command: String,
}

/// Facts of the host that rows are computed from.
struct Host {
    uptime_ticks: u64,
    memory_kib: u64,
}

type Cell = fn(&Process, &Host) -> String;

/// The columns that `ps` options may name: key, title, text.
const COLUMNS: &[(&str, &str, Cell)] = &[
    ("pid", "PID", |p, _| p.pid.to_string()),
    ("ppid", "PPID", |p, _| p.ppid.to_string()),
    ("uid", "UID", |p, _| p.uid.to_string()),
    ("user", "USER", |p, _| user_name(p.uid)),
    ("c", "C", |p, h| (p.cpu_ticks * 100 / age(p, h)).to_string()),
    ("pcpu", "%CPU", |p, h| format!("{:.1}", p.cpu_ticks as f64 * 100.0 / age(p, h) as f64)),
    ("pmem", "%MEM", |p, h| {
        format!("{:.1}", p.rss_kib as f64 * 100.0 / h.memory_kib.max(1) as f64)
    }),
    ("vsz", "VSZ", |p, _| p.vsize_kib.to_string()),
    ("rss", "RSS", |p, _| p.rss_kib.to_string()),
    ("tty", "TTY", |p, _| tty_name(p.tty)),
    ("stat", "STAT", |p, _| p.state.to_string()),
    ("stime", "STIME", |p, h| start_time(p, h)),
    ("start", "START", |p, h| start_time(p, h)),
    ("time", "TIME", |p, _| cpu_time(p.cpu_ticks)),
    ("comm", "COMMAND", |p, _| p.name.clone()),
    ("cmd", "CMD", |p, _| p.command.clone()),
    ("args", "COMMAND", |p, _| p.command.clone()),
];

/// The processes of the running `container` in the columns that `ps_args` asks for: `-ef` (the default),
/// `aux`, or `-o`/`-eo` with a list of columns.
///
/// # Errors
/// `Conflict` if it does not run; `InvalidParameter` for options that name something else.
pub fn top(engine: &Engine, container: &Container, ps_args: &str) -> Result<Table> {
    let columns = columns_of(ps_args)?;
    let path = {
        let data = container.data();
        if !data.record.state.running {
            return Err(container.not_running());
        }
        spec::cgroup_path(engine, &data.host, &container.id)
    };
    let host = Host { uptime_ticks: uptime_ticks()?, memory_kib: memory_kib() };
    let pids = Cgroup::at(&path)
        .and_then(|cgroup| cgroup.pids())
        .at(format_args!("listing the processes of container {}", container.id))?;
    let rows = pids
        .iter()
        // A process may end between the list and the look.
        .filter_map(|pid| read_process(i64::from(*pid)))
        .map(|process| columns.iter().map(|(_, _, cell)| cell(&process, &host)).collect())
        .collect();
    Ok(Table { titles: columns.iter().map(|(_, title, _)| (*title).to_string()).collect(), rows })
}

fn columns_of(ps_args: &str) -> Result<Vec<(&'static str, &'static str, Cell)>> {
    let named = |keys: &str| -> Result<Vec<_>> {
        keys.split([',', ' '])
            .filter(|key| !key.is_empty())
            .map(|key| {
                let key = match key {
                    "%cpu" => "pcpu",
                    "%mem" => "pmem",
                    "command" => "args",
                    "tname" | "tt" => "tty",
                    "state" | "s" => "stat",
                    "euid" => "uid",
                    "ucmd" => "comm",
                    key => key,
                };
                COLUMNS.iter().find(|(name, _, _)| *name == key).copied().ok_or_else(|| {
                    Error::invalid(format_args!(
                        "error: unknown user-defined format specifier \"{key}\""
                    ))
                })
            })
            .collect()
    };
    let args = ps_args.trim();
    match args {
        "" | "-ef" | "ef" => {
            let mut columns = named("uid,pid,ppid,c,stime,tty,time,cmd")?;
            // The full format shows names under the title UID.
            columns[0].2 = |p, _| user_name(p.uid);
            Ok(columns)
        }
        "aux" | "-aux" => named("user,pid,pcpu,pmem,vsz,rss,tty,stat,start,time,args"),
        _ => {
            let list = ["-eo", "-Ao", "-o", "o", "-e -o", "-A -o", "axo", "ax -o"]
                .iter()
                .find_map(|prefix| args.strip_prefix(prefix))
                .filter(|list| !list.trim().is_empty());
            match list {
                Some(list) => {
                    let columns = named(&list.replace(" -o", " "))?;
                    if !columns.iter().any(|(key, _, _)| *key == "pid") {
                        return Err(Error::invalid("Couldn't find PID field in ps output"));
                    }
                    Ok(columns)
                }
                None => Err(Error::invalid(format_args!(
                    "unsupported ps options {args:?}: use -ef, aux, or -o with a list of columns"
                ))),
            }
        }
    }
}

fn read_process(pid: i64) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold brackets and spaces itself.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat[close + 1..].split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status
        .lines()
        .find_map(|l| l.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok())?;
    let name = stat[open + 1..close].to_string();
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = match command.strip_suffix(b"\0").unwrap_or(&command) {
        [] => format!("[{name}]"),
        bytes => String::from_utf8_lossy(bytes).replace('\0', " "),
    };
    Some(Process {
        pid,
        ppid: fields.get(1)?.parse().ok()?,
        uid,
        tty: fields.get(4)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        cpu_ticks: number(11)? + number(12)?,
        start_ticks: number(19)?,
        vsize_kib: number(20)? / 1024,
        rss_kib: number(21)? * 4,
        name,
        command,
    })
}

fn uptime_ticks() -> Result<u64> {
    let text = fs::read_to_string("/proc/uptime").at("reading /proc/uptime")?;
    let seconds: f64 = text.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    Ok((seconds * TICKS as f64) as u64)
}

fn memory_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0)
}

fn age(process: &Process, host: &Host) -> u64 {
    host.uptime_ticks.saturating_sub(process.start_ticks).max(1)
}

/// Hour and minute of the start, or the day for older processes, in UTC as everything here.
fn start_time(process: &Process, host: &Host) -> String {
    let age_ns = age(process, host) * (1_000_000_000 / TICKS);
    let started =
        crate::base::time::Timestamp::now().minus_ns(i64::try_from(age_ns).unwrap_or(i64::MAX));
    let (_, month, day, hour, minute, _) = started.civil();
    if Duration::from_nanos(age_ns) < Duration::from_secs(86_400) {
        format!("{hour:02}:{minute:02}")
    } else {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        format!("{}{day:02}", MONTHS[month as usize - 1])
    }
}

fn cpu_time(ticks: u64) -> String {
    let seconds = ticks / TICKS;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Names of terminals by device number (kernel Documentation/admin-guide/devices.txt).
fn tty_name(device: i64) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        0 => "?".into(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// The host's name of a user, from its own file.
fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse::<u32>() == Ok(uid)).then(|| name.to_string())
        })
        .unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_row() {
        let process = read_process(i64::from(std::process::id())).unwrap();
        assert_eq!(process.pid, i64::from(std::process::id()));
        assert!(process.rss_kib > 0 && !process.command.is_empty());
    }

    #[test]
    fn columns_follow_the_options() {
        let titles = |args| -> Vec<&str> {
            columns_of(args).unwrap().iter().map(|(_, title, _)| *title).collect()
        };
        assert_eq!(titles(""), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(titles("-o pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(titles("-eo pid,%cpu"), ["PID", "%CPU"]);
        for bad in ["-o comm", "-o pid,nope", "--forest", "-o"] {
            assert!(columns_of(bad).is_err(), "{bad}");
        }
    }
}
