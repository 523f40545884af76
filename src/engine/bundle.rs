//! The run-time directory of a container, below the exec root: the shim's socket, the exit record, the
//! endpoint of its network. It vanishes with the run, or with the boot.

use std::fs;
use std::path::PathBuf;

use super::Engine;
use super::container::Container;
use crate::base::file::{Durable, read_optional, write_atomic};
use crate::base::{At, Result, json};
use crate::net::Endpoint;
use crate::runtime::shim::CGROUP_LEFT;

const ENDPOINT_FILE: &str = "endpoint.json";

impl Engine {
    /// Where all bundles are.
    pub(super) fn bundles_dir(&self) -> PathBuf {
        self.settings.exec_root.join("shim")
    }

    /// The bundle of one container.
    pub(super) fn bundle_dir(&self, id: &str) -> PathBuf {
        self.bundles_dir().join(id)
    }

    /// Keeps `endpoint` for a daemon that comes after this one.
    pub(super) fn remember_endpoint(
        &self,
        container: &Container,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let dir = self.bundle_dir(&container.id);
        fs::create_dir_all(&dir).at(format_args!("creating {}", dir.display()))?;
        let text = json::to_string(endpoint);
        write_atomic(&dir.join(ENDPOINT_FILE), text.as_bytes(), 0o600, Durable::No)
    }

    /// The endpoint that an earlier daemon kept; `None` if there is none or it is damaged.
    pub(super) fn remembered_endpoint(&self, id: &str) -> Option<Endpoint> {
        let bytes = read_optional(&self.bundle_dir(id).join(ENDPOINT_FILE)).ok()??;
        json::parse(&bytes).ok()
    }

    /// Removes the bundle of a run that is over.
    pub(super) fn discard_bundle(&self, id: &str) -> Result<()> {
        let dir = self.bundle_dir(id);
        if dir.join(CGROUP_LEFT).exists() {
            return self.keep_left(&dir, id);
        }
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).at(format_args!("removing {}", dir.display()))
            }
            _ => Ok(()),
        }
    }
}
