//! Freezing with the v1 freezer, which may need to be asked more than once.
//!
//! A task that is forking or that is stopped by a tracer can keep the cgroup in `FREEZING` for good;
//! thawing for a moment lets it get past that point (freezer-subsystem.rst tells user space to do so).

use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::{Error, Kind, Result};
use crate::cgroup::control;

const STATE: &str = "freezer.state";
/// Longest time to try. A process in uninterruptible sleep (a dead NFS server) cannot be frozen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Freezes every process of `dir`.
///
/// # Errors
/// `Unavailable` if it does not succeed in 5 seconds; the cgroup is then thawed again.
pub(in crate::cgroup) fn freeze(dir: &Path) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    let mut attempt = 0u32;
    while Instant::now() < end {
        attempt += 1;
        if attempt.is_multiple_of(50) {
            control::write(dir, STATE, "THAWED")?;
            std::thread::sleep(Duration::from_millis(1));
        }
        control::write(dir, STATE, "FROZEN")?;
        for _ in 0..8 {
            if is_frozen(dir)? {
                return Ok(());
            }
            std::thread::sleep(pause);
        }
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    control::write(dir, STATE, "THAWED")?;
    Err(Error::new(Kind::Unavailable, format_args!("unable to freeze {}", dir.display())))
}

/// Lets the processes of `dir` run again.
pub(in crate::cgroup) fn thaw(dir: &Path) -> Result<()> {
    control::write(dir, STATE, "THAWED")
}

/// Whether all processes of `dir` are frozen.
pub(in crate::cgroup) fn is_frozen(dir: &Path) -> Result<bool> {
    Ok(control::read(dir, STATE)?.trim() == "FROZEN")
}
