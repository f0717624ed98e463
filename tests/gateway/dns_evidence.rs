//! What the running gateway makes of DNS beside a readable name: a subscriber's own look-up where there is none, a published
//! key that does not belong to the name that is shown, an address that stands for another one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::hellos::{Hello, grease_ech};
use support::origin::{self, Origin};
use support::plane::{exchange, start, with_plane};
use support::unbound::LISTED;
use support::{Gateway, LIST, PATIENCE, Setup};

/// A site whose rule takes DNS evidence alone.
const MEDIA: &str = "media.example";
/// Number of the ECH extension (RFC 9849 §5).
const ECH: u16 = 0xfe0d;

/// A list with a rule that takes DNS evidence alone.
fn list() -> String {
    let rule = format!(
        "[[service.rule]]\nhost = \"{MEDIA}\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = true\n\n[[deny]]"
    );
    LIST.replace("[[deny]]", &rule)
}

/// A gateway without a resolver of its own, and where its DNS plane listens.
fn gateway(upstream: SocketAddr, port: u16) -> (Gateway, SocketAddr) {
    let setup = with_plane(Setup::new().proxied().port_map(&[(443, port)]), &[upstream]);
    setup.write("list.toml", list());
    start(setup)
}

#[test]
fn t8_n13_t21_a_subscriber_s_own_look_up_names_his_nameless_flows_and_nobody_else_s() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(MEDIA, origin.octets())]);
    let (gateway, address) = gateway(resolver.address, origin.port());
    // The subscriber table knows 127.0.1.1 and 10.7.0.1 as two prefixes of one subscriber.
    assert!(ask(subscriber(1), address, &query(1, MEDIA, A), PATIENCE).is_some());
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let to = gateway.listener(0);
    let nameless = Hello::bare().modern();
    let length = exchange(connect_proxied(1, to, destination), &nameless);
    exchange(connect_proxied(2, to, destination), &nameless);
    // A readable name overrides the evidence.
    exchange(connect_proxied(1, to, destination), &Hello::named("unlisted.example"));
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
    assert_eq!(usage.reasons("s1"), ["not_listed"]);
    assert_eq!(usage.exempt("s2"), (0, 0));
    assert_eq!(usage.reasons("s2"), ["no_name"]);
}

#[test]
fn n7_t24_who_asked_for_an_unlisted_name_there_too_has_no_right_without_a_name_and_is_reported_with_one() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(MEDIA, origin.octets()), ("unlisted.example", origin.octets())]);
    let (gateway, address) = gateway(resolver.address, origin.port());
    for (number, name) in [(1, MEDIA), (1, "unlisted.example"), (2, MEDIA)] {
        assert!(ask(subscriber(number), address, &query(1, name, A), PATIENCE).is_some());
    }
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let to = gateway.listener(0);
    exchange(connect_proxied(1, to, destination), &Hello::bare().modern());
    // What one subscriber asks for is nothing to another (F1).
    let nameless = exchange(connect_proxied(2, to, destination), &Hello::bare().modern());
    assert_eq!(gateway.metric("zrgw_exempt_shared_address_bytes_total"), 0);
    // With its name it is free as before, and said to be where another site could hide.
    let length = exchange(connect_proxied(1, to, destination), &Hello::named(MEDIA));
    gateway.await_metric("zrgw_exempt_shared_address_bytes_total", 2 * length);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.reasons("s1"), ["dns_shared"]);
    assert_eq!(usage.exempt("s2"), (nameless, nameless), "{:?}", usage.reasons("s2"));
}

/// A resolver that answers every question with one HTTPS record: a hint, and one ECH configuration.
fn publisher(hint: [u8; 4], config_id: u8, public_name: &str) -> SocketAddr {
    let mut config = vec![config_id, 0, 0x20, 0, 4, 1, 2, 3, 4, 0, 4, 0, 1, 0, 1, 0];
    config.push(public_name.len() as u8);
    config.extend(public_name.as_bytes());
    config.extend([0, 0]);
    let mut list = vec![0xfe, 0x0d];
    list.extend((config.len() as u16).to_be_bytes());
    list.extend(config);
    // Priority 1, target ".", ipv4hint (4), ech (5).
    let mut data = vec![0, 1, 0, 0, 4, 0, 4];
    data.extend(hint);
    data.extend([0, 5]);
    data.extend((list.len() as u16 + 2).to_be_bytes());
    data.extend((list.len() as u16).to_be_bytes());
    data.extend(list);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let end = query.iter().skip(12).position(|byte| *byte == 0).unwrap() + 12 + 5;
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            answer.extend([0xc0, 12, 0, 65, 0, 1, 0, 0, 1, 0]);
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(&data);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

#[test]
fn i_t7_a_hello_that_shows_a_listed_name_with_another_s_published_key_is_counted() {
    let origin = Origin::echo();
    let upstream = publisher(origin.octets(), 77, "cover.example");
    let (gateway, address) = gateway(upstream, origin.port());
    assert!(ask(subscriber(1), address, &query(1, LISTED, HTTPS), PATIENCE).is_some());
    let destination = SocketAddr::new(origin.address.ip(), 443);
    let to = gateway.listener(0);
    let mut length = 0;
    // GREASE of another id, then the published one: the verdict is the same, one is counted.
    for config_id in [78, 77] {
        let hello = Hello::named(LISTED).with(ECH, grease_ech(config_id));
        length += exchange(connect_proxied(1, to, destination), &hello);
    }
    gateway.await_metric("zrgw_ech_suspects_total", 1);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "the hint vouches: {:?}", usage.reasons("s1"));
}

/// `::1` stands for 0.0.0.1 behind the prefix `::/96`: the only IPv6 address of loopback, so that the flow is carried.
#[test]
fn n10_a_destination_behind_nat64_is_vouched_for_by_its_ipv4_address() {
    let origin = Origin::at(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), origin::echo);
    for (prefixes, exempt) in [("[\"::/96\"]", true), ("[]", false)] {
        let setup = Setup::new().proxied().port_map(&[(443, origin.port())]);
        setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n2001:db8::/64,account,six\n");
        let gateway = setup
            .set("trusted_answers", &format!("nat64_prefixes = {prefixes}"))
            .raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"0.0.0.1\"]\n"))
            .start();
        let source = SocketAddr::from(("2001:db8::7".parse::<Ipv6Addr>().unwrap(), 40_000));
        let mut client = connect_from(Ipv4Addr::LOCALHOST, gateway.listener(0));
        let destination = SocketAddr::from((Ipv6Addr::LOCALHOST, 443));
        client.write_all(&proxy_v1(source, destination)).unwrap();
        let length = exchange(client, &Hello::named(LISTED));
        let usage = gateway.stop_and_count();
        let wanted = if exempt { (length, length) } else { (0, 0) };
        assert_eq!(usage.exempt("six"), wanted, "{prefixes}: {:?}", usage.reasons("six"));
    }
}
