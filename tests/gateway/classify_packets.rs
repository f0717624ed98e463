//! `gateway classify`: every way a packet may be wrapped, fragmented or counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "classify_packets/fragments.rs"]
mod fragments;

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use support::capture::*;

/// The same connection over IPv4 or IPv6, as IP packets without a link header, and its bytes.
fn packets(six: bool) -> (Vec<Vec<u8>>, u64) {
    let mut talk = Talk::from_port(40_000);
    if six {
        talk.client = "[2001:db8:0:0:1:0:0:1]:40000".parse().unwrap();
        talk.server = "[2001:db8::443]:443".parse().unwrap();
    }
    let frames = talk.whole(&hello("www.listed.example"), 100);
    let packets: Vec<_> = frames.into_iter().map(|frame| frame[14..].to_vec()).collect();
    let bytes = packets.iter().map(|packet| packet.len() as u64).sum();
    (packets, bytes)
}

/// EtherType of an IP packet.
fn kind(ip: &[u8]) -> [u8; 2] {
    if ip[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] }
}

/// PPP protocol of an IP packet.
fn ppp(ip: &[u8]) -> [u8; 2] {
    if ip[0] >> 4 == 4 { [0x00, 0x21] } else { [0x00, 0x57] }
}

/// Ethernet with a stack of tags before the type.
fn tagged(tags: &[[u8; 2]], ip: &[u8]) -> Vec<u8> {
    let stack: Vec<u8> = tags.iter().flat_map(|tag| [tag[0], tag[1], 0, 42]).collect();
    [&[2; 12][..], &stack, &kind(ip), ip].concat()
}

/// Wraps an IP packet in a frame.
type Wrap = fn(&[u8]) -> Vec<u8>;

#[test]
fn every_link_type_of_the_contract_is_read() {
    let wraps: [(&str, u16, Wrap); 31] = [
        ("Ethernet", 1, |ip| ethernet(ip)),
        ("Ethernet with padding behind", 1, |ip| [ethernet(ip), vec![0; 30]].concat()),
        ("VLAN", 1, |ip| tagged(&[[0x81, 0]], ip)),
        ("QinQ", 1, |ip| tagged(&[[0x88, 0xa8], [0x81, 0]], ip)),
        ("old QinQ, three deep", 1, |ip| tagged(&[[0x91, 0], [0x92, 0], [0x81, 0]], ip)),
        ("802.3 SNAP", 1, |ip| {
            let llc = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &kind(ip), ip].concat();
            [&[2; 12][..], &(llc.len() as u16).to_be_bytes(), &llc].concat()
        }),
        ("MPLS", 1, |ip| [&[2; 12][..], &[0x88, 0x47], &[0, 1, 0, 64, 0, 2, 1, 64], ip].concat()),
        ("PPPoE", 1, |ip| {
            let size = (ip.len() as u16 + 2).to_be_bytes();
            [&[2; 12][..], &[0x88, 0x64, 0x11, 0, 0, 9], &size, &ppp(ip), ip].concat()
        }),
        ("PPPoE in VLAN", 1, |ip| {
            let size = (ip.len() as u16 + 2).to_be_bytes();
            [&[2; 12][..], &[0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 9], &size, &ppp(ip), ip].concat()
        }),
        ("PPP", 9, |ip| [&ppp(ip)[..], ip].concat()),
        ("PPP with HDLC framing", 9, |ip| [&[0xff, 3][..], &ppp(ip), ip].concat()),
        ("PPP with a short protocol field", 9, |ip| [&ppp(ip)[1..], ip].concat()),
        ("PPP-HDLC", 50, |ip| [&[0xff, 3][..], &ppp(ip), ip].concat()),
        ("PPP-HDLC, Cisco framing", 50, |ip| [&[0x0f, 0][..], &kind(ip), ip].concat()),
        ("PPPoE alone", 51, |ip| [&[0x11, 0, 0, 9, 0, 0][..], &ppp(ip), ip].concat()),
        ("Cisco HDLC", 104, |ip| [&[0x0f, 0][..], &kind(ip), ip].concat()),
        ("PPP with direction", 204, |ip| [&[1, 0xff, 3][..], &ppp(ip), ip].concat()),
        ("PPP of pppd, its address overwritten", 166, |ip| [&[1, 3][..], &ppp(ip), ip].concat()),
        ("PPP of pppd, without control byte", 166, |ip| [&[0][..], &ppp(ip), ip].concat()),
        ("raw", 101, |ip| ip.to_vec()),
        ("raw, old number", 12, |ip| ip.to_vec()),
        ("raw, OpenBSD's number", 14, |ip| ip.to_vec()),
        ("SLL", 113, |ip| [&[0, 0, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0][..], &kind(ip), ip].concat()),
        ("SLL with VLAN", 113, |ip| [&[0; 14][..], &[0x81, 0, 0, 7], &kind(ip), ip].concat()),
        ("SLL2", 276, |ip| {
            [&kind(ip)[..], &[0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 1, 1, 1, 1, 1, 1, 0, 0], ip].concat()
        }),
        ("loopback, little-endian", 0, |ip| {
            [&[if ip[0] >> 4 == 4 { 2 } else { 30 }, 0, 0, 0][..], ip].concat()
        }),
        ("loopback, big-endian", 0, |ip| [&[0, 0, 0, if ip[0] >> 4 == 4 { 2 } else { 24 }][..], ip].concat()),
        ("loopback, FreeBSD", 0, |ip| [&[if ip[0] >> 4 == 4 { 2 } else { 28 }, 0, 0, 0][..], ip].concat()),
        ("loopback, Linux", 0, |ip| [&[if ip[0] >> 4 == 4 { 2 } else { 10 }, 0, 0, 0][..], ip].concat()),
        ("LOOP", 108, |ip| [&[0, 0, 0, if ip[0] >> 4 == 4 { 2 } else { 24 }][..], ip].concat()),
        ("LOOP, Windows", 108, |ip| [&[if ip[0] >> 4 == 4 { 2 } else { 23 }, 0, 0, 0][..], ip].concat()),
    ];
    for six in [false, true] {
        let (packets, bytes) = packets(six);
        for (title, link, wrap) in wraps {
            let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
            let lines = classified_link(link, &frames);
            assert_eq!(lines.len(), 1, "{title} {six}");
            assert_eq!(lines[0]["name"], "www.listed.example", "{title} {six}");
            assert_eq!(total(&lines[0]), bytes, "{title} {six}");
        }
        let lines = classified_link(if six { 229 } else { 228 }, &packets);
        assert_eq!((lines.len(), total(&lines[0])), (1, bytes));
    }
}

