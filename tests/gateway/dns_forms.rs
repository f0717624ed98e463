//! The forms of messages that the DNS plane answers by itself: what it cannot or will not pass on is told as BIND tells it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{Ipv4Addr, SocketAddr};

use support::ask::*;
use support::bind::Bind;
use support::client::*;
use support::plane::*;
use support::scripted::{answered, server};
use support::unbound::LISTED;
use support::{PATIENCE, has};

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9).
const NO_ERROR: u16 = 0;
const FORM_ERR: u16 = 1;
const NOT_IMP: u16 = 4;
const REFUSED: u16 = 5;
const BAD_VERS: u16 = 16;
/// Operations (RFC 1035 §4.1.1, RFC 1996, RFC 2136).
const STATUS: u8 = 2;
const UNASSIGNED: u8 = 15;
const NOTIFY: u8 = 4;
const UPDATE: u8 = 5;

/// The zone that BIND knows, whose records the other server has too.
const NAME: &[u8] = b"\x03www\x04zone\x07example\0";
/// Client cookie (RFC 7873 §4).
const COOKIE: [u8; 12] = [0, 10, 0, 8, b'A', b'B', b'C', b'D', b'E', b'F', b'G', b'H'];

/// An OPT record of this version with these options.
fn opt(version: u8, options: &[u8]) -> Vec<u8> {
    let length = u16::try_from(options.len()).unwrap().to_be_bytes();
    [&[0, 0, 41, 4, 0xd0, 0, version, 0, 0][..], &length, options].concat()
}

/// A message of this operation with recursion desired, whose header counts so many questions and additional records.
fn message(operation: u8, questions: u8, additional: u8, body: &[&[u8]]) -> Vec<u8> {
    let header = [0x12, 0x34, operation << 3 | 1, 0, 0, questions, 0, 0, 0, 0, 0, additional];
    [&header[..], &body.concat()].concat()
}

/// The question for the name's address.
fn question() -> Vec<u8> {
    [NAME, &[0, 1, 0, 1]].concat()
}

/// What an answer says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Form {
    /// With the bits of its OPT record (RFC 6891 §6.1.3).
    code: u16,
    is_recursion_available: bool,
    /// Version of its OPT record; none: it has no such record.
    version: Option<u8>,
}

/// Reads an answer that has nothing but a question and an OPT record, or other records and no OPT record.
fn form(answer: &[u8]) -> Form {
    assert!(answer[2] & 0x80 != 0 && answer[..2] == [0x12, 0x34], "{answer:?}");
    let opt =
        (answer[11] == 1).then(|| answer.windows(5).rposition(|bytes| bytes[..3] == [0, 0, 41]).unwrap());
    let high = opt.map_or(0, |at| u16::from(answer[at + 5]));
    Form {
        code: high << 4 | u16::from(rcode(answer)),
        is_recursion_available: answer[3] & 0x80 != 0,
        version: opt.map(|at| answer[at + 6]),
    }
}

/// Every case: what is asked, the code, whether OPT is in the answer; and whether BIND says the same.
fn cases() -> Vec<(&'static str, Vec<u8>, u16, bool, bool)> {
    let (question, plain, next) = (question(), opt(0, &[]), opt(1, &[]));
    let (one, two) = (&question[..], &[&question[..], &question].concat()[..]);
    vec![
        ("another version of EDNS", message(0, 1, 1, &[one, &next]), BAD_VERS, true, true),
        ("an operation", message(STATUS, 1, 0, &[one]), NOT_IMP, false, true),
        ("an operation, OPT", message(UNASSIGNED, 1, 1, &[one, &plain]), NOT_IMP, true, true),
        ("an operation without a question", message(UNASSIGNED, 0, 1, &[&plain]), NOT_IMP, true, true),
        ("no question", message(0, 0, 0, &[]), FORM_ERR, false, true),
        ("no question, OPT", message(0, 0, 1, &[&plain]), FORM_ERR, true, true),
        ("two questions", message(0, 2, 0, &[two]), FORM_ERR, false, true),
        // BIND leaves the record out, which RFC 6891 §6.1.1 does not.
        ("two questions, OPT", message(0, 2, 1, &[two, &plain]), FORM_ERR, true, false),
        ("two OPT", message(0, 1, 2, &[one, &plain, &plain]), FORM_ERR, false, true),
        ("cut question", message(0, 1, 0, &[&one[..one.len() - 3]]), FORM_ERR, false, true),
        ("cut OPT", message(0, 1, 1, &[one, &plain[..8]]), FORM_ERR, false, true),
        ("a pointer to itself", message(0, 1, 0, &[&[0xc0, 12, 0, 1, 0, 1]]), FORM_ERR, false, true),
        ("cookie alone", message(0, 0, 1, &[&opt(0, &COOKIE)]), NO_ERROR, true, true),
        (
            "half a cookie alone",
            message(0, 0, 1, &[&opt(0, &[0, 10, 0, 4, 1, 2, 3, 4])]),
            FORM_ERR,
            true,
            true,
        ),
        // Whoever asks so is told who they are not for; BIND names the zone it does not have (NOTAUTH).
        ("notify", message(NOTIFY, 1, 0, &[NAME, &[0, 6, 0, 1]]), REFUSED, false, false),
        ("notify, OPT", message(NOTIFY, 1, 1, &[NAME, &[0, 6, 0, 1], &plain]), REFUSED, true, false),
        ("update", message(UPDATE, 1, 0, &[&NAME[4..], &[0, 6, 0, 1]]), REFUSED, false, true),
        ("update, OPT", message(UPDATE, 1, 1, &[&NAME[4..], &[0, 6, 0, 1], &plain]), REFUSED, true, true),
    ]
}

