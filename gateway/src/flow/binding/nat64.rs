//! IPv4 inside IPv6: destinations behind a NAT64 are judged by the IPv4 address they stand for (RFC 6052 §2.2).
//!
//! A subscriber without IPv4 (RFC 6877, 464XLAT) reaches an IPv4 site under an address of the operator's NAT64 prefix; DNS64
//! (RFC 6147) answers with such addresses. Rules, answers and look-ups speak of the IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Bits 64 to 71, which are zero in every such address behind a prefix of up to 64 bits (RFC 6052 §2.2).
const RESERVED_BITS: u128 = 0xff << 56;
/// How many these are.
const RESERVED_BITS_COUNT: u8 = 8;
/// The bit they begin at.
const RESERVED_BITS_START: u8 = 64;

/// A prefix behind which stand IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix {
    network: u128,
    length: u8,
}

/// Why a prefix is none of RFC 6052.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nat64Error {
    /// Another length than those of the RFC.
    #[error("a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052)")]
    Length,
    /// Bits below the prefix are set.
    #[error("bits below a NAT64 prefix are zero")]
    Bits,
}

impl Nat64Prefix {
    /// 64:ff9b::/96, RFC 6052 §2.1.
    pub const WELL_KNOWN: Self = Self { network: 0x0064_ff9b << 96, length: 96 };

    /// The prefix of these bits. One of 96 bits may have any: RFC 6052 §2.2 wants bits 64 to 71 to be zero, but what the
    /// operator's translator takes is behind it all the same.
    ///
    /// # Errors
    /// [`Nat64Error`].
    pub fn new(network: Ipv6Addr, length: u8) -> Result<Self, Nat64Error> {
        if !matches!(length, 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(Nat64Error::Length);
        }
        let network = network.to_bits();
        if network & (u128::MAX >> length) != 0 {
            return Err(Nat64Error::Bits);
        }
        Ok(Self { network, length })
    }

    /// The IPv4 address that `address` stands for; `None` when it is not behind this prefix, or not written as RFC 6052 §2.2
    /// wants it.
    pub fn embedded(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let is_well_formed = self.length > RESERVED_BITS_START || address.to_bits() & RESERVED_BITS == 0;
        self.reached(address).filter(|_| is_well_formed)
    }

    /// The IPv4 address that a translator of this prefix would pass packets to, also one that does not look at the bits
    /// which are to be zero.
    pub fn reached(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let bits = address.to_bits();
        if (bits ^ self.network) >> (128_u32.saturating_sub(u32::from(self.length))) != 0 {
            return None;
        }
        let [.., a4, a5, a6, a7, _, a9, a10, a11, a12, a13, a14, a15] = address.octets();
        let four = match self.length {
            32 => [a4, a5, a6, a7],
            40 => [a5, a6, a7, a9],
            48 => [a6, a7, a9, a10],
            56 => [a7, a9, a10, a11],
            64 => [a9, a10, a11, a12],
            _ => [a12, a13, a14, a15],
        };
        Some(Ipv4Addr::from(four))
    }

    /// The prefix as a network.
    pub fn net(&self) -> Ipv6Net {
        Ipv6Net::new_assert(Ipv6Addr::from_bits(self.network), self.length)
    }

    /// The space behind which the addresses of `net` stand.
    pub fn translated(&self, net: Ipv4Net) -> Ipv6Net {
        // Bits of the IPv4 address in front of the reserved ones; behind a prefix of 96 bits none are in the way.
        let (before, skipped, shift) = match RESERVED_BITS_START.checked_sub(self.length) {
            Some(before) if net.prefix_len() <= before => (before, 0, 24),
            Some(before) => (before, RESERVED_BITS_COUNT, 24),
            None => (0, 0, 0),
        };
        let bits = u64::from(net.network().to_bits()) << before;
        let (front, back) = (u128::from(bits >> 32), u128::from(bits & u64::from(u32::MAX)));
        let network = self.network | front << RESERVED_BITS_START | back << shift;
        let length = self.length.saturating_add(net.prefix_len()).saturating_add(skipped);
        Ipv6Net::new_assert(Ipv6Addr::from_bits(network), length)
    }
}

