//! `gateway classify`: the DNS of a capture as trusted answers (traps N1, N2, N4, N6, N7, N10, N11, N13, T7, T8, T17–T21, T23).

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

use support::messages;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use messages::{address, answer, cname, fqdn, https, query};
use serde_json::Value;
use support::capture::*;

/// A site, one that is opted in to DNS evidence, and its advertising.
const LIST: &str = r#"format = 1
list_id = "test-list"
serial = 7
issued = 2020-04-04T10:00:00+06:00
effective_from = 2020-04-06T00:00:00+06:00
expires = 2020-07-06T00:00:00+06:00

[[service]]
id = "school"
name = "School"
owner = "Test"
reference = "Test"

[[service.rule]]
host = "listed.example"
scope = "subtree"
reason = "the site"
evidence = "seen"

[[service.rule]]
host = "media.example"
reason = "players that send no name"
evidence = "seen"
dns_only = true

[[service.rule]]
prefix = "198.51.100.0/24"
protocol = "tcp"
ports = ["8443"]
reason = "media by address"
evidence = "seen"
"#;

/// The resolver of most tests.
const RESOLVER: &str = "10.0.0.53:53";
/// The subscriber of most tests.
const CLIENT: &str = "10.0.0.2";
/// The site's address in most tests.
const SITE: &str = "203.0.113.1";

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One capture, packet by packet, each with its second.
#[derive(Default, Clone)]
struct Scene {
    packets: Vec<(u32, Vec<u8>)>,
    now: u32,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        Self { packets: Vec::new(), now: 1_600_000_000, port: 40_000 }
    }

    fn push(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        let now = self.now;
        self.packets.extend(packets.into_iter().map(|packet| (now, packet)));
    }

    fn datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let packet = ethernet(&ip(from.ip(), to.ip(), 17, &udp(from.port(), to.port(), data)));
        self.push([packet]);
    }

    /// A question of `client` and its answer by `resolver`.
    fn asked(&mut self, client: &str, resolver: &str, message: &Message) {
        self.port += 1;
        let client = SocketAddr::new(client.parse().unwrap(), self.port);
        let asked = &message.queries[0];
        let name = asked.name().to_ascii();
        let query = query(name.trim_end_matches('.'), asked.query_type());
        self.datagram(client, end(resolver), &query.to_vec().unwrap());
        self.datagram(end(resolver), client, &message.to_vec().unwrap());
    }

    /// The ordinary client learns addresses of `name` from the ordinary resolver.
    fn learns(&mut self, name: &str, found: &[&str]) {
        self.asked(CLIENT, RESOLVER, &addresses(name, found));
    }

    /// A connection of `client` to `server` that says `data`.
    fn talk(&mut self, client: &str, server: &str, data: &[u8]) {
        let talk = self.next_talk(client, server);
        self.push(talk.whole(data, 1_400));
    }

    fn next_talk(&mut self, client: &str, server: &str) -> Talk {
        self.port += 1;
        let client = SocketAddr::new(client.parse().unwrap(), self.port);
        Talk { client, server: end(server), initial: 1_000, initial_server: 5_000 }
    }

    /// The ordinary client visits `name` at `address`.
    fn visits(&mut self, name: &str, address: &str) {
        let server = SocketAddr::new(address.parse().unwrap(), 443).to_string();
        let client = if address.contains(':') { "2001:db8:1::2" } else { CLIENT };
        self.talk(client, &server, &hello(name));
    }

    fn file(&self, stamps: bool) -> Vec<u8> {
        let packets: Vec<Vec<u8>> = self.packets.iter().map(|(_, packet)| packet.clone()).collect();
        let mut file = pcap(ETHERNET, &packets);
        let mut place = 24;
        for (second, packet) in &self.packets {
            let stamp = if stamps { *second } else { 0 };
            file[place..place + 4].copy_from_slice(&stamp.to_le_bytes());
            file[place + 4..place + 8].fill(0);
            place += 16 + packet.len();
        }
        file
    }

    /// The lines of the TCP flows.
    fn verdicts(&self, arguments: &[&str]) -> Vec<String> {
        verdicts(&run(&[self.file(true)], arguments))
    }
}