#[test]
fn f44_own_answers_have_the_code_the_flags_and_the_opt_record_that_bind_gives() {
    let upstream = server(|query| panic!("passed on: {query:?}"));
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let bind = has("named").then(Bind::start);
    for (what, query, code, has_opt, is_binds) in cases() {
        let answer = ask(subscriber(1), address, &query, PATIENCE).expect(what);
        let form = form(&answer);
        assert_eq!((form.code, form.version), (code, has_opt.then_some(0)), "{what}: {answer:?}");
        assert!(!form.is_recursion_available || code == BAD_VERS, "{what}: {answer:?}");
        // Letter for letter, where it can be read.
        let section = &query[12..];
        assert!(
            answer[5] == 0 || answer[12..].starts_with(&section[..section.len().min(NAME.len() - 4)]),
            "{what}"
        );
        if let Some(bind) = bind.as_ref().filter(|_| is_binds) {
            let theirs = ask(Ipv4Addr::LOCALHOST, bind.address, &query, PATIENCE).expect(what);
            let theirs = self::form(&theirs);
            assert_eq!((form.code, form.version), (theirs.code, theirs.version), "{what}: BIND");
        }
    }
    gateway.stop();
}

/// A client asks for a server cookie and nothing else (RFC 7873 §5.4): it has its own back, and one of ours behind it, the
/// same each time, and another for another client.
#[test]
fn f44_a_query_for_a_cookie_alone_is_answered_with_one() {
    let upstream = server(|query| panic!("passed on: {query:?}"));
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let asked = message(0, 0, 1, &[&opt(0, &COOKIE)]);
    let cookie = |number, asked: &[u8]| {
        let answer = ask(subscriber(number), address, asked, PATIENCE).unwrap();
        assert_eq!((rcode(&answer), &answer[4..12]), (0, &[0, 0, 0, 0, 0, 0, 0, 1][..]), "{answer:?}");
        let option = &answer[23..];
        assert_eq!(option[..4], [0, 10, 0, 16], "{answer:?}");
        option[4..].to_vec()
    };
    let first = cookie(1, &asked);
    assert_eq!(first[..8], COOKIE[4..]);
    assert_eq!(cookie(1, &asked), first);
    assert_ne!(cookie(2, &asked), first);
    // Who has a server cookie and asks for a new one has the client's part back.
    let known = [&[0, 10, 0, 16][..], &first].concat();
    assert_eq!(cookie(1, &message(0, 0, 1, &[&opt(0, &known)])), first);
    gateway.stop();
}

/// As BIND and Unbound do: what stands behind a message is not its own, and goes nowhere.
#[test]
fn f44_bytes_behind_a_message_are_left_out_and_the_message_is_answered() {
    let (told, heard) = std::sync::mpsc::channel();
    let upstream = server(move |query| {
        told.send(query.to_vec()).unwrap();
        vec![(true, answered(query, [127, 0, 2, 1]))]
    });
    let (gateway, address) = gateway(&[upstream], |setup| setup.set("dns", "case_randomisation = false"));
    let plain = message(0, 1, 0, &[&question()]);
    for asked in [plain, query(0x1234, LISTED, A)] {
        let longer = [&asked[..], b"junk"].concat();
        let answer = ask(subscriber(1), address, &longer, PATIENCE).unwrap();
        assert!(answer[..2] == [0x12, 0x34] && answer.ends_with(&[127, 0, 2, 1]), "{answer:?}");
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap()[2..], asked[2..]);
    }
    gateway.stop();
}

/// The count of answers by code tells the extended code too.
#[test]
fn f44_an_answer_with_an_extended_code_is_not_counted_as_noerror() {
    let upstream = server(|query| panic!("passed on: {query:?}"));
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let asked = message(0, 1, 1, &[&question(), &opt(1, &[])]);
    assert!(ask(subscriber(1), address, &asked, PATIENCE).is_some());
    let count = |code: &str| gateway.metric(&format!("zrgw_dns_answers_total{{rcode=\"{code}\"}}"));
    assert_eq!((count("noerror"), count("other")), (0, 1));
    gateway.stop();
}

/// `dig` asks so, and understands what it is told.
#[test]
fn f44_dig_reads_the_version_and_the_cookie() {
    if !has("dig") {
        return;
    }
    let upstream: SocketAddr = server(|query| panic!("passed on: {query:?}"));
    let (gateway, address) = gateway(&[upstream], |setup| setup);
    let said = dig(subscriber(1), address, &["+edns=7", "+noednsnegotiation", LISTED, "A"]);
    assert!(said.contains("status: BADVERS"), "{said}");
    let said = dig(subscriber(1), address, &["+cookie", "+header-only"]);
    assert!(said.contains("status: NOERROR") && said.contains("(good)"), "{said}");
    gateway.stop();
}
