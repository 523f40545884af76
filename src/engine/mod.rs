//! What the engine does, one verb a file, on its own model of containers, images and networks.
//!
//! The API translates requests into calls of this layer and results into Docker's JSON; the engine knows
//! nothing of HTTP. Lock order across the engine: a container's `operation`, then the index's maps or a
//! container's `data` (never both), then the locks inside the image store and the network controller.
//! No lock but `operation` is held across a call to another process.
//!
//! Start is recovery: [`Engine::open`] takes the locks and opens the stores, which is quick whatever
//! they hold; [`Engine::restore`] then finds running containers and sweeps what a dead daemon left,
//! while the API answers already. Requests about containers wait for that moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};

use crate::base::digest::Digest;
use crate::base::{Error, Kind, Result};
use crate::cgroup::Features;
use crate::image;
use crate::net;
use crate::registry;
use crate::volume;

pub mod bundle;
pub mod container;
pub mod events;
pub mod images;
pub mod info;
mod left_cgroups;
pub mod model;
pub mod network;
mod network_events;
pub mod networks;
pub mod restore;
pub mod settings;
pub mod shutdown;
pub mod supervise;
pub mod timers;
pub mod volumes;

use container::Container;
use container::index::Index;
use settings::Settings;

/// The engine of one data root.
pub struct Engine {
    /// What the daemon was started with.
    pub settings: Settings,
    /// What may change while it runs.
    pub live: RwLock<settings::Live>,
    /// Everything that happens.
    pub events: Arc<events::Bus>,
    /// Layers, images, names.
    pub store: Arc<image::Store>,
    /// The images.
    pub images: images::Images,
    /// The volumes.
    pub volumes: volume::Store,
    /// Held by the one pruning of volumes that may be under way.
    pruning: Mutex<()>,
    /// The networks.
    pub net: Arc<net::Controller>,
    /// Hears of the ends of containers.
    pub supervisor: supervise::Supervisor,
    index: Index,
    restored: (Mutex<Restored>, Condvar),
    ending: AtomicBool,
    features: OnceLock<Features>,
}

/// How far the start has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restored {
    No,
    Yes,
    /// The daemon ends before it ever was ready.
    Never,
}

impl Engine {
    /// Opens the stores. Nothing of what they hold is read, and nothing runs yet.
    ///
    /// # Errors
    /// What the stores or the network controller say.
    pub fn open(
        settings: Settings,
        live: settings::Live,
        store: Arc<image::Store>,
        registries: registry::Settings,
        net: Arc<net::Controller>,
    ) -> Result<Arc<Engine>> {
        let supervisor = supervise::Supervisor::new()?;
        let events = Arc::new(events::Bus::new());
        let volumes = volume::Store::open(&settings.data_root)?;
        let engine = Arc::new(Engine {
            settings,
            live: RwLock::new(live),
            images: images::Images::new(store.clone(), events.clone(), registries),
            events,
            store,
            volumes,
            pruning: Mutex::new(()),
            net,
            supervisor,
            index: Index::default(),
            restored: (Mutex::new(Restored::No), Condvar::new()),
            ending: AtomicBool::new(false),
            features: OnceLock::new(),
        });
        engine.supervisor.run(Arc::downgrade(&engine))?;
        Ok(engine)
    }

    /// The containers; waits until [`Engine::restore`] has found those of the last run.
    ///
    /// # Errors
    /// `Unavailable` if the daemon ends before that.
    pub fn containers(&self) -> Result<&Index> {
        let mut state = self.restored.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *state == Restored::No {
            state = self.restored.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match *state {
            Restored::Yes => Ok(&self.index),
            _ => Err(Error::new(Kind::Unavailable, "the daemon is shutting down")),
        }
    }

    /// What may change while the daemon runs, as it is now.
    pub fn live(&self) -> settings::Live {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The containers found so far, without waiting; for the restore itself and for counts.
    pub fn containers_now(&self) -> &Index {
        &self.index
    }

    /// What this kernel's cgroups can limit; looked at once.
    pub fn cgroup_features(&self) -> &Features {
        self.features.get_or_init(Features::detect)
    }

    /// Whether the daemon is on its way down: nothing is started any more.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn set_restored(&self, to: Restored) {
        *self.restored.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.restored.1.notify_all();
    }

    /// Which containers use which images.
    ///
    /// # Errors
    /// `Unavailable` while the daemon ends.
    pub fn image_uses(&self) -> Result<Vec<images::Use>> {
        let uses = self.containers()?.all().into_iter().filter_map(|container| {
            let data = container.data();
            let image = Digest::parse(&data.record.image).ok()?;
            let running = data.record.state.running;
            Some(images::Use { container: container.id.clone(), image, running })
        });
        Ok(uses.collect())
    }

    /// The directory of all containers.
    pub fn containers_dir(&self) -> PathBuf {
        self.settings.data_root.join("containers")
    }

    /// Publishes an event of `container` with Docker's attributes (its labels, image and name) and `extra`.
    pub fn container_event(&self, container: &Container, action: &str, extra: &[(&str, &str)]) {
        let mut attributes = {
            let data = container.data();
            let mut attributes = data.record.config.labels.clone().unwrap_or_default();
            attributes.insert("image".into(), data.record.config.image.clone());
            attributes.insert("name".into(), data.record.plain_name().into());
            attributes
        };
        for (key, value) in extra {
            attributes.insert((*key).into(), (*value).into());
        }
        self.events.publish("container", action, &container.id, attributes);
    }

    /// Publishes an event of the daemon itself.
    pub fn daemon_event(&self, action: &str, attributes: BTreeMap<String, String>) {
        self.events.publish("daemon", action, &self.settings.id, attributes);
    }
}
