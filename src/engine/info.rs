//! What the engine knows of its host and of itself, for `info` and `version`.
//!
//! Everything is read when it is asked for; what cannot be read is left empty, because people ask for
//! this when something is wrong already.

use std::fs;

use crate::base::time::Timestamp;
use crate::cgroup;

/// The host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// `x86_64`, as uname has it.
    pub machine: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// `12`.
    pub system_version: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether packets are forwarded between interfaces.
    pub ipv4_forwarding: bool,
    /// Whether the kernel has AppArmor switched on.
    pub apparmor: bool,
    /// Whether the kernel can filter system calls.
    pub seccomp: bool,
}

/// This process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

/// Looks at the host.
pub fn host() -> Host {
    let (kernel, machine) = nix::sys::utsname::uname().map_or_else(
        |_| Default::default(),
        |u| (u.release().display().to_string(), u.machine().display().to_string()),
    );
    let release = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    let pretty = os_release(&release, "PRETTY_NAME").or_else(|| os_release(&release, "NAME"));
    Host {
        name: hostname(),
        kernel,
        machine,
        system: pretty.unwrap_or_else(|| "Linux".into()),
        system_version: os_release(&release, "VERSION_ID").unwrap_or_default(),
        processors: processors(),
        memory_bytes: kilobytes(&read("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024,
        ipv4_forwarding: is_on("/proc/sys/net/ipv4/ip_forward", "1"),
        apparmor: is_on("/sys/module/apparmor/parameters/enabled", "Y"),
        seccomp: fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap_or(false),
    }
}

/// The host's name.
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Looks at this process.
pub fn process() -> Process {
    let status = read("/proc/self/status").unwrap_or_default();
    Process {
        descriptors: fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0),
        threads: usize::try_from(kilobytes(&status, "Threads:")).unwrap_or(0),
    }
}

/// Version of the cgroups that limits are set in: `1`, `2`, or empty if there are none.
pub fn cgroup_version() -> &'static str {
    match cgroup::detect().map(|host| host.layout) {
        Ok(cgroup::Layout::V2) => "2",
        Ok(_) => "1",
        Err(_) => "",
    }
}

/// `info`'s time: now.
pub fn time() -> String {
    Timestamp::now().to_string()
}

/// Docker's name of an architecture, from the compiler's.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn is_on(path: &str, on: &str) -> bool {
    read(path).is_some_and(|text| text.trim() == on)
}

fn processors() -> usize {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    set.map_or(1, |set| {
        (0..nix::sched::CpuSet::count()).filter(|n| set.is_set(*n).unwrap_or(false)).count()
    })
}

/// The number after `label` in a file of `label number` lines.
fn kilobytes(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A value of an os-release file, without its quotes.
fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim();
    let bare = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
    Some(bare.unwrap_or(value).to_string()).filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_known() {
        let host = host();
        assert!(!host.kernel.is_empty() && !host.name.is_empty());
        assert!(host.processors >= 1 && host.memory_bytes > 1 << 20);
        let process = process();
        assert!(process.descriptors >= 3 && process.threads >= 1);
    }

    #[test]
    fn os_release_values_lose_their_quotes() {
        let text = "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\nX=\n";
        assert_eq!(os_release(text, "PRETTY_NAME").unwrap(), "Debian GNU/Linux 12");
        assert_eq!(os_release(text, "VERSION_ID").unwrap(), "12");
        assert_eq!(os_release(text, "NAME").unwrap(), "Debian");
        assert_eq!(os_release(text, "X"), None);
    }
}