/// Runs the command on these files.
fn run(files: &[Vec<u8>], arguments: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list.toml");
    std::fs::write(&list, LIST).unwrap();
    let paths: Vec<PathBuf> = files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let path = directory.path().join(format!("{number}.pcap"));
            std::fs::write(&path, file).unwrap();
            path
        })
        .collect();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["classify", "--format", "jsonl", "--list"])
        .arg(list)
        .args(arguments)
        .args(paths)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    lines(&output)
}

/// Basis or reason of each flow that is not DNS.
fn verdicts(lines: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines {
        if line["server"].as_str().unwrap().ends_with(":53") {
            let unread = line["reason"] == "not_recognised" || line["reason"] == "ambiguous";
            assert!(unread && line["class"] == "charged" && line["name"].is_null(), "{line}");
            continue;
        }
        let (basis, reason) = (&line["basis"], &line["reason"]);
        assert_ne!(basis.is_null(), reason.is_null(), "{line}");
        found.push(basis.as_str().or(reason.as_str()).unwrap().to_owned());
    }
    found
}

/// An answer with addresses.
fn addresses(name: &str, found: &[&str]) -> Message {
    let kind = if found[0].contains(':') { RecordType::AAAA } else { RecordType::A };
    answer(name, kind, found.iter().map(|one| address(name, 60, one)).collect())
}

/// A ClientHello without a name: that of `hello` with the extension's number changed to one nobody knows.
fn nameless() -> Vec<u8> {
    let mut bytes = hello("x.example");
    let place = bytes.windows(4).position(|four| four == [0, 0, 0, 14]).unwrap();
    bytes[place..place + 2].copy_from_slice(&[0xfa, 0xfa]);
    bytes
}

#[test]
fn t17_t23_a_listed_name_is_exempt_at_the_addresses_the_resolver_gave_and_nowhere_else() {
    let mut scene = Scene::new();
    scene.visits("www.listed.example", SITE);
    scene.learns("www.listed.example", &[SITE, "203.0.113.2"]);
    scene.visits("www.listed.example", SITE);
    scene.visits("www.listed.example", "203.0.113.2");
    scene.visits("www.listed.example", "203.0.113.3");
    scene.visits("listed.example", SITE);
    scene.visits("other.example", SITE);
    let wanted = [
        "address_mismatch",
        "name_and_address",
        "name_and_address",
        "address_mismatch",
        "address_mismatch",
        "not_listed",
    ];
    assert_eq!(scene.verdicts(&[]), wanted);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.53"]), wanted);
    let names_only = scene.verdicts(&["--names-only"]);
    assert_eq!(names_only, [&["name_and_address"; 5][..], &["not_listed"]].concat());
}

#[test]
fn t17_only_the_given_resolvers_teach() {
    let mut scene = Scene::new();
    scene.asked(CLIENT, "203.0.113.66:53", &addresses("listed.example", &["203.0.113.7"]));
    scene.asked(CLIENT, "10.0.0.54:53", &addresses("listed.example", &["203.0.113.8"]));
    scene.visits("listed.example", "203.0.113.7");
    scene.visits("listed.example", "203.0.113.8");
    assert_eq!(scene.verdicts(&[]), ["name_and_address", "name_and_address"]);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.54"]), ["address_mismatch", "name_and_address"]);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.53"]), ["address_mismatch", "address_mismatch"]);
    let both = ["--resolver", "10.0.0.54", "--resolver", "203.0.113.66"];
    assert_eq!(scene.verdicts(&both), ["name_and_address", "name_and_address"]);
}

