//! nf_tables over netlink: everything of a change in one transaction.
//!
//! A [`Transaction`] is a batch between a begin and an end marker; the kernel takes all of it or
//! nothing, and packets see the old rules or the new ones. Rules are built in `rule`.
//!
//! Spec: linux/netfilter/nf_tables.h; nftables(8) for what the rules mean.

use super::msg::{
    Batch, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, Open, Socket, attributes, str_of,
};
use super::rule::verdict_data;
pub use super::rule::{CT_STATE_ESTABLISHED_RELATED, CT_STATUS_DNAT, Meta, R0, R1, R2, R3, Rule};
use crate::base::Result;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFNETLINK_V0: u8 = 0;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const GETSETELEM: u16 = 13;
const DELSETELEM: u16 = 14;

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    pub(super) fn number(self) -> u8 {
        match self {
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }
}

/// Where a base chain hooks into the stack (NF_INET_ numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// Forwarded packets.
    Forward = 2,
    /// Packets of this host's own processes.
    Output = 3,
    /// After routing.
    Postrouting = 4,
}

/// Whether and where a chain is called by the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Hook.
    pub hook: Hook,
    /// Order among the chains of the hook.
    pub priority: i32,
    /// Whether a packet that reaches the end is dropped.
    pub drop: bool,
}

/// Data types as `nft list` names them.
pub mod types {
    /// `ipv4_addr`.
    pub const IPV4: u32 = 7;
    /// `inet_proto`.
    pub const PROTO: u32 = 12;
    /// `inet_service`.
    pub const SERVICE: u32 = 13;
    /// `ifname`.
    pub const IFNAME: u32 = 41;
    /// A verdict, as the value of a map.
    pub const VERDICT: u32 = 0xffff_ff00;

    /// The type of a concatenation.
    pub const fn concat(parts: &[u32]) -> u32 {
        let (mut all, mut i) = (0, 0);
        while i < parts.len() {
            all = all << 6 | parts[i];
            i += 1;
        }
        all
    }
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Passes this hook.
    Accept,
    /// Ends here.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Into another chain and back.
    Jump(&'a str),
}

/// A named set or map.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Name.
    pub name: &'a str,
    /// Type of the key, see [`types`].
    pub key_type: u32,
    /// Size of the key in bytes, parts padded.
    pub key_bytes: u32,
    /// Type and size of the value for a map; the size of a verdict is 16 as nft writes it.
    pub value: Option<(u32, u32)>,
}

/// The value of a map's element.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Bytes.
    Data(Vec<u8>),
    /// A verdict.
    Verdict(Verdict<'a>),
}

/// An interface name as nf_tables compares it: padded to 16 bytes.
pub fn ifname(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    let n = name.len().min(15);
    padded[..n].copy_from_slice(&name.as_bytes()[..n]);
    padded
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, NFNETLINK_V0, high, low]
}

/// Changes of one table that are taken together.
#[derive(Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    family: Family,
    table: &'a str,
    messages: usize,
    set_id: u32,
}

