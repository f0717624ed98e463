//! Steering: a subscriber who asks for a name that is exempt is led to the gateway, and nobody else is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "dns_steering/existence.rs"]
mod existence;
#[path = "dns_steering/silent_servers.rs"]
mod silent_servers;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::plane::start;
use support::unbound::{LISTED, Unbound};
use support::{Gateway, LIST, PATIENCE, Setup, has};

const OURS: [u8; 4] = [127, 0, 0, 1];

/// A steered gateway with a DNS plane that leads subscribers to 127.0.0.1.
fn gateway(resolver: SocketAddr, change: impl FnOnce(Setup) -> Setup) -> (Gateway, SocketAddr) {
    let setup = Setup::new()
        .resolver(resolver)
        .set("dns", "listen = [\"127.0.0.1:0\"]")
        .set("dns", "clients = [\"subscribers\", \"127.0.3.0/24\"]")
        .set("dns", "steer_addresses = [\"127.0.0.1\"]")
        .set("dns", "steer_ttl = \"7 s\"");
    start(change(setup))
}

/// Whether the answer to a question is our own address.
fn is_led(from: Ipv4Addr, address: SocketAddr, name: &str) -> bool {
    let answer = ask(from, address, &query(3, name, A), PATIENCE).unwrap();
    answer.windows(4).any(|bytes| bytes == OURS)
}

#[test]
fn subscribers_are_led_to_us_for_exempt_names_and_nobody_else_is() {
    let resolver = Resolver::new(&[
        (LISTED, [127, 0, 2, 1]),
        ("ads.listed.example", [127, 0, 2, 3]),
        ("unlisted.example", [127, 0, 2, 4]),
    ]);
    let (gateway, address) = gateway(resolver.address, Setup::steered);
    let (known, stranger) = (subscriber(1), Ipv4Addr::new(127, 0, 3, 1));
    assert!(is_led(known, address, LISTED));
    assert!(is_led(known, address, "WWW.Listed.EXAMPLE"));
    assert!(!is_led(known, address, "ads.listed.example"), "denied");
    assert!(!is_led(known, address, "unlisted.example"));
    assert!(!is_led(stranger, address, LISTED), "no subscriber");
    let said = dig(known, address, &[LISTED, "A"]);
    assert!(said.contains("127.0.0.1") && said.contains("\t7\t"), "{said}");
    gateway.stop();
}

#[test]
fn other_addresses_and_service_bindings_of_a_steered_name_never_leak() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, Setup::steered);
    // No IPv6 address of ours: no data, without asking anybody.
    let answer = ask(subscriber(1), address, &query(3, LISTED, AAAA), PATIENCE).unwrap();
    assert_eq!((rcode(&answer), &answer[6..8]), (0, &[0, 0][..]));
    // The origin has no service binding.
    let answer = ask(subscriber(1), address, &query(3, LISTED, HTTPS), PATIENCE).unwrap();
    assert_eq!((rcode(&answer), &answer[6..8]), (0, &[0, 0][..]));
    gateway.stop();
}

/// The type and the TTL of the only record of the authority section, where there is no other.
fn authority(answer: &[u8], name: &str) -> Option<(u16, u32)> {
    if answer[6..10] != [0, 0, 0, 1] {
        return None;
    }
    // Behind the question, the owner: a pointer to it.
    let at = 12 + name.len() + 2 + 4;
    assert_eq!(answer[at..at + 2], [0xc0, 12], "{answer:?}");
    let number = |range: std::ops::Range<usize>| {
        answer[range].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    Some((number(at + 2..at + 4) as u16, number(at + 6..at + 10)))
}

#[test]
fn f41_that_a_steered_name_has_no_such_record_comes_with_a_soa_record() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, Setup::steered);
    for kind in [AAAA, HTTPS, 64] {
        let answer = ask(subscriber(1), address, &query(3, LISTED, kind), PATIENCE).unwrap();
        assert_eq!((rcode(&answer), authority(&answer, LISTED)), (0, Some((6, 7))), "{kind}: {answer:?}");
    }
    gateway.stop();
}