#[test]
fn n2_t17_what_answers_no_question_is_not_learnt() {
    let good = addresses("listed.example", &[SITE]);
    let client = end("10.0.0.2:5000");
    let query = || query("listed.example", RecordType::A).to_vec().unwrap();
    let judge = |packets: &[(SocketAddr, SocketAddr, Vec<u8>)]| {
        let mut scene = Scene::new();
        for (from, to, data) in packets {
            scene.datagram(*from, *to, data);
        }
        scene.visits("listed.example", SITE);
        scene.verdicts(&[]).pop().unwrap()
    };
    let resolver = end(RESOLVER);
    let bytes = good.to_vec().unwrap();
    assert_eq!(judge(&[(client, resolver, query()), (resolver, client, bytes.clone())]), "name_and_address");
    let refused = |what: &str, packets: &[(SocketAddr, SocketAddr, Vec<u8>)]| {
        assert_eq!(judge(packets), "address_mismatch", "{what}");
    };
    refused("unsolicited", &[(resolver, client, bytes.clone())]);
    refused("answer first", &[(resolver, client, bytes.clone()), (client, resolver, query())]);
    let mut other_id = good.clone();
    other_id.metadata.id ^= 1;
    refused("id", &[(client, resolver, query()), (resolver, client, other_id.to_vec().unwrap())]);
    let other = addresses("www.listed.example", &[SITE]).to_vec().unwrap();
    refused("question", &[(client, resolver, query()), (resolver, client, other)]);
    let mut letters = bytes.clone();
    letters[13] ^= 0x20;
    refused("letter case", &[(client, resolver, query()), (resolver, client, letters)]);
    refused("client port", &[(client, resolver, query()), (resolver, end("10.0.0.2:5001"), bytes.clone())]);
    refused("client", &[(client, resolver, query()), (resolver, end("10.0.0.3:5000"), bytes.clone())]);
    refused("server", &[(client, resolver, query()), (end("10.0.0.54:53"), client, bytes.clone())]);
    refused("query as answer", &[(client, resolver, query()), (resolver, client, query())]);
    let mut cut = bytes.clone();
    cut.truncate(bytes.len() - 1);
    refused("cut short", &[(client, resolver, query()), (resolver, client, cut)]);
    // A second answer to one question, late: whoever sends it, the client has stopped listening.
    let first = addresses("listed.example", &["203.0.113.9"]).to_vec().unwrap();
    refused("late", &[(client, resolver, query()), (resolver, client, first), (resolver, client, bytes)]);
}

#[test]
fn t17_answers_behind_the_verdict_do_not_help_and_those_before_the_name_do() {
    let mut scene = Scene::new();
    let data = hello("listed.example");
    let early = scene.next_talk(CLIENT, "203.0.113.1:443");
    let late = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push(early.open());
    scene.push(late.open());
    scene.push([early.up(0, &data)]);
    scene.push([late.up(0, &data[..40])]);
    scene.learns("listed.example", &[SITE]);
    scene.push([late.up(40, &data[40..])]);
    assert_eq!(scene.verdicts(&[]), ["address_mismatch", "name_and_address"]);
}

#[test]
fn t17_a_flow_whose_start_was_not_captured_rests_on_what_was_learnt_before_it() {
    let mut scene = Scene::new();
    let data = hello("listed.example");
    let before = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push([before.up(0, &data)]);
    scene.learns("listed.example", &[SITE]);
    let behind = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push([behind.up(0, &data)]);
    assert_eq!(scene.verdicts(&[]), ["address_mismatch", "name_and_address"]);
}

#[test]
fn t17_answers_of_one_file_say_nothing_of_the_next() {
    let mut first = Scene::new();
    first.learns("listed.example", &[SITE]);
    let mut second = Scene::new();
    second.visits("listed.example", SITE);
    assert_eq!(verdicts(&run(&[first.file(true), second.file(true)], &[])), ["address_mismatch"]);
}

#[test]
fn t18_n1_a_chain_binds_the_name_asked_for() {
    let mut scene = Scene::new();
    let chain: Vec<Record> =
        vec![address("edge.cdn.example", 20, SITE), cname("www.listed.example", 300, "edge.cdn.example")];
    scene.asked(CLIENT, RESOLVER, &answer("www.listed.example", RecordType::A, chain));
    scene.visits("www.listed.example", SITE);
    scene.visits("ads.example", SITE);
    scene.visits("edge.cdn.example", SITE);
    assert_eq!(scene.verdicts(&[]), ["name_and_address", "not_listed", "not_listed"]);
}

