//! Addresses by the kind of attribute.

use gateway::wire::radius::{ADDRESSES_MAX, AddressKind, Facts};

use super::encode::{Encoder, accounting};
use super::read;

/// Asserts what a packet says of a kind, and that it says nothing of others.
fn only(encoder: &Encoder, kind: AddressKind, wanted: &[&str]) {
    read(encoder, |facts| {
        for other in AddressKind::ALL {
            let found = texts(&facts, other);
            assert_eq!(found, if other == kind { wanted } else { &[] }, "{other:?}");
        }
        assert!(!facts.is_translated && !facts.is_over());
    });
}

/// The prefixes of a kind.
fn texts(facts: &Facts<'_>, kind: AddressKind) -> Vec<String> {
    facts.addresses.of(kind).iter().map(ToString::to_string).collect()
}

/// Octets of an IPv6 address.
fn octets(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

/// The value of a prefix attribute.
fn prefix(address: &str, length: u8, front: usize) -> Vec<u8> {
    [&[0, length], &octets(address)[..front]].concat()
}

#[test]
fn c1_three_framed_ip_addresses_are_none() {
    let kind = AddressKind::FramedIp;
    for none in [[0, 0, 0, 0], [255, 255, 255, 254], [255, 255, 255, 255]] {
        only(&accounting(1).attribute(8, &none), kind, &[]);
        let then_one = accounting(3).attribute(8, &none).attribute(8, &[10, 0, 0, 7]);
        only(&then_one, kind, &["10.0.0.7/32"]);
    }
    only(&accounting(1).attribute(8, &[255, 255, 255, 253]), kind, &["255.255.255.253/32"]);
    only(&accounting(1).attribute(8, &[0, 0, 0, 1]), kind, &["0.0.0.1/32"]);
    for wrong in [&[][..], &[10, 0, 0], &[10, 0, 0, 7, 0], &[0; 16]] {
        only(&accounting(1).attribute(8, wrong), kind, &[]);
    }
}

#[test]
fn ipv6_addresses_of_the_standard_and_of_nokia_are_one_kind() {
    let kind = AddressKind::FramedIpv6;
    only(&accounting(1).attribute(168, &octets("2001:db8::7")), kind, &["2001:db8::7/128"]);
    only(&accounting(1).vendor(6527, &[(99, &octets("2001:db8::7"))]), kind, &["2001:db8::7/128"]);
    let both = accounting(1)
        .attribute(168, &octets("2001:db8::7"))
        .vendor(6527, &[(99, &octets("2001:db8::7")), (99, &octets("2001:db8::8"))]);
    only(&both, kind, &["2001:db8::7/128", "2001:db8::8/128"]);
    for wrong in [&[0; 16][..], &[1; 15], &[1; 17], &[1; 4], &[]] {
        only(&accounting(1).attribute(168, wrong).vendor(6527, &[(99, wrong)]), kind, &[]);
    }
}

#[test]
fn ipv6_prefixes_may_leave_zeros_out() {
    for (attribute, kind) in [(97, AddressKind::FramedIpv6Prefix), (123, AddressKind::DelegatedIpv6Prefix)] {
        let one =
            |value: &[u8], wanted: &[&str]| only(&accounting(3).attribute(attribute, value), kind, wanted);
        one(&prefix("2001:db8:1:2::", 64, 16), &["2001:db8:1:2::/64"]);
        one(&prefix("2001:db8:1:2::", 64, 8), &["2001:db8:1:2::/64"]);
        one(&prefix("2001:db8:1:2::", 64, 7), &[]);
        one(&prefix("2001:db8:1:200::", 56, 7), &["2001:db8:1:200::/56"]);
        one(&prefix("2001:db8:1:2ff::1", 56, 16), &["2001:db8:1:200::/56"]);
        one(&prefix("2001:db8::1", 128, 16), &["2001:db8::1/128"]);
        one(&prefix("2001:db8::1", 129, 16), &[]);
        one(&prefix("2001:db8::1", 255, 16), &[]);
        one(&prefix("8000::", 1, 1), &["8000::/1"]);
        one(&prefix("8000::", 0, 16), &[]);
        one(&prefix("::", 128, 16), &[]);
        one(&[0, 0], &[]);
        one(&[0], &[]);
        one(&[], &[]);
        one(&[&[0, 64][..], &octets("2001:db8::"), &[0]].concat(), &[]);
        one(&[&[9, 64][..], &octets("2001:db8::")].concat(), &["2001:db8::/64"]);
    }
}

#[test]
fn c36_networks_behind_a_subscriber_are_read_from_routes() {
    let one = |text: &str, wanted: &[&str]| {
        only(&accounting(3).attribute(22, text.as_bytes()), AddressKind::FramedRoute, wanted);
    };
    one("192.168.1.0/24 0.0.0.0 0 pref 0", &["192.168.1.0/24"]);
    one("192.168.1.0/24 0.0.0.0 10 tag 3 pref 100", &["192.168.1.0/24"]);
    one("192.168.1.0/24", &["192.168.1.0/24"]);
    one("192.168.1.7/24 192.168.1.1 1 2 -1 3 400", &["192.168.1.0/24"]);
    one("203.0.113.9/32 0.0.0.0", &["203.0.113.9/32"]);
    one("0.0.0.0/0 192.0.2.1 1", &[]);
    one("10.0.0.0/33 0.0.0.0", &[]);
    one("10.0.0.0/-1 0.0.0.0", &[]);
    one("10.0.0.0/+8 0.0.0.0", &[]);
    one("10.0.0.0/ 0.0.0.0", &[]);
    one("10.0.0/8 0.0.0.0", &[]);
    one("2001:db8::/32 ::", &[]);
    one("ip route 10.0.0.0/8", &[]);
    one("", &[]);
    // Without a length: that of the class, RFC 2865 §5.22.
    one("10.0.0.0 192.0.2.1 1", &["10.0.0.0/8"]);
    one("172.16.0.0 192.0.2.1 1", &["172.16.0.0/16"]);
    one("192.168.1.0 192.0.2.1 1", &["192.168.1.0/24"]);
    one("192.168.1.0", &["192.168.1.0/24"]);
    one("10.1.2.0 192.0.2.1 1", &[]);
    one("224.0.0.0 192.0.2.1 1", &[]);
    one("0.0.0.0 192.0.2.1 1", &[]);
    // A mask in the gateway's place.
    one("10.1.2.0 255.255.255.0 192.0.2.1", &["10.1.2.0/24"]);
    one("10.1.2.3 255.255.255.255 192.0.2.1", &["10.1.2.3/32"]);
    one("10.1.2.0 255.0.255.0 192.0.2.1", &[]);
    only(&accounting(3).attribute(22, &[0xff, 0xfe]), AddressKind::FramedRoute, &[]);
}

#[test]
fn c36_networks_of_ipv6_behind_a_subscriber_are_read_from_routes() {
    let one = |text: &str, wanted: &[&str]| {
        only(&accounting(3).attribute(99, text.as_bytes()), AddressKind::FramedIpv6Route, wanted);
    };
    one("2000:0:0:106::/64 2000::106:a00:20ff:fe99:a998 1", &["2000:0:0:106::/64"]);
    one("2001:db8:1::/48 :: 0 pref 0", &["2001:db8:1::/48"]);
    one("2001:db8:1::1/48", &["2001:db8:1::/48"]);
    one("2001:db8::1/128 ::", &["2001:db8::1/128"]);
    one("2001:db8::/129 ::", &[]);
    one("::/0 2001:db8::1 1", &[]);
    one("2001:db8:: ::", &[]);
    one("10.0.0.0/8 ::", &[]);
    assert!(
        AddressKind::ALL
            .into_iter()
            .filter(|kind| kind.is_route())
            .eq([AddressKind::FramedRoute, AddressKind::FramedIpv6Route])
    );
}

#[test]
fn c2_kinds_are_told_apart_so_that_one_absent_is_not_one_taken_away() {
    let first = accounting(1).attribute(8, &[10, 0, 0, 7]);
    only(&first, AddressKind::FramedIp, &["10.0.0.7/32"]);
    let then = accounting(3).attribute(97, &prefix("2001:db8:1:2::", 64, 8));
    only(&then, AddressKind::FramedIpv6Prefix, &["2001:db8:1:2::/64"]);
}

#[test]
fn each_kind_holds_its_limit_and_tells_of_one_over() {
    let count = |encoder: &Encoder, count: usize, is_over: bool| {
        read(encoder, |facts| {
            assert_eq!((texts(&facts, AddressKind::FramedIp).len(), facts.is_over()), (count, is_over));
        });
    };
    let full = (1..=32).fold(accounting(1), |all, last| all.attribute(8, &[10, 0, 0, last]));
    assert_eq!(ADDRESSES_MAX, 32);
    count(&full, 32, false);
    count(&full.clone().attribute(8, &[10, 0, 0, 32]), 32, false);
    count(&full.clone().attribute(8, &[10, 0, 0, 33]), 32, true);
    let beside = full.attribute(168, &octets("2001:db8::1"));
    count(&beside, 32, false);
    read(&beside, |facts| assert_eq!(texts(&facts, AddressKind::FramedIpv6), ["2001:db8::1/128"]));
}
