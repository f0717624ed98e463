//! What a session holds: a block of addresses, or of the ports of one address.
//!
//! Everything that finds, changes or follows sessions is keyed by this type. Where an operator's translator gives several
//! subscribers one address, each has a range of its ports (RFC 6302, RFC 7422). Such a range is the fewest blocks that it can be cut
//! into, each a prefix of 16 more bits behind the address: one where its length is a power of two and its beginning a multiple of it,
//! as translators mostly give them, 30 at worst. So the longest prefix has a port as it has an address.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Bits of the prefix in which IPv4 addresses stand among those of IPv6 (RFC 4291 §2.5.5.2).
pub(super) const MAPPED_BITS: u8 = 96;
/// Bits of an address in its place among those of IPv6.
pub(super) const ADDRESS_BITS: u8 = 128;
/// Bits of a port.
const PORT_BITS: u8 = 16;
/// That prefix, without its 32 bits of address.
const MAPPED: u128 = 0xffff;

/// A prefix, of IPv4 in its place among those of IPv6, with a port behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The first address.
    bits: u128,
    /// The first port; 0 of a block of whole addresses.
    port: u16,
    /// Length of the prefix, 0 to 144; of IPv4 with the 96 bits before it.
    length: u8,
}

impl Block {
    /// The block of one address.
    pub const fn of(address: IpAddr) -> Self {
        Self { bits: bits_of(address), port: 0, length: ADDRESS_BITS }
    }

    /// The block of one port of an address; without one that of the address.
    pub const fn at(address: IpAddr, port: Option<u16>) -> Self {
        match port {
            Some(port) => Self { port, length: ADDRESS_BITS.saturating_add(PORT_BITS), ..Self::of(address) },
            None => Self::of(address),
        }
    }

    /// The fewest blocks that a range of an address's ports can be cut into, both ends in it, in their order; none where the first is
    /// behind the last. Of all ports it is the block of the address.
    pub fn of_ports(address: IpAddr, first: u16, last: u16) -> Vec<Self> {
        let (mut next, last) = (u32::from(first), u32::from(last));
        let mut blocks = Vec::new();
        while next <= last {
            // As large as the alignment of its beginning permits, and the end.
            let room = last.saturating_sub(next).saturating_add(1).ilog2();
            let bits = next.trailing_zeros().min(room).min(PORT_BITS.into());
            let fixed = u32::from(PORT_BITS).saturating_sub(bits);
            let (Ok(port), Ok(fixed)) = (u16::try_from(next), u8::try_from(fixed)) else { break };
            blocks.push(Self { port, length: ADDRESS_BITS.saturating_add(fixed), ..Self::of(address) });
            next = next.saturating_add(1_u32.checked_shl(bits).unwrap_or(u32::MAX));
        }
        blocks
    }

    /// The block of `length` bits that it is in; itself where that is longer.
    pub(super) fn widened(self, length: u8) -> Self {
        let length = length.min(self.length);
        let (bits, port) = (self.bits & mask(length.min(ADDRESS_BITS)), self.port & port_mask(length));
        Self { bits, port, length }
    }

    /// Whether it is of ports, not of whole addresses.
    pub(super) const fn has_port(self) -> bool {
        self.length > ADDRESS_BITS
    }

    /// The first port; 0 of a block of whole addresses.
    pub(super) const fn port(self) -> u16 {
        self.port
    }

    /// The upper and the lower 64 bits of its first address.
    pub(super) fn halves(self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.bits.to_be_bytes();
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
    }

    /// Length of the prefix, 0 to 144; of IPv4 with the 96 bits before it.
    pub(super) const fn length(self) -> u8 {
        self.length
    }

    /// Length of the prefix of a block of IPv4 addresses, 0 to 48; none of IPv6.
    pub(super) const fn v4_length(self) -> Option<u8> {
        if self.bits >> 32 == MAPPED { self.length.checked_sub(MAPPED_BITS) } else { None }
    }

    /// Whether it is a block of IPv4 addresses.
    pub const fn is_v4(self) -> bool {
        self.v4_length().is_some()
    }

    /// Whether the address, or its port, is in it. A short prefix of IPv6 holds no IPv4 address, a block of ports no address without
    /// one.
    pub fn covers(self, address: IpAddr, port: Option<u16>) -> bool {
        let end = Self::at(address, port);
        self.is_v4() == end.is_v4() && self.length <= end.length && end.widened(self.length) == self
    }

