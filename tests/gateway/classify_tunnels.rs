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

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

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

/// The names that tshark reads in hellos of a capture, in order. What is below a label nobody announces: it is told to guess.
fn names_by_tshark(link: u16, frames: &[Vec<u8>]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.pcap");
    std::fs::write(&path, pcap(link, frames)).unwrap();
    let output = Command::new("tshark")
        .args(["-d", "mpls.label==32,pwethheuristic"])
        .args(["-n", "-T", "fields", "-e", "tls.handshake.extensions_server_name", "-Y", "tls", "-r"])
        .arg(&path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether tshark is here.
fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: needs tshark");
    }
    found
}

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
fn f50_tshark_reads_the_same_name_in_every_tunnel() {
    if !has_tshark() {
        return;
    }
    let (packets, _) = packets(false);
    for (title, _, wrap) in PACKETS {
        let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
        assert!(names_by_tshark(101, &frames).contains(NAME), "{title}");
    }
    for (title, _, wrap) in FRAMES {
        let frames: Vec<_> = packets.iter().map(|packet| wrap(packet)).collect();
        assert!(names_by_tshark(ETHERNET, &frames).contains(NAME), "{title}");
    }
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
fn f50_at_most_four_layers_are_read_and_what_is_deeper_is_told() {
    let (packets, _) = packets(false);
    let nested = |depth: usize| -> Vec<Vec<u8>> {
        let wrap = |packet: &Vec<u8>| (0..depth).fold(packet.clone(), |packet, _| outer(4, &packet));
        packets.iter().map(wrap).collect()
    };
    let line = &classified_link(101, &nested(4))[0];
    assert_eq!((&line["name"], &line["tunnel"]), (&json!(NAME), &json!("ipip/ipip/ipip/ipip")));
    let (flows, told) = classified_told(101, &nested(5));
    assert!(flows.is_empty());
    assert!(
        told.contains(&format!("{} packets neither TCP nor UDP: more than 4 encapsulations", packets.len()))
    );
}

#[test]
fn f50_what_belongs_to_no_flow_is_summed_up_in_one_line() {
    let mut frames = vec![outer(50, &[7; 40]); 9];
    frames.extend(vec![outer(89, &[7; 40]); 3]);
    let (flows, said) = classified_told(101, &frames);
    assert!(flows.is_empty());
    assert!(said.ends_with("warning: 12 packets neither TCP nor UDP: ESP 9, OSPF 3\n"), "{said}");
    let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let (_, said) = classified_told(ETHERNET, &[arp]);
    assert!(said.ends_with("warning: 1 packet neither TCP nor UDP: ARP 1\n"), "{said}");
    // Nine kinds: eight are named, most frequent first.
    let many: Vec<_> =
        (60..69_u8).flat_map(|number| vec![outer(number, &[0; 8]); usize::from(number - 59)]).collect();
    let (_, said) = classified_told(101, &many);
    assert!(
        said.contains("45 packets neither")
            && said.contains("IP protocol 67 8, ")
            && said.contains("others 9"),
        "{said}"
    );
}

#[test]
fn f50_ports_of_tunnels_used_by_a_client_stay_ordinary_flows() {
    // A client whose own port is one of a tunnel's, and control messages of the tunnels themselves.
    let dns = [0x30, 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
    let cases = [
        outer_udp(2_152, 53, &dns),
        outer_udp(2_152, 2_152, &[0x32, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        outer_udp(1_701, 1_701, &[0xc8, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]),
        outer_udp(4_789, 4_789, b"not a network number"),
        outer_udp(3_544, 3_544, &[0, 0, 1, 2, 3, 4, 5, 6]),
    ];
    for packet in cases {
        let line = &classified_link(101, std::slice::from_ref(&packet))[0];
        assert_eq!(line["protocol"], "udp");
        assert!(!line.as_object().unwrap().contains_key("tunnel"), "{line}");
        assert_eq!(line["up_bytes"], packet.len());
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

#[test]
fn f51_flows_on_standard_input_are_printed_as_they_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["classify", "--list"])
        .arg(list())
        .args(["--names-only", "--format", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = Talk::from_port(1).whole(&hello(NAME), 1_000);
    input.write_all(&pcap(ETHERNET, &first)).unwrap();
    // A packet of another flow, three seconds later: the first flow is over, and told while the capture goes on.
    let later = ethernet(&outer_udp(5, 6, b"x"));
    let record = [1_600_000_003_u32, 0, later.len() as u32, later.len() as u32];
    input.write_all(&record.map(u32::to_le_bytes).concat()).unwrap();
    input.write_all(&later).unwrap();
    input.flush().unwrap();
    let line: serde_json::Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!((&line["name"], &line["file"]), (&json!(NAME), &json!("-")));
    drop(input);
    let line: serde_json::Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["protocol"], "udp");
    assert!(output.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn f51_other_compressions_are_named_with_what_reads_them() {
    let plain = pcap(ETHERNET, &Talk::from_port(1).whole(&hello(NAME), 1_000));
    let directory = tempfile::tempdir().unwrap();
    for (packer, remedy) in
        [("xz", "xz -dc"), ("bzip2", "bzip2 -dc"), ("zstd", "zstd -dc"), ("lz4", "lz4 -dc")]
    {
        let packed = Command::new(packer)
            .args(["-q", "-c", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()
            .map(|mut child| {
                child.stdin.take().unwrap().write_all(&plain).unwrap();
                child.wait_with_output().unwrap().stdout
            });
        // Not every machine has all four; the first bytes are those of the formats.
        let magic = match packer {
            "xz" => b"\xfd7zXZ\0".to_vec(),
            "bzip2" => b"BZh9".to_vec(),
            "zstd" => b"\x28\xb5\x2f\xfd".to_vec(),
            _ => b"\x04\x22\x4d\x18".to_vec(),
        };
        let content = packed.filter(|packed| !packed.is_empty()).unwrap_or(magic);
        let path = directory.path().join(packer);
        std::fs::write(&path, content).unwrap();
        let output = classify(&["--format", "jsonl"], &[&path]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(74), "{told}");
        assert!(told.contains(remedy) && told.contains("gateway classify -"), "{told}");
    }
}
