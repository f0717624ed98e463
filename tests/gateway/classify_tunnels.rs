//! `gateway classify` on captures of an operator's edge: packets in tunnels, what belongs to no flow, and captures that are
//! still being made. Every encapsulation is also shown to tshark, which must find the same hello in it.

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

#[path = "classify_tunnels/input.rs"]
mod input;
#[path = "classify_tunnels/tshark.rs"]
mod tshark;
#[path = "classify_tunnels/unread.rs"]
mod unread;

use std::net::IpAddr;

use serde_json::json;
use support::capture::*;

const NAME: &str = "www.listed.example";

/// A connection with the listed name, as IP packets without a link header, and their bytes.
fn packets(six: bool) -> (Vec<Vec<u8>>, u64) {
    let mut talk = Talk::from_port(40_000);
    if six {
        talk.client = "[2001:db8::1]:40000".parse().unwrap();
        talk.server = "[2001:db8::443]:443".parse().unwrap();
    }
    let frames = talk.whole(&hello(NAME), 1_000);
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

/// An outer IPv4 packet of this protocol.
fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap(), protocol, payload)
}

/// An outer IPv6 packet of this protocol.
fn outer_six(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip("2001:db8:f::1".parse().unwrap(), "2001:db8:f::2".parse().unwrap(), protocol, payload)
}

/// An outer UDP datagram between these ports.
fn outer_udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    outer(17, &udp(from, to, payload))
}

/// A GTP-U header, with what follows its first 8 bytes.
fn gtp(flags: u8, behind: &[u8], ip: &[u8]) -> Vec<u8> {
    let length = ((behind.len() + ip.len()) as u16).to_be_bytes();
    outer_udp(2_152, 2_152, &[&[flags, 0xff][..], &length, &[0, 0, 0x1a, 0x2b], behind, ip].concat())
}

/// A GRE header of version 0.
fn gre(flags: u8, kind: [u8; 2], fields: &[u8], inner: &[u8]) -> Vec<u8> {
    outer(47, &[&[flags, 0][..], &kind, fields, inner].concat())
}

/// Wraps an IP packet in a packet.
type Wrap = fn(&[u8]) -> Vec<u8>;

/// A tunnel's packets: what it is called, in which key `tunnel`, and how a packet is wrapped.
const PACKETS: &[(&str, &str, Wrap)] = &[
    ("GTP-U", "gtp-u", |ip| gtp(0x30, &[], ip)),
    ("GTP-U with a sequence number", "gtp-u", |ip| gtp(0x32, &[0, 7, 0, 0], ip)),
    ("GTP-U with the container of 5G", "gtp-u", |ip| gtp(0x34, &[0, 0, 0, 0x85, 1, 0x10, 9, 0], ip)),
    ("GRE", "gre", |ip| gre(0, kind(ip), &[], ip)),
    ("GRE with checksum, key and sequence", "gre", |ip| gre(0xb0, kind(ip), &[0; 12], ip)),
    ("Ethernet in GRE", "gre", |ip| gre(0x20, [0x65, 0x58], &[0, 0, 1, 0], &ethernet(ip))),
    ("PPTP", "gre", |ip| {
        let length = ((ip.len() + 4) as u16).to_be_bytes();
        let head = [&[0x30, 0x81, 0x88, 0x0b][..], &length, &[0, 1, 0, 0, 0, 1, 0, 0, 0, 0]].concat();
        outer(47, &[&head[..], &[0xff, 3], &ppp(ip), ip].concat())
    }),
    ("MPLS in GRE", "gre/mpls", |ip| gre(0, [0x88, 0x47], &[0, 1, 1, 64], ip)),
    ("ERSPAN I", "erspan", |ip| gre(0, [0x88, 0xbe], &[], &ethernet(ip))),
    ("ERSPAN II", "erspan", |ip| {
        gre(0x10, [0x88, 0xbe], &[0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 0], &ethernet(ip))
    }),
    ("ERSPAN III", "erspan", |ip| {
        gre(0x10, [0x22, 0xeb], &[0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], &ethernet(ip))
    }),
    ("EtherIP", "etherip", |ip| outer(97, &[&[0x30, 0][..], &ethernet(ip)].concat())),
    ("MPLS in IP", "mpls", |ip| outer(137, &[&[0, 1, 1, 64][..], ip].concat())),
    ("MPLS in UDP", "mpls", |ip| outer_udp(49_152, 6_635, &[&[0, 1, 1, 64][..], ip].concat())),
    ("L2TP", "l2tp", |ip| {
        outer_udp(1_701, 1_701, &[&[0, 2, 0, 5, 0, 6, 0xff, 3][..], &ppp(ip), ip].concat())
    }),
    ("L2TP with length and sequence", "l2tp", |ip| {
        let length = ((ip.len() + 14) as u16).to_be_bytes();
        let head = [&[0x48, 2][..], &length, &[0, 5, 0, 6, 0, 1, 0, 2], &ppp(ip)].concat();
        outer_udp(1_701, 1_701, &[&head[..], ip].concat())
    }),
    ("VXLAN", "vxlan", |ip| {
        outer_udp(50_000, 4_789, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], &ethernet(ip)].concat())
    }),
    ("VXLAN with a protocol", "vxlan", |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        outer_udp(50_000, 4_790, &[&[0x0c, 0, 0, next, 0, 0, 42, 0][..], ip].concat())
    }),
    ("NSH in VXLAN", "vxlan/nsh", |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        let nsh = [&[0x0f, 0xc2, 2, next, 0, 0, 1, 255][..]].concat();
        outer_udp(50_000, 4_790, &[&[0x0c, 0, 0, 4, 0, 0, 42, 0][..], &nsh, ip].concat())
    }),
    ("Geneve", "geneve", |ip| {
        let head = [0x01, 0, 0x65, 0x58, 0, 0, 42, 0, 0, 1, 2, 0];
        outer_udp(50_000, 6_081, &[&head[..], &ethernet(ip)].concat())
    }),
    ("LISP", "lisp", |ip| outer_udp(61_000, 4_341, &[&[0x80, 0, 0, 1, 0, 0, 0, 0][..], ip].concat())),
    ("segment routing", "srv6", |ip| {
        let next = if ip[0] >> 4 == 4 { 4 } else { 41 };
        let last: IpAddr = "2001:db8:f::9".parse().unwrap();
        let IpAddr::V6(last) = last else { unreachable!() };
        outer_six(43, &[&[next, 2, 4, 0, 0, 0, 0, 0][..], &last.octets(), ip].concat())
    }),
    ("GTP-U in 4in6", "4in6/gtp-u", |ip| outer_six(4, &gtp(0x30, &[], ip))),
];

