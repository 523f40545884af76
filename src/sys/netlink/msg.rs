//! The netlink wire format: a builder for batches of messages, a reader, and a checked socket.
//!
//! A batch goes out in one sendmsg(2); the kernel works through its messages in order and goes on after
//! one that fails, so a batch holds only messages that do no harm when an earlier one failed. Only the
//! last message asks for an acknowledgement: failures are reported without being asked for, and arrive
//! in order, so that one answer ends the wait.
//!
//! Spec: linux/netlink.h. Extended acknowledgements since Linux 4.12; without them the kernel's words
//! for the errno are the whole message.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::base::{At, Error, Result};

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// First message type that belongs to a protocol.
const NLMSG_MIN_TYPE: u16 = 16;

/// The message asks for something.
pub const NLM_F_REQUEST: u16 = 0x01;
/// More parts follow.
pub const NLM_F_MULTI: u16 = 0x02;
/// Answer also on success.
pub const NLM_F_ACK: u16 = 0x04;
/// All objects, not one.
pub const NLM_F_DUMP: u16 = 0x300;
/// Take the place of an existing object.
pub const NLM_F_REPLACE: u16 = 0x100;
/// Fail if the object exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Make the object.
pub const NLM_F_CREATE: u16 = 0x400;
/// Add at the end of a list.
pub const NLM_F_APPEND: u16 = 0x800;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSGERR_ATTR_MSG: u16 = 1;

const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A started message or nested attribute, to be ended in the reverse order of beginning.
#[must_use = "an attribute that is not ended has length zero"]
#[derive(Debug)]
pub struct Open(usize);

