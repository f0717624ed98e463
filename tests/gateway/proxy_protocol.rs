//! PROXY protocol headers: what is read, what is refused, at which length.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/proxy_header.rs"]
mod target;

use gateway::wire::proxy_protocol::{Carried, Header, Outcome, Transport, header, tlv};

const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(transport: Transport, source: &str, destination: &str, length: usize) -> Outcome {
    let carried = Carried::Addresses {
        transport,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    Outcome::Header(Header { length, carried })
}

fn nothing(length: usize) -> Outcome {
    Outcome::Header(Header { length, carried: Carried::Nothing })
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = V2.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

fn v4_block() -> Vec<u8> {
    vec![192, 0, 2, 1, 198, 51, 100, 7, 0xc3, 0x50, 1, 0xbb]
}

fn v6_block(source: &str, destination: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&octets(source)[..], &octets(destination), &[0xc3, 0x50, 1, 0xbb]].concat()
}

/// Every proper prefix of a header wants more; the whole is read, with or without bytes behind it.
fn read_at_every_prefix(bytes: &[u8], outcome: Outcome) {
    for end in 0..bytes.len() {
        assert_eq!(header(&bytes[..end], 0), Outcome::NeedMore, "prefix of {end}");
    }
    assert_eq!(header(bytes, 0), outcome);
    let more = [bytes, b"\x16\x03\x01PROXY "].concat();
    assert_eq!(header(&more, 0), outcome);
}

#[test]
fn text_headers_are_read() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\r\n";
    let v4 = addresses(Transport::Stream, "192.0.2.1:50000", "198.51.100.7:443", line.len());
    read_at_every_prefix(line, v4);
    let line = b"PROXY TCP6 2001:db8::1 2001:DB8:0:0::7 1 65535\r\n";
    let v6 = addresses(Transport::Stream, "[2001:db8::1]:1", "[2001:db8::7]:65535", line.len());
    read_at_every_prefix(line, v6);
    let line = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 50000 443\r\n";
    let mapped = addresses(Transport::Stream, "192.0.2.1:50000", "198.51.100.7:443", line.len());
    read_at_every_prefix(line, mapped);
    read_at_every_prefix(b"PROXY UNKNOWN\r\n", nothing(15));
    read_at_every_prefix(b"PROXY UNKNOWN ffff::1 whatever stands here 0 0\r\n", nothing(48));
}

#[test]
fn text_headers_are_read_to_the_letter() {
    let rows: &[(&str, &str)] = &[
        ("TCP4 192.0.2.1 198.51.100.7 050000 443\r\n", "source port"),
        ("TCP4 192.0.2.1 198.51.100.7 +50 443\r\n", "source port"),
        ("TCP4 192.0.2.1 198.51.100.7 65536 443\r\n", "source port"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 -1\r\n", "destination port"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 \r\n", "destination port"),
        ("TCP4 192.0.2.1 198.51.100.7 50000\r\n", "destination port"),
        ("TCP4 192.0.2.01 198.51.100.7 50000 443\r\n", "source address"),
        ("TCP4 192.0.2 198.51.100.7 50000 443\r\n", "source address"),
        ("TCP4 2001:db8::1 198.51.100.7 50000 443\r\n", "source address"),
        ("TCP4  192.0.2.1 198.51.100.7 50000 443\r\n", "source address"),
        ("TCP4 192.0.2.1 198.51.100.7.9 50000 443\r\n", "destination address"),
        ("TCP6 192.0.2.1 2001:db8::7 50000 443\r\n", "source address"),
        ("TCP6 fe80::1%eth0 2001:db8::7 50000 443\r\n", "source address"),
        ("TCP6 [2001:db8::1] 2001:db8::7 50000 443\r\n", "source address"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 443 \r\n", "end of header"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 443 x\r\n", "end of header"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 443\n", "line end"),
        ("TCP4 192.0.2.1 198.51.100.7 50000 443\r\r\n", "destination port"),
        ("TCP5 192.0.2.1 198.51.100.7 50000 443\r\n", "protocol and family"),
        ("tcp4 192.0.2.1 198.51.100.7 50000 443\r\n", "protocol and family"),
        ("UDP4 192.0.2.1 198.51.100.7 50000 443\r\n", "protocol and family"),
        ("UNKNOWNS\r\n", "protocol and family"),
        ("\r\n", "protocol and family"),
    ];
    for (line, field) in rows {
        let bytes = format!("PROXY {line}");
        assert_eq!(header(bytes.as_bytes(), 0), Outcome::Malformed { field }, "{line:?}");
    }
}

#[test]
fn text_headers_end_within_107_bytes() {
    let line = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16)).into_bytes();
    assert_eq!(header(&line(107), 0), nothing(107));
    assert_eq!(header(&line(108), 0), Outcome::Oversize);
    assert_eq!(header(&line(108)[..107], 0), Outcome::Oversize);
    assert_eq!(header(&line(108)[..106], 0), Outcome::NeedMore);
    assert_eq!(header(&line(10_000)[..9_000], 1 << 16), Outcome::Oversize, "it never ends");
}

