//! The networks that every engine has: `bridge`, `host` and `none`, as clients list and inspect them.
//!
//! Spec: Docker Engine API 1.51, Network.

use std::collections::BTreeMap;

use super::Engine;
use super::model::endpoint::EndpointSettings;
use crate::base::json::TextMap;
use crate::base::time::Timestamp;
use crate::base::{Error, Result};

/// A network as it is at present.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// `bridge`, `host` or `none`.
    pub name: &'static str,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// When it was first made; zero for those that are nothing but a name.
    pub created: Timestamp,
    /// The addresses of the bridge; none for the others.
    pub subnet: Option<Subnet>,
    /// Docker's names of the bridge's options.
    pub options: TextMap,
}

/// Where a network's addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    /// Address and prefix length of all of it.
    pub cidr: String,
    /// The part that containers get addresses from, if not all of it.
    pub range: String,
    /// Where its containers send what is for elsewhere.
    pub gateway: String,
}

/// A running container in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its full id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// Its place.
    pub place: EndpointSettings,
}

impl Engine {
    /// All networks, the bridge first; it is missing with `--bridge=none`.
    pub fn networks(&self) -> Vec<Network> {
        let idle = |name, driver| Network {
            id: self.idle_network_id(name),
            name,
            driver,
            created: Timestamp::ZERO,
            subnet: None,
            options: TextMap::new(),
        };
        let bridge = self.net.network().map(|found| {
            let config = self.net.config();
            let options = [
                ("default_bridge", "true".into()),
                ("enable_icc", config.icc.to_string()),
                ("enable_ip_masquerade", config.ip_masq.to_string()),
                ("host_binding_ipv4", config.ip.to_string()),
                ("name", found.interface.clone()),
            ];
            let mut options: TextMap = options
                .into_iter()
                .map(|(key, value)| (format!("com.docker.network.bridge.{key}"), value))
                .collect();
            options.insert("com.docker.network.driver.mtu".into(), found.mtu.to_string());
            let subnet = Subnet {
                cidr: found.address.network().to_string(),
                range: found.range.map(|range| range.to_string()).unwrap_or_default(),
                gateway: found.gateway.to_string(),
            };
            Network {
                id: found.id,
                name: "bridge",
                driver: "bridge",
                created: found.created,
                subnet: Some(subnet),
                options,
            }
        });
        bridge.into_iter().chain([idle("host", "host"), idle("none", "null")]).collect()
    }

    /// The network with that name, id, or beginning of an id.
    ///
    /// # Errors
    /// `NotFound` with Docker's text; `InvalidParameter` if several ids begin so.
    pub fn network(&self, reference: &str) -> Result<Network> {
        let mut all = self.networks();
        let exact = |n: &Network| n.name == reference || n.id == reference;
        if let Some(at) = all.iter().position(exact) {
            return Ok(all.swap_remove(at));
        }
        all.retain(|network| !reference.is_empty() && network.id.starts_with(reference));
        if all.len() > 1 {
            return Err(Error::invalid(format_args!(
                "network {reference} is ambiguous ({} matches found based on ID prefix)",
                all.len()
            )));
        }
        all.pop().ok_or_else(|| Error::not_found(format_args!("network {reference} not found")))
    }

    /// The containers that run in the network `name`, by their ids.
    ///
    /// # Errors
    /// `Unavailable` while the daemon starts.
    pub fn network_members(&self, name: &str) -> Result<BTreeMap<String, Member>> {
        let mut members = BTreeMap::new();
        for container in self.containers()?.all() {
            let data = container.data();
            let place = data.record.network.networks.get(name);
            if let Some(place) = place.filter(|place| !place.endpoint_id.is_empty()) {
                let name = data.record.plain_name().to_string();
                let member = Member { id: container.id.clone(), name, place: place.clone() };
                members.insert(container.id.clone(), member);
            }
        }
        Ok(members)
    }
}