impl<'a> Transaction<'a> {
    /// An empty transaction on the table.
    pub fn new(family: Family, table: &'a str) -> Transaction<'a> {
        let mut batch = Batch::new();
        let what = "beginning packet filter change";
        let m = batch.begin(NFNL_MSG_BATCH_BEGIN, 0, &header(0, NFNL_SUBSYS_NFTABLES), what);
        batch.end(m);
        Transaction { batch, family, table, messages: 1, set_id: 0 }
    }

    fn begin(&mut self, kind: u16, flags: u16, what: String) -> Open {
        self.messages += 1;
        let header = header(self.family.number(), 0);
        self.batch.begin(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, &header, what)
    }

    /// Makes the table, or leaves it as it is.
    pub fn add_table(&mut self) {
        let m = self.begin(NEWTABLE, NLM_F_CREATE, format!("creating table {}", self.table));
        self.batch.attr_str(1, self.table);
        self.batch.end(m);
    }

    /// Removes the table with all it holds. Fails if it is not there.
    pub fn delete_table(&mut self) {
        let m = self.begin(DELTABLE, 0, format!("deleting table {}", self.table));
        self.batch.attr_str(1, self.table);
        self.batch.end(m);
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, name: &str, base: Option<Base>) {
        let m = self.begin(NEWCHAIN, NLM_F_CREATE, format!("creating chain {name}"));
        self.batch.attr_str(1, self.table);
        self.batch.attr_str(3, name);
        if let Some(base) = base {
            let hook = self.batch.nest(4);
            self.batch.attr_be32(1, base.hook as u32);
            self.batch.attr_be32(2, base.priority.cast_unsigned());
            self.batch.end_nest(hook);
            self.batch.attr_be32(5, u32::from(!base.drop));
            self.batch.attr_str(7, base.kind);
        }
        self.batch.end(m);
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        let m = self.begin(NEWRULE, flags, format!("adding rule to chain {chain}"));
        self.batch.attr_str(1, self.table);
        self.batch.attr_str(2, chain);
        let list = self.batch.nest(4);
        for (name, data) in rule.expressions() {
            let element = self.batch.nest(1);
            self.batch.attr_str(1, name);
            self.batch.attr(2 | 1 << 15, data);
            self.batch.end_nest(element);
        }
        self.batch.end_nest(list);
        self.batch.end(m);
    }

    /// Makes a set or map.
    pub fn add_set(&mut self, set: &Set<'_>) {
        self.set_id += 1;
        let id = self.set_id;
        let m = self.begin(NEWSET, NLM_F_CREATE, format!("creating set {}", set.name));
        self.batch.attr_str(1, self.table);
        self.batch.attr_str(2, set.name);
        const MAP: u32 = 8;
        self.batch.attr_be32(3, if set.value.is_some() { MAP } else { 0 });
        self.batch.attr_be32(4, set.key_type);
        self.batch.attr_be32(5, set.key_bytes);
        if let Some((kind, bytes)) = set.value {
            self.batch.attr_be32(6, kind);
            self.batch.attr_be32(7, bytes);
        }
        self.batch.attr_be32(10, id);
        if set.key_type == types::IFNAME {
            // Only for nft(8), which shows names wrongly unless it is told their byte order:
            // user data type 0 (key byte order), four bytes, 1 (the host's).
            let mut user_data = vec![0, 4];
            user_data.extend(1u32.to_ne_bytes());
            self.batch.attr(13, &user_data);
        }
        self.batch.end(m);
    }

    /// Adds elements to a set or map; one that is there with the same value is left.
    pub fn add_elements(&mut self, set: &str, elements: &[(Vec<u8>, Option<Value<'_>>)]) {
        self.elements(NEWSETELEM, NLM_F_CREATE, set, elements);
    }

    /// Removes elements by key. Fails if one is not there.
    pub fn delete_elements(&mut self, set: &str, keys: &[Vec<u8>]) {
        let elements: Vec<_> = keys.iter().map(|key| (key.clone(), None)).collect();
        self.elements(DELSETELEM, 0, set, &elements);
    }

    fn elements(
        &mut self,
        kind: u16,
        flags: u16,
        set: &str,
        elements: &[(Vec<u8>, Option<Value<'_>>)],
    ) {
        // The list is one attribute, whose length has 16 bits.
        const PER_MESSAGE: usize = 500;
        for part in elements.chunks(PER_MESSAGE) {
            let verb = if kind == NEWSETELEM { "adding to" } else { "deleting from" };
            let m = self.begin(kind, flags, format!("{verb} set {set}"));
            self.batch.attr_str(1, self.table);
            self.batch.attr_str(2, set);
            let list = self.batch.nest(3);
            for (key, value) in part {
                let element = self.batch.nest(1);
                let nest = self.batch.nest(1);
                self.batch.attr(1, key);
                self.batch.end_nest(nest);
                if let Some(value) = value {
                    let nest = self.batch.nest(2);
                    match value {
                        Value::Data(bytes) => self.batch.attr(1, bytes),
                        Value::Verdict(verdict) => {
                            let bytes = verdict_data(*verdict);
                            self.batch.attr(2 | 1 << 15, &bytes);
                        }
                    }
                    self.batch.end_nest(nest);
                }
                self.batch.end_nest(element);
            }
            self.batch.end_nest(list);
            self.batch.end(m);
        }
    }

    /// Sends it; all of it is in force on return, or nothing.
    ///
    /// # Errors
    /// The first refusal with the kernel's words. EOPNOTSUPP, ENOENT on a new chain or rule: the kernel
    /// lacks an expression or hook.
    pub fn commit(mut self, socket: &mut Socket) -> Result<()> {
        let what = "ending packet filter change";
        let m = self.batch.begin(NFNL_MSG_BATCH_END, 0, &header(0, NFNL_SUBSYS_NFTABLES), what);
        self.batch.end(m);
        // Markers are not acknowledged; the last change is, once the whole batch was tried.
        let last = self.messages - 1;
        self.batch.add_flags(last, NLM_F_ACK);
        if last == 0 {
            return Ok(());
        }
        socket.execute_until(self.batch, last, true)
    }
}

impl Socket {
    /// Opens a netfilter socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// `Io`; EPROTONOSUPPORT where the kernel has no nfnetlink.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(libc::NETLINK_NETFILTER)
    }

    /// Names of the tables of a family.
    ///
    /// # Errors
    /// `Io`; EINVAL or EOPNOTSUPP where the kernel has no nf_tables.
    pub fn tables(&mut self, family: Family) -> Result<Vec<String>> {
        let mut batch = Batch::new();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | GETTABLE;
        let m = batch.begin(kind, NLM_F_DUMP, &header(family.number(), 0), "listing tables");
        batch.end(m);
        let mut names = Vec::new();
        self.query(batch, |message| {
            let attrs = attributes(message.payload.get(4..).unwrap_or_default());
            names.extend(attrs.filter(|(kind, _)| *kind == 1).map(|(_, value)| str_of(value)));
        })?;
        Ok(names)
    }

    /// Keys of a set's elements.
    ///
    /// # Errors
    /// ENOENT if table or set are not there.
    pub fn element_keys(&mut self, family: Family, table: &str, set: &str) -> Result<Vec<Vec<u8>>> {
        let mut batch = Batch::new();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | GETSETELEM;
        let what = format!("listing set {set}");
        let m = batch.begin(kind, NLM_F_DUMP, &header(family.number(), 0), what);
        batch.attr_str(1, table);
        batch.attr_str(2, set);
        batch.end(m);
        let mut keys = Vec::new();
        self.query(batch, |message| {
            let payload = message.payload.get(4..).unwrap_or_default();
            for (_, list) in attributes(payload).filter(|(kind, _)| *kind == 3) {
                for (_, element) in attributes(list) {
                    let key = attributes(element).find(|(kind, _)| *kind == 1);
                    let value = key.and_then(|(_, key)| attributes(key).next());
                    keys.extend(value.map(|(_, bytes)| bytes.to_vec()));
                }
            }
        })?;
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::testing::in_netns;

    #[test]
    fn a_refused_part_leaves_nothing_of_the_transaction() {
        in_netns(|| {
            let mut socket = Socket::netfilter().unwrap();
            let mut t = Transaction::new(Family::Ip, "multi-test");
            t.add_table();
            t.add_chain("ports", None);
            t.add_rule("absent", &Rule::new().verdict(Verdict::Drop));
            let e = t.commit(&mut socket).unwrap_err();
            assert!(e.to_string().contains("adding rule to chain absent"), "{e}");
            assert_eq!(e.errno(), Some(libc::ENOENT));
            assert!(socket.tables(Family::Ip).unwrap().is_empty());
        });
    }

    #[test]
    fn elements_come_and_go_by_the_thousand() {
        in_netns(|| {
            let mut socket = Socket::netfilter().unwrap();
            let keys: Vec<Vec<u8>> = (0u32..3000).map(|i| i.to_be_bytes().to_vec()).collect();
            let mut t = Transaction::new(Family::Ip, "multi-test");
            t.add_table();
            t.add_set(&Set { name: "s", key_type: types::IPV4, key_bytes: 4, value: None });
            t.add_elements("s", &keys.iter().map(|k| (k.clone(), None)).collect::<Vec<_>>());
            t.commit(&mut socket).unwrap();
            let mut found = socket.element_keys(Family::Ip, "multi-test", "s").unwrap();
            found.sort();
            assert_eq!(found, keys);
            let mut t = Transaction::new(Family::Ip, "multi-test");
            t.delete_elements("s", &keys[1..]);
            t.commit(&mut socket).unwrap();
            assert_eq!(socket.element_keys(Family::Ip, "multi-test", "s").unwrap(), keys[..1]);
            let mut t = Transaction::new(Family::Ip, "multi-test");
            t.delete_elements("s", &keys[1..2]);
            assert_eq!(t.commit(&mut socket).unwrap_err().errno(), Some(libc::ENOENT));
        });
    }
}
