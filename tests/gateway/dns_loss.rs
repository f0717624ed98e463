//! The DNS plane on a bad way to its servers: one where somebody forges replies, and one that loses every second datagram.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;

use support::PATIENCE;
use support::ask::*;
use support::client::*;
use support::origin::{Origin, echo};
use support::plane::*;
use support::scripted::{Scripted, answered, name_of, server};
use support::unbound::LISTED;

/// What a genuine answer says where no origin is needed.
const RIGHT: [u8; 4] = [127, 0, 2, 1];
/// What a forged one says.
const FORGED: [u8; 4] = [127, 0, 2, 66];
/// Queries that are under way together in the tests of loss.
const QUERIES: u16 = 200;

/// Replies by somebody who sees no query and guesses: id, letter case or question are wrong, in turn.
fn forged(query: &[u8], address: [u8; 4], count: u16) -> Vec<(bool, Vec<u8>)> {
    let lie = |number: u16| {
        let mut reply = answered(query, address);
        match number % 3 {
            0 => {
                // Another id each time, never the right one.
                let id = u16::from_be_bytes([reply[0], reply[1]]).wrapping_add(1 + number);
                reply[..2].copy_from_slice(&id.to_be_bytes());
            }
            1 => reply[13 + usize::from(number / 3 % 3)] ^= 0x20,
            _ => reply[17] = if reply[17] == b'q' { b'x' } else { b'q' },
        }
        (true, reply)
    };
    (0..count).map(lie).collect()
}

/// Part S, "Off-path poisoning": the threshold clears the port, TCP brings the genuine answer, and no lie is learnt.
#[test]
fn s_ten_thousand_forged_replies_bring_the_question_to_tcp_and_teach_nothing() {
    let origin = Origin::echo();
    // At the same port, since destinations are led there by port.
    let liar = Origin::at(SocketAddr::from((FORGED, origin.port())), echo);
    let (right, wrong) = (origin.octets(), liar.octets());
    let upstream =
        Scripted::new(move |query| forged(query, wrong, 10_000), move |query| answered(query, right));
    let port = origin.port();
    let (gateway, address) =
        gateway(&[upstream.address], |setup| without_retries(setup).port_map(&[(443, port)]));
    let answer = ask(subscriber(1), address, &query(7, LISTED, A), PATIENCE).unwrap();
    assert!(answer.ends_with(&right), "{answer:?}");
    assert_eq!((&answer[..2], rcode(&answer)), (&[0, 7][..], 0));
    assert_eq!(upstream.asked_over_tcp(), 1);
    assert_eq!(gateway.metric("zrgw_dns_upstream_total{event=\"gave_up_port\"}"), 1, "once, not once a lie");
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 1);
    assert_eq!(gateway.log().matches("replies that answer no query").count(), 1, "{}", gateway.log());
    // The next question is not even asked where somebody guesses.
    let answer = ask(subscriber(1), address, &query(8, LISTED, A), PATIENCE).unwrap();
    assert!(answer.ends_with(&right) && upstream.asked_over_tcp() == 2, "{answer:?}");
    let length = visit(&gateway, 1, LISTED, SocketAddr::new(origin.address.ip(), 443));
    visit(&gateway, 2, LISTED, SocketAddr::new(liar.address.ip(), 443));
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (0, 0), "the lie vouches for nothing");
    assert_eq!(usage.reasons("s2"), ["address_mismatch"]);
}

#[test]
fn s_bad_replies_below_their_limit_change_nothing_and_at_it_the_port_is_given_up() {
    const BAD_MAX: u16 = 5;
    for (count, over_tcp) in [(BAD_MAX - 1, 0), (BAD_MAX, 1), (BAD_MAX + 1, 1)] {
        let upstream = Scripted::new(
            move |query| {
                let mut replies = forged(query, FORGED, count);
                replies.push((true, answered(query, RIGHT)));
                replies
            },
            |query| answered(query, RIGHT),
        );
        let (gateway, address) = gateway(&[upstream.address], |setup| {
            without_retries(setup).set("dns", &format!("bad_replies_max = {BAD_MAX}"))
        });
        let answer = ask(subscriber(1), address, &query(7, LISTED, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&RIGHT), "{count}: {answer:?}");
        assert_eq!(upstream.asked_over_tcp(), over_tcp, "{count} forged");
        let given_up = gateway.metric("zrgw_dns_upstream_total{event=\"gave_up_port\"}");
        assert_eq!(given_up, over_tcp as u64, "{count} forged");
        assert_eq!(gateway.metric("zrgw_trusted_answers"), 1);
        gateway.stop();
    }
}

