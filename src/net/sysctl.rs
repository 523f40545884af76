//! Network sysctls of the calling thread's namespace.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{At, Result};

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name)
}

/// The trimmed value of `/proc/sys/net/<name>`, or `None` if the kernel does not have it.
pub(super) fn read(name: &str) -> Option<String> {
    fs::read_to_string(path(name)).ok().map(|text| text.trim().to_string())
}

/// Sets a value unless it is set already.
///
/// # Errors
/// `Io` that names the sysctl: a read-only /proc, or no such sysctl.
pub(super) fn write(name: &str, value: &str) -> Result<()> {
    if read(name).as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(path(name), value).at(format_args!("setting net.{}", name.replace('/', ".")))
}

/// The range that the kernel takes ephemeral ports from.
pub(super) fn local_port_range() -> (u16, u16) {
    const DEFAULT: (u16, u16) = (32768, 60999);
    let text = read("ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if 0 < first && first <= last => (first, last),
        _ => DEFAULT,
    }
}
