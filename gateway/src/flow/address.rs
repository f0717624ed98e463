//! What an address stands for, and which addresses may be learnt as answers and dialled.
//!
//! A listed name that resolves into private space would let its owner reach the operator's own machines through the
//! gateway. The way there may lead over a translator or a tunnel: packets to `2a00:64::10.0.0.1` arrive at 10.0.0.1 where
//! `2a00:64::/96` is the operator's NAT64. So every question of this kind is asked of all that an address may stand for
//! ([`meanings`]). Sources: IANA special-purpose address registries; RFC 4291, 6052, 8215 (translators), 3056 (6to4), 4380
//! (Teredo), 5214 (ISATAP).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::binding::{Nat64, Nat64Prefix};

/// Whether all that `address` may stand for is ordinary public unicast space. A translator's address is judged by the IPv4
/// address behind it, wherever the operator has put the translator's prefix.
pub fn is_public(address: IpAddr, nat64: &Nat64) -> bool {
    meanings(address, nat64).all(|meaning| match meaning {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_global_v6(address) || translated(address, nat64).is_some(),
    })
}

/// All that `address` may stand for: itself (IPv4 if it is IPv4 in IPv6 clothing, RFC 4291 §2.5.5.2), and each IPv4 address
/// that a translator or a tunnel on the way would make of it.
pub fn meanings(address: IpAddr, nat64: &Nat64) -> impl Iterator<Item = IpAddr> {
    let itself = address.to_canonical();
    let behind = match itself {
        IpAddr::V4(_) => [None; 3],
        IpAddr::V6(address) => behind(address, nat64),
    };
    std::iter::once(itself).chain(behind.into_iter().flatten().map(IpAddr::V4))
}

/// The IPv4 addresses behind an IPv6 address: by translation, in the prefix, in the interface identifier.
fn behind(address: Ipv6Addr, nat64: &Nat64) -> [Option<Ipv4Addr>; 3] {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    let by_translation = match [a, b, c, d, e, f] {
        // RFC 4291 §2.5.5.1 (IPv4-compatible; `::` and `::1` are none) and RFC 2765 §2.1 (IPv4-translated).
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => Some(pair(g, h)),
        [0, 0, 0, 0, 0xffff, 0] => Some(pair(g, h)),
        _ => translated(address, nat64),
    };
    let in_prefix = match (a, b) {
        // RFC 3056 §2.
        (0x2002, _) => Some(pair(b, c)),
        // RFC 4380 §4: the server.
        (0x2001, 0) => Some(pair(c, d)),
        _ => None,
    };
    let in_identifier = match (a, b, e, f) {
        // RFC 4380 §4: the client, each bit turned over.
        (0x2001, 0, _, _) => Some(pair(!g, !h)),
        // RFC 5214 §6.1.
        (_, _, 0 | 0x0200, 0x5efe) => Some(pair(g, h)),
        _ => None,
    };
    [by_translation, in_prefix, in_identifier]
}

/// The IPv4 address to which a translator would pass what goes to `address`: the operator's, or one of the well-known prefix.
fn translated(address: Ipv6Addr, nat64: &Nat64) -> Option<Ipv4Addr> {
    nat64.reached(address).or_else(|| Nat64Prefix::WELL_KNOWN.reached(address))
}

/// Whether `address` is set aside for documentation (RFC 5737, RFC 3849, RFC 9637): no machine has it, examples do.
pub fn is_documentation(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_documentation(),
        IpAddr::V6(address) => is_documentation_v6(address),
    }
}

/// Not in the IANA IPv4 special-purpose registry, multicast or class E.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = address.is_unspecified()
        || first == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || first >= 240
        // RFC 6598 shared space of carrier-grade NAT.
        || (first == 100 && (64..128).contains(&second))
        // RFC 6890 protocol assignments and RFC 7526 6to4 relays.
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        // RFC 2544 benchmarking.
        || (first == 198 && (18..20).contains(&second));
    !special
}

/// Global unicast, whatever stands behind it.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is global unicast (RFC 4291 §2.4, IANA); of it, documentation and ORCHID space is not.
    let global = first & 0xe000 == 0x2000;
    let protocol_assignments = first == 0x2001 && second < 0x0200;
    global && !is_documentation_v6(address) && !protocol_assignments
}

