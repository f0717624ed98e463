//! What is not unwrapped: layers too deep, packets of no flow, and ordinary flows on ports of tunnels.

use serde_json::json;
use support::capture::*;

use super::{NAME, outer, outer_udp, packets};

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
