//! A subscriber's NAT gives a QUIC flow another port while the connection lives: the class goes with it only when the
//! server's connection id, the subscriber and the destination are the same (traps T16, Q12).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::SocketAddr;

use support::datagrams::{Access, Header, socket};
use support::hellos::Hello;
use support::quic::{HANDSHAKE, Initial, V1, opaque};
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::udp_world::{LISTED, UdpWorld};
use support::{PATIENCE, eventually};

/// A datagram with a short header to this connection id.
fn short(id: &[u8]) -> Vec<u8> {
    [&[0x43], id, &[0x5a; 60]].concat()
}

/// A world with an open, exempt connection of subscriber 1, whose access is given.
fn visited(header: Header, origin: &QuicOrigin) -> (UdpWorld, Access, QuicClient, quinn::Connection) {
    let world = UdpWorld::new(origin.port());
    let access = match header {
        Header::None => world.steered(1),
        Header::Each | Header::First => world.proxied(1, header),
    };
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 1_000, 20_000), Ok(20_000));
    world.await_judged("quic", "exempt", "", 1);
    (world, access, client, connection)
}

#[test]
fn q12_a_rebound_flow_with_a_known_id_stays_exempt() {
    for header in [Header::None, Header::Each, Header::First] {
        let origin = QuicOrigin::new();
        let (world, access, client, connection) = visited(header, &origin);
        access.rebind();
        assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000), "{header:?}");
        world.await_judged("quic", "exempt", "", 2);
        client.close(connection);
        world.await_counted_at_least(&[&access]);
        assert_eq!(origin.visits(), 1, "the same connection");
        let usage = world.gateway.stop_and_count();
        let (up, down) = access.carried();
        assert_eq!(usage.exempt("s1"), usage.of("s1"), "{header:?}");
        // What the server still sent to the old port is counted, and nobody took it.
        let counted = usage.of("s1");
        assert!(counted.0 == up && counted.1 >= down && counted.1 < down + 30_000, "{counted:?} {up} {down}");
    }
}

