//! What a session holds: a block of addresses.
//!
//! Everything that finds, changes or follows sessions is keyed by this type. Where an operator's translator gives several
//! subscribers one address, each has a range of its ports (RFC 6302, RFC 7422): the range becomes a field here.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Bits of the prefix in which IPv4 addresses stand among those of IPv6 (RFC 4291 §2.5.5.2).
pub(super) const MAPPED_BITS: u8 = 96;
/// That prefix, without its 32 bits of address.
const MAPPED: u128 = 0xffff;

/// A prefix, of IPv4 in its place among those of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The first address.
    bits: u128,
    /// Length of the prefix, 0 to 128; of IPv4 with the 96 bits before it.
    length: u8,
}

impl Block {
    /// The block of one address.
    pub fn of(address: IpAddr) -> Self {
        Self { bits: bits_of(address), length: 128 }
    }

    /// The block of `length` bits that it is in; itself where that is longer.
    pub(super) fn widened(self, length: u8) -> Self {
        let length = length.min(self.length);
        Self { bits: self.bits & mask(length), length }
    }

    /// The upper and the lower 64 bits of its first address.
    pub(super) fn halves(self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.bits.to_be_bytes();
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
    }

    /// Length of the prefix, 0 to 128; of IPv4 with the 96 bits before it.
    pub(super) const fn length(self) -> u8 {
        self.length
    }

    /// Length of the prefix of a block of IPv4 addresses, 0 to 32; none of IPv6.
    pub(super) const fn v4_length(self) -> Option<u8> {
        if self.bits >> 32 == MAPPED { self.length.checked_sub(MAPPED_BITS) } else { None }
    }

    /// Whether it is a block of IPv4 addresses.
    pub const fn is_v4(self) -> bool {
        self.v4_length().is_some()
    }

    /// Whether the address is in it. A short prefix of IPv6 holds no IPv4 address.
    pub fn covers(self, address: IpAddr) -> bool {
        let address = Self::of(address);
        self.is_v4() == address.is_v4() && address.bits & mask(self.length) == self.bits
    }

    /// The prefix, as people write it.
    pub fn prefix(self) -> IpNet {
        let first = Ipv6Addr::from_bits(self.bits);
        let of_v4 = self.v4_length().and_then(|length| Some((first.to_ipv4_mapped()?, length)));
        let prefix = match of_v4 {
            Some((first, length)) => IpNet::new(first.into(), length),
            None => IpNet::new(first.into(), self.length),
        };
        // Its length is within those of its family.
        prefix.unwrap_or_else(|_| IpAddr::V6(first).into())
    }

    /// The bits of its first and last address, in the order of [`bits_of`].
    pub const fn ends(self) -> (u128, u128) {
        (self.bits, self.bits | !mask(self.length))
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
                assert!(block(prefix).covers(address.parse().unwrap()), "{prefix} {address}");
            }
            for address in outside {
                assert!(!block(prefix).covers(address.parse().unwrap()), "{prefix} {address}");
            }
        }
        assert_eq!(block("10.0.0.7/32"), Block::of("::ffff:10.0.0.7".parse().unwrap()));
    }
}
