//! A process as `ps` sees it, and the facts of the host that its columns are computed from.

use std::fs;

use crate::base::time::Timestamp;
use crate::base::{At, Result};

/// Clock ticks a second of the times in /proc: a constant of the kernel's interface to programs.
pub(super) const TICKS: u64 = 100;

/// One process, as far as `ps` shows it.
#[derive(Default)]
pub(super) struct Process {
    pub(super) pid: i64,
    pub(super) ppid: i64,
    pub(super) pgid: i64,
    pub(super) sid: i64,
    pub(super) tpgid: i64,
    pub(super) uid: u32,
    pub(super) ruid: u32,
    pub(super) gid: u32,
    pub(super) tty: i64,
    pub(super) flags: u64,
    pub(super) state: char,
    /// The state with the letters that ps adds.
    pub(super) stat: String,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) cpu_ticks: u64,
    pub(super) vsize_kib: u64,
    pub(super) rss_kib: u64,
    pub(super) processor: u64,
    pub(super) rt_priority: u64,
    pub(super) policy: u64,
    pub(super) name: String,
    pub(super) command: String,
}

/// Facts of the host.
pub(super) struct Host {
    pub(super) uptime_ticks: u64,
    pub(super) memory_kib: u64,
    pub(super) page_kib: u64,
    pub(super) now: Timestamp,
    /// The texts of /etc/passwd and /etc/group.
    pub(super) users: String,
    pub(super) groups: String,
}

impl Host {
    /// Looks at the host.
    ///
    /// # Errors
    /// `Io` if /proc cannot be read.
    pub(super) fn look() -> Result<Host> {
        let text = fs::read_to_string("/proc/uptime").at("reading /proc/uptime")?;
        let uptime: f64 = text.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        });
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        Ok(Host {
            uptime_ticks: (uptime * TICKS as f64) as u64,
            memory_kib: memory.unwrap_or(0),
            page_kib: page.and_then(|bytes| u64::try_from(bytes / 1024).ok()).unwrap_or(4).max(1),
            now: Timestamp::now(),
            users: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            groups: fs::read_to_string("/etc/group").unwrap_or_default(),
        })
    }
}

impl Process {
    /// Reads process `pid`; `None` if it ended.
    pub(super) fn read(pid: i64, host: &Host) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Process::parse(pid, &stat, &status, &command, host)
    }

    fn parse(pid: i64, stat: &str, status: &str, command: &[u8], host: &Host) -> Option<Process> {
        // The name stands in brackets and may hold brackets and spaces itself.
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let fields: Vec<&str> = stat[close + 1..].split_ascii_whitespace().collect();
        let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
        let signed = |i: usize| fields.get(i).and_then(|f| f.parse::<i64>().ok());
        // Real and effective id.
        let ids = |key: &str| -> Option<(u32, u32)> {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            let mut ids = line.split_ascii_whitespace();
            Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
        };
        let locked = status
            .lines()
            .find_map(|l| l.strip_prefix("VmLck:"))
            .is_some_and(|rest| !rest.trim().starts_with("0 "));
        // The number in `stat` lags behind on kernels that count by CPU.
        let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let rss = rss.and_then(|text| text.trim().parse().ok());
        let name = stat[open + 1..close].to_string();
        let command = match command.strip_suffix(b"\0").unwrap_or(command) {
            [] => format!("[{name}]"),
            bytes => String::from_utf8_lossy(bytes).replace('\0', " "),
        };
        let state = fields.first()?.chars().next()?;
        let (ruid, uid) = ids("Uid:")?;
        let mut process = Process {
            pid,
            ppid: signed(1)?,
            pgid: signed(2)?,
            sid: signed(3)?,
            tty: signed(4)?,
            tpgid: signed(5)?,
            flags: number(6)?,
            cpu_ticks: number(11)? + number(12)?,
            priority: signed(15)?,
            nice: signed(16)?,
            threads: number(17)?,
            start_ticks: number(19)?,
            vsize_kib: number(20)? / 1024,
            rss_kib: rss.unwrap_or(number(21)? * host.page_kib),
            processor: number(36).unwrap_or(0),
            rt_priority: number(37).unwrap_or(0),
            policy: number(38).unwrap_or(0),
            uid,
            ruid,
            gid: ids("Gid:")?.1,
            state,
            stat: String::new(),
            name,
            command,
        };
        process.stat = process.letters(locked);
        Some(process)
    }

    /// The state as ps writes it in full.
    fn letters(&self, locked: bool) -> String {
        let mut stat = String::from(self.state);
        for (applies, letter) in [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (locked, 'L'),
            (self.sid == self.pid, 's'),
            (self.threads > 1, 'l'),
            (self.tpgid > 0 && self.tpgid == self.pgid, '+'),
        ] {
            if applies {
                stat.push(letter);
            }
        }
        stat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let host = Host::look().unwrap();
        let process = Process::read(i64::from(std::process::id()), &host).unwrap();
        assert_eq!(process.pid, i64::from(std::process::id()));
        assert!(process.rss_kib > 0 && !process.command.is_empty());
        assert!(process.stat.starts_with(process.state));
    }

    #[test]
    fn names_may_hold_brackets() {
        let host = Host::look().unwrap();
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 2 0 100 2322432 25 0 0 0 0 \
                    0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0";
        let status = "Uid:\t5\t6\t6\t6\nGid:\t7\t8\t8\t8\nVmLck:\t       0 kB\n";
        let process = Process::parse(7, stat, status, b"", &host).unwrap();
        assert_eq!((process.name.as_str(), process.command.as_str()), ("a) b", "[a) b]"));
        assert_eq!((process.stat.as_str(), process.cpu_ticks), ("Ssl", 7));
        assert_eq!((process.ruid, process.uid, process.gid), (5, 6, 8));
        assert_eq!((process.processor, process.vsize_kib), (1, 2268));
    }
}