/// What is wrapped below the first IP header.
const FRAMES: &[(&str, &str, Wrap)] = &[
    ("QinQ", "qinq", |ip| [&[2; 12][..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2], &kind(ip), ip].concat()),
    ("PPPoE", "pppoe", |ip| {
        let size = (ip.len() as u16 + 2).to_be_bytes();
        [&[2; 12][..], &[0x88, 0x64, 0x11, 0, 0, 9], &size, &ppp(ip), ip].concat()
    }),
    ("MPLS", "mpls", |ip| [&[2; 12][..], &[0x88, 0x47, 0, 1, 0, 64, 0, 3, 1, 64], ip].concat()),
    // An address that begins neither like IP nor like a control word.
    ("Ethernet over MPLS", "eompls", |ip| {
        [&[2; 12][..], &[0x88, 0x47, 0, 2, 1, 64], &[0xa2; 12], &kind(ip), ip].concat()
    }),
    ("Ethernet over MPLS with a control word", "eompls", |ip| {
        [&[2; 12][..], &[0x88, 0x47, 0, 2, 1, 64, 0, 0, 0, 0], &ethernet(ip)].concat()
    }),
    ("backbone bridging", "pbb", |ip| [&[2; 12][..], &[0x88, 0xe7, 0, 0, 1, 0], &ethernet(ip)].concat()),
    ("VN-Tag", "vntag", |ip| [&[2; 12][..], &[0x89, 0x26, 0, 1, 0, 2], &kind(ip), ip].concat()),
    ("MACsec, integrity only", "macsec", |ip| {
        [&[2; 12][..], &[0x88, 0xe5, 0, 0, 0, 0, 0, 1], &kind(ip), ip, &[9; 16]].concat()
    }),
    ("MACsec with its channel", "macsec", |ip| {
        [&[2; 12][..], &[0x88, 0xe5, 0x20, 0, 0, 0, 0, 1], &[3; 8], &kind(ip), ip, &[9; 16]].concat()
    }),
    ("NSH", "nsh", |ip| {
        let next = if ip[0] >> 4 == 4 { 1 } else { 2 };
        [&[2; 12][..], &[0x89, 0x4f, 0x0f, 0xc2, 2, next, 0, 0, 1, 255], ip].concat()
    }),
];

