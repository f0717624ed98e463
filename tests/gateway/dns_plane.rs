//! The DNS plane of the running gateway: what is relayed comes through unchanged, is learnt before it is sent on, and only
//! what a configured server answers to the very question is believed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "dns_plane/peers.rs"]
mod peers;
#[path = "dns_plane/tls.rs"]
mod tls;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::origin::Origin;
use support::plane::*;
use support::scripted::{answered, server};
use support::unbound::LISTED;

/// How long nothing has to come.
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn n3_v1_an_answer_is_learnt_before_the_subscriber_has_it() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let (gateway, address) = gateway(&[resolver.address], |setup| setup.port_map(&[(443, origin.port())]));
    // Listed, at the same address, but never asked for.
    let destination = SocketAddr::new(origin.address.ip(), 443);
    visit(&gateway, 1, LISTED, destination);
    let answer = ask(subscriber(1), address, &query(7, LISTED, A), PATIENCE).unwrap();
    assert_eq!((&answer[..2], rcode(&answer)), (&[0, 7][..], 0));
    let length = visit(&gateway, 1, LISTED, destination);
    // N13: one subscriber's answer verifies another's name.
    visit(&gateway, 2, LISTED, destination);
    // T18: another listed name at the address was not vouched for.
    visit(&gateway, 3, "other-listed.example", destination);
    let usage = gateway.stop_and_count();
    assert_eq!(
        usage.exempt("s1"),
        (length, length),
        "the flow before the answer is charged, the one behind it free"
    );
    assert_eq!(usage.exempt("s2"), (length, length));
    assert_eq!(usage.exempt("s3"), (0, 0));
    assert_eq!(usage.reasons("s3"), ["address_mismatch"]);
}

#[test]
fn t17_a_signed_query_is_sent_as_it_is_but_for_its_id_and_its_answer_vouches_for_nothing() {
    let (told, heard) = std::sync::mpsc::channel();
    let upstream = server(move |query| {
        told.send(query.to_vec()).unwrap();
        vec![(true, answered(query, [127, 0, 2, 1]))]
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let plain = query(0x4711, "www.LISTED.example", A);
    // A TSIG record of some key (RFC 8945 §4.2): whoever changes a letter breaks the signature.
    let mut signed = [&plain[..], b"\x03key\0", &[0, 250, 0, 255, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]].concat();
    signed[11] = 2;
    assert!(ask(subscriber(1), address, &signed, PATIENCE).is_some());
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap()[2..], signed[2..]);
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    assert!(ask(subscriber(1), address, &plain, PATIENCE).is_some());
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 1, "the same answer without a signature");
}

#[test]
fn t17_n2_replies_with_a_wrong_id_question_case_or_source_are_not_believed() {
    let forged = [127, 0, 2, 66];
    let upstream = server(move |query| {
        let lie = answered(query, forged);
        let (mut id, mut name, mut case, mut code) = (lie.clone(), lie.clone(), lie.clone(), lie.clone());
        id[0] ^= 0xff;
        name[14] = if name[14] == b'z' { b'y' } else { b'z' };
        case[13] ^= 0x20;
        code[2] &= 0x7f;
        let right = answered(query, [127, 0, 2, 1]);
        vec![(false, lie), (true, id), (true, name), (true, case), (true, code), (true, right)]
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let asked = query(0x4711, "www.LISTED.example", A);
    let answer = ask(subscriber(1), address, &asked, PATIENCE).unwrap();
    assert!(answer.ends_with(&[127, 0, 2, 1]), "{answer:?}");
    // The client's own id and spelling come back, whatever was asked upstream.
    assert_eq!(answer[..2], [0x47, 0x11]);
    assert_eq!(answer[12..36], asked[12..36]);
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 1, "{}", gateway.log());
    gateway.stop();
}

#[test]
fn n2_failures_and_truncated_answers_teach_nothing_and_are_relayed() {
    for (change, code) in [
        ((|bytes: &mut Vec<u8>| bytes[3] |= 3) as fn(&mut Vec<u8>), 3),
        (|bytes| bytes[3] |= 2, 2),
        (|bytes| bytes[2] |= 2, 0),
    ] {
        let upstream = server(move |query| {
            let mut answer = answered(query, [127, 0, 2, 1]);
            change(&mut answer);
            vec![(true, answer)]
        });
        let (gateway, address) = gateway(&[upstream], |setup| setup);
        let answer = ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).unwrap();
        assert_eq!(rcode(&answer), code);
        assert_eq!(gateway.metric("zrgw_trusted_answers"), 0, "code {code}");
        gateway.stop();
    }
}

#[test]
fn n4_a_malformed_answer_is_relayed_and_counted_and_not_learnt() {
    let upstream = server(|query| {
        let mut answer = answered(query, [127, 0, 2, 1]);
        // The record says it is longer than the message.
        let at = answer.len() - 5;
        answer[at] = 200;
        vec![(true, answer)]
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let answer = ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).unwrap();
    assert_eq!(answer[answer.len() - 5], 200, "relayed as it is");
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    gateway.await_metric("zrgw_dns_unparsed_total", 1);
    gateway.stop();
}

/// The resolver gives such a client also what it would refuse others: relayed, and no evidence.
#[test]
fn n2_an_answer_without_validation_is_relayed_and_not_learnt() {
    let upstream = server(|query| vec![(true, answered(query, [127, 0, 2, 1]))]);
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let mut unchecked = query(1, LISTED, A);
    unchecked[3] |= 0x10;
    let answer = ask(subscriber(1), address, &unchecked, PATIENCE).unwrap();
    assert!(answer.ends_with(&[127, 0, 2, 1]));
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    assert!(ask(subscriber(1), address, &query(2, LISTED, A), PATIENCE).is_some());
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 1, "the same answer with validation");
    gateway.stop();
}

