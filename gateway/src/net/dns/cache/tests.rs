//! Tests of `cache`.

use std::sync::LazyLock;

use super::*;
use crate::net::dns::source::Sources;
use crate::wire::dns::layout::additional;
use crate::wire::dns::{Found, question};

/// `a.kz` A with one address of TTL 300, an NS and an address beside it.
const ANSWER: &[u8] = b"\0\x01\x81\xa0\0\x01\0\x01\0\x01\0\x01\x01a\x02kz\0\0\x01\0\x01\
\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x01\x02\x03\x04\
\xc0\x0c\0\x02\0\x01\0\0\x01\x2c\0\x04\x01b\xc0\x0e\
\xc0\x30\0\x01\0\x01\0\0\x01\x2c\0\x04\x06\x06\x06\x06";

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn key(kind: u16) -> Key {
    let name = question(ANSWER).unwrap().name;
    Key { name, kind, class: 1, dnssec_ok: false, checking_disabled: false, subnet: None }
}

/// Somebody who asks.
fn asker(number: u8) -> Source {
    static SOURCES: LazyLock<Sources> = LazyLock::new(|| Sources::new(32, 56, RandomState::new()));
    SOURCES.of([10, 0, 0, number].into(), None)
}

#[test]
fn f43_whoever_asks_for_made_up_names_displaces_his_own() {
    let stale = StaleAnswers::new(4, Duration::from_secs(86_400), RandomState::new());
    let asked = question(ANSWER).unwrap();
    let keep = |kind, by, second| stale.keep(&key(kind), asker(by), ANSWER, &facts(ANSWER), at(second));
    let known = |kind| stale.find(&key(kind), &asked, Duration::from_secs(30), at(2_000)).is_some();
    // One that two have asked for, and one of a pupil's.
    keep(1, 1, 1);
    keep(1, 2, 2);
    keep(2, 1, 3);
    for kind in 100..1_100 {
        keep(kind, 9, u64::from(kind));
    }
    assert!(known(1) && known(2), "others'");
    assert!(known(1_099) && !known(1_097), "two places of four");
    // A second one who does so takes from those who are alone, and not what several want.
    for kind in 2_000..3_000 {
        keep(kind, 8, 1_500);
    }
    assert!(known(1) && known(2_999));
}

/// What an answer says, for what is kept of it.
fn facts(answer: &[u8]) -> Facts {
    let question = question(answer).unwrap();
    Facts { rcode: u16::from(question.rcode), question, found: Found::default() }
}

/// The network of a query.
fn subnet() -> Subnet {
    let options = b"\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0\xc0\0\x02";
    let query = [b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\0\0\x01\0\x01\0", &options[..]].concat();
    let read = question(&query).unwrap();
    match additional(&query, &read).unwrap().edns.unwrap().subnet {
        ForSubnet::One(subnet) => subnet,
        other @ (ForSubnet::Any | ForSubnet::Unreadable) => panic!("{other:?}"),
    }
}

#[test]
fn f43_a_query_has_a_key_when_it_wants_recursion_and_is_not_signed() {
    let query = b"\0\x01\x01\x10\0\x01\0\0\0\0\0\0\x01a\x02kz\0\0\x01\0\x01";
    let read = question(query).unwrap();
    let wanted = Key { checking_disabled: true, ..key(1) };
    assert_eq!(Key::of(query, &read, None, false), Some(wanted));
    assert_eq!(Key::of(query, &read, None, true), None);
    assert_eq!(Key::of(query, &Question { recursion_desired: false, ..read.clone() }, None, false), None);
    let edns = Edns {
        udp_bytes_max: 512,
        version: 0,
        dnssec_ok: true,
        size_at: 0,
        subnet: ForSubnet::One(subnet()),
    };
    let of = |subnet| Key::of(query, &read, Some(&Edns { subnet, ..edns }), false);
    let known = of(edns.subnet).unwrap();
    assert!(known.dnssec_ok && known.subnet == Some(subnet()));
    assert_eq!(of(ForSubnet::Any).unwrap().subnet, None);
    assert_eq!(of(ForSubnet::Unreadable), None);
}

#[test]
fn an_old_answer_is_its_answer_section_with_short_ttls() {
    let stale = StaleAnswers::new(10, Duration::from_secs(86_400), RandomState::new());
    let asked = question(ANSWER).unwrap();
    stale.keep(&key(1), asker(1), ANSWER, &facts(ANSWER), at(0));
    let ttl = Duration::from_secs(30);
    let given = stale.find(&key(1), &asked, ttl, at(86_400)).unwrap();
    assert_eq!(given.len(), asked.section.end + 16);
    assert_eq!(given[6..12], [0, 1, 0, 0, 0, 0]);
    assert_eq!(given[asked.section.end + 6..asked.section.end + 10], [0, 0, 0, 30]);
    assert_eq!(given[3] & AUTHENTIC, 0);
    assert_eq!(stale.find(&key(1), &asked, ttl, at(86_401)), None, "a day and no more");
    let others = [
        Key { dnssec_ok: true, ..key(1) },
        Key { checking_disabled: true, ..key(1) },
        Key { class: 3, ..key(1) },
        Key { subnet: Some(subnet()), ..key(1) },
        key(28),
    ];
    for other in others {
        assert_eq!(stale.find(&other, &asked, ttl, at(1)), None);
    }
}

#[test]
fn failures_cut_and_broken_answers_are_not_kept() {
    let stale = StaleAnswers::new(10, Duration::from_secs(86_400), RandomState::new());
    let changes: [(usize, u8); 4] = [(3, 0x82), (2, 0x83), (3, 0x85), (7, 9)];
    for (place, byte) in changes {
        let mut answer = ANSWER.to_vec();
        answer[place] = byte;
        stale.keep(&key(1), asker(1), &answer, &facts(&answer), at(0));
        assert!(stale.len() == 0, "byte {place} = {byte:#x}");
    }
    let mut long = ANSWER.to_vec();
    long.resize(ANSWER_BYTES_MAX + 1, 0);
    stale.keep(&key(1), asker(1), &long, &facts(ANSWER), at(0));
    assert!(stale.len() == 0);
    stale.keep(&key(1), asker(1), &long[..ANSWER_BYTES_MAX], &Facts { rcode: 16, ..facts(ANSWER) }, at(0));
    assert!(stale.len() == 0, "an extended code whose low bits say NOERROR");
    stale.keep(&key(1), asker(1), &long[..ANSWER_BYTES_MAX], &facts(ANSWER), at(0));
    assert_eq!(stale.len(), 1);
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    let asked = question(ANSWER).unwrap();
    for room in [1, 2, 3, 4, 100] {
        let stale = StaleAnswers::new(room, Duration::from_secs(86_400), RandomState::new());
        for kind in 0..10_000 {
            stale.keep(&key(kind), asker(1), ANSWER, &facts(ANSWER), at(u64::from(kind)));
        }
        assert_eq!(stale.len(), room, "room for {room}");
        assert!(stale.find(&key(9_999), &asked, Duration::from_secs(30), at(9_999)).is_some());
    }
}
