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

/// What Unbound knows below a listed subtree, of every kind.
fn subtree() -> Unbound {
    let records = [
        "example. SOA ns.listed.example. admin.listed.example. 1 3600 600 86400 60",
        "listed.example. NS ns.listed.example.",
        "four.listed.example. 60 A 127.0.2.1",
        "six.listed.example. 60 AAAA 2001:db8::1",
        "both.listed.example. 60 A 127.0.2.1",
        "both.listed.example. 60 AAAA 2001:db8::1",
        "text.listed.example. 60 TXT words",
        "hinting.listed.example. 60 HTTPS 1 . alpn=h2 ipv4hint=127.0.2.1",
        "plain.listed.example. 60 HTTPS 1 . alpn=h2",
    ];
    let data: String = records.iter().map(|record| format!(" local-data: \"{record}\"\n")).collect();
    Unbound::start(&format!("server:\n local-zone: \"example.\" static\n{data}"))
}

const OURS_V6: &str = "2001:db8:5::5";

/// Answers to a question: through the gateway, and Unbound's own.
fn both_answers(unbound: &Unbound, address: SocketAddr, name: &str, kind: u16) -> (Vec<u8>, Vec<u8>) {
    let asked = query(3, &format!("{name}.listed.example"), kind);
    let own = ask(Ipv4Addr::LOCALHOST, unbound.address, &asked, PATIENCE).unwrap();
    (ask(subscriber(1), address, &asked, PATIENCE).unwrap(), own)
}