#[test]
fn f50_the_packet_inside_every_tunnel_is_the_flow() {
    for six in [false, true] {
        let (packets, bytes) = packets(six);
        let ip_in_ip: [(&str, &str, Wrap); 2] = if six {
            [("6in4", "6in4", |ip| outer(41, ip)), ("6in6", "6in6", |ip| outer_six(41, ip))]
        } else {
            [("IP in IP", "ipip", |ip| outer(4, ip)), ("4in6", "4in6", |ip| outer_six(4, ip))]
        };
        let by_packet = PACKETS.iter().chain(&ip_in_ip).map(|case| (101, case));
        let by_frame = FRAMES.iter().map(|case| (ETHERNET, case));
        for (link, (title, tunnel, wrap)) in by_packet.chain(by_frame) {
            let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
            let lines = classified_link(link, &frames);
            assert_eq!(lines.len(), 1, "{title} {six}: {lines:?}");
            let line = &lines[0];
            assert_eq!((&line["name"], &line["tunnel"]), (&json!(NAME), &json!(tunnel)), "{title} {six}");
            let total = line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap();
            assert_eq!(total, bytes, "{title} {six}");
        }
    }
}

#[test]
fn f50_the_key_tunnel_stands_last_and_is_absent_without_a_tunnel() {
    let (packets, _) = packets(false);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.pcap");
    for (frames, end) in
        [(vec![outer(4, &packets[0])], ",\"tunnel\":\"ipip\"}\n"), (packets, ",\"down_bytes\":80}\n")]
    {
        std::fs::write(&path, pcap(101, &frames)).unwrap();
        let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.ends_with(end), "{text}");
    }
    let table = classify(&["--names-only"], &[&path]);
    assert!(!String::from_utf8(table.stdout).unwrap().contains('('));
}

#[test]
fn f50_multilink_and_l2tpv3_sessions_are_read() {
    let (packets, _) = packets(false);
    let multilink: [Wrap; 2] = [
        |ip| [&[0xff, 3, 0, 0x3d, 0xc0, 0, 0, 7, 0, 0x21][..], ip].concat(),
        |ip| [&[0x3d, 0xc0, 7, 0x21][..], ip].concat(),
    ];
    for wrap in multilink {
        let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
        let line = &classified_link(9, &frames)[0];
        assert_eq!((&line["name"], &line["tunnel"]), (&json!(NAME), &json!("mlppp")));
    }
    for cookie in [0, 4, 8, 12] {
        let session = |ip: &[u8]| [&[0, 0, 0, 9][..], &vec![0; cookie], &ethernet(ip)].concat();
        let frames: Vec<_> = packets.iter().map(|packet| outer(115, &session(packet))).collect();
        let line = &classified_link(101, &frames)[0];
        assert_eq!((&line["name"], &line["tunnel"]), (&json!(NAME), &json!("l2tp")), "{cookie}");
    }
}

#[test]
fn f50_a_packet_seen_outside_and_inside_a_tunnel_counts_for_two_flows() {
    let (packets, bytes) = packets(false);
    let frames: Vec<_> = packets.iter().flat_map(|packet| [gtp(0x30, &[], packet), packet.clone()]).collect();
    let lines = classified_link(101, &frames);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap(), bytes);
    }
    // A label that is popped one hop early tells no flows apart.
    let mut frames: Vec<_> = packets.iter().map(|packet| ethernet(packet)).collect();
    frames[0] = [&[2; 12][..], &[0x88, 0x47, 0, 2, 1, 64], &packets[0]].concat();
    assert_eq!(classified(&frames).len(), 1);
}

#[test]
fn f50_fragments_around_and_inside_a_tunnel_are_put_together() {
    let (packets, bytes) = packets(false);
    let longest = packets.iter().max_by_key(|packet| packet.len()).unwrap();
    let split = |payload: &[u8], protocol: u8, id: u16| -> Vec<Vec<u8>> {
        let (one, other) = payload.split_at(64);
        let [from, to] = [[203, 0, 113, 1], [203, 0, 113, 2]];
        vec![
            ipv4(&from, &to, protocol, one, 0x2000, id, 20 + one.len() as u16),
            ipv4(&from, &to, protocol, other, 8, id, 20 + other.len() as u16),
        ]
    };
    let mut frames = Vec::new();
    for (number, packet) in packets.iter().enumerate() {
        let whole = gtp(0x30, &[], packet);
        if packet == longest {
            frames.extend(split(&whole[20..], 17, number as u16));
        } else {
            frames.push(whole);
        }
    }
    assert!(frames.len() > packets.len());
    let lines = classified_link(101, &frames);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["name"], &lines[0]["tunnel"]), (&json!(NAME), &json!("gtp-u")));
    assert_eq!(lines[0]["up_bytes"].as_u64().unwrap() + lines[0]["down_bytes"].as_u64().unwrap(), bytes);
}