#[test]
fn binary_headers_are_read() {
    let (from, to) = ("192.0.2.1:50000", "198.51.100.7:443");
    read_at_every_prefix(&v2(0x21, 0x11, &v4_block()), addresses(Transport::Stream, from, to, 28));
    read_at_every_prefix(&v2(0x21, 0x12, &v4_block()), addresses(Transport::Datagram, from, to, 28));
    let block = v6_block("2001:db8::1", "2001:db8::7");
    let (from6, to6) = ("[2001:db8::1]:50000", "[2001:db8::7]:443");
    read_at_every_prefix(&v2(0x21, 0x21, &block), addresses(Transport::Stream, from6, to6, 52));
    read_at_every_prefix(&v2(0x21, 0x22, &block), addresses(Transport::Datagram, from6, to6, 52));
    let mapped = v6_block("::ffff:192.0.2.1", "::ffff:198.51.100.7");
    read_at_every_prefix(&v2(0x21, 0x21, &mapped), addresses(Transport::Stream, from, to, 52));
    let tlvs = [&v4_block()[..], &[4, 0, 3, 0, 0, 0], &[3, 0, 4, 1, 2, 3, 4], &[0xea, 0, 0]].concat();
    read_at_every_prefix(&v2(0x21, 0x11, &tlvs), addresses(Transport::Stream, from, to, 16 + tlvs.len()));
}

#[test]
fn a_tlv_is_found_in_a_whole_header_of_version_2() {
    let of = |bytes: &[u8], kind| match header(bytes, 0) {
        Outcome::Header(read) => format!("{:?}", tlv(bytes, &read, kind)),
        other => panic!("{other:?}"),
    };
    let tlvs: &[u8] = &[0xe0, 0, 2, b'h', b'i', 4, 0, 1, 0, 0xe1, 0, 0, 0xe2, 0, 1, 7, 0xe2, 0, 1, 7];
    let v4 = [&v4_block()[..], tlvs].concat();
    let v6 = [&v6_block("2001:db8::1", "2001:db8::7")[..], tlvs].concat();
    for bytes in [v2(0x21, 0x11, &v4), v2(0x21, 0x12, &v4), v2(0x21, 0x21, &v6)] {
        // What follows the header is the subscriber's.
        let bytes = [&bytes[..], &[0xe3, 0, 1, 7]].concat();
        assert_eq!(of(&bytes, 0xe0), "Value([104, 105])");
        assert_eq!((of(&bytes, 0xe1), of(&bytes, 0xe2)), ("Value([])".into(), "Repeated".into()));
        assert_eq!(of(&bytes, 0xe3), "Absent");
    }
    assert_eq!(of(b"PROXY TCP4 192.0.2.1 198.51.100.7 50000 443\r\n", 0xe0), "Absent");
    assert_eq!(of(&v2(0x20, 0x11, &v4), 0xe0), "Absent", "LOCAL");
}

