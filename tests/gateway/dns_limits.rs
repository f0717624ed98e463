//! The DNS plane at its limits, each at the limit and one over: queries under way, connections and what they may take, and
//! resolvers that tell by dnstap.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "dns_limits/deadlines.rs"]
mod deadlines;
#[path = "dns_limits/peers.rs"]
mod peers;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::dnstap::tell;
use support::plane::*;
use support::scripted::framed;
use support::unbound::{LISTED, Unbound};
use support::{Gateway, PATIENCE, Setup, eventually, has};

/// A query over a connection that is there.
fn ask_over(stream: &mut TcpStream, id: u16) {
    stream.write_all(&framed(&query(id, LISTED, A))).unwrap();
    let answer = read_answer(stream).expect("no answer");
    assert_eq!((&answer[..2], rcode(&answer)), (&id.to_be_bytes()[..], 0));
}

/// The next answer of a connection; none when it has ended.
fn read_answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    Some(read_exactly(stream, usize::from(u16::from_be_bytes(length))))
}

/// Whether the other side ends a connection, in whatever way; what it sends before is none of ours.
fn ends(stream: &mut TcpStream) -> bool {
    let mut part = [0; 4_096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// A metric of the plane.
fn refused(gateway: &Gateway, cause: &str) -> u64 {
    gateway.metric(&format!("zrgw_dns_refused_total{{cause=\"{cause}\"}}"))
}

#[test]
fn s_queries_under_way_at_their_limit_and_one_over() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup
            .set("dns", "in_flight_max = 3")
            .set("dns", "failover_after = \"1 s\"")
            .set("dns", "try_timeout = \"1 s\"")
            .set("dns", "total_timeout = \"60 s\"")
            .set("dns", "tries = 10")
            .set("dns", "stale_after = \"60 s\"")
    });
    assert!(ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some());
    resolver.set_silent(true);
    let waiting = UdpSocket::bind((subscriber(1), 0)).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    for id in 0..3_u16 {
        waiting.send_to(&query(id, &format!("n{id}.listed.example"), A), address).unwrap();
    }
    assert!(eventually(|| resolver.names().len() == 4), "three are under way");
    assert_eq!(refused(&gateway, "in_flight"), 0);
    let over = ask(subscriber(2), address, &query(4, "over.listed.example", A), PATIENCE).unwrap();
    assert_eq!(rcode(&over), 2, "one over is told so at once");
    let old = ask(subscriber(2), address, &query(5, LISTED, A), PATIENCE).unwrap();
    assert!(rcode(&old) == 0 && old.windows(4).any(|bytes| bytes == [127, 0, 2, 1]), "{old:?}");
    assert_eq!(refused(&gateway, "in_flight"), 2);
    assert_eq!(resolver.asked("over.listed.example"), 0);
    // Those under way have lost nothing, and their places are free again.
    resolver.set_silent(false);
    for _ in 0..3 {
        assert!(waiting.recv(&mut [0; 4_096]).is_ok());
    }
    assert_eq!(rcode(&ask(subscriber(2), address, &query(6, LISTED, A), PATIENCE).unwrap()), 0);
    gateway.stop();
}

/// What a client has sent before it could know is answered; then, when it rests, the connection ends.
#[test]
fn f44_a_connection_past_its_queries_has_all_that_were_sent_answered_and_then_ends_in_good_order() {
    const QUERIES_MAX: u16 = 5;
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup
            .set("dns", &format!("queries_per_connection_max = {QUERIES_MAX}"))
            .set("dns", "idle_timeout = \"60 s\"")
            .set("dns", "queries_per_second_max = 100000")
            .set("dns", "burst_max = 100000")
    });
    for sent in [QUERIES_MAX, QUERIES_MAX + 1, 20 * QUERIES_MAX, 600 * QUERIES_MAX] {
        let mut client = connect_from(subscriber(1), address);
        let all: Vec<u8> = (0..sent).flat_map(|id| framed(&query(id, LISTED, A))).collect();
        // More are sent than are under way at once: they are written while answers are read.
        let mut writer = client.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&all).unwrap());
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).expect("ends with FIN");
        writing.join().unwrap();
        let length = usize::from(u16::from_be_bytes([answers[0], answers[1]])) + 2;
        assert_eq!(answers.len(), length * usize::from(sent), "{sent} sent");
    }
    // One below the limit the connection stays for one more.
    let mut client = connect_from(subscriber(1), address);
    (1..=QUERIES_MAX).for_each(|id| ask_over(&mut client, id));
    assert!(ends(&mut client));
    gateway.stop();
}

