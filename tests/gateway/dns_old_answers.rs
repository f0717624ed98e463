//! Old answers of the DNS plane: whose they are, and that what a server says is never taken for its silence (RFC 8767).

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
use std::sync::{Arc, Mutex};

use support::ask::*;
use support::client::*;
use support::plane::*;
use support::scripted::{answered, referred, server};
use support::unbound::LISTED;
use support::{Gateway, PATIENCE, Setup};

/// Response codes (RFC 1035 §4.1.1).
const NO_ERROR: u8 = 0;
const SERV_FAIL: u8 = 2;
const REFUSED: u8 = 5;
/// What the server knows.
const KNOWN: [u8; 4] = [127, 0, 2, 1];
/// The same for another network than that of [`query`]'s client subnet.
const ELSEWHERE: [u8; 4] = [127, 0, 2, 9];

/// What a server says to everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// An answer; a referral to whoever wants no recursion.
    Answers,
    /// This code.
    Fails(u8),
    /// An extended code, whose low bits are those of NOERROR (BADVERS).
    FailsExtended,
    Silent,
}

/// A server and what it says.
fn moody() -> (SocketAddr, Arc<Mutex<Mood>>) {
    let mood = Arc::new(Mutex::new(Mood::Answers));
    let told = Arc::clone(&mood);
    let address = server(move |query| {
        let reply = match *told.lock().unwrap() {
            Mood::Answers if query[2] & 1 == 0 => referred(query),
            Mood::Answers if query.windows(3).any(|bytes| bytes == [198, 51, 100]) => {
                answered(query, ELSEWHERE)
            }
            Mood::Answers => answered(query, KNOWN),
            Mood::Fails(code) => failed(query, code),
            Mood::FailsExtended => {
                let mut reply = failed(query, 0);
                reply[11] = 1;
                reply.extend([0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0]);
                reply
            }
            Mood::Silent => return Vec::new(),
        };
        vec![(true, reply)]
    });
    (address, mood)
}

/// A reply with the question and this code.
fn failed(query: &[u8], code: u8) -> Vec<u8> {
    let mut reply = referred(query);
    let end = 12 + support::scripted::name_of(query).len() + 2 + 4;
    reply.truncate(end);
    reply[9] = 0;
    reply[3] = 0x80 | code;
    reply
}

/// A gateway that gives old answers after a short silence.
fn old_answers(servers: &[SocketAddr], change: impl FnOnce(Setup) -> Setup) -> (Gateway, SocketAddr) {
    gateway(servers, |setup| {
        change(
            setup
                .set("dns", "failover_after = \"100 ms\"")
                .set("dns", "try_timeout = \"200 ms\"")
                .set("dns", "total_timeout = \"2 s\"")
                .set("dns", "stale_after = \"600 ms\""),
        )
    })
}

/// Asks as the first subscriber.
fn asks(address: SocketAddr, query: &[u8]) -> Vec<u8> {
    ask(subscriber(1), address, query, PATIENCE).expect("an answer")
}

/// A query without recursion.
fn without_recursion(id: u16, name: &str) -> Vec<u8> {
    let mut query = query(id, name, A);
    query[2] = 0;
    query
}

/// A query for another network's subscribers.
fn from_elsewhere(id: u16, name: &str) -> Vec<u8> {
    let mut query = query(id, name, A);
    let at = query.windows(3).position(|bytes| bytes == [192, 0, 2]).unwrap();
    query[at..at + 3].copy_from_slice(&[198, 51, 100]);
    query
}

fn has(answer: &[u8], address: [u8; 4]) -> bool {
    answer.windows(4).any(|bytes| bytes == address)
}

/// A referral is the answer to who wants no recursion, and to nobody else; and who asks so is not told whether somebody
/// asked before.
#[test]
fn f43_only_who_wants_recursion_has_his_answer_kept_or_is_given_an_old_one() {
    let (server, mood) = moody();
    let (gateway, address) = old_answers(&[server], |setup| setup);
    let referral = asks(address, &without_recursion(1, LISTED));
    assert_eq!((rcode(&referral), &referral[6..10]), (NO_ERROR, &[0, 0, 0, 1][..]));
    *mood.lock().unwrap() = Mood::Silent;
    assert_eq!(rcode(&asks(address, &query(2, LISTED, A))), SERV_FAIL, "nobody has had an answer");
    *mood.lock().unwrap() = Mood::Answers;
    assert!(has(&asks(address, &query(3, LISTED, A)), KNOWN));
    *mood.lock().unwrap() = Mood::Silent;
    assert!(has(&asks(address, &query(4, LISTED, A)), KNOWN), "the old answer");
    let told = asks(address, &without_recursion(5, LISTED));
    assert!(rcode(&told) == SERV_FAIL && !has(&told, KNOWN), "{told:?}");
    assert_eq!(gateway.metric("zrgw_dns_stale_total"), 1);
    gateway.stop();
}

#[test]
fn f43_what_a_server_says_is_passed_on_and_no_old_answer_is_given_for_it() {
    let (server, mood) = moody();
    let (gateway, address) = old_answers(&[server], |setup| setup);
    assert!(has(&asks(address, &query(1, LISTED, A)), KNOWN));
    for code in [REFUSED, SERV_FAIL] {
        *mood.lock().unwrap() = Mood::Fails(code);
        let answer = asks(address, &query(2, LISTED, A));
        assert!(rcode(&answer) == code && !has(&answer, KNOWN), "{code}: {answer:?}");
    }
    assert_eq!(gateway.metric("zrgw_dns_stale_total"), 0);
    *mood.lock().unwrap() = Mood::Silent;
    assert!(has(&asks(address, &query(3, LISTED, A)), KNOWN), "silence is another thing");
    gateway.stop();
}

