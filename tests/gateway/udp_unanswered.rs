//! UDP that nobody answers: whose bytes it is, and whose places it takes. A source address is free to forge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};

use support::datagrams::{Header, socket};
use support::eventually;
use support::hellos::Hello;
use support::quic::Initial;
use support::udp_world::{LISTED, UdpWorld};

/// A complete hello in one datagram.
fn initial(name: &str) -> Vec<u8> {
    Initial::of(&Hello::named(name).message()).seal()
}

/// The next datagram at a server, and who sent it.
fn next(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let mut found = None;
    assert!(eventually(|| {
        found = server.recv_from(&mut buffer).ok();
        found.is_some()
    }));
    let (length, from) = found.unwrap();
    (buffer[..length].to_vec(), from)
}

/// A server that says nothing by itself, at the address of the listed name.
fn silent_server() -> (UdpSocket, u16) {
    let server = socket([127, 0, 2, 1]);
    let port = server.local_addr().unwrap().port();
    (server, port)
}

#[test]
fn f17_what_nobody_answers_is_nobodys_whatever_it_looks_like() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    // In the names of s1 (no name), s2 (an unlisted one), s3 (a listed one), and s4 to a name that is never routed.
    let nameless = world.proxied(1, Header::Each);
    let unlisted = world.proxied(2, Header::Each);
    let listed = world.steered(3);
    let refused = world.steered(4);
    for _ in 0..100 {
        nameless.inject(&[0x17; 1_000]);
        next(&server);
    }
    for (access, datagram) in [(&unlisted, initial("unlisted.example")), (&listed, initial(LISTED))] {
        access.inject(&datagram);
        assert_eq!(next(&server).0, datagram, "carried all the same");
    }
    refused.inject(&initial("unlisted.example"));
    world.await_refused("not_routed", 1);
    world.gateway.await_metric("zrgw_flows_open", 4);
    assert_eq!(world.counted("up"), 0, "pending");
    let all = [&nameless, &unlisted, &listed, &refused].map(|access| access.carried().0).iter().sum::<u64>();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), (all, 0));
    assert_eq!(usage.total(), (all, 0));
    for number in 1..=4 {
        assert_eq!(usage.of(&format!("s{number}")), (0, 0), "s{number}");
    }
}

#[test]
fn f17_an_answer_that_comes_late_brings_the_verdict_for_all_of_it() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    let (charged, exempt) = (world.proxied(1, Header::Each), world.steered(2));
    for (access, datagram) in [(&charged, vec![0x17; 900]), (&exempt, initial(LISTED))] {
        let mut from = None;
        for _ in 0..3 {
            access.inject(&datagram);
            from = Some(next(&server).1);
        }
        server.send_to(&[1; 70], from.unwrap()).unwrap();
        assert!(eventually(|| access.carried().1 == 70));
    }
    world.await_judged("udp", "charged", "not_recognised", 1);
    world.await_judged("quic", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_recognised"), charged.carried());
    assert_eq!(usage.exempt("s2"), exempt.carried());
    assert_eq!(usage.unattributed("undecided"), (0, 0));
}

/// What stays unanswered for long is told while the flow goes on: nothing is pending for ever. What comes after an answer is
/// the subscriber's.
#[test]
fn f17_a_long_flow_without_an_answer_is_told_as_it_goes() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "unanswered_timeout = \"1 s\""));
    let access = world.proxied(1, Header::Each);
    let nobodys = "zrgw_bytes_total{direction=\"up\",class=\"unattributed\",service=\"\"}";
    let told = eventually(|| {
        access.inject(&[0x17; 100]);
        next(&server);
        world.gateway.metric(nobodys) >= 1_000
    });
    assert!(told, "{}", world.gateway.ask("/metrics").unwrap().1);
    assert_eq!(world.gateway.metric("zrgw_flows_open"), 1, "it goes on");
    let flows = "zrgw_flows_total{protocol=\"udp\",class=\"unattributed\",reason=\"undecided\"}";
    assert_eq!(world.gateway.metric(flows), 0, "no verdict yet");
    access.inject(&[0x17; 10]);
    let (_, from) = next(&server);
    server.send_to(&[1; 70], from).unwrap();
    world.await_judged("udp", "charged", "not_recognised", 1);
    access.inject(&[0x17; 10]);
    next(&server);
    let all = access.carried();
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    let (before, after) = (usage.unattributed("undecided"), usage.charged("s1", "not_recognised"));
    assert!(before.0 >= 1_000 && after.0 >= 20, "{before:?} {after:?}");
    assert_eq!((before.0 + after.0, before.1 + after.1), all);
    assert_eq!((before.1, after.1), (0, 70));
    assert_eq!(usage.total(), all);
}
