//! What a session may have: a block of addresses, or ports of one address.

use std::net::{IpAddr, Ipv6Addr};

use crate::flow::session::Block;

/// The last port.
const PORT_MAX: u16 = u16::MAX;

/// A block of addresses with all their ports, or one address with a range of them (RFC 6302, RFC 7422).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The upper 64 bits of the first address, then the lower: half the alignment of one word, for there are millions.
    high: u64,
    low: u64,
    /// Length of the prefix, 0 to 128.
    length: u8,
    first: u16,
    last: u16,
}

impl Spot {
    /// A block with all ports.
    pub fn of(block: Block) -> Self {
        let (high, low) = block.halves();
        Self { high, low, length: block.length(), first: 0, last: PORT_MAX }
    }

    /// Ports of an address, both ends included; none where the last is before the first.
    pub fn ports(address: IpAddr, first: u16, last: u16) -> Option<Self> {
        (first <= last).then(|| Self { first, last, ..Self::of(Block::of(address)) })
    }

    /// The block of addresses, whatever ports of it.
    pub fn addresses(self) -> Block {
        let bits = (u128::from(self.high) << 64) | u128::from(self.low);
        Block::of(IpAddr::V6(Ipv6Addr::from_bits(bits))).widened(self.length)
    }

    /// The block, where it has all ports: what the table of sessions can say.
    pub fn block(self) -> Option<Block> {
        (self.first == 0 && self.last == PORT_MAX).then(|| self.addresses())
    }

    /// All that the table of sessions is to say of it: a block of addresses, or several of ports.
    pub(super) fn blocks(self) -> Vec<Block> {
        match self.block() {
            Some(block) => vec![block],
            None => Block::of_ports(self.addresses().prefix().addr(), self.first, self.last),
        }
    }

    /// The same addresses with all their ports.
    pub(super) const fn whole(self) -> Self {
        Self { first: 0, last: PORT_MAX, ..self }
    }

    /// Length of the prefix, 0 to 128; of IPv4 with the 96 bits before it.
    pub(super) const fn length(self) -> u8 {
        self.length
    }

    /// The first and the last port.
    pub const fn range(self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whether the two are of the same addresses and share a port. A longer prefix inside of a block is a matter of its own: it
    /// wins.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        let addresses = self.high == other.high && self.low == other.low && self.length == other.length;
        addresses && self.first <= other.last && other.first <= self.last
    }

    /// The least and the greatest that can overlap it, in order.
    pub(super) const fn rivals(self) -> (Self, Self) {
        (Self { first: 0, last: 0, ..self }, Self { first: self.last, last: PORT_MAX, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b21_c32_both_ends_of_a_range_are_in_it_and_neighbours_do_not_meet() {
        let address: IpAddr = "198.51.100.1".parse().unwrap();
        let ports = |first, last| Spot::ports(address, first, last).unwrap();
        assert!(ports(1_000, 1_999).overlaps(ports(1_999, 1_999)));
        assert!(ports(1_000, 1_999).overlaps(ports(0, 1_000)));
        assert!(!ports(1_000, 1_999).overlaps(ports(2_000, 2_999)));
        assert!(!ports(1_000, 1_999).overlaps(ports(0, 999)));
        assert_eq!(Spot::ports(address, 2, 1), None);
        assert_eq!(ports(0, PORT_MAX).block(), Some(Block::of(address)));
        assert_eq!(ports(1, PORT_MAX).block(), None);
        let elsewhere = Spot::of(Block::of("198.51.100.2".parse().unwrap()));
        assert!(!elsewhere.overlaps(ports(0, PORT_MAX)));
    }
}