/// All bytes of a flow.
fn total(line: &Value) -> u64 {
    line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap()
}

#[test]
fn addresses_are_printed_in_their_canonical_form() {
    let (packets, _) = packets(true);
    let line = &classified_link(101, &packets)[0];
    assert_eq!(line["client"], "[2001:db8::1:0:0:1]:40000");
    assert_eq!(line["server"], "[2001:db8::443]:443");
    let mapped: [IpAddr; 2] = ["::ffff:10.0.0.1".parse().unwrap(), "::ffff:10.0.0.2".parse().unwrap()];
    let line = &classified_link(101, &[ip(mapped[0], mapped[1], 17, &udp(5, 6, b"x"))])[0];
    assert_eq!((&line["client"], &line["server"]), (&json!("10.0.0.1:5"), &json!("10.0.0.2:6")));
    assert_eq!(line["up_bytes"], 49);
}

#[test]
fn vlan_tags_are_not_part_of_the_flow() {
    let (packets, bytes) = packets(false);
    let frames: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(number, packet)| if number % 2 == 0 { ethernet(packet) } else { tagged(&[[0x81, 0]], packet) })
        .collect();
    let lines = classified(&frames);
    assert_eq!((lines.len(), total(&lines[0])), (1, bytes));
    assert_eq!(lines[0]["name"], "www.listed.example");
}

