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

#[test]
fn without_syn_the_stream_starts_at_the_lowest_sequence_number() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let pieces: Vec<_> = hello.chunks(20).enumerate().map(|(n, part)| talk.up(n as u32 * 20, part)).collect();
    let reversed: Vec<_> = pieces.iter().rev().cloned().collect();
    assert_eq!(only(&reversed), exempt());
    // The same around the end of the number space.
    for initial in (u32::MAX - hello.len() as u32 - 2..=u32::MAX).step_by(7) {
        let talk = Talk { initial, ..talk };
        let mut pieces: Vec<_> =
            hello.chunks(20).enumerate().map(|(n, part)| talk.up(n as u32 * 20, part)).collect();
        pieces.rotate_left(3);
        assert_eq!(only(&pieces), exempt(), "{initial}");
        assert_eq!(only(&talk.whole(&hello, 13)), exempt(), "{initial}");
    }
}

#[test]
fn keep_alive_probes_change_nothing() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let before = u32::MAX; // one less than the stream's first byte
    for probe in [&b""[..], b"\0"] {
        // Before the first byte, without SYN and with it.
        assert_eq!(only(&[talk.up(before, probe), talk.up(0, &hello)]), exempt());
        let mut packets = talk.open();
        packets.extend([talk.up(before, probe), talk.up(0, &hello[..50])]);
        // In the middle: the last byte again, with another value.
        packets.extend([
            talk.up(49, probe),
            talk.up(50, &hello[50..]),
            talk.up(hello.len() as u32 - 1, probe),
        ]);
        assert_eq!(only(&packets), exempt());
        assert_eq!(only(&packets[4..]), exempt(), "without the start");
    }
}

#[test]
fn data_in_the_syn_is_read_once() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = vec![talk.up_raw(1000, SYN, &hello[..40]), talk.down_raw(5000, 1041, SYN | ACK, b"")];
    packets.push(talk.up(40, &hello[40..]));
    assert_eq!(only(&packets), exempt());
    // The server took only the SYN: the client sends it again.
    packets.insert(2, talk.up(0, &hello[..40]));
    assert_eq!(only(&packets), exempt());
}

#[test]
fn identical_retransmission_is_harmless_and_counted() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([
        talk.up(0, &hello[..70]),
        talk.up(0, &hello[..30]),
        talk.up(20, &hello[20..]),
        talk.up(0, &hello),
    ]);
    let lines = classified(&packets);
    assert_eq!(lines[0]["name"], "www.listed.example");
    let bytes = 40 * 6 + 70 + 30 + (hello.len() - 20) + hello.len();
    assert_eq!(lines[0]["up_bytes"], bytes);
    assert_eq!(lines[0]["down_bytes"], 40);
}

#[test]
fn t28_a_retransmission_with_other_bytes_is_ambiguous() {
    let (one, two) = (hello("www.listed.example"), hello("www.evilxx.example"));
    assert_eq!(one.len(), two.len());
    let length = one.len() as u32;
    let talk = Talk::from_port(1);
    let cases = [
        // After the whole hello.
        vec![talk.up(0, &one), talk.up(0, &two)],
        // While it is incomplete, over what was read.
        vec![talk.up(0, &one[..length as usize - 1]), talk.up(10, &two[10..])],
        // Both still out of order.
        vec![talk.up(40, &one[40..]), talk.up(30, &two[30..]), talk.up(0, &one[..40])],
        // Two flights later, when data has been exchanged.
        vec![
            talk.up(0, &one),
            talk.down(0, b"x"),
            talk.up(length, b"\x17\x03\x03\0\x01a"),
            talk.up(20, &two[20..]),
        ],
    ];
    for case in cases {
        assert_eq!(only(&[talk.open(), case.clone()].concat()), charged("ambiguous"));
        assert_eq!(only(&case), charged("ambiguous"), "without SYN");
    }
    // Behind the hello nothing is compared.
    let later = [
        talk.up(0, &one),
        talk.up(length, b"\x17\x03\x03\0\x01a"),
        talk.up(length + 900, b"aaa"),
        talk.up(length + 900, b"bbb"),
    ];
    assert_eq!(only(&[talk.open(), later.to_vec()].concat()), exempt());
}

#[test]
fn a_missing_piece_hides_the_name_unless_the_hello_came_before_it() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([
        talk.up(0, &hello[..30]),
        talk.up(31, &hello[31..]),
        talk.up(hello.len() as u32, &[0x17; 50]),
    ]);
    assert_eq!(only(&packets), charged("undecided"));
    packets.push(talk.up(30, &hello[30..31]));
    assert_eq!(only(&packets), exempt(), "the piece came late");
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello), talk.up(4000, &[0x17; 50])]);
    assert_eq!(only(&packets), exempt(), "the hole is behind the hello");
    let packets = [talk.open(), vec![talk.up(10, &hello[10..])]].concat();
    assert_eq!(only(&packets), charged("undecided"), "the first bytes never came");
}

#[test]
fn data_behind_fin_is_not_part_of_the_stream_and_reset_text_neither() {
    let hello = listed();
    let talk = Talk::from_port(1);
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello[..40]), talk.up_raw(1041, FIN | ACK, b""), talk.up(40, &hello[40..])]);
    assert_eq!(only(&packets), charged("undecided"));
    let mut packets = talk.open();
    packets.extend([talk.up(0, &hello[..40]), talk.up_raw(1041, RST, &hello[40..])]);
    assert_eq!(only(&packets), charged("undecided"));
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
