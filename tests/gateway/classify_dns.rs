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

#[path = "classify_dns/learnt.rs"]
mod learnt;
#[path = "classify_dns/no_name.rs"]
mod no_name;
#[path = "classify_dns/pieces.rs"]
mod pieces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use serde_json::Value;
use support::capture::*;
use support::messages::{address, answer, cname, https, query};

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
