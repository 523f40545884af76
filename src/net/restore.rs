//! After a restart of the daemon: what still lives is adopted, everything else of ours is swept.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::cleaner::Job;
use super::controller::{Controller, Live, lock};
use super::endpoint::Endpoint;
use super::portmap::{Held, hold_port};
use super::proxy::start::Proxy;
use crate::base::{At, Result};

impl Controller {
    /// Adopts the endpoints of containers that run, and removes veths, namespace mounts, rules and
    /// proxies of ours that belong to none of them. `sandboxes` are the paths of all namespaces in use,
    /// also of containers without a network. Returns the endpoints as they are now: a proxy that had
    /// died was started again, to end with what `life` gives for its endpoint. May be called before or
    /// after `prepare`.
    ///
    /// # Errors
    /// `Io` if the kernel's or the directory's state cannot be read. A single endpoint that cannot be
    /// restored whole is logged and kept.
    pub fn restore(
        &self,
        endpoints: &[Endpoint],
        sandboxes: &[PathBuf],
        life: &dyn Fn(&Endpoint) -> Option<OwnedFd>,
    ) -> Result<Vec<Endpoint>> {
        let mut restored = Vec::new();
        for endpoint in endpoints {
            let mut endpoint = endpoint.clone();
            self.adopt(&endpoint);
            if let Err(e) = self.revive(&mut endpoint, life) {
                log::warn!("restoring published ports of {}: {e}", endpoint.container_name);
            }
            restored.push(endpoint);
        }
        self.sweep_links(&restored)?;
        self.sweep_sandboxes(sandboxes)?;
        let state = lock(&self.state);
        self.install(&state)?;
        Ok(restored)
    }

    fn adopt(&self, endpoint: &Endpoint) {
        let mut state = lock(&self.state);
        endpoint.ports.iter().for_each(|port| state.ports.adopt(port));
        if let Some(leases) = &mut state.leases {
            leases.adopt(endpoint.ip());
        }
        state.live.insert(endpoint.id.clone(), Live::new(endpoint.clone()));
    }

    /// Takes over the running proxy, or holds the ports again and starts a new one.
    fn revive(
        &self,
        endpoint: &mut Endpoint,
        life: &dyn Fn(&Endpoint) -> Option<OwnedFd>,
    ) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        if let Some(proxy) = Proxy::adopt(endpoint.proxy_pid, endpoint.proxy_start) {
            if let Some(live) = lock(&self.state).live.get_mut(&endpoint.id) {
                live.proxy = Some(proxy);
            }
            return Ok(());
        }
        let mut held = Vec::new();
        for port in &endpoint.ports {
            let at = std::net::SocketAddr::new(port.ip(), port.host_port);
            match hold_port(port.transport(), at) {
                Ok(socket) => held.push(Held { port: port.clone(), socket }),
                Err(e) => log::warn!("holding {at}/{} again: {e}", port.protocol),
            }
        }
        let life = life(endpoint);
        self.start_proxy(endpoint, held, life.as_ref())
    }

    /// A veth that carries our mark and the id of no living endpoint.
    fn sweep_links(&self, live: &[Endpoint]) -> Result<()> {
        let ids: HashSet<&str> = live.iter().map(|endpoint| endpoint.id.as_str()).collect();
        for link in lock(&self.route).links()? {
            if link.alias.strip_prefix(&self.mark).is_some_and(|id| !ids.contains(id)) {
                log::info!("removing leftover interface {}", link.name);
                self.cleaner.push(Job::Link(link.name));
            }
        }
        Ok(())
    }

    fn sweep_sandboxes(&self, live: &[PathBuf]) -> Result<()> {
        let what = || format!("reading {}", self.netns_dir.display());
        for entry in fs::read_dir(&self.netns_dir).at(what())? {
            let path = entry.at(what())?.path();
            if !live.contains(&path) {
                log::info!("removing leftover network namespace {}", path.display());
                self.cleaner.push(Job::Sandbox(path));
            }
        }
        Ok(())
    }
}