    /// The prefix of its addresses, as people write it.
    pub fn prefix(self) -> IpNet {
        let first = Ipv6Addr::from_bits(self.bits);
        let addresses = self.widened(ADDRESS_BITS);
        let of_v4 = addresses.v4_length().and_then(|length| Some((first.to_ipv4_mapped()?, length)));
        let prefix = match of_v4 {
            Some((first, length)) => IpNet::new(first.into(), length),
            None => IpNet::new(first.into(), addresses.length),
        };
        // Its length is within those of its family.
        prefix.unwrap_or_else(|_| IpAddr::V6(first).into())
    }

    /// The bits of its first and last address, in the order of [`bits_of`].
    pub const fn ends(self) -> (u128, u128) {
        (self.bits, self.bits | !mask(if self.length < ADDRESS_BITS { self.length } else { ADDRESS_BITS }))
    }
}

impl From<IpNet> for Block {
    fn from(prefix: IpNet) -> Self {
        let before = match prefix {
            IpNet::V4(_) => MAPPED_BITS,
            IpNet::V6(_) => 0,
        };
        Self::of(prefix.network()).widened(prefix.prefix_len().saturating_add(before))
    }
}

/// The bits of an address; IPv4 in its place among those of IPv6, so that both are in one order.
pub const fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The mask of a prefix of this length.
const fn mask(length: u8) -> u128 {
    match u128::MAX.checked_shl(128_u32.saturating_sub(length as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The mask of a port in a prefix of this length.
const fn port_mask(length: u8) -> u16 {
    let behind = ADDRESS_BITS.saturating_add(PORT_BITS).saturating_sub(length);
    match u16::MAX.checked_shl(behind as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block of a prefix.
    fn block(text: &str) -> Block {
        Block::from(text.parse::<IpNet>().unwrap())
    }

    #[test]
    fn t36_a_block_holds_its_first_and_last_address_and_none_beside_them() {
        for (prefix, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("10.0.0.7/32", ["10.0.0.7", "::ffff:10.0.0.7"], ["10.0.0.6", "10.0.0.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
            ("2001:db8::/56", ["2001:db8::", "2001:db8:0:ff:ffff::"], ["2001:db8:0:100::", "2001:db7::"]),
            ("::/0", ["::", "2001:db8::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ] {
            for address in inside {
                for port in [None, Some(0), Some(443)] {
                    assert!(block(prefix).covers(address.parse().unwrap(), port), "{prefix} {address}");
                }
            }
            for address in outside {
                assert!(!block(prefix).covers(address.parse().unwrap(), None), "{prefix} {address}");
            }
        }
        assert_eq!(block("10.0.0.7/32"), Block::of("::ffff:10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn b21_c32_a_range_of_ports_is_cut_into_blocks_that_have_each_of_them_once_and_no_other() {
        let address: IpAddr = "198.51.100.7".parse().unwrap();
        for (first, last, count) in [
            (0, 65_535, 1),
            (1_024, 2_047, 1),
            (1_000, 1_999, 7),
            (443, 443, 1),
            (1, 65_534, 30),
            (0, 0, 1),
            (65_535, 65_535, 1),
            (2, 1, 0),
        ] {
            let blocks = Block::of_ports(address, first, last);
            assert_eq!(blocks.len(), count, "{first}-{last}");
            for port in 0..=u16::MAX {
                let held = blocks.iter().filter(|block| block.covers(address, Some(port))).count();
                assert_eq!(held, usize::from(first <= port && port <= last), "{port} of {first}-{last}");
            }
            let elsewhere: IpAddr = "198.51.100.6".parse().unwrap();
            assert!(blocks.iter().all(|block| !block.covers(elsewhere, Some(first))));
            let is_all = (first, last) == (0, u16::MAX);
            assert_eq!(blocks.iter().any(|block| block.covers(address, None)), is_all, "{first}-{last}");
        }
        assert_eq!(Block::of_ports(address, 0, u16::MAX), [Block::of(address)]);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let blocks = Block::of_ports(v6, 1_024, 2_047);
        assert!(
            blocks[0].covers(v6, Some(2_047)) && !blocks[0].covers(v6, Some(2_048)) && !blocks[0].is_v4()
        );
        assert_eq!(blocks[0].prefix(), "2001:db8::1/128".parse::<IpNet>().unwrap());
    }
}
