//! `gateway classify` on QUIC: every name of a capture, whatever its packets look like, and who the client is.
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

use support::hellos;
use support::quic;

use hellos::Hello;
use quic::{HANDSHAKE, INITIAL, Initial, RETRY, V1, V2, ZERO_RTT, crypto, long_header, opaque};
use serde_json::Value;
use support::capture::*;

/// What a server chose for itself.
const SERVER_ID: [u8; 8] = [0x5e; 8];

/// A datagram of the client from this port.
fn up(port: u16, data: &[u8]) -> Vec<u8> {
    let (client, server) = ("10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
    ethernet(&ip(client, server, 17, &udp(port, 443, data)))
}

/// A datagram of the server to this port.
fn down(port: u16, data: &[u8]) -> Vec<u8> {
    let (client, server) = ("10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
    ethernet(&ip(server, client, 17, &udp(443, port, data)))
}

/// The server's first packets: nobody who looks for a client's keys can open them.
fn answer(version: u32) -> Vec<u8> {
    let initial = opaque(version, INITIAL, &[], &SERVER_ID, &[0xa5; 90]);
    [initial, opaque(version, HANDSHAKE, &[], &SERVER_ID, &[0x5a; 1000])].concat()
}

fn hello(name: &str) -> Vec<u8> {
    Hello::named(name).message()
}

fn short() -> Vec<u8> {
    [&[0x41][..], &SERVER_ID, &[0x33; 60]].concat()
}

/// Client, `seen_in`, name and reason of a line.
fn told(line: &Value) -> [Option<&str>; 4] {
    assert_eq!(line["protocol"], "udp");
    ["client", "seen_in", "name", "reason"].map(|key| line[key].as_str())
}

/// The one flow that these packets make.
fn one(packets: &[Vec<u8>]) -> Value {
    let mut lines = classified(packets);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

const CLIENT: Option<&str> = Some("10.0.0.2:50000");
const SERVER: Option<&str> = Some("192.0.2.1:443");

#[test]
fn q1_q2_a_connection_is_named_and_exempt() {
    for version in [V1, V2] {
        let initial = Initial::of(&hello("www.listed.example")).version(version).seal();
        let line = one(&[up(50_000, &initial), down(50_000, &answer(version)), up(50_000, &short())]);
        assert_eq!(told(&line), [CLIENT, Some("quic_sni"), Some("www.listed.example"), None]);
        assert_eq!(line["class"], "exempt");
        assert_eq!(line["rule"], "school/listed.example");
        assert_eq!(line["up_bytes"], 2 * 28 + 1200 + 69);
        assert_eq!(line["down_bytes"], 28 + answer(version).len());
    }
}

#[test]
fn the_client_is_who_sends_the_initial_that_can_be_opened() {
    let initial = up(50_000, &Initial::of(&hello("listed.example")).seal());
    let named = [CLIENT, Some("quic_sni"), Some("listed.example"), None];
    // The capture begins with the server's packets, of a connection before or of this one.
    for first in [answer(V1), short(), vec![0], Vec::new()] {
        assert_eq!(told(&one(&[down(50_000, &first), initial.clone()])), named);
        let many = [vec![down(50_000, &first); 30], vec![initial.clone()]].concat();
        assert_eq!(told(&one(&many)), named);
    }
    // A nameless hello shows who is the client, too.
    let nameless = up(50_000, &Initial::of(&Hello::bare().modern().message()).seal());
    assert_eq!(told(&one(&[down(50_000, &short()), nameless])), [CLIENT, None, None, Some("no_name")]);
    // Nobody can be opened: the first packet's sender.
    let unread = Some("not_recognised");
    assert_eq!(told(&one(&[down(50_000, &short()), up(50_000, &short())])), [SERVER, None, None, unread]);
    assert_eq!(told(&one(&[up(50_000, &short()), down(50_000, &short())])), [CLIENT, None, None, unread]);
}

#[test]
fn q4_t14_one_flow_with_retry_early_data_coalesced_packets_and_server_packets_between() {
    let message = Hello::post_quantum("listed.example").message();
    let (front, back) = message.split_at(700);
    let retry = [long_header(V1, RETRY, &[], &SERVER_ID), vec![0x77; 60]].concat();
    let again = |frames: &[u8], number| {
        Initial::new(frames).to(&SERVER_ID).token(&[0x77; 44]).number(number, 1).sized(1000).seal()
    };
    let early = opaque(V1, ZERO_RTT, &SERVER_ID, &[], &[0xee; 100]);
    let packets = [
        up(50_000, &Initial::new(&crypto(0, front)).seal()),
        down(50_000, &retry),
        up(50_000, &[again(&crypto(700, back), 1), early.clone()].concat()),
        down(50_000, &opaque(V1, INITIAL, &[], &SERVER_ID, &[0xa5; 90])),
        up(50_000, &[early, again(&crypto(0, front), 2)].concat()),
        down(50_000, &answer(V1)),
        up(50_000, &short()),
    ];
    let named = [CLIENT, Some("quic_sni"), Some("listed.example"), None];
    assert_eq!(told(&one(&packets)), named);
    // The capture begins after the Retry.
    assert_eq!(told(&one(&packets[1..])), named);
    assert_eq!(told(&one(&packets[2..])), named);
    // It begins after the first of the two Initials that carry the hello.
    assert_eq!(told(&one(&packets[3..])), [CLIENT, None, None, Some("undecided")]);
}

#[test]
fn t16_another_name_on_the_same_ports_keeps_the_first_one_and_is_charged() {
    let first = up(50_000, &Initial::of(&hello("listed.example")).seal());
    let other = up(50_000, &Initial::of(&hello("other.example")).to(&[7; 8]).seal());
    let traffic = [down(50_000, &answer(V1)), up(50_000, &short())];
    let line = one(&[&[first.clone()][..], &traffic, &[other]].concat());
    assert_eq!(told(&line), [CLIENT, Some("quic_sni"), Some("listed.example"), Some("second_name")]);
    let same = up(50_000, &Initial::of(&hello("listed.example")).to(&[7; 8]).seal());
    assert_eq!(told(&one(&[&[first][..], &traffic, &[same]].concat()))[3], None);
}

#[test]
fn q8_q11_t15_what_is_ambiguous_foreign_or_never_complete_has_its_reason() {
    let message = hello("listed.example");
    let mut other = message.clone();
    other[60] ^= 1;
    let overlap = [crypto(0, &message[..90]), crypto(50, &other[50..])].concat();
    let line = one(&[up(50_000, &Initial::new(&overlap).seal())]);
    assert_eq!(told(&line), [CLIENT, None, None, Some("ambiguous")]);
    let foreign = up(50_000, &opaque(0x0a0a_0a0a, INITIAL, &[1; 8], &[2; 8], &[0; 1200]));
    assert_eq!(told(&one(std::slice::from_ref(&foreign)))[3], Some("not_recognised"));
    let initial = up(50_000, &Initial::of(&message).seal());
    assert_eq!(told(&one(&[foreign, initial.clone()]))[2], Some("listed.example"));
    let half = up(50_000, &Initial::new(&crypto(0, &message[..90])).seal());
    assert_eq!(told(&one(&[half]))[3], Some("undecided"));
    // Cut by the snap length: what was not captured cannot be opened.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.pcap");
    let mut file = pcap(ETHERNET, &[initial[..300].to_vec()]);
    file[24 + 12..24 + 16].copy_from_slice(&(initial.len() as u32).to_le_bytes());
    std::fs::write(&path, file).unwrap();
    let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
    assert_eq!(told(&lines(&output)[0]), [CLIENT, None, None, Some("undecided")]);
    assert_eq!(lines(&output)[0]["up_bytes"], 1228);
}

#[test]
fn an_initial_in_ip_fragments_is_read_and_one_in_contradicting_ones_is_not() {
    let datagram = udp(50_000, 443, &Initial::of(&hello("listed.example")).seal());
    let (client, server) = ([10, 0, 0, 2], [192, 0, 2, 1]);
    let fragment = |from: usize, to: usize, more: u16| {
        let part = &datagram[from..to];
        ethernet(&ipv4(&client, &server, 17, part, more | (from / 8) as u16, 9, (20 + part.len()) as u16))
    };
    let parts = [fragment(0, 600, 0x2000), fragment(600, datagram.len(), 0)];
    let named = [CLIENT, Some("quic_sni"), Some("listed.example"), None];
    assert_eq!(told(&one(&parts)), named);
    assert_eq!(told(&one(&[parts[1].clone(), parts[0].clone()])), named);
    let mut wrong = fragment(592, datagram.len(), 0);
    wrong[14 + 20] ^= 1;
    assert_eq!(told(&one(&[parts[0].clone(), wrong]))[3], Some("ambiguous"));
}

#[test]
fn t11_each_port_is_a_flow_and_each_connection_id_is_not() {
    let mut packets = Vec::new();
    for number in 0..200_u16 {
        let id = [[number as u8, 1], [2, 3], [4, 5], [6, 7]].concat();
        let name = format!("n{number}.listed.example");
        packets.push(up(50_000 + number, &Initial::of(&hello(&name)).to(&id).from(&id[..4]).seal()));
        packets.push(down(50_000 + number, &answer(V1)));
        packets.push(up(
            50_000 + number,
            &[
                Initial::new(&[2, 0, 0, 0, 0]).to(&id).addressed(&SERVER_ID).number(1, 1).sized(60).seal(),
                short(),
            ]
            .concat(),
        ));
    }
    let lines = classified(&packets);
    assert_eq!(lines.len(), 200);
    for (number, line) in lines.iter().enumerate() {
        let (client, name) = (format!("10.0.0.2:{}", 50_000 + number), format!("n{number}.listed.example"));
        assert_eq!(told(line), [Some(&client[..]), Some("quic_sni"), Some(&name[..]), None]);
    }
}

#[test]
fn t12_t15_names_of_every_version_are_those_of_tshark() {
    let mut packets = Vec::new();
    let versions = [V1, V2].into_iter().chain((29..=34).map(|draft| 0xff00_0000 + draft));
    for (number, version) in versions.enumerate() {
        let message = hello(&format!("n{number}.listed.example"));
        let (front, back) = message.split_at(70);
        // tshark joins pieces that are in order.
        let frames = [&[1, 0][..], &crypto(0, front), &[0, 1], &crypto(70, back)].concat();
        let initial = Initial::new(&frames).version(version).to(&[number as u8; 9]).from(&[3; 5]);
        packets.push(up(50_000 + number as u16, &initial.number(number as u32, 1 + number % 4).seal()));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("versions.pcap");
    std::fs::write(&path, pcap(ETHERNET, &packets)).unwrap();
    let output = std::process::Command::new("tshark")
        .args(["-n", "-T", "fields", "-e", "tls.handshake.extensions_server_name", "-r"])
        .arg(&path)
        .output()
        .expect("tshark is installed by tests/run");
    let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
    let ours: Vec<String> =
        lines(&output).iter().map(|line| line["name"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(ours, theirs);
    assert!(ours.iter().all(|name| name.ends_with(".listed.example")), "{ours:?}");
}