#[test]
fn t19_ipv6_and_many_addresses_count_whatever_their_ttl() {
    let mut scene = Scene::new();
    let many: Vec<String> = (1..=12).map(|last| format!("203.0.113.{last}")).collect();
    let records = many.iter().map(|one| address("listed.example", 0, one)).collect();
    scene.asked(CLIENT, RESOLVER, &answer("listed.example", RecordType::A, records));
    scene.asked("2001:db8:1::2", "[2001:db8::53]:53", &addresses("listed.example", &["2001:db8::1"]));
    // Days later, by the stamps.
    scene.now += 10 * 86_400;
    scene.visits("listed.example", "203.0.113.12");
    scene.visits("listed.example", "2001:db8::1");
    assert_eq!(scene.verdicts(&[]), ["name_and_address"; 2]);
}

#[test]
fn n4_t20_hints_and_targets_of_service_bindings_count() {
    let mut scene = Scene::new();
    let records = vec![https("listed.example", 1, "pool.example", &["203.0.113.1", "2001:db8::1"], None)];
    scene.asked(CLIENT, RESOLVER, &answer("listed.example", RecordType::HTTPS, records));
    scene.learns("pool.example", &["203.0.113.2"]);
    for address in ["203.0.113.1", "2001:db8::1", "203.0.113.2"] {
        scene.visits("listed.example", address);
    }
    assert_eq!(scene.verdicts(&[]), ["name_and_address"; 3]);
}

/// A TCP connection to the resolver: `query` up, then `answer` down in the given pieces.
fn over_tcp(scene: &mut Scene, query: &[u8], pieces: &[&[u8]]) {
    let talk = scene.next_talk(CLIENT, RESOLVER);
    scene.push(talk.open());
    scene.push([talk.up(0, query)]);
    let mut offset = 0;
    for piece in pieces {
        scene.push([talk.down(offset, piece)]);
        offset += piece.len() as u32;
    }
}

/// A message behind its length.
fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

