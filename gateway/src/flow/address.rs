//! Which addresses may be learnt as answers and dialled.
//!
//! A listed name that resolves into private space would let its owner reach the operator's own machines
//! through the gateway (TRAPS part S, "SSRF via SNI/DNS"). Source: IANA special-purpose address registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is ordinary public unicast space. IPv4 inside IPv6 (mapped, NAT64, 6to4) is judged by the
/// IPv4 address it carries.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
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

/// Global unicast, and what IPv4 it embeds is public too.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    if let Some(inner) = embedded_v4(address) {
        return is_public_v4(inner);
    }
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

/// The IPv4 address inside a NAT64 (RFC 6052; the local-use prefix of RFC 8215 is not public at all) or 6to4 (RFC 3056) address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        (0x0064, 0xff9b) if [c, d, e, f] == [0; 4] => Some(pair(g, h)),
        (0x2002, _) => Some(pair(b, c)),
        // RFC 4291 §2.5.5.1, deprecated IPv4-compatible addresses.
        (0, 0) if [c, d, e, f] == [0; 4] && (g != 0 || h > 1) => Some(pair(g, h)),
        _ => None,
    }
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
        ];
        for text in refused {
            assert!(!is_public(text.parse().unwrap()), "{text}");
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
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
