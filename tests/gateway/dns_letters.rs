//! Servers that have something against the letter case of questions (0x20), and such as repeat no question at all: their
//! answers are had all the same, and whoever guesses has no more from it.

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
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use support::ask::*;
use support::client::*;
use support::plane::*;
use support::scripted::{Scripted, answered, framed, server};
use support::unbound::LISTED;
use support::{Gateway, PATIENCE, Setup};

/// Response codes (RFC 1035 §4.1.1).
const FORM_ERR: u8 = 1;
const SERV_FAIL: u8 = 2;
const NX_DOMAIN: u8 = 3;
const NOT_IMP: u8 = 4;
const REFUSED: u8 = 5;
/// What the servers know.
const RIGHT: [u8; 4] = [127, 0, 2, 1];
/// Names asked for one after another: more than bad replies are permitted.
const NAMES: u16 = 40;
/// Queries in mixed letters before a server is believed not to keep them.
const TRIED: usize = 3;
/// What the log says of such a server.
const TOLD: &str = "does not keep the letter case";

/// The reply of a server that says no more than a code.
fn bare(query: &[u8], code: u8) -> Vec<u8> {
    vec![query[0], query[1], 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A reply with the question and a code.
fn failed(query: &[u8], code: u8) -> Vec<u8> {
    let mut reply = answered(query, RIGHT);
    reply.truncate(reply.len() - 16);
    (reply[3], reply[7]) = (0x80 | code, 0);
    reply
}

/// The part of a message that holds its name.
fn name_bytes(message: &[u8]) -> std::ops::Range<usize> {
    12..12 + message[12..].iter().position(|byte| *byte == 0).unwrap()
}

fn is_mixed(query: &[u8]) -> bool {
    query[name_bytes(query)].iter().any(u8::is_ascii_uppercase)
}

/// The answer with its question in lower or upper case.
fn altered(query: &[u8], is_upper: bool) -> Vec<u8> {
    let mut reply = answered(query, RIGHT);
    let name = name_bytes(&reply);
    // No length of these names is a letter.
    if is_upper {
        reply[name].make_ascii_uppercase()
    } else {
        reply[name].make_ascii_lowercase()
    }
    reply
}

fn upstream(gateway: &Gateway, event: &str) -> u64 {
    gateway.metric(&format!("zrgw_dns_upstream_total{{event=\"{event}\"}}"))
}

/// Asks names one after another; how many had the answer.
fn served(address: SocketAddr) -> usize {
    let is_served = |id: u16| {
        let asked = query(id, &format!("WwW.n{id}.listed.example"), A);
        let answer = ask(subscriber(1), address, &asked, PATIENCE).expect("no answer");
        assert_eq!(answer[name_bytes(&answer)], asked[name_bytes(&asked)], "the client's own letters");
        rcode(&answer) == 0 && answer.ends_with(&RIGHT)
    };
    (0..NAMES).filter(|id| is_served(*id)).count()
}

/// Shorter waits, so that silence is over soon.
fn hasty(setup: Setup) -> Setup {
    setup.set("dns", "failover_after = \"200 ms\"").set("dns", "try_timeout = \"200 ms\"")
}

#[test]
fn f40_a_failure_without_a_question_is_the_servers_word() {
    for code in [FORM_ERR, SERV_FAIL, NOT_IMP, REFUSED] {
        let refuses = server(move |query| vec![(true, bare(query, code))]);
        let (gateway, address) = gateway(&[refuses], without_retries);
        let asked = query(7, LISTED, A);
        let answer = ask(subscriber(1), address, &asked, PATIENCE).expect("an answer");
        assert_eq!((&answer[..2], rcode(&answer)), (&[0, 7][..], code));
        assert_eq!(
            answer[name_bytes(&answer)],
            asked[name_bytes(&asked)],
            "who asked knows it by its question"
        );
        // A server that knows no EDNS says so by leaving it out (RFC 6891 §7).
        assert_eq!(answer[11], u8::from(code != FORM_ERR), "{code}");
        assert_eq!((upstream(&gateway, "bad_reply"), upstream(&gateway, "timeout")), (0, 0), "{code}");
        gateway.stop();
        // Another server is asked.
        let refuses = server(move |query| vec![(true, bare(query, code))]);
        let knows = server(|query| vec![(true, answered(query, RIGHT))]);
        let (gateway, address) = support::plane::gateway(&[refuses, knows], without_retries);
        let answer = ask(subscriber(1), address, &asked, PATIENCE).expect("an answer");
        assert!(answer.ends_with(&RIGHT), "{code}: {answer:?}");
        gateway.stop();
    }
}

/// Only failures: an answer is held against the question it answers.
#[test]
fn f40_an_answer_without_a_question_is_not_believed() {
    for change in [
        [0x81, 0x80, 0, 0, 0, 0],
        [0x81, 0x83, 0, 0, 0, 0],
        [0x81, 0x85, 0, 0, 0, 1],
        [0x01, 0x05, 0, 0, 0, 0],
    ] {
        let upstream_server = server(move |query| {
            let mut lie = answered(query, [127, 0, 2, 66]);
            lie.drain(12..lie.len() - 16);
            lie[2..8].copy_from_slice(&change);
            if change[5] == 0 {
                lie.truncate(12);
            }
            vec![(true, lie), (true, answered(query, RIGHT))]
        });
        let (gateway, address) = gateway(&[upstream_server], without_retries);
        let answer = ask(subscriber(1), address, &query(7, LISTED, A), PATIENCE).expect("an answer");
        assert!(answer.ends_with(&RIGHT), "{change:?}: {answer:?}");
        assert_eq!(upstream(&gateway, "bad_reply"), 1, "{change:?}");
        gateway.stop();
    }
}

#[test]
fn f40_a_server_that_changes_the_letters_is_asked_in_lower_case_and_that_is_said() {
    let mixed = Arc::new(Mutex::new(0_usize));
    let seen = Arc::clone(&mixed);
    let lowers = server(move |query| {
        *seen.lock().unwrap() += usize::from(is_mixed(query));
        vec![(true, altered(query, false))]
    });
    let (gateway, address) = gateway(&[lowers], without_retries);
    assert_eq!(served(address), usize::from(NAMES), "{}", gateway.log());
    assert_eq!(*mixed.lock().unwrap(), TRIED, "and it is remembered");
    assert_eq!((upstream(&gateway, "bad_reply"), upstream(&gateway, "gave_up_port")), (TRIED as u64, 0));
    assert_eq!(gateway.log().matches(TOLD).count(), 1, "{}", gateway.log());
    gateway.stop();
}

/// What it makes of lower case is other letters too: that it is the server who does so shows over TCP, where nobody forges.
#[test]
fn f40_a_server_that_writes_capitals_is_believed_when_tcp_has_shown_it() {
    let capitals = Scripted::new(|query| vec![(true, altered(query, true))], |query| altered(query, true));
    let (gateway, address) = gateway(&[capitals.address], without_retries);
    assert_eq!(served(address), usize::from(NAMES), "{}", gateway.log());
    assert_eq!(capitals.asked_over_tcp(), 1, "then it is remembered");
    assert_eq!(gateway.log().matches(TOLD).count(), 1, "{}", gateway.log());
    gateway.stop();
}

/// Where nobody forges, letters prove nothing: over TCP, and where the operator has said that servers do not keep them.
#[test]
fn f40_other_letters_are_no_matter_over_tcp_and_where_they_are_not_mixed() {
    let capitals = Scripted::new(|query| vec![(true, altered(query, true))], |query| altered(query, true));
    let (gateway, address) =
        gateway(&[capitals.address], |setup| without_retries(setup).set("dns", "case_randomisation = false"));
    assert_eq!(served(address), usize::from(NAMES), "{}", gateway.log());
    assert_eq!(capitals.asked_over_tcp(), 0);
    let mut client = connect_from(subscriber(1), address);
    let asked = query(9, "WwW.LISTED.example", A);
    client.write_all(&framed(&asked)).unwrap();
    let length = read_exactly(&mut client, 2);
    let answer = read_exactly(&mut client, usize::from(u16::from_be_bytes([length[0], length[1]])));
    assert!(
        answer.ends_with(&RIGHT) && answer[name_bytes(&answer)] == asked[name_bytes(&asked)],
        "{answer:?}"
    );
    gateway.stop();
}

#[test]
fn f40_a_server_that_knows_lower_case_alone_is_found_out() {
    type Says = fn(&[u8]) -> Option<Vec<u8>>;
    let says: [(&str, Says); 5] = [
        ("REFUSED without a question", |query| Some(bare(query, REFUSED))),
        ("REFUSED", |query| Some(failed(query, REFUSED))),
        ("SERVFAIL", |query| Some(failed(query, SERV_FAIL))),
        ("NXDOMAIN", |query| Some(failed(query, NX_DOMAIN))),
        ("nothing", |_| None),
    ];
    for (what, says) in says {
        let mixed = Arc::new(Mutex::new(0_usize));
        let seen = Arc::clone(&mixed);
        let knows_lower = server(move |query| {
            if is_mixed(query) {
                *seen.lock().unwrap() += 1;
                return says(query).map(|reply| (true, reply)).into_iter().collect();
            }
            vec![(true, answered(query, RIGHT))]
        });
        let (gateway, address) =
            gateway(
                &[knows_lower],
                |setup| {
                    if what == "nothing" { hasty(setup) } else { without_retries(setup) }
                },
            );
        assert_eq!(served(address), usize::from(NAMES), "{what}: {}", gateway.log());
        assert_eq!(*mixed.lock().unwrap(), TRIED, "{what}");
        assert_eq!(gateway.log().matches(TOLD).count(), 1, "{what}: {}", gateway.log());
        gateway.stop();
    }
}

/// One that has answered in the letters it was asked in is asked so whatever it says to some names, which anybody can make up.
#[test]
fn f40_names_that_fail_do_not_take_the_letters_from_a_server_that_keeps_them() {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let told = Arc::clone(&seen);
    let mut fails = false;
    let keeps = server(move |query| {
        told.lock().unwrap().push(query.to_vec());
        let name = support::scripted::name_of(query);
        if !name.starts_with("flaps") {
            return vec![(true, answered(query, RIGHT))];
        }
        // Every other time.
        fails = !fails;
        vec![(true, if fails { failed(query, SERV_FAIL) } else { answered(query, RIGHT) })]
    });
    let (gateway, address) = gateway(&[keeps], without_retries);
    let asks =
        |id, name: &str| ask(subscriber(1), address, &query(id, name, A), PATIENCE).expect("an answer");
    assert!(asks(1, LISTED).ends_with(&RIGHT));
    for id in 0..10 {
        assert!(asks(id, &format!("flaps.n{id}.listed.example")).ends_with(&RIGHT));
    }
    assert!(asks(2, LISTED).ends_with(&RIGHT));
    assert!(seen.lock().unwrap().iter().all(|query| is_mixed(query)));
    assert!(!gateway.log().contains(TOLD), "{}", gateway.log());
    gateway.stop();
}