#[test]
fn t20_after_a_truncated_answer_the_one_over_tcp_counts_in_any_cutting() {
    let mut truncated = addresses("listed.example", &["203.0.113.9"]);
    truncated.metadata.truncation = true;
    let (asked, whole) =
        (framed(&query("listed.example", RecordType::A)), framed(&addresses("listed.example", &[SITE])));
    for cut in 0..whole.len() {
        let mut scene = Scene::new();
        scene.asked(CLIENT, RESOLVER, &truncated);
        let (first, second) = whole.split_at(cut);
        let pieces: Vec<&[u8]> = [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
        over_tcp(&mut scene, &asked, &pieces);
        scene.visits("listed.example", SITE);
        scene.visits("listed.example", "203.0.113.9");
        assert_eq!(scene.verdicts(&[]), ["name_and_address", "address_mismatch"], "cut at {cut}");
    }
}

#[test]
fn n2_over_tcp_an_answer_needs_its_question_and_one_reading() {
    let (asked, whole) =
        (framed(&query("listed.example", RecordType::A)), framed(&addresses("listed.example", &[SITE])));
    let mut unasked = Scene::new();
    over_tcp(&mut unasked, &framed(&query("other.example", RecordType::A)), &[&whole]);
    unasked.visits("listed.example", SITE);
    assert_eq!(unasked.verdicts(&[]), ["address_mismatch"]);
    // The first half again with another byte: two readers, two answers.
    let mut conflict = Scene::new();
    let talk = conflict.next_talk(CLIENT, RESOLVER);
    conflict.push(talk.open());
    let mut other = whole[..20].to_vec();
    other[16] ^= 1;
    conflict.push([talk.up(0, &asked), talk.down(0, &whole[..20]), talk.down(0, &other)]);
    conflict.push([talk.down(20, &whole[20..])]);
    conflict.visits("listed.example", SITE);
    assert_eq!(conflict.verdicts(&[]), ["address_mismatch"]);
    // Two questions in one stream, answered in the other order.
    let mut pipelined = Scene::new();
    let second = framed(&query("www.listed.example", RecordType::A));
    let mut numbered = second.clone();
    numbered[3] ^= 1;
    let mut answers = addresses("www.listed.example", &["203.0.113.2"]);
    answers.metadata.id ^= 1;
    over_tcp(&mut pipelined, &[asked, numbered].concat(), &[&framed(&answers), &whole]);
    pipelined.visits("www.listed.example", "203.0.113.2");
    pipelined.visits("listed.example", SITE);
    assert_eq!(pipelined.verdicts(&[]), ["name_and_address"; 2]);
}

#[test]
fn t20_an_answer_in_fragments_counts_unless_they_contradict() {
    let message = addresses("listed.example", &[SITE]).to_vec().unwrap();
    for contradict in [false, true] {
        let mut scene = Scene::new();
        let client = end("10.0.0.2:5000");
        scene.datagram(client, end(RESOLVER), &query("listed.example", RecordType::A).to_vec().unwrap());
        let whole = udp(53, 5_000, &message);
        let part = |from: usize, to: usize, more: u16, flip: u8| {
            let mut data = whole[from..to].to_vec();
            data[0] ^= flip;
            let field = more | (from / 8) as u16;
            let length = (20 + data.len()) as u16;
            ethernet(&ipv4(&[10, 0, 0, 53], &[10, 0, 0, 2], 17, &data, field, 7, length))
        };
        scene.push([part(0, 24, 0x2000, 0)]);
        if contradict {
            scene.push([part(16, 24, 0x2000, 1)]);
        }
        scene.push([part(24, whole.len(), 0, 0)]);
        scene.visits("listed.example", SITE);
        let wanted = if contradict { "address_mismatch" } else { "name_and_address" };
        assert_eq!(scene.verdicts(&[]).last().unwrap(), wanted);
    }
}

#[test]
fn t8_n13_a_flow_without_a_name_is_exempt_for_who_asked_where_the_rule_says_so() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    scene.learns("listed.example", &["203.0.113.2"]);
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.talk("10.0.0.3", "203.0.113.1:443", &nameless());
    scene.talk(CLIENT, "203.0.113.2:443", &nameless());
    scene.talk(CLIENT, "203.0.113.3:443", &nameless());
    scene.talk(CLIENT, "203.0.113.1:444", &nameless());
    // A's look-up verifies B's name.
    scene.talk("10.0.0.3", "203.0.113.1:443", &hello("media.example"));
    let wanted = ["dns_only", "no_name", "dns_only_off", "no_name", "port", "name_and_address"];
    assert_eq!(scene.verdicts(&[]), wanted);
    assert_eq!(scene.verdicts(&["--resolver", "10.0.0.54"])[0], "no_name");
    let lines = run(&[scene.file(true)], &[]);
    let exempt = lines.iter().find(|line| line["basis"] == "dns_only").unwrap();
    assert_eq!((&exempt["rule"], &exempt["name"]), (&"school/media.example".into(), &Value::Null));
    assert_eq!(scene.verdicts(&["--names-only"])[0], "no_name");
}

#[test]
fn t7_t8_a_readable_name_or_an_unreadable_protocol_overrides_dns_evidence() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    let server = "203.0.113.1:443";
    let second = [hello("media.example"), hello("other.example")].concat();
    let ambiguous = {
        let mut bytes = hello("media.example");
        let place = bytes.windows(5).position(|five| five == b"media").unwrap();
        bytes[place] = 0;
        bytes
    };
    let cases: [(&[u8], &str); 7] = [
        (&hello("other.example"), "not_listed"),
        (&hello("cloudflare-ech.com"), "hidden_name"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_recognised"),
        (b"\x80\x2e\x01\x00\x02\x00\x15", "not_recognised"),
        (&hello("media.example")[..60], "undecided"),
        (&ambiguous, "ambiguous"),
        (&second, "second_name"),
    ];
    for (data, _) in &cases {
        scene.talk(CLIENT, server, data);
    }
    assert_eq!(scene.verdicts(&[]), cases.map(|(_, wanted)| wanted));
}

