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

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use support::client::{connect_from, connect_proxied, proxied_subscriber, read_exactly, subscriber};
use support::datagrams::{Header, proxy_v2_udp, socket};
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

/// One datagram took a place for two minutes though no server had ever answered.
#[test]
fn f5_a_flow_nobody_answers_ends_in_seconds_and_an_answered_one_does_not() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "unanswered_timeout = \"1 s\""));
    let (answered, silent) = (world.proxied(1, Header::Each), world.proxied(2, Header::Each));
    answered.inject(&initial("unlisted.example"));
    let (_, from) = next(&server);
    server.send_to(&[1; 70], from).unwrap();
    assert!(eventually(|| answered.carried().1 == 70));
    silent.inject(&initial("unlisted.example"));
    next(&server);
    world.await_judged("quic", "unattributed", "undecided", 1);
    world.gateway.await_metric("zrgw_flows_open", 1);
    // The one that is left is the answered one.
    answered.inject(&[0x40; 30]);
    assert_eq!(next(&server), (vec![0x40; 30], from));
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_listed"), answered.carried());
    assert_eq!(usage.unattributed("undecided"), silent.carried());
}

/// Sends `count` datagrams, each from a source of its own that is nobody's, and waits until the gateway has taken them.
fn forge(world: &UdpWorld, from: u8, count: u8) {
    let balancer = socket([127, 0, 0, 1]);
    let taken = world.gateway.metric("zrgw_unanswered_given_up_total");
    let datagram = initial("unlisted.example");
    for number in from..from + count {
        let source = SocketAddr::from(([10, 99, 0, number], 40_000));
        let framed = [proxy_v2_udp(source, world.destination()), datagram.clone()].concat();
        balancer.send_to(&framed, world.gateway.listener(1)).unwrap();
    }
    world.gateway.await_metric("zrgw_unanswered_given_up_total", taken + u64::from(count));
}

#[test]
fn f5_forged_flows_have_their_own_room_and_none_of_anybody_elses() {
    const ROOM: u8 = 10;
    let (server, port) = silent_server();
    // TCP of the same number, for what others do meanwhile.
    let echo = TcpListener::bind(("127.0.2.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 20").set("node", "workers = 1");
        setup.set("limits", "unanswered_timeout = \"60 s\"")
    });
    // An honest flow that is idle, and one that nobody has answered yet.
    let honest = world.proxied(1, Header::Each);
    honest.inject(&initial("unlisted.example"));
    let (_, from) = next(&server);
    server.send_to(&[1; 70], from).unwrap();
    assert!(eventually(|| honest.carried().1 == 70));
    // Up to the limit nothing gives way; from there on each takes the place of one of its own kind.
    let balancer = socket([127, 0, 0, 1]);
    for number in 0..ROOM {
        let source = SocketAddr::from(([10, 98, 0, number], 40_000));
        let framed = [proxy_v2_udp(source, world.destination()), initial("unlisted.example")].concat();
        balancer.send_to(&framed, world.gateway.listener(1)).unwrap();
    }
    world.gateway.await_metric("zrgw_flows_open", 1 + u64::from(ROOM));
    assert_eq!(world.gateway.metric("zrgw_unanswered_given_up_total"), 0, "at the limit");
    forge(&world, 0, 60);
    world.gateway.await_metric("zrgw_flows_open", 1 + u64::from(ROOM));
    // Connections of others take the other half but for the last tenth, and what nobody answers gives way to them. More would
    // be too many for the places there are, and as soon as they are settled one of them would go.
    let mut streams: Vec<_> = (2..=9)
        .cycle()
        .take(14)
        .map(|number| {
            let mut stream = connect_proxied(number, world.gateway.listener(1), world.destination());
            stream.write_all(b"begin").unwrap();
            assert_eq!(read_exactly(&mut stream, 5), b"begin");
            stream
        })
        .collect();
    // A new one of UDP passes at once, as small as the room is, and keeps its place once it is answered.
    let late = world.proxied(2, Header::Each);
    while server.recv_from(&mut [0; 2_000]).is_ok() {}
    late.inject(&[0x17; 333]);
    let (datagram, to) = next(&server);
    assert_eq!(datagram, [0x17; 333]);
    server.send_to(&[2; 44], to).unwrap();
    assert!(eventually(|| late.carried().1 == 44));
    for stream in &mut streams {
        stream.write_all(b"still").unwrap();
        assert_eq!(read_exactly(stream, 5), b"still");
    }
    for (access, from) in [(&honest, from), (&late, to)] {
        access.inject(&[0x40; 30]);
        assert_eq!(next(&server), (vec![0x40; 30], from));
    }
    world.gateway.stop_and_count();
}

