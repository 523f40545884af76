//! Removing every container that does not run.

use std::sync::{MutexGuard, PoisonError, TryLockError};

use super::list::Filters;
use super::remove;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::volumes::{check_filters, labels_fit};

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of the containers.
    pub ids: Vec<String>,
    /// Bytes that they had written.
    pub reclaimed: u64,
}

impl Engine {
    /// Keeps prunings apart: each looks at everything, and what one removes must not be counted twice.
    ///
    /// # Errors
    /// `Conflict` with Docker's text if another one is under way.
    pub(in crate::engine) fn begin_pruning(&self) -> Result<MutexGuard<'_, ()>> {
        match self.pruning.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(e)) => Ok(PoisonError::into_inner(e)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::conflict("a prune operation is already running"))
            }
        }
    }
}

/// Removes the containers that do not run and that `filters` select: `until`, `label`, `label!`. One that
/// cannot be removed is logged and stays.
///
/// # Errors
/// `InvalidParameter` with Docker's texts for filters; `Conflict` if another pruning is under way.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<Pruned> {
    check_filters(filters, &["label", "label!", "until"])?;
    let until = until(filters)?;
    let index = engine.containers()?;
    let _only_one = engine.begin_pruning()?;
    let mut pruned = Pruned::default();
    for container in index.all() {
        let wanted = {
            let data = container.data();
            let record = &data.record;
            !record.state.running
                && until.is_none_or(|until| record.created <= until)
                && labels_fit(&record.config.labels.clone().unwrap_or_default(), filters)
        };
        if !wanted {
            continue;
        }
        // For information only: a layer that cannot be measured goes all the same.
        let size = engine.store.layers().rw_size(&container.id).unwrap_or(0);
        match remove::remove(engine, &container, remove::Options::default()) {
            Ok(()) => {
                pruned.reclaimed += size;
                pruned.ids.push(container.id.clone());
            }
            Err(e) => log::warn!("failed to prune container {}: {e}", container.id),
        }
    }
    let attributes = [("reclaimed".to_string(), pruned.reclaimed.to_string())].into();
    engine.events.publish("container", "prune", "", attributes);
    Ok(pruned)
}

/// The time that the filter `until` names, itself or by an age.
fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    match filters.get("until").map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([one]) => Timestamp::parse_relative(one, Timestamp::now()).map(Some),
        Some(_) => Err(Error::invalid("more than one until filter specified")),
    }
}
