//! Start is recovery: finding the containers of the last run, and sweeping what a dead daemon left.
//!
//! The truth about what runs is the shims, not the records: a record may say `running` from before a
//! power cut, or not yet. What nobody names any more (layers, directories, bundles, sandboxes, leases) is
//! what an interruption left, and goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::container::record::Record;
use super::container::{
    Container, commit, create, exec, exit, health, links, mounts, pause, remove, restart, start,
};
use super::{Engine, Restored, supervise};
use crate::base::time::Timestamp;
use crate::base::{At, Kind, Result, file, id, worker};
use crate::net::Endpoint;
use crate::runtime::shim::{self, Shim};

/// How long a container that links to others waits for them, when all are started with the daemon.
const CHILDREN_PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Loads the containers, connects to those that run, handles the ends that nobody saw, sweeps, and
    /// opens the doors: [`Engine::containers`] answers from then on. Damaged containers are logged and
    /// left as they are, out of sight.
    ///
    /// # Errors
    /// `Io` if the data root cannot be read, or what makes the default network impossible.
    pub fn restore(self: &Arc<Engine>) -> Result<()> {
        let result = self.restore_all();
        self.set_restored(if result.is_ok() { Restored::Yes } else { Restored::Never });
        result
    }

    fn restore_all(self: &Arc<Engine>) -> Result<()> {
        for dir in [self.containers_dir(), self.bundles_dir()] {
            fs::create_dir_all(&dir).at(format_args!("creating {}", dir.display()))?;
        }
        file::sweep(&self.settings.data_root);
        file::sweep(&self.settings.data_root.join("network"));
        let (loaded, orphans) = self.load_containers()?;
        let (mut endpoints, mut live, mut ended) = (Vec::new(), BTreeSet::new(), Vec::new());
        for container in &loaded {
            match self.reconnect(container) {
                Ok(Some(endpoint)) => {
                    live.insert(container.id.clone());
                    endpoints.extend(endpoint);
                }
                Ok(None) if self.ran_until_lost(container) => ended.push(container.clone()),
                Ok(None) => self.release_left_over(container),
                Err(e) => {
                    log::error!("reconnecting to container {}: {e}", container.id);
                    ended.push(container.clone());
                }
            }
        }
        let sandboxes: Vec<_> = loaded
            .iter()
            .filter(|container| live.contains(&container.id))
            .map(|container| self.net.sandbox_path(&container.id))
            .collect();
        self.net.prepare().at("preparing the default network")?;
        let life = |endpoint: &Endpoint| {
            let container = loaded.iter().find(|c| c.id == endpoint.container_id)?;
            let shim = container.data().shim.clone()?;
            shim.life().inspect_err(|e| log::warn!("container {}: {e}", container.id)).ok()
        };
        let endpoints =
            self.net.restore(&endpoints, &sandboxes, &life).at("restoring the networks")?;
        self.adopt_endpoints(&loaded, endpoints);
        for container in &loaded {
            let runs = live.contains(&container.id);
            mounts::adopt(self, &container.data().record, runs);
        }
        // Not before it is known which of them other containers took over.
        orphans.iter().for_each(|volume| mounts::remove_anonymous(self, volume));
        mounts::setup::sweep(self);
        self.sweep(&loaded, &live);
        for container in &loaded {
            self.containers_now().insert(container.clone());
        }
        for container in &loaded {
            links::register_again(self, container);
        }
        for container in loaded.iter().filter(|container| live.contains(&container.id)) {
            links::open_ways(self, container);
        }
        self.set_restored(Restored::Yes);
        for container in ended {
            // What restart policies want is started below, all at the same time.
            container.data().stop_requested = true;
            exit::exited(self, &container, supervise::lost(self, &container));
        }
        self.sweep_left();
        self.remove_forgotten();
        self.volumes.sweep();
        self.start_wanted();
        Ok(())
    }

    /// Removes the layers that no image names: those of pulls and builds that were cut off. For the time
    /// after the start, as it reads every image.
    pub fn collect_layers(&self) {
        match self.store.collect() {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => log::info!("removed {} layers that no image names", removed.len()),
            Err(e) => log::warn!("removing layers that no image names: {e}"),
        }
    }

    /// Starts what its restart policy wants to run, one thread each: some may take long.
    fn start_wanted(self: &Arc<Engine>) {
        if !self.settings.auto_restart {
            return;
        }
        for container in self.containers_now().all() {
            if container.data().record.state.running || !restart::applies_at_start(&container) {
                continue;
            }
            let engine = self.clone();
            let run = move || {
                links::await_children(&engine, &container, CHILDREN_PATIENCE);
                if let Err(e) = start::start(&engine, &container)
                    && e.kind() != Kind::NotModified
                {
                    log::error!("failed to start container {}: {e}", container.id);
                }
            };
            if let Err(e) = worker::builder("start").spawn(run) {
                log::error!("starting containers: {e}");
                return;
            }
        }
    }

    /// The containers, and the anonymous volumes of those that were being made or removed.
    fn load_containers(&self) -> Result<(Vec<Arc<Container>>, Vec<String>)> {
        let (mut loaded, mut orphans) = (Vec::new(), Vec::new());
        let dir = self.containers_dir();
        for entry in fs::read_dir(&dir).at(format_args!("reading {}", dir.display()))? {
            let path = entry.at(format_args!("reading {}", dir.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let unfinished = name.starts_with(create::TEMPORARY_PREFIX);
            if unfinished || name.starts_with(remove::TRASH_PREFIX) {
                if (unfinished || name.starts_with(remove::TRASH_WITH_VOLUMES_PREFIX))
                    && let Ok(record) = Record::load_alone(&path)
                {
                    orphans.extend(mounts::anonymous_volumes(&record));
                }
                discard(&path);
                continue;
            }
            if !id::is_full(&name) {
                continue;
            }
            file::sweep(&path);
            let (record, host) = match Record::load(&path) {
                Ok(found) => found,
                Err(e) => {
                    log::error!("failed to load container {name}: {e}");
                    continue;
                }
            };
            if let Err(e) = self.containers_now().reserve(record.plain_name(), &record.id) {
                log::error!("failed to load container {name}: {e}");
                continue;
            }
            loaded.push(Arc::new(Container::new(path, record, host)));
        }
        Ok((loaded, orphans))
    }

    /// Whether a container without a shim was running when the last daemon knew of it, or ended a run that
    /// its record does not tell of yet. It counts as running then, until its end is handled.
    fn ran_until_lost(&self, container: &Container) -> bool {
        let has_ended = matches!(shim::exit_record(&self.bundle_dir(&container.id)), Ok(Some(_)));
        let mut data = container.data();
        let state = &mut data.record.state;
        let only_waited = std::mem::take(&mut state.restarting);
        state.running = has_ended || state.running && !only_waited;
        state.running
    }

    /// Takes away what an interrupted start left of a container that does not run.
    fn release_left_over(&self, container: &Container) {
        if let Err(e) = shim::kill_leftovers(&self.bundle_dir(&container.id)) {
            log::warn!("killing what is left of container {}: {e}", container.id);
        }
        exit::release(self, container);
    }

    /// Connects to the shim of `container`; `None` if there is none, else the endpoint it holds, if any.
    fn reconnect(&self, container: &Arc<Container>) -> Result<Option<Option<Endpoint>>> {
        let shim = match Shim::connect(&self.bundle_dir(&container.id)) {
            Ok(shim) => Arc::new(shim),
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let endpoint = self.remembered_endpoint(&container.id);
        let paused = !commit::recover(self, container) && pause::is_frozen(self, container);
        {
            let state = shim.state();
            let mut data = container.data();
            data.shim = Some(shim.clone());
            data.stop_requested = data.record.has_been_manually_stopped;
            let life = &mut data.record.state;
            if !life.running || life.restarting {
                // The last daemon was killed before it wrote that it had started this run.
                life.started_at = Timestamp::now();
                life.finished_at = Timestamp::ZERO;
                life.exit_code = 0;
                life.error.clear();
                life.dead = false;
                data.stop_requested = false;
                data.record.has_been_manually_stopped = false;
            }
            data.record.has_been_started_before = true;
            data.record.state.running = true;
            data.record.state.restarting = false;
            data.record.state.pid = i64::from(state.pid);
            data.record.state.paused = paused;
            data.execs.extend(state.execs.iter().map(|known| {
                let status = if known.exited {
                    exec::Status::Ended(i64::from(known.status))
                } else {
                    exec::Status::Running(known.pid)
                };
                (known.exec_id.clone(), exec::Exec::new(exec::Options::default(), status))
            }));
        }
        self.network_adopt(container, endpoint.as_ref());
        let label = container.data().record.mount_label.clone();
        self.store.layers().mount_rw(&container.id, &label)?;
        // It runs, whatever room the disk has; the next daemon asks the shim again.
        if let Err(e) = container.save() {
            log::error!("recording that container {} runs: {e}", container.id);
        }
        self.supervisor.watch(container.clone(), shim)?;
        health::begin(self, container);
        Ok(Some(endpoint))
    }

    /// Hands the endpoints back to their containers: a proxy that had died has another process now.
    fn adopt_endpoints(&self, loaded: &[Arc<Container>], endpoints: Vec<Endpoint>) {
        for endpoint in endpoints {
            let Some(container) = loaded.iter().find(|c| c.id == endpoint.container_id) else {
                continue;
            };
            if let Err(e) = self.remember_endpoint(container, &endpoint) {
                log::warn!("keeping the endpoint of container {}: {e}", container.id);
            }
            container.data().endpoint = Some(endpoint);
        }
    }

    /// Removes what no container names. Failures are logged: the next start tries again.
    fn sweep(&self, loaded: &[Arc<Container>], live: &BTreeSet<String>) {
        let known: BTreeSet<&str> = loaded.iter().map(|c| c.id.as_str()).collect();
        // A damaged container keeps its layer: its data may still be rescued by hand.
        let has_directory =
            |id: &str| known.contains(id) || self.containers_dir().join(id).exists();
        for id in self.store.layers().rw_list().unwrap_or_default() {
            if !has_directory(mounts::owner_of_layer(&id))
                && let Err(e) = self.store.layers().remove_rw(&id)
            {
                log::warn!("removing the layer {id}, which belongs to no container: {e}");
            }
        }
        let Ok(bundles) = fs::read_dir(self.bundles_dir()) else { return };
        for bundle in bundles.flatten() {
            let name = bundle.file_name().to_string_lossy().into_owned();
            if known.contains(name.as_str()) || live.contains(&name) {
                continue;
            }
            if let Err(e) = shim::kill_leftovers(&bundle.path()) {
                log::warn!("killing what is left of container {name}: {e}");
            }
            if let Err(e) = self.discard_bundle(&name) {
                log::warn!("{e}");
            }
        }
    }

    /// Containers that remove themselves, and whose end nobody saw, or that never ran.
    fn remove_forgotten(self: &Arc<Engine>) {
        for container in self.containers_now().all() {
            let forgotten = {
                let data = container.data();
                data.host.auto_remove && !data.record.state.running && !data.removed
            };
            let options = remove::Options { force: false, volumes: true };
            if forgotten && let Err(e) = remove::remove(self, &container, options) {
                log::warn!("removing container {}: {e}", container.id);
            }
        }
    }
}

fn discard(path: &Path) {
    if let Err(e) = fs::remove_dir_all(path) {
        log::warn!("removing the left-over {}: {e}", path.display());
    }
}
