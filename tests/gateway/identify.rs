//! The name of a flow: one name or one reason for every beginning, whatever the cutting, within bounded memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use support::hellos;

use billing_export::Reason;
use gateway::flow::identify::{Identifier, IdentifyLimits, Identity, Progress, SeenIn};
use hellos::{Hello, SERVER_NAME, change_cipher_spec, record, records, server_name, server_names};

/// Name, where it was seen, why it does not hold.
type Told = (Option<String>, Option<&'static str>, Option<Reason>);

fn told(identity: &Identity) -> Told {
    let name = identity.name.as_ref().map(|name| name.as_str().to_owned());
    assert_eq!(name.is_some(), identity.seen_in.is_some());
    (name, identity.seen_in.map(SeenIn::label), identity.gave_up)
}

fn tls(name: &str) -> Told {
    (Some(name.to_owned()), Some("tls_sni"), None)
}

fn http(name: &str) -> Told {
    (Some(name.to_owned()), Some("http_host"), None)
}

fn none(reason: Reason) -> Told {
    (None, None, Some(reason))
}

fn second(first: &str, reason: Reason) -> Told {
    (Some(first.to_owned()), Some("tls_sni"), Some(reason))
}

/// What the client's bytes come to in pieces of this size, then a FIN.
fn identify(bytes: &[u8], size: usize) -> Told {
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    for piece in bytes.chunks(size) {
        let progress = identifier.observe(piece);
        assert_eq!(progress == Progress::Undecided, identifier.identity().is_none());
        assert!(identifier.buffer_bytes() <= 16 * 1024);
        if progress == Progress::Settled {
            assert_eq!(identifier.buffer_bytes(), 0, "freed when settled");
        }
    }
    assert_eq!(identifier.finish(), Progress::Settled);
    assert_eq!(identifier.observe(b"more"), Progress::Settled);
    assert_eq!(identifier.deadline(), Progress::Settled);
    told(identifier.identity().unwrap())
}

/// The same in many cuttings.
fn assert_told(bytes: &[u8], wanted: &Told) {
    for size in [1, 7, 536, 1460, usize::MAX] {
        assert_eq!(&identify(bytes, size.min(bytes.len().max(1))), wanted, "pieces of {size}");
    }
}

fn with_name(name: &[u8]) -> Vec<u8> {
    Hello::named("x.kz").replaced(SERVER_NAME, server_name(name)).wire()
}

#[test]
fn t6_i_t5_names_of_hellos() {
    let long = |bytes: usize| {
        let mut name = "a".repeat(60) + ".";
        name = name.repeat(4);
        name + &"b".repeat(bytes - 244)
    };
    let rows: Vec<(Vec<u8>, Told)> = vec![
        (with_name(b"WWW.Listed.EDU"), tls("www.listed.edu")),
        (with_name(b"DARYN.Online."), tls("daryn.online")),
        (with_name(b"xn--90aud6hb.xn--80ao21a"), tls("xn--90aud6hb.xn--80ao21a")),
        (with_name("білім.қаз".as_bytes()), none(Reason::Ambiguous)),
        (with_name(b"listed.edu\0.evil.com"), none(Reason::Ambiguous)),
        (with_name(b"listed.edu\n"), none(Reason::Ambiguous)),
        (with_name(b"listed .edu"), none(Reason::Ambiguous)),
        (with_name(b"listed.edu.."), none(Reason::Ambiguous)),
        (with_name(b"."), none(Reason::Ambiguous)),
        (with_name(b"-a.kz"), none(Reason::Ambiguous)),
        (with_name(b"a_b.kz"), tls("a_b.kz")),
        (with_name(long(253).as_bytes()), tls(&long(253))),
        (with_name(long(254).as_bytes()), none(Reason::Ambiguous)),
        (with_name(&[b'a'; 5000]), none(Reason::Ambiguous)),
        (with_name(b"192.0.2.1"), none(Reason::NoName)),
        (with_name(b"2001:db8::1"), none(Reason::NoName)),
        (with_name(b"[2001:db8::1]"), none(Reason::NoName)),
        (with_name(b""), none(Reason::Malformed)),
        (
            Hello::named("a.kz").replaced(SERVER_NAME, server_names(&[(0, b"a.kz"), (0, b"b.kz")])).wire(),
            none(Reason::Ambiguous),
        ),
        (Hello::named("a.kz").with(SERVER_NAME, server_name(b"b.kz")).wire(), none(Reason::Ambiguous)),
        (Hello::named("a.kz").replaced(SERVER_NAME, vec![0, 0]).wire(), none(Reason::Malformed)),
    ];
    for (bytes, wanted) in rows {
        assert_told(&bytes, &wanted);
    }
}

#[test]
fn t8_what_has_no_name() {
    assert_told(&Hello::bare().modern().wire(), &none(Reason::NoName));
    assert_told(&Hello { extensions: None, ..Hello::bare() }.wire(), &none(Reason::NoName));
    // SSLv2: two length bytes with the top bit, CLIENT-HELLO, version.
    assert_told(&[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10, 0, 0, 7], &none(Reason::NotRecognised));
    for other in [
        &b"\0\0\0\x01"[..],
        b"SSH-2.0-x\r\n",
        b"\x13BitTorrent protocol",
        b"EHLO x.kz\r\nSTARTTLS\r\n",
        b"\x16\x02",
    ] {
        assert_told(other, &none(Reason::NotRecognised));
    }
    let smtp_then_tls = [b"EHLO x.kz\r\nSTARTTLS\r\n".to_vec(), Hello::named("listed.edu").wire()].concat();
    assert_told(&smtp_then_tls, &none(Reason::NotRecognised));
    let proxied =
        [b"PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n".to_vec(), Hello::named("listed.edu").wire()].concat();
    assert_told(&proxied, &none(Reason::NotRecognised));
    assert_told(
        b"CONNECT listed.edu:443 HTTP/1.1\r\nHost: listed.edu:443\r\n\r\n",
        &none(Reason::NotRecognised),
    );
}

#[test]
fn t4_i_t3_caps_and_what_never_completes() {
    let of = |bytes: usize| records(&Hello::named("listed.edu").padded_to(bytes).message(), 16384);
    assert_told(&of(16384), &tls("listed.edu"));
    assert_told(&of(16385), &none(Reason::Oversize));
    assert_told(&record(22, &[]).repeat(6554), &none(Reason::Oversize));
    let head = |bytes: usize| [&b"GET /"[..], &vec![b'a'; bytes]].concat();
    assert_told(&head(20_000), &none(Reason::Oversize));

    let mut identifier = Identifier::new(&IdentifyLimits::default());
    for piece in of(16384)[..16_000].chunks(100) {
        assert_eq!(identifier.observe(piece), Progress::Undecided);
    }
    assert!(identifier.buffer_bytes() + size_of::<Identifier>() <= 20 * 1024);
    assert_eq!(identifier.deadline(), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), none(Reason::Timeout));
    assert_eq!(identifier.buffer_bytes(), 0);
}

