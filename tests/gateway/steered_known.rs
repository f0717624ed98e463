//! Steered flows while the resolvers are of no use: the last good address that is known is dialled, whoever told it, and
//! the verdict follows the evidence.
//!
//! `total_timeout` is a minute, longer than any client here waits: who waited for the resolver would see the test fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::TcpStream;

use support::client::*;
use support::datagrams::Access;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::quic::Initial;
use support::{Gateway, Setup, eventually};

const LISTED: &str = "www.listed.example";

/// What a subscriber sends: a hello and application data, behind which no second hello can come.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends a visit and has it echoed; its length.
fn exchange(gateway: &Gateway, number: u8) -> u64 {
    let mut client = connect_from(subscriber(number), gateway.listener(0));
    carried(&mut client);
    assert_eq!(finish(client), b"");
    visit().len() as u64
}

/// The visit reaches an origin that echoes it.
fn carried(client: &mut TcpStream) {
    let sent = visit();
    client.write_all(&sent).unwrap();
    assert_eq!(read_exactly(client, sent.len()), sent);
}

/// A node of one steered listener whose look-ups are never given up while a client waits.
fn patient(origin: &Origin) -> Setup {
    Setup::new()
        .steered()
        .port_map(&[(443, origin.port())])
        .set("export", "byte_basis = \"payload\"")
        .set("lookup", "scheduled_per_second_max = 0")
        .set("lookup", "try_timeout = \"60 s\"")
        .set("lookup", "total_timeout = \"60 s\"")
}

/// An answer that the operator vouches for.
fn stated(setup: Setup, origin: &Origin) -> Setup {
    let address = origin.address.ip();
    setup.raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"{address}\"]\n"))
}

#[test]
fn f12_what_was_known_before_a_restart_is_dialled_while_the_resolver_is_down() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let gateway = patient(&origin).resolver(resolver.address).start();
    let length = exchange(&gateway, 1);
    let setup = gateway.stop();
    resolver.set_silent(true);
    let gateway = setup.start();
    exchange(&gateway, 2);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length), "{:?}", usage.reasons("s2"));
}

#[test]
fn f12_an_answer_of_the_configuration_alone_is_dialled_while_the_resolver_is_down() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[]);
    resolver.set_silent(true);
    let gateway = stated(patient(&origin), &origin).resolver(resolver.address).start();
    let length = exchange(&gateway, 1);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
}

#[test]
fn f12_an_answer_of_the_configuration_is_dialled_where_nobody_resolves() {
    let origin = Origin::echo();
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], support::free_port()));
    let gateway = stated(patient(&origin), &origin).resolver(nobody).start();
    let length = exchange(&gateway, 1);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
}

/// What the resolver says at last is dialled when what was known before does not answer.
#[test]
fn f12_a_known_address_that_is_dead_gives_way_to_the_answer_of_a_slow_resolver() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    resolver.set_delay(std::time::Duration::from_secs(3));
    let dead = "[[trusted_answers.static]]\nname = \"www.listed.example\"\naddresses = [\"127.0.2.250\"]\n";
    let gateway = patient(&origin).resolver(resolver.address).raw(dead).start();
    let length = exchange(&gateway, 1);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
}

/// Evidence past its retention exempts nothing, and is no reason to cut a pupil off.
#[test]
fn f12_an_address_past_its_retention_is_dialled_and_charged() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let setup = patient(&origin).set("trusted_answers", "retention = \"1 s\"");
    let gateway = setup.resolver(resolver.address).start();
    resolver.answer_for(0);
    exchange(&gateway, 1);
    resolver.set_silent(true);
    let charged = || {
        exchange(&gateway, 2);
        let labels = "protocol=\"tls\",class=\"charged\",reason=\"address_mismatch\"";
        gateway.metric(&format!("zrgw_flows_total{{{labels}}}")) > 0
    };
    assert!(eventually(charged), "{}", gateway.log());
    let setup = gateway.stop();
    assert!(setup.usage().charged("s2", "address_mismatch").0 > 0);
    // And over a restart.
    let gateway = setup.start();
    exchange(&gateway, 3);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.reasons("s3"), ["address_mismatch"]);
}

/// The same for datagrams: there is no second try, the first address decides.
#[test]
fn f12_datagrams_go_to_a_known_address_too() {
    let origin = std::net::UdpSocket::bind("127.0.2.1:0").unwrap();
    origin.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let resolver = Resolver::new(&[]);
    resolver.set_silent(true);
    let stated = format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"127.0.2.1\"]\n");
    let gateway = Setup::new()
        .steered()
        .resolver(resolver.address)
        .port_map(&[(443, origin.local_addr().unwrap().port())])
        .set("export", "byte_basis = \"payload\"")
        .set("lookup", "try_timeout = \"60 s\"")
        .set("lookup", "total_timeout = \"60 s\"")
        .set("limits", "drain = \"0 s\"")
        .raw(&stated)
        .start();
    let access = Access::steered(subscriber(1), gateway.listener(0));
    let initial = Initial::of(&Hello::named(LISTED).message()).seal();
    access.inject(&initial);
    let mut buffer = [0; 2_048];
    let (length, from) = origin.recv_from(&mut buffer).expect("it reaches the origin");
    assert_eq!(buffer[..length], initial[..]);
    origin.send_to(b"an answer", from).unwrap();
    assert!(eventually(|| access.carried().1 == 9));
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (initial.len() as u64, 9), "{:?}", usage.reasons("s1"));
}