#[test]
fn q12_a_random_id_or_another_subscriber_does_not_inherit() {
    let origin = QuicOrigin::new();
    let (world, access, client, connection) = visited(Header::Each, &origin);
    let id = access.server_id().unwrap();
    let random = world.proxied(1, Header::Each);
    random.rebind();
    random.inject(&short(&[0xee; 8]));
    let other = world.proxied(2, Header::Each);
    other.inject(&short(&id));
    world.gateway.await_metric("zrgw_flows_open", 3);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    // Whether the server answers what it cannot read is its own affair.
    let answered = usage.charged("s1", "not_recognised").0 + usage.charged("s2", "not_recognised").0;
    assert_eq!(answered + usage.unattributed("undecided").0, 2 * 69);
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn q12_steered_another_subscriber_is_refused_and_an_unknown_id_inherits_nothing() {
    let origin = QuicOrigin::new();
    let (world, access, client, connection) = visited(Header::None, &origin);
    let id = access.server_id().unwrap();
    // An id out of the air, in the subscriber's own name: it goes where his connection goes, and is nobody's while that says
    // nothing.
    world.steered(1).inject(&short(&[0xee; 8]));
    world.gateway.await_metric("zrgw_flows_open", 2);
    world.steered(2).inject(&short(&id));
    world.await_refused("not_routed", 1);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s2"), (0, 0));
    assert_eq!(usage.of("s1"), usage.exempt("s1"));
    assert_eq!(usage.unattributed("undecided"), (2 * 69, 0));
}

#[test]
fn t16_an_id_copied_to_another_server_is_charged() {
    let origin = QuicOrigin::new();
    let elsewhere = socket([127, 0, 2, 1]);
    let (world, access, client, connection) = visited(Header::Each, &origin);
    let id = access.server_id().unwrap();
    // The same host at another port, and another host, where nobody is.
    let destination = elsewhere.local_addr().unwrap();
    let copied = world.proxied_to(1, destination, Header::Each);
    copied.inject(&short(&id));
    let mut from = None;
    assert!(eventually(|| {
        from = elsewhere.recv_from(&mut [0; 100]).ok().map(|(_, from)| from);
        from.is_some()
    }));
    elsewhere.send_to(b"answer", from.unwrap()).unwrap();
    world.await_judged("udp", "charged", "not_recognised", 1);
    let nowhere = world.proxied_to(1, SocketAddr::from(([127, 0, 2, 8], 443)), Header::Each);
    nowhere.inject(&short(&id));
    world.await_judged("udp", "unattributed", "undecided", 1);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_recognised"), (69, 6));
    assert_eq!(usage.unattributed("undecided"), (69, 0));
}

#[test]
fn t16_an_inherited_flow_is_charged_once_another_name_is_asked_for() {
    let origin = QuicOrigin::new();
    let (world, access, client, connection) = visited(Header::Each, &origin);
    access.rebind();
    assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    world.await_judged("quic", "exempt", "", 2);
    world.await_counted_at_least(&[&access]);
    let exempt =
        world.gateway.metric("zrgw_bytes_total{direction=\"up\",class=\"exempt\",service=\"school\"}");
    let other = Initial::of(&Hello::named("unlisted.example").message()).to(b"another1").seal();
    access.inject(&other);
    access.inject(&short(&[0xee; 8]));
    let charged = "zrgw_bytes_total{direction=\"up\",class=\"charged\",service=\"\"}";
    world.await_at_least(charged, other.len() as u64 + 69);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s1").0 >= exempt);
    assert!(usage.charged("s1", "second_name").0 >= other.len() as u64 + 69, "{usage:?}");
}

#[test]
fn t16_a_contradicted_flow_is_not_continued() {
    contradict(false);
}

#[test]
fn f45_t16_a_flow_that_was_contradicted_after_it_moved_is_not_continued() {
    contradict(true);
}

/// A flow, `moved` to another port before or not, names another site and moves (again): it goes on, charged.
fn contradict(moved: bool) {
    let origin = QuicOrigin::new();
    let (world, access, client, connection) = visited(Header::Each, &origin);
    if moved {
        access.rebind();
        assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
        world.await_judged("quic", "exempt", "", 2);
    }
    let other = Initial::of(&Hello::named("unlisted.example").message()).to(b"another1").seal();
    access.inject(&other);
    let charged = "zrgw_bytes_total{direction=\"up\",class=\"charged\",service=\"\"}";
    world.await_at_least(charged, other.len() as u64);
    access.rebind();
    assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000), "carried all the same");
    world.await_judged("udp", "charged", "not_recognised", 1);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    assert!(usage.charged("s1", "not_recognised").1 > 25_000, "{usage:?}");
}

#[test]
fn q12_an_id_longer_or_shorter_by_retry_is_learnt_from_the_handshake() {
    let origin = QuicOrigin::at(SocketAddr::from(([127, 0, 2, 1], 0)), Validation::Retry);
    let (world, access, client, connection) = visited(Header::None, &origin);
    access.rebind();
    assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    world.await_judged("quic", "exempt", "", 2);
    client.close(connection);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
}

/// Where the origin sees the flow's datagrams from, and the datagrams.
fn heard(server: &std::net::UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_000];
    let mut come = None;
    assert!(eventually(|| {
        come = server.recv_from(&mut buffer).ok();
        come.is_some()
    }));
    let (length, from) = come.unwrap();
    (buffer[..length].to_vec(), from)
}

#[test]
fn f45_a_flow_rebound_in_the_middle_of_its_handshake_goes_on() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let access = world.steered(1);
    let hello = Initial::of(&Hello::named(LISTED).message()).seal();
    access.inject(&hello);
    let (_, from) = heard(&server);
    // The server's first flight gives its id; the client answers from another port.
    server.send_to(&opaque(V1, HANDSHAKE, b"client", b"serverid", &[7; 300]), from).unwrap();
    world.await_judged("quic", "exempt", "", 1);
    access.rebind();
    let finished = opaque(V1, HANDSHAKE, b"serverid", b"client", &[9; 60]);
    access.inject(&finished);
    let (bytes, other) = heard(&server);
    assert!(bytes == finished && other != from, "at its origin, from another port");
    server.send_to(&[0x40; 50], other).unwrap();
    world.await_judged("quic", "exempt", "", 2);
    // An id that nobody chose leads nowhere.
    access.rebind();
    access.inject(&opaque(V1, HANDSHAKE, b"serveriX", b"client", &[9; 60]));
    world.await_refused("not_routed", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1").1, access.carried().1);
}

