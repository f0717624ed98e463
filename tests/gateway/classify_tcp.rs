//! `gateway classify`: TCP in every state a capture can show it.

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

#[path = "classify_tcp/connections.rs"]
mod connections;
#[path = "classify_tcp/segments.rs"]
mod segments;

use serde_json::{Value, json};
use support::capture::*;

/// `name`, `class` and `reason` of the only flow.
fn only(packets: &[Vec<u8>]) -> (Value, Value, Value) {
    let lines = classified(packets);
    assert_eq!(lines.len(), 1, "{lines:?}");
    (lines[0]["name"].clone(), lines[0]["class"].clone(), lines[0]["reason"].clone())
}

/// What a flow to the listed name gives.
fn exempt() -> (Value, Value, Value) {
    (json!("www.listed.example"), json!("exempt"), Value::Null)
}

/// What a flow without a name gives.
fn charged(reason: &str) -> (Value, Value, Value) {
    (Value::Null, json!("charged"), json!(reason))
}

/// The hello of the listed name.
fn listed() -> Vec<u8> {
    hello("www.listed.example")
}

#[test]
fn t1_hello_cut_at_every_offset_and_byte_by_byte() {
    let hello = listed();
    let mut packets = Vec::new();
    for cut in 1..hello.len() {
        let talk = Talk::from_port(10_000 + cut as u16);
        packets.extend(talk.open());
        packets.push(talk.up(0, &hello[..cut]));
        packets.push(talk.up(cut as u32, &hello[cut..]));
    }
    packets.extend(Talk::from_port(9_000).whole(&hello, 1));
    let lines = classified(&packets);
    assert_eq!(lines.len(), hello.len());
    for line in lines {
        assert_eq!(line["name"], "www.listed.example", "{line}");
        assert_eq!(line["class"], "exempt", "{line}");
    }
}

#[test]
fn t1_the_two_halves_swapped_at_every_offset() {
    let hello = listed();
    let mut packets = Vec::new();
    for cut in 1..hello.len() {
        let talk = Talk::from_port(10_000 + cut as u16);
        packets.extend(talk.open());
        packets.push(talk.up(cut as u32, &hello[cut..]));
        packets.push(talk.up(0, &hello[..cut]));
    }
    for line in classified(&packets) {
        assert_eq!(line["name"], "www.listed.example", "{line}");
    }
}

#[test]
fn t2_hello_in_two_records_at_every_offset() {
    let message = hello_message("www.listed.example", 0);
    let mut packets = Vec::new();
    for cut in 1..message.len() {
        let mut stream = records(&message[..cut], 16_384);
        stream.extend(records(&message[cut..], 16_384));
        packets.extend(Talk::from_port(10_000 + cut as u16).whole(&stream, 100));
    }
    let lines = classified(&packets);
    assert_eq!(lines.len(), message.len() - 1);
    for line in lines {
        assert_eq!(line["name"], "www.listed.example", "{line}");
    }
}

#[test]
fn t2_a_record_boundary_inside_the_name() {
    let message = hello_message("other.example", 0);
    let at = message.windows(5).position(|bytes| bytes == b"other").unwrap() + 2;
    let mut stream = records(&message[..at], 16_384);
    stream.extend(records(&message[at..], 16_384));
    assert_eq!(
        only(&Talk::from_port(1).whole(&stream, 1460)),
        (json!("other.example"), json!("charged"), json!("not_listed"))
    );
}

#[test]
fn t4_large_hellos_and_one_that_is_too_large() {
    for (padding, name) in [(1_800, true), (16_000, true), (16_400, false)] {
        let stream = records(&hello_message("www.listed.example", padding), 16_384);
        let found = only(&Talk::from_port(1).whole(&stream, 1460));
        assert_eq!(found, if name { exempt() } else { charged("oversize") }, "padding {padding}");
    }
}

#[test]
fn t4_a_hello_that_never_completes_is_undecided() {
    assert_eq!(only(&Talk::from_port(1).whole(&listed()[..60], 1460)), charged("undecided"));
    let mut promised = listed();
    // The message is longer than what comes.
    promised[7] = 0x3f;
    assert_eq!(only(&Talk::from_port(1).whole(&promised, 1460)), charged("undecided"));
}

#[test]
fn t5_a_second_hello_with_another_name_is_charged() {
    let mut stream = listed();
    stream.extend(hello("other.example"));
    assert_eq!(
        only(&Talk::from_port(1).whole(&stream, 1460)),
        (json!("www.listed.example"), json!("charged"), json!("second_name"))
    );
}

#[test]
fn t23_a_listed_name_is_a_mismatch_unless_names_alone_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pcap");
    std::fs::write(&path, pcap(ETHERNET, &Talk::from_port(1).whole(&listed(), 1460))).unwrap();
    let lines = lines(&classify(&["--format", "jsonl"], &[&path]));
    assert_eq!(lines[0]["reason"], "address_mismatch");
    assert_eq!(lines[0]["rule"], "school/listed.example");
    assert_eq!(lines[0]["name"], "www.listed.example");
}

#[test]
fn t25_first_request_names_the_connection_and_odd_ones_do_not() {
    let two = [request("www.listed.example"), request("other.example")].concat();
    assert_eq!(only(&Talk::from_port(1).whole(&two, 1460)).0, "www.listed.example");
    for (text, reason) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "ambiguous"),
        ("CONNECT www.listed.example:443 HTTP/1.1\r\nHost: www.listed.example\r\n\r\n", "not_recognised"),
        (
            "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: www.listed.example\r\n\r\n",
            "not_recognised",
        ),
        ("SSH-2.0-OpenSSH_9\r\n", "not_recognised"),
    ] {
        assert_eq!(only(&Talk::from_port(1).whole(text.as_bytes(), 1460)), charged(reason), "{text}");
    }
}

#[test]
fn t27_every_byte_of_the_flow_is_counted_also_before_the_name_and_after_the_end() {
    let talk = Talk::from_port(1);
    let mut packets = talk.whole(&listed(), 10);
    packets.push(talk.up(9_999, b""));
    let bytes: usize = packets.iter().map(|packet| packet.len() - 14).sum();
    let line = &classified(&packets)[0];
    assert_eq!(line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap(), bytes as u64);
}

#[test]
fn t29_more_than_four_gigabytes_of_sequence_numbers_in_one_flow() {
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.push(talk.up(0, &listed()));
    for step in 1..=9_u32 {
        packets.push(talk.up(step.wrapping_mul(0x7000_0000), &[0x17; 1000]));
    }
    let lines = classified(&packets);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["name"], "www.listed.example");
    assert_eq!(lines[0]["up_bytes"], 40 * 3 + listed().len() + 9 * 1040);
}

#[test]
fn flows_are_printed_in_the_order_of_their_first_packets() {
    let (one, two) = (Talk::from_port(1), Talk::from_port(2));
    let packets = [one.open(), two.open(), vec![two.up(0, &listed()), one.up(0, &listed())]].concat();
    let clients: Vec<_> = classified(&packets).iter().map(|line| line["client"].clone()).collect();
    assert_eq!(clients, ["10.0.0.2:1", "10.0.0.2:2"]);
}
