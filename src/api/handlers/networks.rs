//! Networks over HTTP: those that every engine has can be seen.

use crate::api::types::network::{EndpointResource, Ipam, IpamConfig, Network, PruneReport};
use crate::api::{Call, filters};
use crate::base::Result;
use crate::engine::networks::{self, Member};
use crate::http::{Request, Response};

/// Filters of the list.
const LIST_FILTERS: &[&str] =
    &["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];
/// Filters of prune.
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

fn shown(network: networks::Network) -> Network {
    let config = network.subnet.map(|subnet| IpamConfig {
        subnet: subnet.cidr,
        ip_range: subnet.range,
        gateway: subnet.gateway,
        ..IpamConfig::default()
    });
    Network {
        name: network.name.into(),
        id: network.id,
        created: network.created,
        scope: "local".into(),
        driver: network.driver.into(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".into(),
            options: None,
            config: Some(config.into_iter().collect()),
        },
        options: network.options,
        ..Network::default()
    }
}

fn resource(member: Member) -> (String, EndpointResource) {
    let place = member.place;
    let address = match place.ip_address.as_str() {
        "" => String::new(),
        address => format!("{address}/{}", place.ip_prefix_len),
    };
    let resource = EndpointResource {
        name: member.name,
        endpoint_id: place.endpoint_id,
        mac_address: place.mac_address,
        ipv4_address: address,
        ipv6_address: String::new(),
    };
    (member.id, resource)
}

/// `GET /networks`.
///
/// # Errors
/// `InvalidParameter` for unknown filters; `Unavailable` while the daemon starts.
pub fn list(call: &Call<'_>, request: &mut Request<'_>, response: &mut Response<'_>) -> Result<()> {
    let wanted = filters::parse(request.query.text("filters"))?;
    filters::require_known(&wanted, LIST_FILTERS)?;
    let dangling = filters::flag(&wanted, "dangling")?;
    let mut found = Vec::new();
    for network in call.engine.networks() {
        let any = |filter: &str, fits: &dyn Fn(&str) -> bool| {
            wanted.get(filter).is_none_or(|values| values.iter().any(|value| fits(value)))
        };
        // They have no labels, are nobody's own, and are never unused.
        if any("driver", &|value| network.driver == value)
            && any("id", &|value| network.id.starts_with(value))
            && any("name", &|value| network.name.contains(value))
            && any("scope", &|value| value == "local")
            && any("type", &|value| value == "builtin")
            && any("label", &|_| false)
            && dangling != Some(true)
        {
            found.push(shown(network));
        }
    }
    response.json(200, &found)
}

/// `GET /networks/{id}`.
///
/// # Errors
/// As `Engine::network`.
pub fn inspect(
    call: &Call<'_>,
    _request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let network = call.engine.network(call.param("id"))?;
    let members = call.engine.network_members(network.name)?;
    let containers = members.into_values().map(resource).collect();
    response.json(200, &Network { containers, ..shown(network) })
}

/// `POST /networks/prune`: there is never one that may go.
///
/// # Errors
/// `InvalidParameter` for unknown filters.
pub fn prune(
    _call: &Call<'_>,
    request: &mut Request<'_>,
    response: &mut Response<'_>,
) -> Result<()> {
    let wanted = filters::parse(request.query.text("filters"))?;
    filters::require_known(&wanted, PRUNE_FILTERS)?;
    response.json(200, &PruneReport::default())
}