fn holds(answer: &[u8], bytes: &[u8]) -> bool {
    answer.windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn f46_what_does_not_exist_stays_so_and_what_exists_is_steered() {
    if !has("unbound") {
        return;
    }
    let unbound = subtree();
    let (gateway, address) = gateway(unbound.address, |setup| {
        setup.steered().set("dns", &format!("steer_addresses = [\"127.0.0.1\", \"{OURS_V6}\"]"))
    });
    let answers = |name: &str, kind| both_answers(&unbound, address, name, kind);
    for kind in [A, AAAA, HTTPS] {
        let (given, own) = answers("nowhere", kind);
        assert_eq!((rcode(&given), &given), (3, &own), "no such name");
        let (given, own) = answers("text", kind);
        assert_eq!((rcode(&given), &given), (0, &own), "no such record");
        assert_eq!(given[6..10], [0, 0, 0, 1], "with its SOA record");
    }
    let ours_v6 = OURS_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    for (name, has_v4, has_v6) in [("four", true, false), ("six", false, true), ("both", true, true)] {
        for (kind, is_there, ours) in [(A, has_v4, &OURS[..]), (AAAA, has_v6, &ours_v6)] {
            let (given, own) = answers(name, kind);
            assert_eq!(
                (rcode(&given), given[7] == 1, holds(&given, ours)),
                (0, is_there, is_there),
                "{name} {kind}"
            );
            assert!(is_there || given == own, "{name} {kind}");
        }
    }
    gateway.stop();
}

/// Who keeps a CNAME asks for its target next, which nobody steers: of an alias nothing is told but what it has.
#[test]
fn f46_the_target_of_a_steered_alias_is_not_told() {
    const TARGET: &[u8] = b"\x03cdn\x08unlisted\x07example\0";
    let upstream = support::scripted::server(|query| {
        let mut reply = support::scripted::answered(query, [127, 0, 2, 1]);
        let end = reply.len() - 16;
        let address = reply.split_off(end);
        let length = u8::try_from(TARGET.len()).unwrap();
        reply.extend([&[0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 0, 0, length], TARGET].concat());
        if query[end - 4..end - 2] == [0, 1] {
            reply.extend([TARGET, &address[2..]].concat());
            reply[7] = 2;
        }
        vec![(true, reply)]
    });
    let (gateway, address) = gateway(upstream, Setup::steered);
    let (known, stranger) = (subscriber(1), Ipv4Addr::new(127, 0, 3, 1));
    for kind in [A, AAAA, HTTPS] {
        let told = |from| ask(from, address, &query(3, LISTED, kind), PATIENCE).unwrap();
        assert!(holds(&told(stranger), TARGET), "{kind}");
        let given = told(known);
        assert!(!holds(&given, TARGET) && rcode(&given) == 0, "{kind}: {given:?}");
        assert_eq!(holds(&given, &OURS), kind == A, "{kind}");
        assert_eq!(authority(&given, LISTED), (kind != A).then_some((6, 7)), "{kind}");
    }
    gateway.stop();
}

/// With an address of ours of one family a site that has such is reached through it; one that has none is reached past us,
/// for nobody is cut off.
#[test]
fn f46_a_name_with_addresses_of_one_family_alone_is_reached_where_ours_are_of_the_other() {
    if !has("unbound") {
        return;
    }
    let unbound = subtree();
    let ours_v6 = OURS_V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let families = [("127.0.0.1", A, &OURS[..], AAAA, "six"), (OURS_V6, AAAA, &ours_v6[..], A, "four")];
    for (ours, kind, bytes, other, alone) in families {
        let (gateway, address) = gateway(unbound.address, |setup| {
            setup.steered().set("dns", &format!("steer_addresses = [\"{ours}\"]"))
        });
        for round in 0..2 {
            let (given, own) = both_answers(&unbound, address, alone, other);
            assert_eq!(given, own, "{ours} {round}: its own");
            let (given, own) = both_answers(&unbound, address, alone, kind);
            assert_eq!(given, own, "{ours} {round}: there is none");
            // Whatever is asked first.
            let (given, _) = both_answers(&unbound, address, "both", other);
            let said = (rcode(&given), authority(&given, "both.listed.example"));
            assert_eq!(said, (0, Some((6, 7))), "{ours} {round}");
            let (given, _) = both_answers(&unbound, address, "both", kind);
            assert!(holds(&given, bytes), "{ours} {round}");
            let (given, own) = both_answers(&unbound, address, "nowhere", other);
            assert_eq!((rcode(&given), given), (3, own));
        }
        gateway.stop();
    }
}

/// An address is hinted at where the origin hints at one of its family.
#[test]
fn f46_a_steered_service_binding_hints_at_what_the_origin_has() {
    if !has("unbound") || !has("dig") {
        return;
    }
    let unbound = subtree();
    let (gateway, address) = gateway(unbound.address, |setup| {
        setup.steered().set("dns", &format!("steer_addresses = [\"127.0.0.1\", \"{OURS_V6}\"]"))
    });
    for (name, said) in [("hinting", "1 . alpn=\"h2\" ipv4hint=127.0.0.1"), ("plain", "1 . alpn=\"h2\"")] {
        let words = ["+short", &format!("{name}.listed.example"), "HTTPS"];
        assert_eq!(dig(subscriber(1), address, &words).trim(), said);
    }
    gateway.stop();
}

/// While the servers are silent or fail, a name that the gateway can dial is steered; it knows nothing of others.
#[test]
fn f46_while_the_servers_say_nothing_a_known_name_is_steered_and_at_once_when_they_are_down() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(resolver.address, |setup| {
        setup
            .steered()
            .set("dns", "failover_after = \"100 ms\"")
            .set("dns", "try_timeout = \"200 ms\"")
            .set("dns", "total_timeout = \"1 s\"")
            .set("dns", "stale_after = \"500 ms\"")
    });
    let code = |name: &str| rcode(&ask(subscriber(1), address, &query(4, name, A), PATIENCE).unwrap());
    assert!(is_led(subscriber(1), address, LISTED));
    resolver.set_silent(true);
    assert!(is_led(subscriber(1), address, LISTED));
    assert_eq!(code("unknown.listed.example"), 2);
    gateway.await_metric("zrgw_dns_servers_down", 1);
    let asked = resolver.asked(LISTED);
    assert!(is_led(subscriber(1), address, LISTED));
    assert!(resolver.asked(LISTED) <= asked + 1, "our own question at most");
    let service = ask(subscriber(1), address, &query(5, LISTED, HTTPS), PATIENCE).unwrap();
    assert_eq!((rcode(&service), authority(&service, LISTED)), (0, Some((6, 7))));
    gateway.stop();
}

#[test]
fn f46_a_failure_leaves_a_known_name_steered_and_a_refusal_is_passed_on() {
    let failing = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(0));
    let told = std::sync::Arc::clone(&failing);
    let upstream = support::scripted::server(move |query| {
        let mut reply = support::scripted::answered(query, [127, 0, 2, 1]);
        let code = told.load(std::sync::atomic::Ordering::Relaxed);
        if code != 0 {
            reply.truncate(reply.len() - 16);
            (reply[3], reply[7]) = (0x80 | code, 0);
        }
        vec![(true, reply)]
    });
    let (gateway, address) = gateway(upstream, Setup::steered);
    assert!(is_led(subscriber(1), address, LISTED));
    let code = |name: &str| rcode(&ask(subscriber(1), address, &query(4, name, A), PATIENCE).unwrap());
    failing.store(2, std::sync::atomic::Ordering::Relaxed);
    assert!(is_led(subscriber(1), address, LISTED));
    assert_eq!(code("unknown.listed.example"), 2);
    failing.store(5, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(code(LISTED), 5);
    gateway.stop();
}