#[test]
fn binary_headers_that_carry_nothing() {
    read_at_every_prefix(&v2(0x20, 0x00, &[]), nothing(16));
    read_at_every_prefix(&v2(0x20, 0x11, &v4_block()), nothing(28));
    read_at_every_prefix(&v2(0x20, 0xff, &[9; 20]), nothing(36));
    read_at_every_prefix(&v2(0x21, 0x00, &[1, 2, 3]), nothing(19));
}

#[test]
fn binary_headers_that_are_refused() {
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (v2(0x11, 0x11, &v4_block()), "version"),
        (v2(0x31, 0x11, &v4_block()), "version"),
        (v2(0x22, 0x11, &v4_block()), "command"),
        (v2(0x2f, 0x11, &v4_block()), "command"),
        (v2(0x21, 0x31, &[0; 216]), "protocol and family"),
        (v2(0x21, 0x32, &[0; 216]), "protocol and family"),
        (v2(0x21, 0x10, &v4_block()), "protocol and family"),
        (v2(0x21, 0x01, &v4_block()), "protocol and family"),
        (v2(0x21, 0x13, &v4_block()), "protocol and family"),
        (v2(0x21, 0x41, &v4_block()), "protocol and family"),
        (v2(0x21, 0x11, &[]), "source address"),
        (v2(0x21, 0x11, &v4_block()[..7]), "destination address"),
        (v2(0x21, 0x11, &v4_block()[..9]), "source port"),
        (v2(0x21, 0x11, &v4_block()[..11]), "destination port"),
        (v2(0x21, 0x21, &v4_block()), "source address"),
        (v2(0x21, 0x11, &[&v4_block()[..], &[4, 0]].concat()), "TLV value"),
        (v2(0x21, 0x11, &[&v4_block()[..], &[4, 0, 9, 1]].concat()), "TLV value"),
    ];
    for (bytes, field) in rows {
        assert_eq!(header(&bytes, 0), Outcome::Malformed { field }, "{bytes:x?}");
    }
}

#[test]
fn binary_headers_at_the_cap_one_over_and_of_65535() {
    let of = |bytes: usize| {
        let tlv = bytes - 16 - 12 - 3;
        let mut block = v4_block();
        block.push(4);
        block.extend(u16::try_from(tlv).unwrap().to_be_bytes());
        block.extend(vec![0; tlv]);
        v2(0x21, 0x11, &block)
    };
    let read = |bytes: usize, extra| matches!(header(&of(bytes), extra), Outcome::Header(read) if read.length == bytes);
    assert!(read(536, 0));
    assert_eq!(header(&of(537), 0), Outcome::Oversize);
    assert!(read(536 + 100, 100));
    assert_eq!(header(&of(537 + 100), 100), Outcome::Oversize);
    let mut most = v2(0x21, 0x11, &[]);
    most[14..16].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(header(&most, 0), Outcome::Oversize, "refused by its length, before its bytes are waited for");
    assert_eq!(header(&most[..15], 0), Outcome::NeedMore);
}

#[test]
fn what_is_no_header_is_known_by_its_first_strange_byte() {
    for bytes in
        [&b"G"[..], b"\x16\x03", b"PROXy", b"PROXY\t", b"\r\n\r\n\0\r\nQUIt", b"\r\nGET", b"\n", b"proxy "]
    {
        assert_eq!(header(bytes, 0), Outcome::NotProxy, "{bytes:?}");
    }
    assert_eq!(header(b"", 0), Outcome::NeedMore);
}

#[test]
fn fuzz_corpus_replays() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/proxy_header");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        target::run(&std::fs::read(file.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "{folder} has inputs");
}