/// Asks so many names one after another; how many had the genuine answer.
fn served(address: SocketAddr, names: u16) -> usize {
    let genuine = |id: u16| {
        let name = format!("n{id}.listed.example");
        let answer = ask(subscriber(1), address, &query(id, &name, A), PATIENCE).expect("no answer");
        rcode(&answer) == 0 && answer.ends_with(&RIGHT)
    };
    (0..names).filter(|id| genuine(*id)).count()
}

/// Where TCP to the server is closed, somebody who guesses has us change the port and nothing else.
#[test]
fn f11_bad_replies_cost_no_answer_where_tcp_to_the_server_is_closed() {
    const NAMES: u16 = 100;
    // Once; now and then; with each query, before its genuine answer.
    for every in [usize::from(NAMES), 10, 1] {
        let mut came = 0;
        let upstream = server(move |query| {
            let bad = if came % every == 0 { 20 } else { 0 };
            came += 1;
            let mut replies = forged(query, FORGED, bad);
            replies.push((true, answered(query, RIGHT)));
            replies
        });
        let (gateway, address) = gateway(&[upstream], |setup| setup);
        assert_eq!(served(address, NAMES), usize::from(NAMES), "every {every}: {}", gateway.log());
        assert!(gateway.metric("zrgw_dns_upstream_total{event=\"gave_up_port\"}") > 0);
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "the server is not at fault");
        assert!(gateway.log().matches("replies that answer no query").count() <= 2, "{}", gateway.log());
        gateway.stop();
    }
}

/// The same where TCP is open and says nothing.
#[test]
fn f11_bad_replies_cost_no_answer_where_tcp_to_the_server_is_silent() {
    let mut came = 0;
    let upstream = Scripted::new(
        move |query| {
            came += 1;
            let mut replies = forged(query, FORGED, if came == 1 { 20 } else { 0 });
            replies.push((true, answered(query, RIGHT)));
            replies
        },
        |_| loop {
            std::thread::park();
        },
    );
    let (gateway, address) = gateway(&[upstream.address], |setup| {
        setup.set("dns", "failover_after = \"200 ms\"").set("dns", "try_timeout = \"300 ms\"")
    });
    assert_eq!(served(address, 20), 20, "{}", gateway.log());
    gateway.stop();
}

/// A client over TCP has an answer though the server has none over TCP, and whoever asks over UDP goes on doing so.
#[test]
fn f11_a_client_over_tcp_is_answered_where_tcp_to_the_server_is_closed() {
    let upstream = server(|query| vec![(true, answered(query, RIGHT))]);
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    for _ in 0..5 {
        let said = dig(subscriber(1), address, &[LISTED, "A", "+tcp"]);
        assert!(said.contains("status: NOERROR") && said.contains("127.0.2.1"), "{said}");
    }
    assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "it answers over UDP");
    assert_eq!(served(address, 5), 5);
    gateway.stop();
}

/// Asks [`QUERIES`] names at once; the addresses answered, by the number of the query.
fn ask_all(address: SocketAddr) -> HashMap<u16, [u8; 4]> {
    receive_all(&send_all(address))
}

