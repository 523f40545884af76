//! Networks of containers: sandboxes, endpoints, addresses, published ports, packet filter rules.
//!
//! A *sandbox* is a network namespace. An *endpoint* is a sandbox's place in a network: a veth pair
//! whose one end is a port of the bridge and whose other end is `eth0` inside, an address lease, and
//! the published ports. The [`Controller`] owns the networks of one daemon:
//!
//! ```text
//! Controller::open(Config, exec_root, data_root)   nothing is changed yet
//!   .restore(&[Endpoint], &[sandbox path], life)       after a restart: adopt what lives, sweep the rest
//!   .prepare()                                     bridge, sysctls, base rules; idempotent
//!   .sandbox(container_id) -> Sandbox              new namespace, bound at <exec-root>/netns/<12 hex>
//!   .connect(&Sandbox, &EndpointRequest) -> Endpoint
//!   .disconnect(&Endpoint)                         ports and address are free on return; the rest follows
//!   .remove_sandbox(&Sandbox)                      in the background
//! ```

pub mod address;
mod bridge;
mod cleaner;
pub mod config;
mod controller;
pub mod endpoint;
pub mod files;
mod firewall;
mod ipam;
mod portmap;
pub mod proxy;
mod restore;
pub mod sandbox;
mod sysctl;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use address::{Cidr, Mac};
pub use bridge::{NETWORK_NAME, Network};
pub use config::{Config, FirewallBackend};
pub use controller::Controller;
pub use endpoint::{Endpoint, EndpointRequest, PortBinding, Protocol, PublishedPort};
pub use files::DnsOptions;
pub use firewall::Exception;
pub use sandbox::Sandbox;