#[test]
fn t9_a_silent_client_and_an_early_end() {
    let mut silent = Identifier::new(&IdentifyLimits::default());
    assert_eq!(silent.observe(b""), Progress::Undecided);
    assert!(silent.identity().is_none() && silent.protocol().is_none());
    assert_eq!(silent.deadline(), Progress::Settled);
    assert_eq!(told(silent.identity().unwrap()), none(Reason::Timeout));
    assert_eq!(silent.observe(&Hello::named("listed.edu").wire()), Progress::Settled, "the reason stays");
    assert_eq!(told(silent.identity().unwrap()), none(Reason::Timeout));

    let mut closed = Identifier::new(&IdentifyLimits::default());
    assert_eq!(closed.finish(), Progress::Settled);
    assert_eq!(told(closed.identity().unwrap()), none(Reason::Undecided));
    let wire = Hello::named("listed.edu").wire();
    assert_told(&wire[..wire.len() - 1], &none(Reason::Undecided));
    assert_told(b"GET / HTTP/1.1\r\nHost: listed.edu\r\n", &none(Reason::Undecided));
    assert_told(b"GET / HTTP/1.1\r\nHost : listed.edu\r\n", &none(Reason::Malformed));
    assert_told(b"GET", &none(Reason::Undecided));
}

