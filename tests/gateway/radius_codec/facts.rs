//! What happened, when, who says so, and how many octets.

use std::net::Ipv4Addr;

use gateway::wire::radius::{AddressKind, Facts, Nas, Status};
use proptest::prelude::*;

use super::encode::{Encoder, accounting, request};
use super::{SECRET, judge, read};

#[test]
fn every_status_is_read_and_unknown_ones_are_too() {
    let rows =
        [(1, Status::Start), (2, Status::Stop), (3, Status::Interim), (7, Status::On), (8, Status::Off)];
    for (number, status) in rows {
        read(&accounting(number), |facts| assert_eq!(facts.status, status));
    }
    read(&request(), |facts| assert_eq!(facts.status, Status::Other(0)));
    read(&request().attribute(40, &[1]), |facts| assert_eq!(facts.status, Status::Other(0)));
    read(&accounting(1).integer(40, 2), |facts| assert_eq!(facts.status, Status::Start, "the first counts"));
}

#[test]
fn c26_status_types_that_nobody_knows_are_facts_like_others() {
    for number in [0, 4, 5, 6, 9, 15, u32::MAX] {
        read(&accounting(number), |facts| {
            assert_eq!(facts.status, Status::Other(number));
            assert_eq!(facts.acct_session_id, Some(&b"4ffd4832"[..]));
        });
    }
}

#[test]
fn c14_two_nas_with_one_session_id_are_told_apart() {
    let from = |last| request().integer(40, 1).attribute(44, b"81a09556").attribute(4, &[181, 192, 0, last]);
    read(&from(137), |one| {
        read(&from(138), |other| {
            assert_eq!(one.acct_session_id, other.acct_session_id);
            assert_ne!(one.nas, other.nas);
        });
    });
}

#[test]
fn c15_a_nas_is_named_by_what_is_present() {
    let start = || request().integer(40, 1);
    let ipv6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap();
    read(&start(), |facts| assert_eq!(facts.nas, Nas::default()));
    read(&start().attribute(32, b"00-11-22-33-44-55"), |facts| {
        assert_eq!(facts.nas, Nas { ip: None, ipv6: None, identifier: Some(b"00-11-22-33-44-55") });
    });
    read(&start().attribute(95, &ipv6.octets()), |facts| {
        assert_eq!(facts.nas, Nas { ip: None, ipv6: Some(ipv6), identifier: None });
    });
    read(
        &start().attribute(32, b"bng").attribute(95, &ipv6.octets()).attribute(4, &[10, 0, 0, 1]),
        |facts| {
            let all =
                Nas { ip: Some(Ipv4Addr::new(10, 0, 0, 1)), ipv6: Some(ipv6), identifier: Some(b"bng") };
            assert_eq!(facts.nas, all);
        },
    );
    read(&start().attribute(4, &[0; 4]).attribute(95, &[0; 16]).attribute(32, b""), |facts| {
        assert_eq!(facts.nas, Nas::default(), "zeros and nothing name nobody");
    });
}

#[test]
fn c20_times_are_read_as_they_are_said_however_odd() {
    for seconds in [0, 1, 1_199_145_600, u32::MAX] {
        let said = accounting(3).integer(55, seconds).integer(41, seconds).integer(46, seconds);
        read(&said, |facts| {
            let times = (facts.event_timestamp_s, facts.delay_s, facts.session_s);
            assert_eq!(times, (Some(seconds), Some(seconds), Some(seconds)));
        });
    }
    let wrong = accounting(3).attribute(55, &[0; 8]).attribute(41, &[1]).attribute(46, b"");
    read(&wrong, |facts| {
        assert_eq!((facts.event_timestamp_s, facts.delay_s, facts.session_s), (None, None, None));
    });
    let right_after = wrong.integer(55, 5);
    read(&right_after, |facts| assert_eq!(facts.event_timestamp_s, Some(5), "the wrong one is as if absent"));
}

#[test]
fn c34_octets_are_those_of_both_attributes_or_none() {
    let octets = |encoder: &Encoder, wanted| {
        read(encoder, |facts| assert_eq!((facts.input_octets, facts.output_octets), wanted));
    };
    octets(&accounting(2), (None, None));
    octets(&accounting(2).integer(42, 0).integer(43, u32::MAX), (Some(0), Some(4_294_967_295)));
    let giga = accounting(2).integer(52, 1).integer(42, 5).integer(43, 7).integer(53, 3);
    octets(&giga, (Some((1 << 32) + 5), Some((3 << 32) + 7)));
    let most = accounting(2).integer(52, u32::MAX).integer(42, u32::MAX);
    octets(&most, (Some(u64::MAX), None));
    octets(&accounting(2).integer(52, 1), (None, None));
    octets(&accounting(2).attribute(42, &[0; 8]).integer(53, 1), (None, None));
}

#[test]
fn what_mobile_networks_add_is_read() {
    let start = accounting(1)
        .vendor(10_415, &[(1, b"250011234567890"), (2, &[0, 0, 1, 2]), (6, &[192, 0, 2, 6])])
        .vendor(10_415, &[(7, &[192, 0, 2, 7]), (13, b"0800"), (99, b"?")])
        .vendor(10_416, &[(1, b"another vendor's")]);
    read(&start, |facts| {
        assert_eq!(facts.mobile.imsi, Some(&b"250011234567890"[..]));
        assert_eq!(facts.mobile.charging_id, Some(0x102));
        assert_eq!(facts.mobile.sgsn_address, Some(Ipv4Addr::new(192, 0, 2, 6)));
        assert_eq!(facts.mobile.ggsn_address, Some(Ipv4Addr::new(192, 0, 2, 7)));
        assert_eq!(facts.mobile.charging_characteristics, Some(&b"0800"[..]));
        assert!(!format!("{facts:?}").contains("25001"), "{facts:?}");
    });
}

