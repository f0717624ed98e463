//! IP packets in fragments: put together in any order, and never exempt where they contradict each other.

use std::net::IpAddr;

use serde_json::{Value, json};
use support::capture::*;

use super::{packets, total};

/// An IPv4 payload cut into fragments of `size` bytes, as (offset, packet).
fn fragments(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { panic!("IPv4 only") };
    let parts: Vec<_> = payload.chunks(size).collect();
    let last = parts.len() - 1;
    let cut = |(number, part): (usize, &&[u8])| {
        let field = (number * size / 8) as u16 | if number < last { 0x2000 } else { 0 };
        ipv4(&from.octets(), &to.octets(), protocol, part, field, id, 20 + part.len() as u16)
    };
    parts.iter().enumerate().map(cut).collect()
}

/// An IPv6 payload cut into fragments.
fn fragments_six(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &[u8],
    size: usize,
    id: u32,
) -> Vec<Vec<u8>> {
    let parts: Vec<_> = payload.chunks(size).collect();
    let last = parts.len() - 1;
    let cut = |(number, part): (usize, &&[u8])| {
        let field = ((number * size) as u16 | u16::from(number < last)).to_be_bytes();
        ip(from, to, 44, &[&[protocol, 0][..], &field, &id.to_be_bytes(), part].concat())
    };
    parts.iter().enumerate().map(cut).collect()
}

/// Opening segments, and the data segment as a payload to be cut.
fn fragmented(six: bool, size: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (packets, _) = packets(six);
    let ends: [IpAddr; 2] = if six {
        ["2001:db8::1:0:0:1".parse().unwrap(), "2001:db8::443".parse().unwrap()]
    } else {
        ["10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap()]
    };
    let segment = tcp(40_000, 443, 1001, 5001, ACK, &hello("www.listed.example"));
    let cut = if six {
        fragments_six(ends[0], ends[1], 6, &segment, size, 77)
    } else {
        fragments(ends[0], ends[1], 6, &segment, size, 77)
    };
    (packets[..3].to_vec(), cut)
}

#[test]
fn ip_fragments_are_put_together_in_any_order() {
    for six in [false, true] {
        for size in [8, 16, 64] {
            let (open, cut) = fragmented(six, size);
            let bytes: u64 = open.iter().chain(&cut).map(|packet| packet.len() as u64).sum();
            let reversed: Vec<_> = cut.iter().rev().cloned().collect();
            let mut doubled: Vec<_> =
                cut.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
            doubled.rotate_left(3);
            for (order, factor) in [(cut.clone(), 0), (reversed, 0), (doubled, 1)] {
                let repeated: u64 = cut.iter().map(|packet| packet.len() as u64 * factor).sum();
                let lines = classified_link(101, &[open.clone(), order].concat());
                assert_eq!(lines.len(), 1);
                assert_eq!(lines[0]["name"], "www.listed.example", "six {six} size {size}");
                assert_eq!(total(&lines[0]), bytes + repeated, "six {six} size {size}");
            }
        }
    }
}

#[test]
fn a_missing_fragment_hides_the_name_and_its_bytes_still_count() {
    let (open, mut cut) = fragmented(false, 16);
    cut.remove(3);
    let bytes: u64 = open.iter().chain(&cut).map(|packet| packet.len() as u64).sum();
    let lines = classified_link(101, &[open, cut].concat());
    assert_eq!((&lines[0]["name"], &lines[0]["reason"]), (&Value::Null, &json!("undecided")));
    assert_eq!(total(&lines[0]), bytes);
}

#[test]
fn fragments_that_contradict_each_other_are_ambiguous_and_never_exempt() {
    let (open, cut) = fragmented(false, 16);
    let mut forged = cut[4].clone();
    forged[25] ^= 1;
    let mut cases = vec![[open.clone(), vec![forged.clone()], cut.clone()].concat()];
    let mut late = cut.clone();
    late.insert(5, forged);
    cases.push([open, late].concat());
    for case in cases {
        let line = &classified_link(101, &case)[0];
        assert_eq!(
            (&line["name"], &line["class"], &line["reason"]),
            (&Value::Null, &json!("charged"), &json!("ambiguous"))
        );
    }
    // A UDP flow that an address rule would exempt: contradictory fragments may have other ports.
    let ends: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "203.0.113.5".parse().unwrap()];
    let cut = fragments(ends[0], ends[1], 17, &udp(5000, 8801, &[7; 40]), 16, 3);
    let mut forged = cut.clone();
    forged[0][23] ^= 4;
    let line = &classified_link(101, &cut)[0];
    assert_eq!(line["class"], "exempt");
    let line = &classified_link(101, &[vec![cut[0].clone()], forged].concat())[0];
    assert_eq!((&line["class"], &line["reason"]), (&json!("charged"), &json!("ambiguous")));
}
