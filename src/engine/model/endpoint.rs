//! The place of a container in a network, asked for and given.
//!
//! Spec: Docker Engine API 1.51, NetworkingConfig and EndpointSettings.

use std::collections::BTreeMap;

use crate::base::json::TextMap;
use crate::wire;

wire! {
    /// The networks a container shall be in when it starts.
    pub struct NetworkingConfig {
        "EndpointsConfig" keep endpoints_config: BTreeMap<String, EndpointSettings>,
    }
}

wire! {
    /// A container in a network: what was asked for and what it got.
    pub struct EndpointSettings {
        "IPAMConfig" keep ipam_config: Option<EndpointIpam>,
        "Links" keep links: Option<Vec<String>>,
        "Aliases" keep aliases: Option<Vec<String>>,
        "MacAddress" keep mac_address: String,
        "DriverOpts" keep driver_opts: Option<TextMap>,
        "GwPriority" keep gw_priority: i64,
        "NetworkID" keep network_id: String,
        "EndpointID" keep endpoint_id: String,
        "Gateway" keep gateway: String,
        "IPAddress" keep ip_address: String,
        "IPPrefixLen" keep ip_prefix_len: i64,
        "IPv6Gateway" keep ipv6_gateway: String,
        "GlobalIPv6Address" keep global_ipv6_address: String,
        "GlobalIPv6PrefixLen" keep global_ipv6_prefix_len: i64,
        "DNSNames" keep dns_names: Option<Vec<String>>,
    }
}

wire! {
    /// Addresses that were asked for.
    pub struct EndpointIpam {
        "IPv4Address" omit ipv4_address: String,
        "IPv6Address" omit ipv6_address: String,
        "LinkLocalIPs" omit link_local_ips: Vec<String>,
    }
}