#[test]
fn f33_a_place_that_another_worker_holds_keeps_no_flow_out() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        setup.set("limits", "unanswered_per_subscriber_max = 1").set("node", "workers = 2")
    });
    // The kernel spreads them over both workers by their ports.
    let flows: Vec<_> = (0..24).map(|_| world.steered(1)).collect();
    for flow in &flows {
        flow.inject(&initial(LISTED));
        assert_eq!(next(&server).0, initial(LISTED));
    }
    // One each, at most.
    assert!(eventually(|| world.gateway.metric("zrgw_flows_open") <= 2));
    world.gateway.stop_and_count();
}

#[test]
fn f5_f17_flows_forged_in_a_subscribers_name_keep_none_of_his_own_out() {
    const SHARE: u8 = 4;
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", &format!("unanswered_per_subscriber_max = {SHARE}"));
        setup.set("limits", "flows_per_subscriber_max = 4").set("node", "workers = 1")
    });
    let answered = world.steered(1);
    answered.inject(&initial(LISTED));
    let (_, from) = next(&server);
    server.send_to(&[1; 70], from).unwrap();
    assert!(eventually(|| answered.carried().1 == 70));
    let balancer = socket([127, 0, 0, 1]);
    let forge = |number: u8| {
        let mut source = proxied_subscriber(1);
        source.set_port(20_000 + u16::from(number));
        let framed = [proxy_v2_udp(source, world.destination()), vec![0x17; 100]].concat();
        balancer.send_to(&framed, world.gateway.listener(1)).unwrap();
        next(&server)
    };
    (0..SHARE).for_each(|number| drop(forge(number)));
    world.gateway.await_metric("zrgw_flows_open", 1 + u64::from(SHARE));
    assert_eq!(world.gateway.metric("zrgw_unanswered_given_up_total"), 0, "at the limit");
    // One over it, and many: the oldest of them gives way.
    (SHARE..50).for_each(|number| drop(forge(number)));
    world.gateway.await_metric("zrgw_unanswered_given_up_total", 50 - u64::from(SHARE));
    world.gateway.await_metric("zrgw_flows_open", 1 + u64::from(SHARE));
    // His own: TCP, and UDP that is answered.
    let stream = connect_from(subscriber(1), world.gateway.listener(0));
    world.gateway.await_metric("zrgw_flows_open", 2 + u64::from(SHARE));
    let mine = world.proxied(1, Header::Each);
    mine.inject(&[0x17; 333]);
    let (datagram, to) = next(&server);
    assert_eq!(datagram, [0x17; 333]);
    server.send_to(&[2; 44], to).unwrap();
    assert!(eventually(|| mine.carried().1 == 44));
    (50..60).for_each(|number| drop(forge(number)));
    for (access, from) in [(&answered, from), (&mine, to)] {
        access.inject(&[0x40; 30]);
        assert_eq!(next(&server), (vec![0x40; 30], from), "it was not ended");
    }
    // His answered ones have a limit of their own.
    assert_eq!(world.gateway.metric("zrgw_flows_over_limit_total"), 0);
    let last = connect_from(subscriber(1), world.gateway.listener(0));
    world.gateway.await_metric("zrgw_flows_open", 4 + u64::from(SHARE));
    let over = socket([127, 0, 0, 1]);
    let framed = [proxy_v2_udp(proxied_subscriber(1), world.destination()), vec![0x17; 9]].concat();
    over.send_to(&framed, world.gateway.listener(1)).unwrap();
    assert_eq!(next(&server).0, [0x17; 9], "carried, though it is not read");
    world.gateway.await_metric("zrgw_flows_over_limit_total", 1);
    drop((stream, last));
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), (60 * 100 + 9, 0));
    assert_eq!(usage.exempt("s1"), answered.carried());
    assert_eq!(usage.charged("s1", "not_recognised"), mine.carried());
}
