//! Pulling into the image store.
//!
//! What is there already is not fetched: an image by its id, layers by their chain ids. A layer that
//! another pull works on at this moment is waited for; if that pull fails, this one fetches the layer
//! itself. The order of work cannot deadlock: layers are claimed and committed from the lowest up, so
//! whoever holds the lowest claim never waits.
//!
//! After a failure nothing of the pull stays but layers that something else keeps.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Store;
use super::layers::{Layer, Parent, Staged};
use crate::base::cancel::Cancel;
use crate::base::digest::Digest;
use crate::base::progress::Progress;
use crate::base::{At, Error, Result};
use crate::registry::pull::{self, Form, Image, Pulled, Request, Sink};

/// Pulls into one store. Clones share the knowledge of what is being pulled.
#[derive(Clone)]
pub struct Puller {
    store: Arc<Store>,
    at_work: Arc<AtWork>,
}

/// The layers, by chain id, that some pull fetches at this moment.
#[derive(Default)]
struct AtWork {
    chains: Mutex<HashSet<Digest>>,
    changed: Condvar,
}

impl AtWork {
    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, chain: &Digest) {
        self.lock().remove(chain);
        self.changed.notify_all();
    }
}

impl Puller {
    /// A puller into `store`.
    pub fn new(store: Arc<Store>) -> Puller {
        Puller { store, at_work: Arc::default() }
    }

    /// Pulls one image and gives it the name that it was asked for by.
    ///
    /// # Errors
    /// Those of the registry, in Docker's words, and of the store; `Cancelled` after `cancel`.
    pub fn pull(
        &self,
        request: &Request<'_>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Pulled> {
        let sink = StoreSink {
            store: &self.store,
            at_work: &self.at_work,
            waker: Waker(self.at_work.clone()),
            slots: Mutex::default(),
        };
        let outcome = pull::pull(request, &sink, progress, cancel);
        let committed = sink.give_up();
        if outcome.is_err()
            && committed
            && let Err(e) = self.store.collect()
        {
            log::warn!("removing the layers of a pull that failed: {e}");
        }
        outcome
    }
}

/// Wakes those who wait for a layer when their pull is cancelled.
#[derive(Clone)]
struct Waker(Arc<AtWork>);

struct StoreSink<'a> {
    store: &'a Store,
    at_work: &'a AtWork,
    waker: Waker,
    slots: Mutex<Vec<Slot>>,
}

/// One layer of the image.
#[derive(Default)]
struct Slot {
    /// The chain that is ours to fetch.
    claimed: Option<Digest>,
    staged: Option<Staged>,
    /// The layer in the store; kept there by this value.
    layer: Option<Layer>,
    /// Whether this pull brought it there.
    committed: bool,
}

impl StoreSink<'_> {
    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layer below layer `index`, which is in the store.
    fn below(&self, index: usize) -> Result<Option<Layer>> {
        let Some(below) = index.checked_sub(1) else { return Ok(None) };
        let layer = self.slots().get(below).and_then(|slot| slot.layer.clone());
        layer
            .map(Some)
            .ok_or_else(|| Error::internal("a layer is worked on before the one below it"))
    }

    fn unclaim(&self, index: usize) {
        let claimed = self.slots().get_mut(index).and_then(|slot| slot.claimed.take());
        if let Some(chain) = claimed {
            self.at_work.release(&chain);
        }
    }

    /// Gives back whatever is held; whether anything was committed.
    fn give_up(&self) -> bool {
        let slots = std::mem::take(&mut *self.slots());
        for chain in slots.iter().filter_map(|slot| slot.claimed) {
            self.at_work.release(&chain);
        }
        slots.iter().any(|slot| slot.committed)
    }
}

impl Drop for StoreSink<'_> {
    fn drop(&mut self) {
        // Only a panic leaves anything here.
        self.give_up();
    }
}