/// A dnsmasq at a subscriber's keeps it, and asks once.
#[test]
fn f41_a_dnsmasq_behind_asks_once_for_what_a_steered_name_does_not_have() {
    if !has("dnsmasq") {
        return;
    }
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, Setup::steered);
    let port = support::free_port();
    let mut dnsmasq = std::process::Command::new("dnsmasq")
        .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"])
        .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file", &format!("--port={port}")])
        .arg(format!("--server={}#{}@{}", address.ip(), address.port(), subscriber(1)))
        .spawn()
        .unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let known = || ask(Ipv4Addr::LOCALHOST, at, &query(3, LISTED, A), PATIENCE / 100).is_some();
    let is_up = support::eventually(known);
    let queries = || gateway.metric("zrgw_dns_queries_total{transport=\"udp\"}");
    let before = queries();
    for id in 0..5 {
        let answer = ask(Ipv4Addr::LOCALHOST, at, &plain(id, LISTED, AAAA), PATIENCE).unwrap();
        assert_eq!((rcode(&answer), &answer[6..8]), (0, &[0, 0][..]));
    }
    let asked = queries() - before;
    dnsmasq.kill().unwrap();
    dnsmasq.wait().unwrap();
    assert!(is_up, "dnsmasq does not answer");
    assert_eq!(asked, 1);
    gateway.stop();
}

#[test]
fn steering_ends_with_the_list_and_begins_with_it() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, Setup::steered);
    assert!(is_led(subscriber(1), address, LISTED));
    let next = LIST
        .replace("serial = 3", "serial = 4")
        .replace("listed.example\"\nscope", "elsewhere.example\"\nscope");
    gateway.setup().write("list.toml", next);
    gateway.reload();
    gateway.await_metric("zrgw_list_serial", 4);
    assert!(!is_led(subscriber(1), address, LISTED), "no longer listed");
    gateway.stop();
}

#[test]
fn from_the_question_to_the_page_a_steered_visit_is_exempt() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let (gateway, address) = gateway(resolver.address, |setup| {
        let setup = setup.steered().port_map(&[(443, origin.port())]);
        setup.set("export", "byte_basis = \"payload\"")
    });
    let answer = ask(subscriber(1), address, &query(3, LISTED, A), PATIENCE).unwrap();
    let led: [u8; 4] = answer.windows(4).find(|bytes| *bytes == OURS).unwrap().try_into().unwrap();
    let to = SocketAddr::from((led, gateway.listener(0).port()));
    let sent = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    let mut client = connect_from(subscriber(1), to);
    client.write_all(&sent).unwrap();
    assert_eq!(read_exactly(&mut client, sent.len()), sent);
    assert_eq!(finish(client), b"");
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt_for("s1", "school"), (sent.len() as u64, sent.len() as u64));
}

/// The origin's own record leads past us and names a port; ours leads to us, and offers what we carry of what it has.
#[test]
fn a_steered_service_binding_is_ours_in_full_with_h3_only_where_we_take_datagrams() {
    if !has("unbound") || !has("dig") {
        return;
    }
    let unbound = Unbound::start("");
    for (protocols, alpn) in [("[\"tcp\", \"udp\"]", "alpn=\"h3,h2\""), ("[\"tcp\"]", "alpn=\"h2\"")] {
        let keys = format!("mode = \"steered\"\naddress = \"127.0.0.1:0\"\nprotocols = {protocols}\n");
        let (gateway, address) = gateway(unbound.address, |setup| setup.listener(&keys));
        let said = dig(subscriber(1), address, &["+short", LISTED, "HTTPS"]);
        assert_eq!(said.trim(), format!("1 . {alpn} ipv4hint=127.0.0.1"), "{protocols}");
        gateway.stop();
    }
}

#[test]
fn nobody_is_led_to_us_by_a_list_that_has_expired() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, |setup| {
        setup.write("list.toml", LIST.replace("2099-07-06", "2021-07-06"));
        setup.steered()
    });
    assert!(!is_led(subscriber(1), address, LISTED));
    gateway.stop();
}