/// Of two servers one refuses at once and the other is silent: that is said, and not what was true before.
#[test]
fn f43_a_refusal_is_heard_beside_the_silence_of_another_server() {
    let (first, mood) = moody();
    let (second, silent) = moody();
    *silent.lock().unwrap() = Mood::Silent;
    let (gateway, address) = old_answers(&[first, second], |setup| setup);
    assert!(has(&asks(address, &query(1, LISTED, A)), KNOWN));
    *mood.lock().unwrap() = Mood::Fails(REFUSED);
    let answer = asks(address, &query(2, LISTED, A));
    assert!(rcode(&answer) == REFUSED && !has(&answer, KNOWN), "{answer:?}");
    gateway.stop();
}

#[test]
fn f43_an_answer_for_one_client_subnet_is_not_given_to_another() {
    let (server, mood) = moody();
    let (gateway, address) = old_answers(&[server], |setup| setup);
    assert!(has(&asks(address, &query(1, LISTED, A)), KNOWN));
    *mood.lock().unwrap() = Mood::Silent;
    for stranger in [from_elsewhere(2, LISTED), plain(3, LISTED, A)] {
        let answer = asks(address, &stranger);
        assert!(rcode(&answer) == SERV_FAIL && !has(&answer, KNOWN), "{answer:?}");
    }
    *mood.lock().unwrap() = Mood::Answers;
    assert!(has(&asks(address, &from_elsewhere(4, LISTED)), ELSEWHERE));
    *mood.lock().unwrap() = Mood::Silent;
    assert!(has(&asks(address, &from_elsewhere(5, LISTED)), ELSEWHERE));
    let answer = asks(address, &query(6, LISTED, A));
    assert!(has(&answer, KNOWN));
    // Whoever keeps it keeps it for this network alone: the subnet with a scope as long as itself (RFC 7871 §7.2.1).
    assert!(answer.ends_with(&[0, 11, 0, 8, 0, 7, 0, 1, 24, 24, 192, 0, 2]), "{answer:?}");
    gateway.stop();
}

/// The low bits of an extended code alone say NOERROR (RFC 6891 §6.1.3).
#[test]
fn f43_a_failure_with_an_extended_code_is_not_kept_as_an_answer_without_records() {
    let (server, mood) = moody();
    let (gateway, address) = old_answers(&[server], |setup| setup);
    *mood.lock().unwrap() = Mood::FailsExtended;
    assert_eq!(rcode(&asks(address, &query(1, LISTED, A))), NO_ERROR, "its low bits");
    *mood.lock().unwrap() = Mood::Silent;
    assert_eq!(rcode(&asks(address, &query(2, LISTED, A))), SERV_FAIL);
    gateway.stop();
}

/// Without a signature the old answer says nothing to who signed his query (TSIG, RFC 8945 §5.3).
#[test]
fn f43_a_signed_query_is_given_no_old_answer() {
    let (server, mood) = moody();
    let (gateway, address) = old_answers(&[server], |setup| setup);
    assert!(has(&asks(address, &query(1, LISTED, A)), KNOWN));
    *mood.lock().unwrap() = Mood::Silent;
    let mut signed =
        [&query(2, LISTED, A)[..], b"\x03key\0", &[0, 250, 0, 255, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]].concat();
    signed[11] = 2;
    assert_eq!(rcode(&asks(address, &signed)), SERV_FAIL);
    gateway.stop();
}

/// Old or not, that a name does not exist says for how long (RFC 2308 §5): who keeps it would ask again each time.
#[test]
fn f41_an_old_answer_that_there_is_nothing_has_its_soa_record_and_nothing_else_of_its_section() {
    let mood = Arc::new(Mutex::new(Mood::Answers));
    let told = Arc::clone(&mood);
    let upstream = server(move |query| {
        if *told.lock().unwrap() == Mood::Silent {
            return Vec::new();
        }
        // The answer's own SOA record, and a record that has no business there.
        let mut reply = failed(query, 3);
        reply[9] = 2;
        let soa = [0xc0, 12, 0, 6, 0, 1, 0, 0, 1, 0, 0, 22, 0, 0];
        reply.extend(soa.iter().chain(&[0; 19]).chain(&[60]));
        reply.extend([0xc0, 12, 0, 2, 0, 1, 0, 0, 1, 0, 0, 2, 0xc0, 12]);
        vec![(true, reply)]
    });
    let (gateway, address) = old_answers(&[upstream], |setup| setup);
    assert_eq!(rcode(&asks(address, &plain(1, LISTED, A))), 3);
    *mood.lock().unwrap() = Mood::Silent;
    let old = asks(address, &plain(2, LISTED, A));
    assert_eq!((rcode(&old), &old[6..12]), (3, &[0, 0, 0, 1, 0, 0][..]), "{old:?}");
    let record = &old[old.len() - 34..];
    assert_eq!((&record[..6], &record[6..10]), (&[0xc0, 12, 0, 6, 0, 1][..], &[0, 0, 0, 30][..]), "{old:?}");
    gateway.stop();
}
