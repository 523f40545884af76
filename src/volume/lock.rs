//! Who uses which volume, and one lock for each volume.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The volumes that are used or at work, by name.
#[derive(Default)]
pub(super) struct Slots(Mutex<HashMap<String, Arc<Shared>>>);

#[derive(Default)]
struct Shared {
    /// Containers that refer to the volume.
    holders: Mutex<BTreeSet<String>>,
    /// Held while the volume is made, mounted, unmounted, removed: perhaps for long.
    busy: Mutex<Busy>,
}

/// What changes only under the lock of the volume.
#[derive(Default)]
pub(super) struct Busy {
    /// Who has it mounted.
    pub(super) users: BTreeSet<String>,
}

/// The place of one volume while somebody works with it.
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    name: String,
    shared: Arc<Shared>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    /// The place of the volume `name`.
    pub(super) fn get(&self, name: &str) -> Slot<'_> {
        let shared = lock(&self.0).entry(name.into()).or_default().clone();
        Slot { slots: self, name: name.into(), shared }
    }
}

impl Slot<'_> {
    /// Waits until nobody else works with the volume.
    pub(super) fn begin(&self) -> MutexGuard<'_, Busy> {
        lock(&self.shared.busy)
    }

    pub(super) fn hold(&self, holder: &str) {
        lock(&self.shared.holders).insert(holder.into());
    }

    pub(super) fn release(&self, holder: &str) {
        lock(&self.shared.holders).remove(holder);
    }

    pub(super) fn holders(&self) -> Vec<String> {
        lock(&self.shared.holders).iter().cloned().collect()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut map = lock(&self.slots.0);
        // The map's and ours: new ones come only through the map, which is locked.
        let is_last = Arc::strong_count(&self.shared) == 2;
        if is_last
            && lock(&self.shared.holders).is_empty()
            && lock(&self.shared.busy).users.is_empty()
        {
            map.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_while_they_are_used() {
        let slots = Slots::default();
        slots.get("a").hold("c1");
        slots.get("b").begin().users.insert("c1".into());
        drop(slots.get("c"));
        assert_eq!(lock(&slots.0).len(), 2);
        assert_eq!(slots.get("a").holders(), ["c1"]);
        slots.get("a").release("c1");
        slots.get("b").begin().users.clear();
        assert!(lock(&slots.0).is_empty());
    }
}
