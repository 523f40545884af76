//! SIGHUP: the file is read again; reloadable options are applied, all or none.

use super::options::OPTIONS;
use super::{DaemonConfig, load};
use crate::base::Result;

/// What the configuration becomes when its file is read again, and the keys that changed.
///
/// Everything is checked on a copy: on an error nothing has changed. Options that cannot be
/// changed while the daemon runs keep their values, which is not an error.
///
/// # Errors
/// As at start: a missing or broken file, unknown keys, conflicts with flags, refused values.
pub fn reload(current: &DaemonConfig) -> Result<(DaemonConfig, Vec<&'static str>)> {
    let mut fresh = load::merge(current.source.clone())?;
    let mut next = current.clone();
    let mut changed = Vec::new();
    for option in OPTIONS.iter().filter(|o| o.reloadable) {
        if option.show(&mut fresh) != option.show(&mut next) {
            changed.push(option.key);
            option.copy(&mut fresh, &mut next);
        }
    }
    Ok((next, changed))
}

/// The reloadable options with their values, for the `reload` event.
pub fn attributes(config: &DaemonConfig) -> Vec<(String, String)> {
    let mut config = config.clone();
    OPTIONS
        .iter()
        .filter(|o| o.reloadable)
        .map(|o| (o.key.to_string(), o.show(&mut config)))
        .collect()
}