#[test]
fn n7_an_address_at_which_the_client_asked_for_an_unlisted_name_too_gives_no_dns_evidence() {
    for listed_first in [true, false] {
        let mut scene = Scene::new();
        if listed_first {
            scene.learns("media.example", &[SITE]);
        }
        scene.learns("stranger.example", &[SITE]);
        if !listed_first {
            scene.learns("media.example", &[SITE]);
        }
        scene.talk(CLIENT, "203.0.113.1:443", &nameless());
        scene.visits("media.example", SITE);
        assert_eq!(scene.verdicts(&[]), ["dns_shared", "name_and_address"], "{listed_first}");
    }
}

#[test]
fn f1_what_another_client_asked_for_leaves_dns_evidence_as_it_is() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    scene.asked("10.0.0.9", RESOLVER, &addresses("stranger.example", &[SITE]));
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    assert_eq!(scene.verdicts(&[]), ["dns_only"]);
}

#[test]
fn n6_dns_evidence_is_judged_when_the_flow_starts_and_by_stamps_that_run_forward_only() {
    let mut scene = Scene::new();
    scene.learns("media.example", &[SITE]);
    let long = scene.next_talk(CLIENT, "203.0.113.1:443");
    scene.push(long.open());
    scene.now += 180;
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.now += 1;
    scene.talk(CLIENT, "203.0.113.1:443", &nameless());
    scene.now += 86_400;
    scene.push([long.up(0, &nameless())]);
    assert_eq!(scene.verdicts(&[]), ["dns_only", "dns_only", "dns_expired"]);
    // Without stamps no time passes.
    assert_eq!(verdicts(&run(&[scene.file(false)], &[])), ["dns_only"; 3]);
    // Stamps that step back say nothing any more.
    let mut back = scene.clone();
    back.now = 1_500_000_000;
    back.talk(CLIENT, "203.0.113.1:443", &nameless());
    assert_eq!(back.verdicts(&[]), ["dns_only", "dns_only", "dns_expired", "dns_only"]);
}

#[test]
fn n10_nat64_destinations_are_their_ipv4_address() {
    let mut scene = Scene::new();
    scene.learns("listed.example", &[SITE]);
    scene.visits("listed.example", "64:ff9b::203.0.113.1");
    scene.visits("listed.example", "64:ff9b::203.0.113.2");
    scene.asked("2001:db8:1::2", RESOLVER6, &addresses("listed.example", &["64:ff9b::203.0.113.2"]));
    scene.visits("listed.example", "203.0.113.2");
    scene.talk("2001:db8:1::2", "[64:ff9b::198.51.100.9]:8443", &nameless());
    let wanted = ["name_and_address", "address_mismatch", "name_and_address", "address_rule"];
    assert_eq!(scene.verdicts(&[]), wanted);
}

/// The resolver of IPv6 subscribers.
const RESOLVER6: &str = "[2001:db8::53]:53";

#[test]
fn n11_private_answers_are_not_learnt_but_in_a_laboratory() {
    let mut scene = Scene::new();
    for private in ["192.168.1.10", "127.0.0.1", "169.254.169.254"] {
        scene.learns("listed.example", &[private]);
        scene.visits("listed.example", private);
    }
    assert_eq!(scene.verdicts(&[]), ["address_mismatch"; 3]);
    assert_eq!(scene.verdicts(&["--allow-private"]), ["name_and_address"; 3]);
}

#[test]
fn t42_a_flood_of_queries_and_broken_streams_is_bounded_and_harmless() {
    let mut scene = Scene::new();
    let resolver = end(RESOLVER);
    for number in 0..2_000_u16 {
        let client =
            SocketAddr::new(IpAddr::from([10, 1, number.to_be_bytes()[0], number.to_be_bytes()[1]]), 7_000);
        scene.datagram(client, resolver, &query("listed.example", RecordType::A).to_vec().unwrap());
        let talk = scene.next_talk(CLIENT, RESOLVER);
        scene.push([talk.open().remove(0), talk.up(0, &[0xff; 90])]);
    }
    scene.learns("listed.example", &[SITE]);
    scene.visits("listed.example", SITE);
    assert_eq!(scene.verdicts(&[]).last().unwrap(), "name_and_address");
    assert!(fqdn("listed.example").is_fqdn());
}