/// Messages that travel together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each message starts, with what it is for in error texts.
    starts: Vec<(usize, String)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Size of all messages so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Starts a message of type `kind` with the protocol's fixed header; `what` says in error texts
    /// what it does (`creating veth pair x`).
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8], what: impl Into<String>) -> Open {
        let start = self.bytes.len();
        self.starts.push((start, what.into()));
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        self.pad();
        Open(start)
    }

    /// Ends a message.
    pub fn end(&mut self, message: Open) {
        let length = u32::try_from(self.bytes.len() - message.0).unwrap_or(u32::MAX);
        self.bytes[message.0..message.0 + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// Adds a text attribute with its closing zero byte.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Adds a number in the host's byte order, as rtnetlink wants it.
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Adds a number in network byte order, as nf_tables wants it.
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Starts an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16) -> Open {
        let start = self.bytes.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        Open(start)
    }

    /// Adds bytes as they are, for the fixed header that some nested attributes start with.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// Ends a nested attribute.
    pub fn end_nest(&mut self, nest: Open) {
        let length = u16::try_from(self.bytes.len() - nest.0).unwrap_or(u16::MAX);
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn number(&mut self, first: u32) -> u32 {
        let mut sequence = first;
        for (start, _) in &self.starts {
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
        sequence
    }

    pub(super) fn add_flags(&mut self, index: usize, flags: u16) {
        let at = self.starts[index].0 + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }
}

/// One received message, without the netlink header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Message type.
    pub kind: u16,
    /// Fixed header and attributes.
    pub payload: &'a [u8],
}

/// Iterates over the attributes in `bytes`: type without flags, and value. Stops at damage.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number in the host's byte order at the start of an attribute's value; 0 if it is too short.
pub fn u32_of(value: &[u8]) -> u32 {
    value.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The text of an attribute's value, without closing zero bytes.
pub fn str_of(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A netlink socket. One request at a time.
#[derive(Debug)]
pub struct Socket {
    pub(super) fd: OwnedFd,
    sequence: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_option(fd: &OwnedFd, level: i32, name: i32, value: i32) -> Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: the pointer and size describe `value`, which lives through the call.
    let rc =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if rc == 0 { Ok(()) } else { Err(Error::last_os()) }
}

impl Socket {
    /// Opens a socket of `protocol` (`libc::NETLINK_ROUTE`...) in the calling thread's network namespace.
    ///
    /// # Errors
    /// `Io`; EPROTONOSUPPORT means that the kernel lacks the protocol.
    pub fn open(protocol: i32) -> Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(Error::last_os()).at("opening netlink socket");
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Both only improve error texts: CAP_ACK (4.3) drops the echoed request, EXT_ACK (4.12) adds words.
        let _ = set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        let _ = set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        Ok(Socket { fd, sequence: 1 })
    }

    /// Subscribes to a multicast group.
    ///
    /// # Errors
    /// `Io`.
    pub fn join(&self, group: u32) -> Result<()> {
        // A socket that has sent nothing has no address yet, and then gets no news either.
        let family = libc::sa_family_t::try_from(libc::AF_NETLINK).unwrap_or(16);
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_nl>()).unwrap_or(12);
        // SAFETY: sockaddr_nl is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = family;
        // SAFETY: pointer and size describe `address`, which lives through the call.
        let rc = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), size) };
        if rc != 0 {
            return Err(Error::last_os()).at("binding netlink socket");
        }
        let group = i32::try_from(group).map_err(|_| Error::from_errno(libc::EINVAL))?;
        set_option(&self.fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
            .at("subscribing to netlink group")
    }

    fn send(&mut self, batch: &mut Batch) -> Result<u32> {
        let first = self.sequence;
        self.sequence = batch.number(first).max(1);
        // A transaction may be larger than the default buffer (212992 bytes); FORCE needs CAP_NET_ADMIN,
        // which whoever changes networks has.
        if batch.bytes.len() > 100 * 1024 {
            let size = i32::try_from(batch.bytes.len() * 2).unwrap_or(i32::MAX);
            let _ = set_option(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size);
        }
        // SAFETY: pointer and length describe the batch's bytes, which live through the call.
        let sent = unsafe {
            libc::send(self.fd.as_raw_fd(), batch.bytes.as_ptr().cast(), batch.bytes.len(), 0)
        };
        if sent < 0 {
            return Err(Error::last_os()).at("sending netlink message");
        }
        Ok(first)
    }

    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        loop {
            // SAFETY: pointer and length describe `buffer`, which is writable through the call.
            let n = unsafe {
                libc::recv(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_TRUNC,
                )
            };
            match usize::try_from(n) {
                Ok(n) if n > buffer.len() => {
                    return Err(Error::from_errno(libc::EMSGSIZE)).at("receiving netlink message");
                }
                Ok(n) => return Ok(&buffer[..n]),
                Err(_) => {
                    let e = Error::last_os();
                    if e.errno() != Some(libc::EINTR) {
                        return Err(e).at("receiving netlink message");
                    }
                }
            }
        }
    }

    /// Sends the batch and waits until all of it was worked through.
    ///
    /// # Errors
    /// The first failure, after all messages were tried, with the kernel's own words where it has any.
    pub fn execute(&mut self, mut batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let last = batch.starts.len() - 1;
        batch.add_flags(last, NLM_F_ACK);
        self.execute_until(batch, last, false)
    }

    /// The same where message `last` is the one whose acknowledgement ends the wait. In a transaction
    /// a refusal of the first message, its marker, ends it too: nothing after it was looked at.
    pub(super) fn execute_until(
        &mut self,
        mut batch: Batch,
        last: usize,
        transaction: bool,
    ) -> Result<()> {
        let first = self.send(&mut batch)?;
        let mut failure = None;
        let mut buffer = [0u8; 8192];
        loop {
            let received = self.receive(&mut buffer)?;
            for (kind, _, sequence, payload) in messages(received) {
                let index = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if kind != NLMSG_ERROR || index >= batch.starts.len() {
                    continue;
                }
                if let Err(e) = read_ack(payload)
                    && failure.is_none()
                {
                    failure = Some(e.at(&batch.starts[index].1));
                }
                if index >= last || transaction && index == 0 {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends one request and gives every object of the answer to `each`.
    ///
    /// # Errors
    /// `Io`; EINTR if the set changed while it was read (ask again).
    pub fn query(&mut self, mut batch: Batch, mut each: impl FnMut(Message<'_>)) -> Result<()> {
        let first = self.send(&mut batch)?;
        let what = &batch.starts[0].1;
        // The kernel sizes the parts of a dump by the reader's buffer, up to this.
        let mut buffer = vec![0u8; 32 * 1024];
        let mut interrupted = false;
        loop {
            let received = self.receive(&mut buffer).at(what)?;
            for (kind, flags, sequence, payload) in messages(received) {
                if sequence != first {
                    continue;
                }
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match kind {
                    NLMSG_ERROR => return read_ack(payload).at(what),
                    NLMSG_DONE if interrupted => {
                        return Err(Error::from_errno(libc::EINTR)).at(what);
                    }
                    NLMSG_DONE => return Ok(()),
                    kind if kind >= NLMSG_MIN_TYPE => {
                        each(Message { kind, payload });
                        if flags & NLM_F_MULTI == 0 {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Type, flags, sequence and payload of each message in a datagram.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32_of(rest.get(..HEADER_BYTES)?) as usize;
        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
        let flags = u16::from_ne_bytes([rest[6], rest[7]]);
        let sequence = u32_of(&rest[8..]);
        let payload = rest.get(HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, sequence, payload))
    })
}

/// An acknowledgement: error code, the request's header (or, before 4.3, the request), attributes.
fn read_ack(payload: &[u8]) -> Result<()> {
    let code =
        i32::from_ne_bytes(payload.get(..4).and_then(|b| b.try_into().ok()).unwrap_or([0; 4]));
    if code == 0 {
        return Ok(());
    }
    let e = Error::from_errno(-code);
    // CAP_ACK is always on, so the attributes follow the echoed header at once.
    let words = payload.get(4 + HEADER_BYTES..).and_then(|tlvs| {
        attributes(tlvs).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, v)| str_of(v))
    });
    Err(match words {
        Some(words) if !words.is_empty() => e.at(words),
        _ => e,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut b = Batch::new();
        let m = b.begin(16, NLM_F_ACK, &[1, 2, 3, 4], "testing");
        b.attr_str(3, "eth0");
        let n = b.nest(18);
        b.attr_u32(1, 7);
        b.end_nest(n);
        b.end(m);
        b.number(42);
        let all: Vec<_> = messages(&b.bytes).collect();
        assert_eq!(all.len(), 1);
        let (kind, flags, sequence, payload) = all[0];
        assert_eq!((kind, flags, sequence), (16, NLM_F_ACK | NLM_F_REQUEST, 42));
        let attrs: Vec<_> = attributes(&payload[4..]).collect();
        assert_eq!(attrs[0], (3, &b"eth0\0"[..]));
        assert_eq!(attributes(attrs[1].1).next(), Some((1, &7u32.to_ne_bytes()[..])));
    }

    #[test]
    fn damaged_input_ends_the_iteration() {
        assert_eq!(attributes(&[200, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(messages(&[255; 20]).count(), 0);
        assert_eq!(messages(&[16, 0, 0, 0]).count(), 0);
    }

    #[test]
    fn refusals_carry_the_kernels_words() {
        let mut payload = (-libc::ENODEV).to_ne_bytes().to_vec();
        payload.extend([0; HEADER_BYTES]);
        payload.extend([8, 0, 1, 0, b'n', b'o', b'!', 0]);
        let e = read_ack(&payload).unwrap_err();
        assert_eq!(e.to_string(), "no!: no such device");
        assert_eq!(e.errno(), Some(libc::ENODEV));
    }
}