/// RFC 3849 and RFC 9637.
fn is_documentation_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second & 0xf000 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_special_addresses_are_not_public() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::7f00:1",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:0:10.0.0.1",
            // Teredo by server, and by client.
            "2001:0:a00:1::f7f7:f7f7",
            "2001:0:808:808::f5ff:fffe",
            // ISATAP, with both universal bits.
            "2a00:1450:1:2:0:5efe:10.0.0.1",
            "2a00:1450:1:2:200:5efe:192.168.1.1",
        ];
        for text in refused {
            assert!(!is_public(text.parse().unwrap(), &Nat64::default()), "{text}");
            let example = ["192.0.2.", "198.51.", "203.0.113.", "2001:db8:", "3fff:"];
            let wanted = example.iter().any(|start| text.starts_with(start));
            assert_eq!(is_documentation(text.parse().unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        let accepted = [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ];
        for text in accepted {
            assert!(is_public(text.parse().unwrap(), &Nat64::default()), "{text}");
        }
    }

    /// Every length of RFC 6052 §2.2, the local-use prefix of RFC 8215 and one of private space: what is behind decides.
    #[test]
    fn f7_an_address_behind_the_operators_nat64_is_judged_by_the_address_it_leads_to() {
        let prefixes = [
            ("2a00:64::", 96),
            ("2a00:6400::", 32),
            ("2a00:65aa::", 40),
            ("2a00:66aa:bbcc::", 48),
            ("2a00:67aa:bbcc:dd00::", 56),
            ("2a00:68aa:bbcc:ddee::", 64),
            ("64:ff9b:1::", 96),
            ("fd00:64::", 96),
            // Bits that RFC 6052 wants to be zero, in a prefix that somebody has all the same.
            ("2a00:69::ff00:0:0:0", 96),
        ];
        for (network, length) in prefixes {
            let prefix = Nat64Prefix::new(network.parse().unwrap(), length).unwrap();
            let nat64 = Nat64::new(vec![prefix]);
            let through = |v4: &str| {
                let net = ipnet::Ipv4Net::new(v4.parse().unwrap(), 32).unwrap();
                prefix.translated(net).network()
            };
            for (inner, public) in [
                ("10.0.0.1", false),
                ("127.0.0.1", false),
                ("169.254.169.254", false),
                ("192.168.255.1", false),
                ("0.0.0.0", false),
                ("224.0.0.1", false),
                ("8.8.8.8", true),
                ("199.249.120.1", true),
            ] {
                let outer = through(inner);
                assert_eq!(is_public(outer.into(), &nat64), public, "{outer} is {inner}");
                assert_eq!(nat64.destination(outer.into()), inner.parse::<IpAddr>().unwrap(), "{outer}");
            }
            // A translator that does not look at the bits between passes this on too.
            if length < 96 {
                let odd = Ipv6Addr::from_bits(through("10.0.0.1").to_bits() | 0x01 << 56);
                assert!(!is_public(odd.into(), &nat64), "{odd}");
            }
        }
        // The longest prefix has the way, in whichever order they are told.
        let of = |network: &str, length| Nat64Prefix::new(network.parse().unwrap(), length).unwrap();
        let both = Nat64::new(vec![of("2a00:64::", 32), of("2a00:64::", 96)]);
        assert!(is_public("2a00:64::8.8.8.8".parse().unwrap(), &both));
        assert!(!is_public("2a00:64::10.0.0.1".parse().unwrap(), &both));
        assert!(!is_public("2a00:64:a00:1::".parse().unwrap(), &both));
    }

    #[test]
    fn f7_what_an_address_means_is_found_in_every_place_that_carries_one() {
        let meant = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            meanings(address, &Nat64::default()).map(|meaning| meaning.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(meant("8.8.8.8"), ["8.8.8.8"]);
        assert_eq!(meant("::ffff:10.0.0.1"), ["10.0.0.1"]);
        assert_eq!(meant("2606:4700::1111"), ["2606:4700::1111"]);
        assert_eq!(meant("::1"), ["::1"]);
        assert_eq!(meant("::10.0.0.1")[1..], ["10.0.0.1"]);
        assert_eq!(meant("::ffff:0:10.0.0.1")[1..], ["10.0.0.1"]);
        assert_eq!(meant("64:ff9b::10.0.0.1")[1..], ["10.0.0.1"]);
        assert_eq!(meant("2002:a00:1::7f00:1")[1..], ["10.0.0.1"]);
        assert_eq!(meant("2001:0:4136:e378:8000:63bf:3fff:fdd2")[1..], ["65.54.227.120", "192.0.2.45"]);
        assert_eq!(meant("2002:808:808:1:0:5efe:10.0.0.1")[1..], ["8.8.8.8", "10.0.0.1"]);
    }
}