#[test]
fn t5_a_second_hello_with_another_name_is_told() {
    let first = Hello::post_quantum("listed.edu").wire();
    let then = |second: Hello| {
        let wire = second.wire();
        [first.clone(), change_cipher_spec(), wire, record(23, &[0; 40])].concat()
    };
    assert_told(&then(Hello::named("listed.edu")), &tls("listed.edu"));
    assert_told(&then(Hello::named("LISTED.edu.")), &tls("listed.edu"));
    assert_told(&then(Hello::named("other.com")), &second("listed.edu", Reason::SecondName));
    assert_told(&then(Hello::bare()), &second("listed.edu", Reason::SecondName));
    assert_told(&then(Hello::named("192.0.2.1")), &second("listed.edu", Reason::SecondName));
    let twice = Hello::named("listed.edu").with(SERVER_NAME, server_name(b"other.com"));
    assert_told(&then(twice), &second("listed.edu", Reason::Ambiguous));
    assert_told(
        &then(Hello::named("x.kz").padded_to(16385)).clone()[..],
        &second("listed.edu", Reason::Oversize),
    );

    // The name is known at once and stands until it is contradicted, also past the deadline.
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    assert_eq!(identifier.observe(&first), Progress::Identified);
    assert_eq!(told(identifier.identity().unwrap()), tls("listed.edu"));
    assert_eq!(identifier.buffer_bytes(), 0, "nothing is held on the watch");
    assert_eq!(identifier.deadline(), Progress::Identified);
    assert_eq!(identifier.observe(&change_cipher_spec()), Progress::Identified);
    assert_eq!(identifier.observe(&Hello::named("other.com").wire()), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), second("listed.edu", Reason::SecondName));

    // Application data ends the watch.
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    identifier.observe(&first);
    assert_eq!(identifier.observe(&record(23, &[0; 9])), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), tls("listed.edu"));
}

#[test]
fn t5_a_hello_in_pieces_leaves_no_buffer_behind() {
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    for piece in Hello::post_quantum("listed.edu").wire().chunks(500) {
        identifier.observe(piece);
    }
    assert_eq!(told(identifier.identity().unwrap()), tls("listed.edu"));
    assert_eq!(identifier.buffer_bytes(), 0);
}

#[test]
fn t7_i_t7_grease_ech_makes_no_difference() {
    let plain = Hello::named("listed.edu");
    let grease = plain.clone().with(hellos::ECH, hellos::grease_ech(77));
    assert_eq!(identify(&plain.wire(), 1460), identify(&grease.wire(), 1460));
    // The outer name of a hidden one is a name like others here; that it covers others is known above.
    let outer = Hello::named("cloudflare-ech.com").with(hellos::ECH, hellos::grease_ech(77));
    assert_told(&outer.wire(), &tls("cloudflare-ech.com"));
}

#[test]
fn i_t6_a_hello_without_signature_algorithms_has_a_name() {
    assert_told(&Hello::bare().with(SERVER_NAME, server_name(b"listed.edu")).wire(), &tls("listed.edu"));
}

