//! Where one connection ends and the next begins, and which of its two ends is the client.

use serde_json::json;
use support::capture::*;

use super::{exempt, listed, only};

#[test]
fn t11_a_tuple_used_again_is_a_new_flow() {
    for closing in [FIN | ACK, RST, RST | ACK] {
        let first = Talk::from_port(1);
        // Windows repeats the initial sequence number after a refusal; after an end even that is a new flow.
        for initial in [first.initial, 70_000] {
            let second = Talk { initial, initial_server: 90_000, ..first };
            let mut packets = first.open();
            packets.push(first.up(0, &listed()));
            packets.push(first.down_raw(5001, 1100, closing, b""));
            packets.push(first.up(400, b""));
            packets.extend(second.open());
            packets.push(second.up(0, &hello("other.example")));
            let lines = classified(&packets);
            let names: Vec<_> = lines.iter().map(|line| line["name"].clone()).collect();
            assert_eq!(names, ["www.listed.example", "other.example"], "closing {closing} initial {initial}");
            assert_eq!(lines[0]["down_bytes"], 80);
            assert_eq!(lines[1]["down_bytes"], 40);
        }
    }
}

#[test]
fn t11_a_repeated_syn_is_the_same_flow_and_one_of_another_number_is_not() {
    let talk = Talk::from_port(1);
    let mut packets = vec![talk.up_raw(1000, SYN, b""), talk.up_raw(1000, SYN, b"")];
    packets.extend(talk.open());
    packets.push(talk.up(0, &listed()));
    packets.push(talk.up_raw(1000, SYN, b""));
    let lines = classified(&packets);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["name"], "www.listed.example");

    let again = Talk { initial: 2000, ..talk };
    let lines = classified(&[vec![talk.up_raw(1000, SYN, b"")], again.whole(&listed(), 1460)].concat());
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["reason"], &lines[1]["name"]), (&json!("undecided"), &json!("www.listed.example")));
}

#[test]
fn t11_the_syn_ack_of_a_lost_syn_begins_a_new_flow_after_the_end() {
    let first = Talk::from_port(1);
    let second = Talk { initial: 9_000, initial_server: 8_000, ..first };
    let mut packets = first.whole(&listed(), 1460);
    packets.extend(second.open().into_iter().skip(1));
    packets.push(second.up(0, &hello("other.example")));
    let lines = classified(&packets);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["name"], "other.example");
    assert_eq!(lines[1]["client"], "10.0.0.2:1");
}

#[test]
fn t11_a_reset_before_the_answer_does_not_split_the_flow() {
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.insert(1, talk.down_raw(0, 1001, RST | ACK, b""));
    packets.push(talk.up(0, &listed()));
    assert_eq!(only(&packets), exempt());
}

#[test]
fn the_client_is_the_syn_sender_even_if_the_other_side_sends_a_hello() {
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.push(talk.down(0, &listed()));
    let lines = classified(&packets);
    assert_eq!(lines[0]["client"], "10.0.0.2:1");
    assert_eq!(lines[0]["reason"], "undecided");
}

#[test]
fn without_syn_the_client_is_who_sends_the_hello_or_request() {
    for (data, seen_in) in [(listed(), "tls_sni"), (request("www.listed.example"), "http_host")] {
        let talk = Talk::from_port(1);
        // A TLS server answers with a handshake record too, an HTTP server with text.
        for answer in
            [&b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"220 hello\r\n"]
        {
            for packets in [
                vec![talk.down(0, answer), talk.up(0, &data)],
                vec![talk.down(0, b""), talk.up(0, &data), talk.down(0, answer)],
                vec![talk.up(0, &data), talk.down(0, answer)],
            ] {
                let lines = classified(&packets);
                assert_eq!(lines.len(), 1);
                assert_eq!(lines[0]["client"], "10.0.0.2:1");
                assert_eq!(lines[0]["seen_in"], seen_in);
                assert_eq!(lines[0]["name"], "www.listed.example");
            }
        }
    }
}

#[test]
fn without_syn_and_hello_the_client_sent_the_first_packet() {
    let talk = Talk::from_port(1);
    let lines = classified(&[talk.down(0, b"220 hello\r\n"), talk.up(0, b"EHLO x\r\n")]);
    assert_eq!(lines[0]["client"], "192.0.2.1:443");
    assert_eq!(lines[0]["up_bytes"], 51);
    assert_eq!(lines[0]["reason"], "not_recognised");
}

#[test]
fn a_syn_ack_without_its_syn_tells_the_client_and_the_start() {
    let talk = Talk::from_port(1);
    let packets: Vec<_> = talk.whole(&listed(), 50).into_iter().skip(1).collect();
    let lines = classified(&packets);
    assert_eq!(lines[0]["client"], "10.0.0.2:1");
    assert_eq!(lines[0]["name"], "www.listed.example");
}

#[test]
fn simultaneous_open_is_one_flow_of_the_first_syn() {
    let talk = Talk::from_port(1);
    let packets = [
        talk.up_raw(1000, SYN, b""),
        talk.down_raw(5000, 0, SYN, b""),
        talk.up_raw(1000, SYN | ACK, b""),
        talk.down_raw(5000, 1001, SYN | ACK, b""),
        talk.up(0, &listed()),
    ];
    let lines = classified(&packets);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["client"], "10.0.0.2:1");
    assert_eq!(lines[0]["name"], "www.listed.example");
}