/// The operator's NAT64 prefixes, the longest first: it has the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat64(Vec<Nat64Prefix>);

impl Default for Nat64 {
    /// The well-known prefix alone.
    fn default() -> Self {
        Self(vec![Nat64Prefix::WELL_KNOWN])
    }
}

impl Nat64 {
    /// These prefixes, and no other: an operator without NAT64 gives none.
    pub fn new(mut prefixes: Vec<Nat64Prefix>) -> Self {
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.length));
        Self(prefixes)
    }

    /// The prefixes.
    pub fn prefixes(&self) -> &[Nat64Prefix] {
        &self.0
    }

    /// The IPv4 address that the operator's translator would pass packets to; see [`Nat64Prefix::reached`].
    pub fn reached(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.0.iter().find_map(|prefix| prefix.reached(address))
    }

    /// The address that rules and answers speak of: IPv4 wherever the address stands for one.
    pub fn destination(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let embedded = self.0.iter().find_map(|prefix| prefix.embedded(address));
                embedded.map_or(IpAddr::V6(address), IpAddr::V4)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 6052 §2.4, and an address behind no prefix.
    #[test]
    fn n10_every_prefix_length_of_the_rfc_gives_its_ipv4_address() {
        let table = [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ];
        for (network, length, address) in table {
            let prefix = Nat64Prefix::new(network.parse().unwrap(), length).unwrap();
            let nat64 = Nat64::new(vec![prefix]);
            let found = nat64.destination(address.parse().unwrap());
            assert_eq!(found, "192.0.2.33".parse::<IpAddr>().unwrap(), "{network}/{length}");
            let host = prefix.translated("192.0.2.33/32".parse().unwrap());
            assert_eq!(IpAddr::V6(host.network()), address.parse::<IpAddr>().unwrap(), "{network}/{length}");
            let outside: IpAddr = "2001:db9::c000:221".parse().unwrap();
            assert_eq!(nat64.destination(outside), outside);
        }
    }

    #[test]
    fn n10_the_well_known_prefix_and_mapped_addresses_are_ipv4() {
        let nat64 = Nat64::default();
        for text in ["64:ff9b::c000:221", "::ffff:192.0.2.33", "192.0.2.33"] {
            assert_eq!(nat64.destination(text.parse().unwrap()), "192.0.2.33".parse::<IpAddr>().unwrap());
        }
        let local_use: IpAddr = "64:ff9b:1::c000:221".parse().unwrap();
        assert_eq!(nat64.destination(local_use), local_use);
    }

    #[test]
    fn a_prefix_of_another_shape_is_refused() {
        let new = |text: &str, length| Nat64Prefix::new(text.parse().unwrap(), length);
        assert_eq!(new("64:ff9b::", 95), Err(Nat64Error::Length));
        assert_eq!(new("64:ff9b::1", 96), Err(Nat64Error::Bits));
        assert_eq!(new("64:ff9b::", 96), Ok(Nat64Prefix::WELL_KNOWN));
    }

    /// Every length of an IPv4 prefix behind every length of the RFC: what is in it is behind it, what is beside it is not.
    #[test]
    fn f7_the_space_behind_a_prefix_is_that_of_the_addresses_in_it() {
        let lengths = [32, 40, 48, 56, 64, 96];
        let prefixes =
            lengths.map(|length| Nat64Prefix::new("2a00:6400::".parse().unwrap(), length).unwrap());
        for prefix in prefixes {
            for length in 1..=32 {
                let net = Ipv4Net::new("100.101.102.103".parse().unwrap(), length).unwrap().trunc();
                let space = prefix.translated(net);
                assert_eq!(space, space.trunc(), "{prefix:?} {net}");
                let host = |address: Ipv4Addr| prefix.translated(address.into()).network();
                for inside in [net.network(), net.broadcast()] {
                    assert!(space.contains(&host(inside)), "{prefix:?} {net}");
                    assert_eq!(prefix.embedded(host(inside)), Some(inside));
                }
                let beside = Ipv4Addr::from(u32::from(net.network()) ^ 1 << (32 - u32::from(length)));
                assert!(!space.contains(&host(beside)), "{prefix:?} {net}");
            }
        }
    }
}