#[test]
fn n11_private_answers_are_relayed_and_not_learnt() {
    let upstream = server(|query| vec![(true, answered(query, [10, 1, 2, 3]))]);
    let (gateway, address) = gateway(&[upstream], |setup| setup.set("upstream", "allow_private = false"));
    let answer = ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).unwrap();
    assert!(answer.ends_with(&[10, 1, 2, 3]));
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    gateway.stop();
}

#[test]
fn s_only_subscribers_are_answered_and_only_questions() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(&[resolver.address], |setup| setup);
    let asked = query(1, LISTED, A);
    assert!(ask(Ipv4Addr::new(127, 0, 3, 1), address, &asked, SILENCE).is_none(), "a stranger");
    let mut response = asked.clone();
    response[2] |= 0x80;
    assert!(ask(subscriber(1), address, &response, SILENCE).is_none(), "an answer is no question");
    assert!(ask(subscriber(1), address, b"garbage", SILENCE).is_none());
    assert_eq!(resolver.asked(LISTED), 0);
    let any = ask(subscriber(1), address, &query(1, LISTED, 255), PATIENCE).unwrap();
    assert!(any.len() < 600 && resolver.asked(LISTED) == 0, "ANY is answered by us, in few bytes");
    assert!(ask(subscriber(1), address, &asked, PATIENCE).is_some());
    gateway.stop();
}

/// A resolver of a client takes no answer from where it did not ask (RFC 5452 §9.1).
#[test]
fn an_answer_comes_from_the_address_that_was_asked_wherever_the_listener_is_bound() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    for (bound, asked) in [("0.0.0.0", [127, 0, 0, 5]), ("127.0.0.6", [127, 0, 0, 6])] {
        let (gateway, address) =
            gateway(&[resolver.address], |setup| setup.set("dns", &format!("listen = [\"{bound}:0\"]")));
        let to = SocketAddr::from((asked, address.port()));
        // The helper holds the sender of the answer against `to`.
        let answer = ask(subscriber(1), to, &query(7, LISTED, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&[127, 0, 2, 1]), "{bound}");
        gateway.stop();
    }
}

#[test]
fn s_one_source_is_limited_and_others_are_not() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.set("dns", "queries_per_second_max = 1").set("dns", "burst_max = 5")
    });
    // All at once, so that only the time until the last is taken gives back allowance: one query a second.
    let answered = |number, count: u16| {
        let socket = UdpSocket::bind((subscriber(number), 0)).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let begun = Instant::now();
        for id in 0..count {
            socket.send_to(&query(id, LISTED, A), address).unwrap();
        }
        let mut answers = 0;
        let mut buffer = [0; 4_096];
        while socket.recv(&mut buffer).is_ok() {
            // Over the limit nothing is said but that there is more over TCP (TC).
            answers += u64::from(buffer[2] & 2 == 0);
        }
        (answers, begun.elapsed().as_secs() + 1)
    };
    assert_eq!(answered(1, 5).0, 5, "at the limit");
    let (answers, given_back) = answered(2, 40);
    assert!((5..=5 + given_back).contains(&answers), "over the limit {answers}, given back {given_back}");
    gateway.stop();
}

#[test]
fn s_silent_servers_first_get_old_answers_served_then_a_failure_and_another_is_asked() {
    let (first, second) =
        (Resolver::new(&[(LISTED, [127, 0, 2, 1])]), Resolver::new(&[("second.example", [127, 0, 2, 2])]));
    let (gateway, address) = gateway(&[first.address], |setup| {
        setup
            .set("dns", &format!("upstream = [\"{}\", \"{}\"]", first.address, second.address))
            .set("dns", "failover_after = \"200 ms\"")
            .set("dns", "try_timeout = \"400 ms\"")
            .set("dns", "total_timeout = \"1 s\"")
            .set("dns", "stale_after = \"600 ms\"")
    });
    assert!(ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some());
    first.set_silent(true);
    // Another server is asked in less than two seconds (three times its deadline).
    let begun = Instant::now();
    let answer = ask(subscriber(1), address, &query(2, "second.example", A), PATIENCE).unwrap();
    assert!(answer.ends_with(&[127, 0, 2, 2]) && begun.elapsed() < Duration::from_secs(6));
    second.set_silent(true);
    let stale = ask(subscriber(1), address, &query(3, LISTED, A), PATIENCE).unwrap();
    assert!(rcode(&stale) == 0 && stale.windows(4).any(|bytes| bytes == [127, 0, 2, 1]), "{stale:?}");
    // Asked with OPT, answered with OPT (RFC 6891 §6.1.1), and DO as it was; for the network that it was asked for.
    let opt = &stale[stale.len() - 22..];
    assert_eq!((stale[11], &opt[..3], &opt[5..11]), (1, &[0, 0, 41][..], &[0, 0, 0x80, 0, 0, 11][..]));
    assert_eq!(gateway.metric("zrgw_dns_stale_total"), 1);
    let failed = ask(subscriber(1), address, &query(4, "never.example", A), PATIENCE).unwrap();
    assert_eq!(rcode(&failed), 2);
    // T41: traffic flows all the same.
    let origin = Origin::echo();
    visit(&gateway, 4, "unlisted.example", SocketAddr::new(origin.address.ip(), origin.port()));
    gateway.stop();
}

#[test]
fn t22_dns_itself_is_never_exempt() {
    let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let (gateway, address) = gateway(&[resolver.address], |setup| setup);
    for id in 0..50 {
        let name = format!("{id}-{}.listed.example", "tunnel".repeat(8));
        assert!(ask(subscriber(1), address, &query(id, &name, 16), PATIENCE).is_some());
    }
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.total(), (0, 0));
}