#[test]
fn s_connections_of_one_client_and_of_all_at_their_limits_and_one_over() {
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup
            .set("dns", "connections_max = 3")
            .set("dns", "connections_per_client_max = 2")
            .set("dns", "idle_timeout = \"60 s\"")
    });
    let open = |number| {
        let mut stream = connect_from(subscriber(number), address);
        ask_over(&mut stream, 1);
        stream
    };
    let mut held = vec![open(1), open(1)];
    assert!(ends(&mut connect_from(subscriber(1), address)), "a client's third");
    assert_eq!(refused(&gateway, "connection"), 1);
    held.push(open(2));
    assert!(ends(&mut connect_from(subscriber(3), address)), "the fourth of all");
    assert_eq!(refused(&gateway, "connection"), 2);
    for stream in &mut held {
        ask_over(stream, 2);
    }
    // One that ends gives its room back.
    drop(held.remove(0));
    let served = || {
        let mut stream = connect_from(subscriber(3), address);
        stream.write_all(&framed(&query(3, LISTED, A))).is_ok() && read_answer(&mut stream).is_some()
    };
    assert!(eventually(served), "{}", gateway.log());
    gateway.stop();
}

/// Whoever may not ask here takes no room from those who may.
#[test]
fn s_strangers_connections_take_no_room() {
    let resolver = knows_every_name();
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup
            .set("dns", "connections_max = 1")
            .set("dns", "first_byte_timeout = \"60 s\"")
            .set("dns", "idle_timeout = \"60 s\"")
    });
    for number in 1..=9 {
        let mut stranger = connect_from(Ipv4Addr::new(127, 0, 3, number), address);
        assert!(ends(&mut stranger));
    }
    assert_eq!((refused(&gateway, "client"), refused(&gateway, "connection")), (9, 0));
    ask_over(&mut connect_from(subscriber(1), address), 1);
    gateway.stop();
}

#[test]
fn t41_resolvers_that_tell_by_dnstap_are_limited_and_a_broken_frame_ends_its_own_connection_only() {
    if !has("unbound") {
        return;
    }
    let resolver = Resolver::new(&[]);
    let setup = Setup::new().proxied();
    let socket = setup.path("dnstap.sock");
    let gateway = setup
        .set("dns", "listen = [\"127.0.0.1:0\"]")
        .set("dns", &format!("upstream = [\"{}\"]", resolver.address))
        .set("dns", "dnstap_socket = \"dnstap.sock\"")
        .set("dns", "dnstap_connections_max = 2")
        .start();
    let count = |outcome: &str| gateway.metric(&format!("zrgw_dns_dnstap_total{{outcome=\"{outcome}\"}}"));
    let unbound = Unbound::start(&format!(
        "server:\n local-data: 'second.listed.example. 60 A 127.0.2.7'\ndnstap:\n dnstap-enable: yes\n \
         dnstap-socket-path: \"{}\"\n dnstap-log-client-response-messages: yes\n",
        socket.display()
    ));
    let teaches = |name: &str, known: u64| {
        eventually(|| {
            ask(subscriber(1), unbound.address, &query(5, name, A), PATIENCE).unwrap();
            gateway.metric("zrgw_trusted_answers") >= known
        })
    };
    assert!(teaches(LISTED, 1), "{}", gateway.log());
    let mut broken = tell(&socket).expect("the second is served");
    assert!(tell(&socket).is_none(), "one over is turned away");
    assert_eq!((count("connection"), count("malformed")), (1, 0));
    // A data frame that is no dnstap message.
    broken.write_all(&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(broken.read(&mut [0; 16]).unwrap_or(0), 0, "its connection ends");
    gateway.await_metric("zrgw_dns_dnstap_total{outcome=\"malformed\"}", 1);
    assert!(teaches("second.listed.example", 2), "{}", gateway.log());
    // Its room is free again; a frame longer than any may be, and one that never ends, are as bad.
    let mut long = None;
    assert!(eventually(|| {
        long = tell(&socket);
        long.is_some()
    }));
    let mut long = long.unwrap();
    long.write_all(&(1_u32 << 30).to_be_bytes()).unwrap();
    assert_eq!(long.read(&mut [0; 16]).unwrap_or(0), 0);
    gateway.await_metric("zrgw_dns_dnstap_total{outcome=\"malformed\"}", 2);
    gateway.stop();
}
