//! Networks, and the place of a container in them.
//!
//! Spec: Docker Engine API 1.51, Network, EndpointSettings, IPAM.

use std::collections::BTreeMap;

use super::TextMap;
use crate::base::time::Timestamp;
use crate::wire;

pub use crate::engine::model::endpoint::*;

wire! {
    /// How a network's addresses are managed.
    pub struct Ipam {
        "Driver" keep driver: String,
        "Options" keep options: Option<TextMap>,
        "Config" keep config: Option<Vec<IpamConfig>>,
    }
}

wire! {
    /// One subnet.
    pub struct IpamConfig {
        "Subnet" omit subnet: String,
        "IPRange" omit ip_range: String,
        "Gateway" omit gateway: String,
        "AuxiliaryAddresses" omit auxiliary_addresses: TextMap,
    }
}

wire! {
    /// A network as lists and inspect show it.
    pub struct Network {
        "Name" keep name: String,
        "Id" keep id: String,
        "Created" keep created: Timestamp,
        "Scope" keep scope: String,
        "Driver" keep driver: String,
        "EnableIPv4" keep enable_ipv4: bool,
        "EnableIPv6" keep enable_ipv6: bool,
        "IPAM" keep ipam: Ipam,
        "Internal" keep internal: bool,
        "Attachable" keep attachable: bool,
        "Ingress" keep ingress: bool,
        "ConfigFrom" keep config_from: ConfigReference,
        "ConfigOnly" keep config_only: bool,
        "Containers" keep containers: BTreeMap<String, EndpointResource>,
        "Options" keep options: TextMap,
        "Labels" keep labels: TextMap,
    }
}

wire! {
    /// The network whose configuration another one takes over.
    pub struct ConfigReference { "Network" keep network: String }
}

wire! {
    /// A container of a network's inspect.
    pub struct EndpointResource {
        "Name" keep name: String,
        "EndpointID" keep endpoint_id: String,
        "MacAddress" keep mac_address: String,
        "IPv4Address" keep ipv4_address: String,
        "IPv6Address" keep ipv6_address: String,
    }
}

wire! {
    /// The body of `POST /networks/create`.
    pub struct CreateRequest {
        "Driver" keep driver: String,
        "Scope" keep scope: String,
        "EnableIPv4" omit enable_ipv4: Option<bool>,
        "EnableIPv6" omit enable_ipv6: Option<bool>,
        "IPAM" keep ipam: Option<Ipam>,
        "Internal" keep internal: bool,
        "Attachable" keep attachable: bool,
        "Ingress" keep ingress: bool,
        "ConfigOnly" keep config_only: bool,
        "ConfigFrom" keep config_from: Option<ConfigReference>,
        "Options" keep options: Option<TextMap>,
        "Labels" keep labels: Option<TextMap>,
        "Name" keep name: String,
        "CheckDuplicate" omit check_duplicate: Option<bool>,
    }
}

wire! {
    /// The answer of `POST /networks/create`.
    pub struct CreateResponse {
        "Id" keep id: String,
        "Warning" keep warning: String,
    }
}

wire! {
    /// The answer of `POST /networks/prune`.
    pub struct PruneReport { "NetworksDeleted" keep networks_deleted: Option<Vec<String>> }
}

wire! {
    /// The body of `POST /networks/{id}/connect`.
    pub struct ConnectRequest {
        "Container" keep container: String,
        "EndpointConfig" omit endpoint_config: Option<EndpointSettings>,
    }
}

wire! {
    /// The body of `POST /networks/{id}/disconnect`.
    pub struct DisconnectRequest {
        "Container" keep container: String,
        "Force" keep force: bool,
    }
}
