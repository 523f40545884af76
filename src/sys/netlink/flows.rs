//! The kernel's memory of connections: ending those that a change of ports has made wrong.
//!
//! A flow that was seen once goes on as it was translated then, whatever the rules say since: packets of a
//! udp client that keeps its port would go to a container that is gone, or to no container at all.
//!
//! Spec: linux/netfilter/nfnetlink_conntrack.h.

use std::net::Ipv4Addr;

use super::msg::{NLM_F_DUMP, attributes};
use super::{Batch, Socket};
use crate::base::{Error, Result};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const NESTED: u16 = 1 << 15;
/// Version and resource id follow the family.
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];
/// How often a list that changed while it was read is read again.
const TRIES: u32 = 3;

/// Where the first packet of an IPv4 flow went, before any translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Protocol number.
    pub protocol: u8,
    /// Destination.
    pub address: Ipv4Addr,
    /// Destination port; 0 for protocols without ports.
    pub port: u16,
}

impl Socket {
    /// Makes the kernel forget the flows that `wanted` picks, so that their next packets are looked at
    /// anew; how many. On a netfilter socket.
    ///
    /// # Errors
    /// `Io`; EINVAL or EOPNOTSUPP where the kernel tracks no connections, or cannot tell of them.
    pub fn forget_flows(&mut self, wanted: &dyn Fn(Flow) -> bool) -> Result<usize> {
        let mut forgotten = 0;
        for _ in 0..TRIES {
            let mut found = Batch::new();
            let mut count = 0;
            let mut list = Batch::new();
            let what = "listing tracked connections";
            let m = list.begin(SUBSYSTEM << 8 | GET, NLM_F_DUMP, &HEADER, what);
            list.end(m);
            let listed = self.query(list, |message| {
                let entry = message.payload.get(HEADER.len()..).unwrap_or_default();
                if flow_of(entry).is_some_and(wanted) {
                    add_delete(&mut found, entry);
                    count += 1;
                }
            });
            match self.execute(found) {
                // It ended by itself.
                Err(e) if e.errno() == Some(libc::ENOENT) => {}
                result => result?,
            }
            forgotten += count;
            match listed {
                Err(e) if e.errno() == Some(libc::EINTR) => {}
                result => return result.map(|()| forgotten),
            }
        }
        Ok(forgotten)
    }
}

fn flow_of(entry: &[u8]) -> Option<Flow> {
    let get = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
    let tuple = get(entry, TUPLE_ORIG)?;
    let (ip, transport) = (get(tuple, 1)?, get(tuple, 2)?);
    let address: [u8; 4] = get(ip, 2)?.try_into().ok()?;
    let port =
        get(transport, 3).and_then(|port| port.try_into().ok()).map_or(0, u16::from_be_bytes);
    Some(Flow { protocol: *get(transport, 1)?.first()?, address: address.into(), port })
}

/// The request to delete an entry: its own first tuple, and what tells it from others of that tuple.
fn add_delete(batch: &mut Batch, entry: &[u8]) {
    let kind = SUBSYSTEM << 8 | DELETE;
    let m = batch.begin(kind, 0, &HEADER, "forgetting a tracked connection");
    for (kind, value) in attributes(entry) {
        match kind {
            TUPLE_ORIG => batch.attr(TUPLE_ORIG | NESTED, value),
            ID | ZONE => batch.attr(kind, value),
            _ => {}
        }
    }
    batch.end(m);
}

/// Whether `e` says that this kernel does not track connections, which is no failure to forget them.
pub fn is_untracked(e: &Error) -> bool {
    matches!(e.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT))
}