#[test]
fn ipv4_options_and_ipv6_extension_headers_are_stepped_over() {
    let (packets, bytes) = packets(false);
    let with_options: Vec<_> = packets
        .iter()
        .map(|packet| {
            let total = (packet.len() as u16 + 8).to_be_bytes();
            [&[0x47, 0][..], &total, &packet[4..20], &[1; 8], &packet[20..]].concat()
        })
        .collect();
    let lines = classified_link(101, &with_options);
    assert_eq!(
        (&lines[0]["name"], total(&lines[0])),
        (&json!("www.listed.example"), bytes + 8 * packets.len() as u64)
    );

    let (packets, _) = self::packets(true);
    // Hop-by-hop, routing, destination options, authentication, an atomic fragment.
    let chain: &[u8] = &[
        43, 0, 1, 4, 0, 0, 0, 0, // hop-by-hop, then routing
        60, 0, 0, 0, 0, 0, 0, 0, // routing, then destination options
        51, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, // destination options of 16 bytes, then authentication
        44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
        9, // authentication, then fragment
        6, 0, 0, 0, 0, 0, 0, 9, // fragment, whole
    ];
    let extended: Vec<_> = packets
        .iter()
        .map(|packet| {
            let length = ((packet.len() - 40 + chain.len()) as u16).to_be_bytes();
            [&packet[..4], &length, &[0], &packet[7..40], chain, &packet[40..]].concat()
        })
        .collect();
    let lines = classified_link(101, &extended);
    assert_eq!(lines[0]["name"], "www.listed.example");
    assert_eq!(total(&lines[0]), extended.iter().map(|packet| packet.len() as u64).sum::<u64>());
}

#[test]
fn a_length_field_of_zero_means_the_length_on_the_wire() {
    for six in [false, true] {
        let (mut packets, bytes) = packets(six);
        for packet in &mut packets {
            let field = if six { 4..6 } else { 2..4 };
            packet[field].fill(0);
        }
        let frames: Vec<_> = packets.iter().map(|packet| tagged(&[[0x81, 0]], packet)).collect();
        let lines = classified(&frames);
        assert_eq!(lines[0]["name"], "www.listed.example");
        assert_eq!(total(&lines[0]), bytes);
    }
}

#[test]
fn udp_is_one_flow_per_tuple_and_only_an_address_rule_frees_it() {
    let from: IpAddr = "10.0.0.2".parse().unwrap();
    let zoom: IpAddr = "203.0.113.5".parse().unwrap();
    let frames = [
        ip(from, zoom, 17, &udp(5000, 8801, b"abc")),
        ip(zoom, from, 17, &udp(8801, 5000, b"defg")),
        ip(from, zoom, 17, &udp(5000, 8900, b"")),
    ];
    let lines = classified_link(101, &frames);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["class"], "exempt");
    assert_eq!(lines[0]["basis"], "address_rule");
    assert_eq!(lines[0]["rule"], "school/203.0.113.0/24");
    assert_eq!((&lines[0]["up_bytes"], &lines[0]["down_bytes"]), (&json!(31), &json!(32)));
    assert_eq!(lines[1]["reason"], "not_recognised");
}

#[test]
fn malformed_packets_are_passed_over_and_cut_headers_still_count() {
    let (packets, _) = packets(false);
    let good = &packets[3];
    let mut frames = Vec::new();
    for length in 0..good.len() {
        frames.push(good[..length].to_vec());
    }
    // From the fourth byte of the TCP header on the ports are known.
    let counted = good.len() - 24;
    let (lines, told) = classified_told(101, &frames);
    assert!(
        told.ends_with("24 packets neither TCP nor UDP: header malformed or cut 20, TCP without ports 4\n"),
        "{told}"
    );
    assert_eq!(lines.len(), 1);
    assert_eq!(total(&lines[0]), (counted * good.len()) as u64);
    let mut bad_header = good.clone();
    bad_header[0] = 0x44;
    let mut bad_total = good.clone();
    bad_total[3] = 10;
    bad_total[2] = 0;
    let mut bad_offset = good.clone();
    bad_offset[32] = 0x10;
    let (lines, _) = classified_told(101, &[bad_header, bad_total, bad_offset, vec![0xf0; 60], vec![]]);
    assert_eq!(lines.len(), 1, "only the bad data offset leaves the ports readable");
    assert_eq!(lines[0]["reason"], "undecided");
}

#[test]
fn a_talk_between_equal_ends_is_one_flow() {
    let end: SocketAddr = "10.0.0.1:7".parse().unwrap();
    let frame = ip(end.ip(), end.ip(), 17, &udp(7, 7, b"x"));
    let lines = classified_link(101, &[frame.clone(), frame]);
    assert_eq!((lines.len(), &lines[0]["up_bytes"]), (1, &json!(58)));
}
