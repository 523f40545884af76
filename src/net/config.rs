//! What the daemon's options say about networks.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use super::address::Cidr;
use crate::base::{Error, Result};

/// Name of the bridge that the daemon makes itself.
pub const DEFAULT_BRIDGE: &str = "docker0";

/// Gives the path of the executable that the userland proxy is started from; a sealed copy of the
/// running one (`/proc/self/fd/N`), so that no container can reach the host's file through the proxy.
/// Called once per proxy, on the connecting thread.
pub type Executable = Arc<dyn Fn() -> Result<PathBuf> + Send + Sync>;

/// Which back end writes packet filter rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirewallBackend {
    /// nftables where the kernel has nf_tables with what is needed, else the iptables program.
    #[default]
    Auto,
    /// nf_tables over netlink, in a table of our own.
    Nftables,
    /// The iptables program, with Docker's chains.
    Iptables,
}

/// Options of the default network. Every field works as its comment says; nothing is accepted and ignored.
#[derive(Clone)]
pub struct Config {
    /// `-b`: empty makes and owns `docker0`; `none` means no default network; another name is a
    /// bridge of the administrator, which must exist and have an IPv4 address and is not changed.
    pub bridge: String,
    /// `--bip`: address and subnet of `docker0`. Not together with another bridge than `docker0`.
    pub bip: Option<Cidr>,
    /// `--fixed-cidr`: the part of the subnet that container addresses come from.
    pub fixed_cidr: Option<Cidr>,
    /// `--default-gateway`: gateway of containers instead of the bridge's address; inside the subnet.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--mtu`: 0 takes the kernel's default, 1500.
    pub mtu: u32,
    /// `--icc`: whether containers of the default bridge reach each other. False needs `iptables` and
    /// a kernel with br_netfilter.
    pub icc: bool,
    /// `--ip`: host address of ports published without one.
    pub ip: Ipv4Addr,
    /// `--ip-forward`: switch `net.ipv4.ip_forward` on. If it was off before, the host is kept from
    /// becoming a router: forwarding that is not a container's is dropped, unless `forward_no_drop`.
    pub ip_forward: bool,
    /// `--ip-forward-no-drop`.
    pub ip_forward_no_drop: bool,
    /// `--ip-masq`: source NAT of traffic that leaves the bridge.
    pub ip_masq: bool,
    /// `--iptables`: false writes no packet filter rule at all, whichever the back end.
    pub iptables: bool,
    /// `--userland-proxy`: a proxy process for traffic of the host itself and of containers to
    /// published ports; false uses NAT alone (route_localnet for loopback).
    pub userland_proxy: bool,
    /// `--firewall-backend`.
    pub firewall_backend: FirewallBackend,
    /// `--default-address-pool`: subnets tried in order for `docker0`, each `(base, size)`.
    pub address_pools: Vec<(Cidr, u8)>,
    /// What userland proxies are started from.
    pub executable: Executable,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bridge: String::new(),
            bip: None,
            fixed_cidr: None,
            default_gateway: None,
            mtu: 0,
            icc: true,
            ip: Ipv4Addr::UNSPECIFIED,
            ip_forward: true,
            ip_forward_no_drop: false,
            ip_masq: true,
            iptables: true,
            userland_proxy: true,
            firewall_backend: FirewallBackend::Auto,
            address_pools: default_pools(),
            executable: Arc::new(|| Ok(PathBuf::from("/proc/self/exe"))),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bridge", &self.bridge)
            .field("bip", &self.bip)
            .field("firewall_backend", &self.firewall_backend)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Refuses combinations that cannot be meant.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn check(&self) -> Result<()> {
        if !self.bridge.is_empty() && self.bridge != DEFAULT_BRIDGE && self.bip.is_some() {
            return Err(Error::invalid(
                "You specified -b & --bip, mutually exclusive options. Please specify only one",
            ));
        }
        if !self.iptables && !self.icc {
            return Err(Error::invalid(
                "You specified --iptables=false with --icc=false. ICC=false uses iptables to function. \
                 Please set --icc or --iptables to true",
            ));
        }
        if let (Some(bip), Some(part)) = (self.bip, self.fixed_cidr) {
            check_fixed_cidr(bip, part)?;
        }
        if let (Some(bip), Some(gateway)) = (self.bip, self.default_gateway) {
            check_gateway(bip, gateway)?;
        }
        Ok(())
    }

    /// Whether there is a default network at all.
    pub fn has_bridge(&self) -> bool {
        self.bridge != "none"
    }

    /// Name of the bridge interface.
    pub fn bridge_name(&self) -> &str {
        if self.bridge.is_empty() { DEFAULT_BRIDGE } else { &self.bridge }
    }

    /// Whether the bridge is ours to make and to change.
    pub fn owns_bridge(&self) -> bool {
        self.bridge_name() == DEFAULT_BRIDGE
    }
}

/// # Errors
/// `InvalidParameter` if `part` is not inside the subnet.
pub(super) fn check_fixed_cidr(subnet: Cidr, part: Cidr) -> Result<()> {
    if part.prefix >= subnet.prefix && subnet.contains(part.first()) {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "invalid fixed-cidr {}: it is not inside the bridge subnet {}",
        part.network(),
        subnet.network()
    )))
}

/// # Errors
/// `InvalidParameter` if `gateway` is not inside the subnet.
pub(super) fn check_gateway(subnet: Cidr, gateway: Ipv4Addr) -> Result<()> {
    if subnet.contains(gateway) {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "default gateway {gateway} is not inside the bridge subnet {}",
        subnet.network()
    )))
}

/// Docker's pools: 172.17/16 to 172.31/16, then 192.168/16 in parts of 4096 addresses.
pub fn default_pools() -> Vec<(Cidr, u8)> {
    let pool = |a, b, prefix, size| (Cidr::new(Ipv4Addr::new(a, b, 0, 0), prefix), size);
    vec![
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_exclude_each_other_are_refused() {
        let cidr = |s| Some(Cidr::parse(s).unwrap());
        assert!(Config::default().check().is_ok());
        let both = Config { bridge: "br0".into(), bip: cidr("10.0.0.1/24"), ..Config::default() };
        assert!(both.check().unwrap_err().to_string().contains("-b & --bip"));
        let blind = Config { icc: false, iptables: false, ..Config::default() };
        assert!(blind.check().unwrap_err().to_string().contains("--icc=false"));
        let outside = Config {
            bip: cidr("10.0.0.1/24"),
            fixed_cidr: cidr("10.0.1.0/25"),
            ..Config::default()
        };
        assert!(outside.check().unwrap_err().to_string().contains("fixed-cidr"));
        let gateway = Config {
            bip: cidr("10.0.0.1/24"),
            default_gateway: Some(Ipv4Addr::new(10, 0, 1, 1)),
            ..Config::default()
        };
        assert!(gateway.check().unwrap_err().to_string().contains("default gateway"));
    }
}
