//! What the programs in the kernel and this process read of one another; `gateway/bpf/layout.h` says the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use allowlist::Transport;

/// Bytes of one copied piece at most.
pub const PIECE_BYTES: usize = 2_048;
/// Bytes in front of a piece's data.
pub const PIECE_HEAD_BYTES: usize = 16;
/// The bit of a piece's length that says that the server sent it.
pub const PIECE_DOWN: u16 = 0x8000;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 128;
/// Bytes of a flow's key.
pub const KEY_BYTES: usize = 40;
/// Bytes of the key of an IPv4 flow in its own table.
pub const KEY4_BYTES: usize = 16;
/// Bytes that a name may have in the table of names, its length octet included.
pub const NAME_BYTES: usize = 256;
/// Names in that table.
pub const NAMES_MAX: u32 = 65_536;
/// Addresses of this machine that the programs can hold.
pub const OWN_MAX: usize = 4_096;
/// Bytes that are copied of a flow at most, until copying begins anew.
pub const COPIED_MAX: u32 = 32_768;
/// Words of one transport's led ports, 64 in each.
pub const PORT_WORDS: u32 = 1_024;

/// Where the bytes of a packet are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// Before the verdict.
    Pending,
    /// While it is exempt: packets bear the mark.
    Exempt,
    /// While it is not.
    Charged,
}

impl Bank {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Exempt, Self::Charged];

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Exempt => 1,
            Self::Charged => 2,
        }
    }
}

/// What is copied of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// All that the subscriber sends, up to 32 KiB.
    All,
    /// Datagrams with long headers of QUIC, both ways (RFC 9000 §17.2), up to 32 KiB.
    LongHeaders,
    /// Nothing.
    Nothing,
}

/// What the programs do with a flow's packets: one word, so that no packet sees half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Where its bytes are counted.
    pub bank: Bank,
    /// What is copied of it.
    pub copies: Copies,
    /// Code point of its packets to the subscriber, 0 to 63; 0: none.
    pub code_point: u8,
    /// Whether packets from the subscriber bear it too.
    pub marks_up: bool,
    /// Whether the slot's quota ends the exemption.
    pub has_quota: bool,
    /// Mark of its packets on this machine; 0: left as it is.
    pub mark: u32,
}

impl Ruling {
    /// Of a flow that nobody has judged.
    pub const OPEN: Self = Self {
        bank: Bank::Pending,
        copies: Copies::All,
        code_point: 0,
        marks_up: false,
        has_quota: false,
        mark: 0,
    };

    /// The word in the slot, in the order of memory.
    pub fn word(self) -> u64 {
        let copies = match self.copies {
            Copies::All => 0,
            Copies::LongHeaders => 1,
            Copies::Nothing => 2,
        };
        let how = copies | (u8::from(self.marks_up) << 2) | (u8::from(self.has_quota) << 3);
        let [a, b, c, d] = self.mark.to_ne_bytes();
        u64::from_ne_bytes([self.bank.number(), self.code_point, how, 0, a, b, c, d])
    }
}

/// What the programs have seen of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(pub u32);

impl Seen {
    const SYN: u32 = 1;
    const ESTABLISHED: u32 = 4;
    const FIN_UP: u32 = 8;
    const FIN_DOWN: u32 = 16;
    const RST: u32 = 32;
    const LOST: u32 = 64;
    const REPLACED: u32 = 128;
    const LIVE: u32 = 256;

    const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// Somebody has the slot.
    pub const fn is_taken(self) -> bool {
        self.0 != 0
    }

    /// Something was counted in it.
    pub const fn is_live(self) -> bool {
        self.has(Self::LIVE)
    }

    /// The subscriber's first segment was seen, with the number that his stream begins behind.
    pub const fn is_opened(self) -> bool {
        self.has(Self::SYN)
    }

    /// The subscriber has repeated the number that the server chose: he receives what it sends.
    pub const fn is_established(self) -> bool {
        self.has(Self::ESTABLISHED)
    }

    /// Both sides have said that they send nothing more.
    pub const fn is_finished(self) -> bool {
        self.has(Self::FIN_UP) && self.has(Self::FIN_DOWN)
    }

    /// The subscriber sends nothing more.
    pub const fn is_finished_up(self) -> bool {
        self.has(Self::FIN_UP)
    }

    /// One side has broken it off, or somebody else has in its name.
    pub const fn is_reset(self) -> bool {
        self.has(Self::RST)
    }

    /// A piece did not reach this process: its name cannot be believed.
    pub const fn has_lost(self) -> bool {
        self.has(Self::LOST)
    }

    /// Its key leads to another slot.
    pub const fn is_replaced(self) -> bool {
        self.has(Self::REPLACED)
    }
}

/// A key as it stands in a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawKey(pub [u8; KEY_BYTES]);

impl RawKey {
    /// The key of its entry in the table of IPv4 flows; none of an IPv6 flow, whose entry has the whole key.
    pub fn short(&self) -> Option<[u8; KEY4_BYTES]> {
        let (subscriber, rest) = self.0.split_first_chunk::<16>()?;
        let (server, rest) = rest.split_first_chunk::<16>()?;
        let subscriber = Ipv6Addr::from(*subscriber).to_ipv4_mapped()?.octets();
        let [.., a, b, c, d] = *server;
        let mut short = [0; KEY4_BYTES];
        let octets = subscriber.into_iter().chain([a, b, c, d]).chain(rest.iter().copied());
        short.iter_mut().zip(octets).for_each(|(to, octet)| *to = octet);
        Some(short)
    }
}