impl Sink for StoreSink<'_> {
    fn form(&self) -> Form {
        Form::Tar
    }

    fn in_order(&self) -> bool {
        !self.store.layers().independent()
    }

    fn hashes(&self) -> bool {
        true
    }

    fn known(&self, config: &Digest) -> Option<Vec<u8>> {
        let image = self.store.images().get(config).ok()?;
        // A store that lost a layer gets it back by a pull.
        let whole = image.chain_id().is_none_or(|chain| self.store.layers().exists(&chain));
        whole.then(|| self.store.images().raw(config).ok())?
    }

    fn begin(&self, image: &Image) -> Result<usize> {
        let mut slots: Vec<Slot> = image.layers.iter().map(|_| Slot::default()).collect();
        let mut there = 0;
        for (slot, layer) in slots.iter_mut().zip(&image.layers) {
            slot.layer = self.store.layers().get(&layer.chain_id)?;
            if slot.layer.is_none() {
                break;
            }
            there += 1;
        }
        *self.slots() = slots;
        Ok(there)
    }

    fn claim(&self, image: &Image, index: usize, cancel: &Cancel) -> Result<bool> {
        let chain = image.layers[index].chain_id;
        let waker = self.waker.clone();
        let _guard = cancel.on_cancel(move || {
            // With the lock held, so that it is not missed between a check and the wait after it.
            let _chains = waker.0.lock();
            waker.0.changed.notify_all();
        });
        let mut chains = self.at_work.lock();
        while !chains.insert(chain) {
            cancel.check()?;
            chains = self.at_work.changed.wait(chains).unwrap_or_else(PoisonError::into_inner);
        }
        drop(chains);
        if let Some(slot) = self.slots().get_mut(index) {
            slot.claimed = Some(chain);
        }
        // Whoever had it may have brought it.
        let layer = self.store.layers().get(&chain);
        if !matches!(&layer, Ok(None)) {
            self.unclaim(index);
        }
        let Some(layer) = layer? else { return Ok(true) };
        if let Some(slot) = self.slots().get_mut(index) {
            slot.layer = Some(layer);
        }
        Ok(false)
    }

    fn fill(&self, _image: &Image, index: usize, stream: &mut dyn Read) -> Result<Option<Digest>> {
        let below = if self.in_order() { self.below(index)? } else { None };
        let parent = match &below {
            Some(layer) => Parent::On(layer),
            None if index == 0 => Parent::Bottom,
            None => Parent::Later,
        };
        let staged = self.store.layers().unpack(stream, parent)?;
        let diff_id = staged.diff_id();
        if let Some(slot) = self.slots().get_mut(index) {
            slot.staged = Some(staged);
        }
        Ok(Some(diff_id))
    }

    fn commit(&self, image: &Image, index: usize) -> Result<()> {
        let below = self.below(index)?;
        let staged = self.slots().get_mut(index).and_then(|slot| slot.staged.take());
        let staged = staged.ok_or_else(|| Error::internal("nothing was unpacked"))?;
        let committed = staged.commit(below.as_ref());
        if let (Ok(layer), Some(slot)) = (&committed, self.slots().get_mut(index)) {
            slot.layer = Some(layer.clone());
            slot.committed = true;
        }
        self.unclaim(index);
        committed
            .map(drop)
            .at(format_args!("failed to register layer {}", image.layers[index].digest))
    }

    fn abandon(&self, _image: &Image, index: usize) {
        let staged = self.slots().get_mut(index).and_then(|slot| slot.staged.take());
        // Removing files takes a while: not under the lock.
        drop(staged);
        self.unclaim(index);
    }

    fn finish(&self, image: &Image) -> Result<bool> {
        let id = image.config_digest;
        if !self.store.images().exists(&id) {
            self.store.create(&image.config)?;
        }
        let repository = image.reference.name();
        for layer in &image.layers {
            // A note that is lost costs a download.
            if let Err(e) =
                self.store.distribution().add(&layer.diff_id, &layer.digest, &repository)
            {
                log::warn!("noting where layer {} came from: {e}", layer.diff_id);
            }
        }
        let refs = self.store.refs();
        let name = match image.reference.digest() {
            Some(digest) => image.reference.with_digest(digest),
            None => image.reference.clone(),
        };
        let newer = refs.get(&name)? != Some(id);
        if newer {
            refs.set(&name, &id)?;
            self.store.images().set_last_updated(&id)?;
        }
        let pinned = image.reference.with_digest(image.target_digest());
        refs.set(&pinned, &id)?;
        Ok(newer)
    }
}
