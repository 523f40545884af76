//! Netlink: messages built and read here, many in one send, every answer checked.
//!
//! [`msg`] is the wire format and the socket, [`route`] links, addresses and routes (rtnetlink),
//! [`nft`] the packet filter (nf_tables), [`flows`] tracked connections. Netlink sockets belong to the network namespace they were
//! made in, whichever thread uses them later.
//!
//! Spec: RFC 3549; linux/netlink.h, linux/rtnetlink.h, linux/netfilter/nf_tables.h.

pub mod flows;
pub mod msg;
pub mod nft;
pub mod route;
mod rule;
#[cfg(test)]
pub(crate) mod testing;
mod watch;

pub use msg::{Batch, Socket};
