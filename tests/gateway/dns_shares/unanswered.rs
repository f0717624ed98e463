//! Names that nobody answers: who asks for them leaves the others their room, and no server is taken for down by that.

use std::net::{SocketAddr, UdpSocket};

use support::ask::*;
use support::client::*;
use support::dns::Resolver;
use support::plane::*;
use support::scripted::{answered, name_of, server};
use support::unbound::LISTED;
use support::{PATIENCE, eventually};

use super::{FIRST, NOBODY, SECOND, is_cut, refused, socket};

/// A server that answers every name but those nobody answers.
fn picky(mark: [u8; 4]) -> SocketAddr {
    server(
        move |query| {
            if name_of(query).ends_with(NOBODY) { Vec::new() } else { vec![(true, answered(query, mark))] }
        },
    )
}

/// Asks so many names that nobody answers.
fn ask_nobody(socket: &UdpSocket, to: SocketAddr, count: u16) {
    for id in 0..count {
        socket.send_to(&query(id, &format!("n{id}.{NOBODY}"), A), to).unwrap();
    }
}

#[test]
fn f10_names_nobody_answers_leave_the_others_their_room() {
    let (gateway, address) = gateway(&[picky(FIRST)], |setup| {
        without_retries(setup).set("dns", "in_flight_max = 60").set("dns", "stale_after = \"60 s\"")
    });
    let hostile: Vec<_> = (1..=6).map(|number| socket(subscriber(number))).collect();
    for socket in &hostile {
        ask_nobody(socket, address, 40);
    }
    gateway.await_metric("zrgw_dns_queries_total{transport=\"udp\"}", 240);
    assert!(refused(&gateway, "in_flight") > 0, "they have more under way than there is room for");
    for number in 7..=9 {
        for id in 0..20 {
            let name = format!("n{id}.listed.example");
            let answer = ask(subscriber(number), address, &query(id, &name, A), PATIENCE).unwrap();
            assert_eq!((rcode(&answer), is_cut(&answer)), (0, false), "s{number}, {name}");
        }
    }
    gateway.stop();
}

/// Neither the node's readiness nor anybody's way to a server is in the hands of who asks for names that nobody answers.
#[test]
fn f10_names_nobody_answers_mark_no_server_down() {
    let (gateway, address) = gateway(&[picky(FIRST), picky(SECOND)], |setup| setup);
    let hostile = socket(subscriber(1));
    for round in 1..=4 {
        ask_nobody(&hostile, address, 20);
        let timeouts = || gateway.metric("zrgw_dns_upstream_total{event=\"timeout\"}");
        assert!(eventually(|| timeouts() >= round * 20));
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "round {round}");
        gateway.await_readiness(|code, _| code == 200);
        let answer = ask(subscriber(2), address, &query(1, LISTED, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&FIRST), "the first server is in use: {answer:?}");
    }
    assert_eq!(gateway.metric("zrgw_dns_stale_total"), 0);
    gateway.stop();
}

/// A server that is down is found down by nobody but us, and found again though nobody asks.
#[test]
fn f10_a_silent_server_is_found_down_and_up_again_by_our_own_questions() {
    let resolver = Resolver::new(&[(LISTED, FIRST)]);
    let (gateway, address) = gateway(&[resolver.address], |setup| {
        setup.set("dns", "failover_after = \"100 ms\"").set("dns", "try_timeout = \"200 ms\"")
    });
    assert!(ask(subscriber(1), address, &query(1, LISTED, A), PATIENCE).is_some());
    resolver.set_silent(true);
    let failed = ask(subscriber(1), address, &query(2, "other.listed.example", A), PATIENCE).unwrap();
    assert_eq!(rcode(&failed), 2);
    assert!(eventually(|| gateway.metric("zrgw_dns_servers_down") == 1), "{}", gateway.log());
    gateway.await_readiness(|code, _| code == 503);
    resolver.set_silent(false);
    assert!(eventually(|| gateway.metric("zrgw_dns_servers_down") == 0), "{}", gateway.log());
    gateway.await_readiness(|code, _| code == 200);
    gateway.stop();
}

/// A server whose firewall drops questions for the root answers for a listed name, and is up.
#[test]
fn f10_a_server_that_drops_questions_for_the_root_is_not_taken_for_down() {
    let upstream = server(|query| {
        let name = name_of(query);
        if name.is_empty() || name.ends_with(NOBODY) {
            Vec::new()
        } else {
            vec![(true, answered(query, FIRST))]
        }
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let hostile = socket(subscriber(1));
    for round in 1..=3 {
        ask_nobody(&hostile, address, 10);
        let timeouts = || gateway.metric("zrgw_dns_upstream_total{event=\"timeout\"}");
        assert!(eventually(|| timeouts() >= round * 20));
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0, "round {round}");
    }
    gateway.stop();
}

/// A server that answers us and nobody else is passed over: what it does not answer others do, for several subscribers.
#[test]
fn f10_a_server_whose_questions_are_answered_elsewhere_is_passed_over() {
    let deaf = server(|query| {
        // The root and what the list names itself, which we ask for; subscribers ask for names below.
        let is_ours = ["", "listed.example", "other-listed.example"].contains(&name_of(query).as_str());
        if is_ours { vec![(true, answered(query, FIRST))] } else { Vec::new() }
    });
    let (gateway, address) = gateway(&[deaf, picky(SECOND)], |setup| {
        setup
            .set("dns", "failover_after = \"500 ms\"")
            .set("dns", "try_timeout = \"60 s\"")
            .set("dns", "total_timeout = \"60 s\"")
    });
    let asked = |number, id: u16| {
        let name = format!("n{id}.listed.example");
        let answer = ask(subscriber(number), address, &query(id, &name, A), PATIENCE).unwrap();
        assert!(answer.ends_with(&SECOND), "{answer:?}");
    };
    // One subscriber alone may ask as much as he likes.
    for id in 0..6 {
        asked(1, id);
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0);
    }
    let mut ids = 10..;
    assert!(
        eventually(|| {
            (1..=9).for_each(|number| asked(number, ids.next().unwrap()));
            gateway.metric("zrgw_dns_servers_down") == 1
        }),
        "{}",
        gateway.log()
    );
    gateway.await_readiness(|code, _| code == 200);
    gateway.stop();
}

#[test]
fn f10_f17_a_subscriber_has_his_own_share_of_the_queries_under_way() {
    let (gateway, address) =
        gateway(&[picky(FIRST)], |setup| without_retries(setup).set("dns", "in_flight_per_client_max = 7"));
    let hostile = socket(subscriber(1));
    ask_nobody(&hostile, address, 7);
    gateway.await_metric("zrgw_dns_upstream_total{event=\"sent\"}", 7);
    assert_eq!(refused(&gateway, "in_flight"), 0, "at the limit");
    let over = ask(subscriber(1), address, &query(8, &format!("n8.{NOBODY}"), A), PATIENCE).unwrap();
    assert!(is_cut(&over), "one over is told to come over TCP: {over:?}");
    assert_eq!(refused(&gateway, "in_flight"), 1);
    let answer = dig(subscriber(1), address, &[LISTED, "A", "+tcp"]);
    assert!(answer.contains("status: NOERROR"), "over TCP he has a share of his own: {answer}");
    gateway.stop();
}