/// Asks [`QUERIES`] names at once, from this socket.
fn send_all(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((subscriber(1), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for id in 0..QUERIES {
        socket.send_to(&query(id, &format!("n{id}.listed.example"), A), address).unwrap();
    }
    socket
}

/// What comes to that; nothing comes twice.
fn receive_all(socket: &UdpSocket) -> HashMap<u16, [u8; 4]> {
    let mut answers = HashMap::new();
    let mut buffer = [0; 4_096];
    for _ in 0..QUERIES {
        let length = socket.recv(&mut buffer).expect("a query without an answer");
        assert_eq!(rcode(&buffer[..length]), 0, "{:?}", &buffer[..length]);
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        assert!(answers.insert(id, buffer[length - 4..length].try_into().unwrap()).is_none(), "{id} twice");
    }
    answers
}

/// A server that loses every second datagram of all it is sent, beginning with the first, and notes what came.
fn losing_of_all(mark: [u8; 4]) -> SocketAddr {
    let mut came = 0_usize;
    server(move |query| {
        came += 1;
        if came % 2 == 1 { Vec::new() } else { vec![(true, answered(query, mark))] }
    })
}

#[test]
fn s_one_server_behind_fifty_per_cent_loss_answers_every_query_at_its_second_try() {
    let mut came: HashMap<String, usize> = HashMap::new();
    let upstream = server(move |query| {
        let count = came.entry(name_of(query)).or_insert(0);
        *count += 1;
        if *count % 2 == 1 { Vec::new() } else { vec![(true, answered(query, RIGHT))] }
    });
    let (gateway, address) = gateway(&[upstream], |setup| {
        setup
            .set("dns", "failover_after = \"300 ms\"")
            .set("dns", "try_timeout = \"600 ms\"")
            .set("dns", "total_timeout = \"60 s\"")
    });
    let answers = ask_all(address);
    assert_eq!(answers.len(), usize::from(QUERIES));
    let count = |event: &str| gateway.metric(&format!("zrgw_dns_upstream_total{{event=\"{event}\"}}"));
    assert_eq!(count("sent"), 2 * u64::from(QUERIES), "two tries each, no more");
    assert_eq!(count("timeout"), u64::from(QUERIES));
    // Of names that one subscriber asks for below a rule a share is kept.
    assert!(gateway.metric("zrgw_trusted_answers") > 0);
    gateway.stop();
}

#[test]
fn s_two_servers_behind_fifty_per_cent_loss_stand_in_for_each_other() {
    let [first, second] = [RIGHT, [127, 0, 2, 2]].map(losing_of_all);
    let (gateway, address) = gateway(&[first, second], |setup| {
        setup
            .set("dns", "failover_after = \"200 ms\"")
            .set("dns", "try_timeout = \"400 ms\"")
            .set("dns", "total_timeout = \"60 s\"")
            .set("dns", "tries = 10")
    });
    let answers = ask_all(address);
    let by = |mark: [u8; 4]| answers.values().filter(|answer| **answer == mark).count();
    assert_eq!(by(RIGHT) + by([127, 0, 2, 2]), usize::from(QUERIES));
    assert!(by([127, 0, 2, 2]) > 0, "nobody was led to the second server");
    gateway.stop();
}

/// Duplicates of the genuine answer are late, not bad: a network that doubles datagrams does not end a port.
#[test]
fn n2_late_duplicates_are_neither_bad_nor_given_twice() {
    let upstream = server(|query| vec![(true, answered(query, RIGHT)); 40]);
    let (gateway, address) = gateway(&[upstream], without_retries);
    let socket = UdpSocket::bind((subscriber(1), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&query(1, LISTED, A), address).unwrap();
    assert!(socket.recv(&mut [0; 4_096]).is_ok());
    gateway.await_metric("zrgw_dns_upstream_total{event=\"late\"}", 39);
    assert_eq!(gateway.metric("zrgw_dns_upstream_total{event=\"bad_reply\"}"), 0);
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(socket.recv(&mut [0; 4_096]).is_err(), "an answer twice");
    gateway.stop();
}

/// What is sent in one call goes to the next server where the first one refuses, each query once, and nothing is lost.
#[test]
fn s_a_burst_before_a_server_that_refuses_is_answered_once_each_by_the_next() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = knows_every_name();
    let (gateway, address) =
        gateway(&[gone, second.address], |setup| without_retries(setup).set("node", "workers = 1"));
    // The worker finds all of it when it goes on.
    gateway.signal(Signal::STOP);
    let socket = send_all(address);
    gateway.signal(Signal::CONT);
    assert_eq!(receive_all(&socket).len(), usize::from(QUERIES));
    let sent = gateway.metric("zrgw_dns_upstream_total{event=\"sent\"}");
    assert!(sent < 2 * u64::from(QUERIES), "{sent}: the first server is left alone from its first word on");
    assert_eq!(gateway.metric("zrgw_dns_upstream_total{event=\"late\"}"), 0);
    assert_eq!(gateway.metric("zrgw_dns_lost_total"), 0);
    gateway.stop();
}

/// Queries that leave in one call share a source port; each call draws its own, and each query its id.
#[test]
fn t17_n2_a_burst_leaves_from_many_ports_with_ids_of_their_own() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = socket.local_addr().unwrap();
    let (gateway, address) = gateway(&[upstream], |setup| {
        without_retries(setup).set("node", "workers = 1").set("dns", "upstream_sockets = 256")
    });
    gateway.signal(Signal::STOP);
    let client = send_all(address);
    gateway.signal(Signal::CONT);
    let (mut ports, mut ids, mut pairs) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut buffer = [0; 4_096];
    for _ in 0..QUERIES {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        ports.insert(from.port());
        ids.insert(id);
        assert!(pairs.insert((from.port(), id)), "an id is under way once on its port");
        socket.send_to(&answered(&buffer[..length], RIGHT), from).unwrap();
    }
    // At least 200 / 32 draws out of 256 ports, and 200 out of 65,536 ids: that they fall together more often than this
    // has a chance below one in a million.
    assert!(ports.len() >= 4, "{ports:?}");
    assert!(ids.len() >= 195, "{} ids", ids.len());
    assert!(receive_all(&client).values().all(|answer| *answer == RIGHT));
    gateway.stop();
}