#[test]
fn vendors_that_frame_in_their_own_way_are_passed_over_whole() {
    let own_ways: [&[u8]; 6] = [
        b"",
        &[0, 0, 0x28],
        &[0, 0, 0x28, 0xaf, 1],
        &[0, 0, 0x28, 0xaf, 1, 6, b'2', b'5', b'0', b'0', 1],
        &[0, 0, 0x28, 0xaf, 1, 1],
        &[0, 0, 0x28, 0xaf, 0, 0, 0, 1, 250],
    ];
    for value in own_ways {
        read(&accounting(1).attribute(26, value).attribute(1, b"bob"), |facts| {
            assert_eq!((facts.mobile.imsi, facts.user_name), (None, Some(&b"bob"[..])), "{value:?}");
        });
    }
    read(&accounting(1).vendor(10_415, &[]).vendor(10_415, &[(1, b""), (1, b"250011")]), |facts| {
        assert_eq!(facts.mobile.imsi, Some(&b"250011"[..]));
    });
}

#[test]
fn names_are_read_as_octets_and_empty_ones_are_absent() {
    let named = accounting(1)
        .attribute(1, b"")
        .attribute(1, b"bob")
        .attribute(1, b"eve")
        .attribute(25, &[0xff, 0])
        .attribute(31, b"00-11-22-33-44-55")
        .attribute(89, b"\0")
        .vendor(6527, &[(11, b"sub-1")]);
    read(&named, |facts| {
        assert_eq!(facts.user_name, Some(&b"bob"[..]));
        assert_eq!(facts.class, Some(&[0xff, 0][..]));
        assert_eq!(facts.calling_station_id, Some(&b"00-11-22-33-44-55"[..]));
        assert_eq!(facts.chargeable_user_identity, Some(&b"\0"[..]));
        assert_eq!(facts.alc_subsc_id_str, Some(&b"sub-1"[..]));
    });
    read(&request().integer(40, 1).attribute(44, b""), |facts| assert_eq!(facts.acct_session_id, None));
    read(&request().attribute(44, &[0; 253]), |facts| assert_eq!(facts.acct_session_id, Some(&[0; 253][..])));
}

/// What one attribute says, written and read.
#[derive(Clone, Debug)]
struct Said {
    status: u32,
    session_id: Vec<u8>,
    timestamp: Option<u32>,
    input: Option<u64>,
    addresses: Vec<[u8; 4]>,
    user_name: Option<Vec<u8>>,
    between: Vec<(u8, Vec<u8>)>,
}

prop_compose! {
    /// What a packet may say, with attributes between that mean nothing.
    fn said()(
        status in prop_oneof![0..20_u32, any::<u32>()],
        session_id in prop::collection::vec(any::<u8>(), 1..253),
        timestamp in any::<Option<u32>>(),
        input in any::<Option<u64>>(),
        addresses in prop::collection::btree_set(any::<[u8; 4]>(), 0..32),
        user_name in prop::option::of(prop::collection::vec(any::<u8>(), 1..253)),
        between in prop::collection::vec((192..=223_u8, prop::collection::vec(any::<u8>(), 0..253)), 0..4),
    ) -> Said {
        let addresses = addresses.into_iter().filter(|address| ![0, 255].contains(&address[0])).collect();
        Said { status, session_id, timestamp, input, addresses, user_name, between }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn what_is_written_is_read(said in said()) {
        let mut encoder = request();
        let mut between = said.between.iter();
        let mut add = |encoder: Encoder| match between.next() {
            Some((kind, value)) => encoder.attribute(*kind, value),
            None => encoder,
        };
        encoder = add(encoder.integer(40, said.status));
        encoder = add(encoder.attribute(44, &said.session_id));
        for address in &said.addresses {
            encoder = encoder.attribute(8, address);
        }
        if let Some(seconds) = said.timestamp {
            encoder = add(encoder.integer(55, seconds));
        }
        if let Some(octets) = said.input {
            encoder = add(encoder.integer(42, octets as u32).integer(52, (octets >> 32) as u32));
        }
        if let Some(name) = &said.user_name {
            encoder = encoder.attribute(1, name);
        }
        let signed = encoder.signed(SECRET);
        let facts = Facts::of(&judge(&signed).unwrap());
        prop_assert_eq!(facts.status, Status::from(said.status));
        prop_assert_eq!(facts.acct_session_id, Some(&said.session_id[..]));
        prop_assert_eq!(facts.event_timestamp_s, said.timestamp);
        prop_assert_eq!(facts.input_octets, said.input);
        prop_assert_eq!(facts.user_name, said.user_name.as_deref());
        let hosts: Vec<String> = said.addresses.iter().map(|a| format!("{}/32", Ipv4Addr::from(*a))).collect();
        let read: Vec<String> = facts.addresses.of(AddressKind::FramedIp).iter().map(ToString::to_string).collect();
        prop_assert_eq!(read, hosts);
    }
}