#[test]
fn h1_t25_hosts_of_requests() {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes();
    for (bytes, wanted) in [
        (get("Host: WWW.Listed.EDU.:8080\r\n"), http("www.listed.edu")),
        (get("Host: a.kz\r\nHost: b.kz\r\n"), none(Reason::Ambiguous)),
        (get("Host: a.kz, b.kz\r\n"), none(Reason::Ambiguous)),
        (get("Host: a@b.kz\r\n"), none(Reason::Ambiguous)),
        (get("Host: a%2ekz\r\n"), none(Reason::Ambiguous)),
        (get("Host: білім.қаз\r\n"), none(Reason::Ambiguous)),
        (get("Host: a.kz..\r\n"), none(Reason::Ambiguous)),
        (get("Host: 192.0.2.1:80\r\n"), none(Reason::NoName)),
        (get("Host: [::1]\r\n"), none(Reason::NoName)),
        (get(""), none(Reason::NoName)),
        (get("Host : a.kz\r\n"), none(Reason::Malformed)),
        (get(&"X: y\r\n".repeat(101)), none(Reason::Oversize)),
        (b"GET http://a.kz/ HTTP/1.1\r\nHost: b.kz\r\n\r\n".to_vec(), none(Reason::Ambiguous)),
        (b"GET http://a.kz/ HTTP/1.1\r\n\r\n".to_vec(), http("a.kz")),
        (b"GET http://a.kz\\@b.kz/ HTTP/1.1\r\n\r\n".to_vec(), none(Reason::Ambiguous)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), none(Reason::NotRecognised)),
    ] {
        assert_told(&bytes, &wanted);
    }
}

#[test]
fn h2_t25_only_the_first_request_names_the_connection() {
    let listed = b"GET / HTTP/1.1\r\nHost: listed.edu\r\n\r\n";
    let other = b"GET / HTTP/1.1\r\nHost: other.com\r\n\r\n";
    assert_told(&[&listed[..], other].concat(), &http("listed.edu"));
    assert_told(&[&other[..], listed].concat(), &http("other.com"));
    let mut identifier = Identifier::new(&IdentifyLimits::default());
    assert_eq!(identifier.observe(listed), Progress::Settled);
    assert_eq!(identifier.observe(other), Progress::Settled);
    assert_eq!(told(identifier.identity().unwrap()), http("listed.edu"));
}

#[test]
fn protocol_is_known_from_the_first_bytes() {
    let protocol = |bytes: &[u8]| {
        let mut identifier = Identifier::new(&IdentifyLimits::default());
        identifier.observe(bytes);
        identifier.protocol()
    };
    assert_eq!(protocol(b"\x16"), Some(SeenIn::TlsSni));
    assert_eq!(protocol(&Hello::bare().wire()), Some(SeenIn::TlsSni));
    assert_eq!(protocol(&records(&hellos::message(2, b""), 100)), Some(SeenIn::TlsSni));
    assert_eq!(protocol(b"\x16\x00"), None);
    assert_eq!(protocol(b"GET /"), Some(SeenIn::HttpHost));
    assert_eq!(protocol(b"GET / HTTP/1.1\r\n\r\n"), Some(SeenIn::HttpHost));
    assert_eq!(protocol(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"), Some(SeenIn::HttpHost));
    assert_eq!(protocol(b"EHLO x\r\n"), None);
    assert_eq!(protocol(b"\0"), None);
}

/// T42: half-open hellos cost what they sent, rounded up to the first buffer, never what they promise.
#[test]
fn t42_a_hundred_thousand_half_open_hellos_take_bounded_memory() {
    const FLOWS: usize = 100_000;
    let promised = records(&Hello::named("listed.edu").padded_to(16384).message(), 16384);
    let mut flows = Vec::with_capacity(FLOWS);
    for _ in 0..FLOWS {
        let mut identifier = Identifier::new(&IdentifyLimits::default());
        assert_eq!(identifier.observe(&promised[..300]), Progress::Undecided);
        flows.push(identifier);
    }
    let held = |flows: &[Identifier]| -> usize { flows.iter().map(Identifier::buffer_bytes).sum() };
    assert!(held(&flows) <= FLOWS * 512, "{} bytes", held(&flows));
    assert!(size_of::<Identifier>() <= 256, "{} bytes", size_of::<Identifier>());
    for flow in &mut flows {
        flow.deadline();
    }
    assert_eq!(held(&flows), 0);
}