/// What tells a flow apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// TCP or UDP with a port that is led.
    Flow {
        /// Which.
        transport: Transport,
        /// The subscriber's end.
        subscriber: SocketAddr,
        /// The other.
        server: SocketAddr,
    },
    /// All other packets of a subscriber's address: counted, and never exempt.
    Rest {
        /// The address.
        subscriber: IpAddr,
        /// Fragments, whose ports nobody tells.
        in_fragments: bool,
    },
}

impl From<RawKey> for Key {
    fn from(RawKey(bytes): RawKey) -> Self {
        let (subscriber, rest) = bytes.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let (server, rest) = rest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let address = |octets: &[u8; 16]| Ipv6Addr::from(*octets).to_canonical();
        let (subscriber, server) = (address(subscriber), address(server));
        let &[a, b, c, d, protocol, kind, ..] = rest else {
            return Self::Rest { subscriber, in_fragments: false };
        };
        let transport = match (kind, protocol) {
            (0, 6) => Transport::Tcp,
            (0, 17) => Transport::Udp,
            _ => return Self::Rest { subscriber, in_fragments: kind == 2 },
        };
        Self::Flow {
            transport,
            subscriber: SocketAddr::new(subscriber, u16::from_be_bytes([a, b])),
            server: SocketAddr::new(server, u16::from_be_bytes([c, d])),
        }
    }
}

impl Key {
    /// The port he sends from, where that is known.
    pub const fn subscriber_port(&self) -> Option<u16> {
        match self {
            Self::Flow { subscriber, .. } => Some(subscriber.port()),
            Self::Rest { .. } => None,
        }
    }

    /// Who sends it.
    pub const fn subscriber(&self) -> IpAddr {
        match self {
            Self::Flow { subscriber, .. } => subscriber.ip(),
            Self::Rest { subscriber, .. } => *subscriber,
        }
    }
}

/// An address as the programs' tables have it: IPv4 as `::ffff:a.b.c.d`.
pub fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// No address at all: what a [`Key::Rest`] goes to.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Counts of the programs, all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Bytes of all packets but those of the machine itself, up and down.
    pub seen: [u64; 2],
    /// Bytes of them that found no slot.
    pub overflow: [u64; 2],
    /// Bytes to and from the machine itself.
    pub own: [u64; 2],
    /// Pieces that found no room in the ring.
    pub ring_full: u64,
    /// Packets that found no slot.
    pub no_slot: u64,
}

/// Words of one processor's counts.
pub const GATE_WORDS: usize = 8;

impl Gate {
    /// The sum with one processor's counts.
    #[must_use]
    pub fn plus(self, words: &[u64; GATE_WORDS]) -> Self {
        let [a, b, c, d, e, f, ring_full, no_slot] = *words;
        let add = |[one, other]: [u64; 2], more: [u64; 2]| {
            let [first, second] = more;
            [one.saturating_add(first), other.saturating_add(second)]
        };
        Self {
            seen: add(self.seen, [a, b]),
            overflow: add(self.overflow, [c, d]),
            own: add(self.own, [e, f]),
            ring_full: self.ring_full.saturating_add(ring_full),
            no_slot: self.no_slot.saturating_add(no_slot),
        }
    }
}

/// What was dropped behind the count of what goes to subscribers, all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that had been counted.
    pub bytes: u64,
    /// Packets of all kinds, also what is not counted.
    pub packets: u64,
    /// Bytes of them that belong to no slot.
    pub slotless: u64,
}

/// Words of one processor's.
pub const DROPS_WORDS: usize = 3;

impl Dropped {
    /// The sum with one processor's.
    #[must_use]
    pub fn plus(self, words: &[u64; DROPS_WORDS]) -> Self {
        let [bytes, packets, slotless] = *words;
        Self {
            bytes: self.bytes.saturating_add(bytes),
            packets: self.packets.saturating_add(packets),
            slotless: self.slotless.saturating_add(slotless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruling_is_one_word_in_the_order_that_the_programs_read() {
        assert_eq!(Ruling::OPEN.word(), 0, "a new slot asks for copies and counts as pending");
        let exempt = Ruling {
            bank: Bank::Exempt,
            copies: Copies::LongHeaders,
            code_point: 46,
            marks_up: true,
            has_quota: true,
            mark: 7,
        };
        let [bank, code_point, how, padding, mark @ ..] = exempt.word().to_ne_bytes();
        assert_eq!((bank, code_point, how, padding, u32::from_ne_bytes(mark)), (1, 46, 1 | 4 | 8, 0, 7));
    }

    #[test]
    fn a_key_is_read_as_the_programs_write_it() {
        let mut bytes = [0; KEY_BYTES];
        bytes[10..16].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 7]);
        bytes[26..32].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        bytes[32..38].copy_from_slice(&[0x9c, 0x40, 1, 0xbb, 6, 0]);
        assert_eq!(
            Key::from(RawKey(bytes)),
            Key::Flow {
                transport: Transport::Tcp,
                subscriber: "10.0.0.7:40000".parse().unwrap(),
                server: "192.0.2.1:443".parse().unwrap()
            }
        );
        let short = [10, 0, 0, 7, 192, 0, 2, 1, 0x9c, 0x40, 1, 0xbb, 6, 0, 0, 0];
        assert_eq!(RawKey(bytes).short(), Some(short));
        bytes[37] = 2;
        let subscriber = "10.0.0.7".parse().unwrap();
        assert_eq!(Key::from(RawKey(bytes)), Key::Rest { subscriber, in_fragments: true });
        bytes[0] = 0x20;
        assert_eq!(RawKey(bytes).short(), None, "IPv6");
    }
}