/// A client that migrates on purpose takes an id that its server gave it encrypted (RFC 9000 §9.5).
#[test]
fn f45_a_client_that_migrates_on_purpose_goes_on_and_is_charged() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let own = || SocketAddr::from((support::client::subscriber(1), 0));
    let client = QuicClient::at(own());
    let connection = client.connect(world.gateway.listener(0), LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    world.await_judged("quic", "exempt", "", 1);
    // Others keep away from it: an id out of the air leads nowhere where its sender has no connection.
    let stranger = socket(support::client::subscriber(2));
    stranger.send_to(&short(&[0xee; 8]), world.gateway.listener(0)).unwrap();
    world.await_refused("not_routed", 1);
    for _ in 0..3 {
        client.rebind(own());
        assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    }
    world.await_judged("udp", "charged", "not_recognised", 3);
    client.close(connection);
    assert_eq!(origin.visits(), 1, "the same connection");
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s1").1 >= 30_000);
    assert!(usage.charged("s1", "not_recognised").1 >= 90_000, "{usage:?}");
    assert_eq!(usage.of("s2"), (0, 0));
}

/// Datagrams in a victim's name: none moves his connection, none is on his bill, and the origin answers none.
#[test]
fn f45_f17_ids_out_of_the_air_move_nobodys_connection_and_nobodys_bill() {
    let origin = QuicOrigin::new();
    let (world, access, client, connection) = visited(Header::None, &origin);
    let forger = socket(support::client::subscriber(1));
    for number in 0..50_u8 {
        forger.send_to(&short(&[number; 8])[..40], world.gateway.listener(0)).unwrap();
    }
    world.gateway.await_metric("zrgw_flows_open", 2);
    // And with the id that is in use, from another address.
    let id = access.server_id().unwrap();
    let thief = socket(support::client::subscriber(3));
    thief.send_to(&short(&id), world.gateway.listener(0)).unwrap();
    world.await_refused("not_routed", 1);
    for _ in 0..3 {
        assert_eq!(client.ask(&connection, 1_000, 30_000), Ok(30_000));
    }
    client.close(connection);
    assert_eq!(origin.visits(), 1);
    let usage = world.gateway.stop_and_count();
    let (up, down) = access.carried();
    let exempt = usage.exempt("s1");
    assert!(exempt.0 == up && exempt.1 >= down, "{usage:?}");
    // The thief's too.
    assert_eq!(usage.of("s1"), exempt);
    let nobodys = usage.unattributed("undecided").0;
    assert!((40 + 69..=50 * 40 + 69).contains(&nobodys), "{nobodys}");
}

/// A server that does not know a connection may say so, with less than it was sent (RFC 9000 §10.3): whoever sends in another's
/// name has no more come back, and none of it is on the victim's bill.
#[test]
fn f45_f17_a_reset_is_no_answer_and_a_path_challenge_is() {
    let server = socket([127, 0, 2, 1]);
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let access = world.steered(1);
    access.inject(&Initial::of(&Hello::named(LISTED).message()).seal());
    let (_, from) = heard(&server);
    server.send_to(&opaque(V1, HANDSHAKE, b"client", b"serverid", &[7; 300]), from).unwrap();
    assert!(eventually(|| access.carried().1 > 0));
    access.inject(&opaque(V1, HANDSHAKE, b"serverid", b"client", &[9; 60]));
    heard(&server);
    let forged = world.steered(1);
    forged.inject(&short(&[0xee; 8]));
    let (_, from) = heard(&server);
    server.send_to(&[0x41; 68], from).unwrap();
    assert!(eventually(|| forged.carried().1 == 68));
    let migrated = world.steered(1);
    migrated.inject(&short(&[0xdd; 8]));
    let (_, from) = heard(&server);
    server.send_to(&[0x41; 1_200], from).unwrap();
    world.await_judged("udp", "charged", "not_recognised", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), access.carried());
    assert_eq!(usage.charged("s1", "not_recognised"), (69, 1_200));
    assert_eq!(usage.unattributed("undecided"), (69, 68));
}
