//! What listeners are told of containers and networks: `connect` at a start, `disconnect` at an end.
//!
//! A container is connected as long as its place in a network has an endpoint id; that is in its record, so
//! that the end of a run is told by whichever daemon sees it. The networks `none` and `host` have no
//! endpoints in the kernel: theirs are nothing but this id.
//!
//! Spec: Docker Engine API 1.51, GET /events, networks.

use std::collections::BTreeMap;

use super::Engine;
use super::container::Container;
use crate::base::digest::Digest;
use crate::sys::random;

impl Engine {
    /// Tells that `container` is in its networks now, for a run that is about to begin.
    pub(super) fn tell_connected(&self, container: &Container) {
        let told: Vec<(String, String)> = {
            let mut data = container.data();
            let networks = data.record.network.networks.iter_mut();
            networks
                .map(|(name, place)| {
                    if place.endpoint_id.is_empty() {
                        place.network_id = self.idle_network_id(name);
                        place.endpoint_id = random::id();
                    }
                    (name.clone(), place.network_id.clone())
                })
                .collect()
        };
        for (name, id) in told {
            self.network_event(&id, "connect", &name, &container.id);
        }
    }

    /// Tells what happened between the network `name` and a container.
    pub(super) fn network_event(&self, id: &str, action: &str, name: &str, container: &str) {
        let driver = match name {
            "none" => "null",
            "host" => "host",
            _ => "bridge",
        };
        let attributes = [("container", container), ("name", name), ("type", driver)];
        let attributes = attributes.map(|(key, value)| (key.to_string(), value.to_string()));
        self.events.publish("network", action, id, BTreeMap::from(attributes));
    }

    /// The id of a network that has no state: always the same for one data root.
    pub(super) fn idle_network_id(&self, name: &str) -> String {
        Digest::of(format!("{}/{name}", self.settings.id).as_bytes()).hex()
    }
}
