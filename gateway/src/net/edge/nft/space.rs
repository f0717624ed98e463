//! Which destinations the rules take and which pass by: what the gateway would not dial is never taken, for it could only be
//! refused here (see `flow::address`, whose rules these are in the kernel's words).

use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Plan, joined};
use crate::flow::binding::{Nat64, Nat64Prefix};

/// IPv4 space whose addresses are not dialled (IANA special-purpose registry; see `flow::address`).
const NOT_PUBLIC_V4: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.0.2.0/24, 192.88.99.0/24, 192.168.0.0/16, 198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/3";
/// IPv6 space whose addresses are dialled, beside NAT64: global unicast.
const PUBLIC_V6: &str = "2000::/3";
/// IPv6 space within it whose addresses are not.
const NOT_PUBLIC_V6: &str = "2001::/23, 2001:db8::/32, 3fff::/20";
/// The interface identifiers of ISATAP (RFC 5214 §6.1): the IPv4 addresses behind them are no prefix, so that none is taken.
const ISATAP: &str = "& ::fdff:ffff:0:0 == ::5efe:0:0";

impl Plan {
    /// Destinations that are never taken.
    pub(super) fn passed_by(&self, text: &mut String) {
        text.push_str("\t\tfib daddr type { local, broadcast, multicast, anycast } return\n");
        if !self.private_too {
            let public = joined(public_v6(&self.nat64).iter());
            let not_public = joined(not_public_v6(&self.nat64).iter());
            let _ = write!(
                text,
                "\t\tip daddr {{ {NOT_PUBLIC_V4} }} return\n\t\tip6 daddr != {{ {public} }} return\n\
                 \t\tip6 daddr {{ {not_public} }} return\n\t\tip6 daddr {ISATAP} return\n"
            );
        }
        self.silent_passed_by(text);
        if self.candidates_only {
            text.push_str("\t\tip daddr != @candidates4 ip daddr != @prefixes4 return\n");
            text.push_str("\t\tip6 daddr != @candidates6 ip6 daddr != @prefixes6 ");
            let nat64 = self.nat64.prefixes().iter().map(Nat64Prefix::net).collect();
            if let nat64 @ [_, ..] = &*Ipv6Net::aggregate(&nat64) {
                let _ = write!(text, "ip6 daddr != {{ {} }} ", joined(nat64.iter()));
            }
            text.push_str("return\n");
        }
    }
}

/// IPv6 space that may be taken; no prefix is within another.
fn public_v6(nat64: &Nat64) -> Vec<Ipv6Net> {
    let translators = translators(nat64).map(Nat64Prefix::net);
    Ipv6Net::aggregate(&nets(PUBLIC_V6).chain(translators).collect())
}

/// IPv6 space within it that is not, also for what is behind it; no prefix is within another.
fn not_public_v6(nat64: &Nat64) -> Vec<Ipv6Net> {
    let behind = |net: Ipv4Net| {
        let translated = translators(nat64).map(move |prefix| prefix.translated(net));
        translated.chain(std::iter::once(six_to_four(net)))
    };
    Ipv6Net::aggregate(&nets(NOT_PUBLIC_V6).chain(nets(NOT_PUBLIC_V4).flat_map(behind)).collect())
}

/// The prefixes of the operator's NAT64, and the well-known one.
fn translators(nat64: &Nat64) -> impl Iterator<Item = &Nat64Prefix> {
    nat64.prefixes().iter().chain(std::iter::once(&Nat64Prefix::WELL_KNOWN))
}

/// The prefixes of one of the lists above.
fn nets<N: FromStr>(list: &'static str) -> impl Iterator<Item = N> {
    list.split(", ").filter_map(|net| net.parse().ok())
}

/// The space of 6to4 whose tunnels end at an address of `net` (RFC 3056 §2).
fn six_to_four(net: Ipv4Net) -> Ipv6Net {
    let network = 0x2002_u128 << 112 | u128::from(net.network().to_bits()) << 80;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(network), net.prefix_len().saturating_add(16))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::flow::address::is_public;

    #[test]
    fn t10_f7_space_that_is_passed_by_is_the_space_that_is_not_dialled() {
        let beside = |bits: u128| [bits.checked_sub(1), bits.checked_add(1)].into_iter().flatten();
        let operator = |network: &str, length| Nat64Prefix::new(network.parse().unwrap(), length).unwrap();
        let several = vec![
            operator("2a00:64::", 96),
            operator("2a00:65aa:bb00::", 40),
            operator("2a00:66aa:bbcc::", 48),
            operator("2a00:67aa:bbcc:ddee::", 64),
            operator("64:ff9b:1::", 96),
            operator("fd00:64::", 96),
        ];
        for nat64 in [Nat64::default(), Nat64::new(several)] {
            let is_public = |address: IpAddr| is_public(address, &nat64);
            let ranges: Vec<Ipv4Net> = nets(NOT_PUBLIC_V4).collect();
            assert_eq!(ranges.len(), 14);
            for net in &ranges {
                let (first, last) = (net.network(), net.broadcast());
                assert!(!is_public(first.into()) && !is_public(last.into()), "{net}");
                let before = u32::from(first).checked_sub(1).map(std::net::Ipv4Addr::from);
                if let Some(before) = before.filter(|before| !ranges.iter().any(|net| net.contains(before))) {
                    assert!(is_public(before.into()), "{before}");
                }
            }
            let (public, not_public) = (public_v6(&nat64), not_public_v6(&nat64));
            let is_taken = |address: &Ipv6Addr| {
                public.iter().any(|net| net.contains(address))
                    && !not_public.iter().any(|net| net.contains(address))
            };
            // At every border of the rules, a step to each side.
            for net in public.iter().chain(&not_public) {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                for bits in [first, last].into_iter().chain(beside(first)).chain(beside(last)) {
                    let address = Ipv6Addr::from_bits(bits);
                    // Bits that RFC 6052 wants to be zero are not looked at by the rules.
                    let is_odd = bits & 0xff << 56 != 0;
                    assert!(is_odd || is_taken(&address) == is_public(address.into()), "{address}");
                }
            }
        }
    }
}
