//! DNS answers: what is believed of them, and that hostile ones give nothing and cost little (traps N1, N2, N4, N5, N9, T18–T20).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use support::messages;

use std::net::IpAddr;

use allowlist::DomainName;
use gateway::wire::dns::{self, AnswerLimits, EchConfig, Found, Outcome, answer as read};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{NULL, TXT};
use hickory_proto::rr::{RData, Record, RecordType};
use messages::{address, answer, cname, ech, facts, fqdn, https};

/// The addresses as text.
fn texts(found: &[IpAddr]) -> Vec<String> {
    found.iter().map(IpAddr::to_string).collect()
}

/// The outcome for a message.
fn outcome(message: &Message) -> Outcome {
    read(&message.to_vec().unwrap(), &AnswerLimits::default())
}

/// A chain of `hops` CNAMEs from `n0.kz`, with an address at its end.
fn chain(hops: usize) -> Message {
    let mut records: Vec<Record> =
        (0..hops).map(|hop| cname(&format!("n{hop}.kz"), 300, &format!("n{}.kz", hop + 1))).collect();
    records.push(address(&format!("n{hops}.kz"), 300, "203.0.113.1"));
    answer("n0.kz", RecordType::A, records)
}

#[test]
fn n1_t18_a_chain_in_any_order_gives_its_end_and_its_least_ttl() {
    let records = [
        cname("listed.kz", 300, "edge.cdn.example"),
        cname("EDGE.cdn.example", 20, "a.cdn.example"),
        address("a.cdn.example", 60, "203.0.113.1"),
        address("a.cdn.example", 90, "203.0.113.2"),
        address("foreign.example", 1, "203.0.113.99"),
        address("listed.kz", 1, "203.0.113.98"),
    ];
    // Every rotation and its reverse: the order of records says nothing.
    for turn in 0..records.len() {
        let mut turned = records.to_vec();
        turned.rotate_left(turn);
        for records in [turned.clone(), turned.into_iter().rev().collect()] {
            let facts = facts(&answer("listed.kz", RecordType::A, records));
            let mut found = texts(&facts.found.addresses);
            found.sort();
            assert_eq!(found, ["203.0.113.1", "203.0.113.2"]);
            assert_eq!(facts.found.ttl, 20);
            assert_eq!(facts.found.chain.len(), 2);
        }
    }
}

#[test]
fn n1_sixteen_hops_are_followed_and_seventeen_are_not_believed() {
    assert_eq!(texts(&facts(&chain(16)).found.addresses), ["203.0.113.1"]);
    assert_eq!(outcome(&chain(17)), Outcome::Malformed { field: "CNAME chain" });
}

#[test]
fn n1_circles_forks_and_foreign_owners_give_nothing() {
    let a = || address("b.kz", 60, "203.0.113.1");
    let circle =
        answer("a.kz", RecordType::A, vec![cname("a.kz", 60, "b.kz"), cname("b.kz", 60, "A.kz"), a()]);
    assert_eq!(outcome(&circle), Outcome::Malformed { field: "CNAME circle" });
    let own = answer("a.kz", RecordType::A, vec![cname("a.kz", 60, "a.kz"), a()]);
    assert_eq!(outcome(&own), Outcome::Malformed { field: "CNAME circle" });
    let fork = answer("a.kz", RecordType::A, vec![cname("a.kz", 60, "b.kz"), cname("a.kz", 60, "c.kz"), a()]);
    assert_eq!(outcome(&fork), Outcome::Malformed { field: "CNAME" });
    let twice = answer("a.kz", RecordType::A, vec![cname("a.kz", 60, "b.kz"), cname("a.kz", 9, "b.kz"), a()]);
    assert_eq!(
        (texts(&facts(&twice).found.addresses), facts(&twice).found.ttl),
        (vec!["203.0.113.1".into()], 9)
    );
    let foreign = answer("a.kz", RecordType::A, vec![a(), cname("c.kz", 60, "a.kz")]);
    assert_eq!(facts(&foreign).found, Found::default());
}

#[test]
fn n2_other_codes_truncation_and_queries_give_no_addresses() {
    let good = answer("a.kz", RecordType::A, vec![address("a.kz", 60, "203.0.113.1")]);
    assert_eq!(facts(&good).found.addresses.len(), 1);
    for code in [ResponseCode::NXDomain, ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::BADVERS]
    {
        let mut failed = good.clone();
        failed.metadata.response_code = code;
        failed.set_edns(hickory_proto::op::Edns::new());
        let facts = facts(&failed);
        assert_eq!((facts.rcode, facts.found), (u16::from(code), Found::default()), "{code}");
    }
    let mut truncated = good.clone();
    truncated.metadata.truncation = true;
    assert_eq!((facts(&truncated).question.truncated, facts(&truncated).found), (true, Found::default()));
    let mut query = good.clone();
    query.metadata.message_type = MessageType::Query;
    assert_eq!(outcome(&query), Outcome::NotAnAnswer);
    let mut notify = good.clone();
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(outcome(&notify), Outcome::NotAnAnswer);
}

#[test]
fn n2_only_the_answer_section_and_the_type_asked_for_count() {
    let record = || address("a.kz", 60, "203.0.113.1");
    let mut elsewhere = answer("a.kz", RecordType::A, Vec::new());
    elsewhere.add_authority(record());
    elsewhere.add_additional(record());
    assert_eq!(facts(&elsewhere).found, Found::default());
    let other = answer("a.kz", RecordType::AAAA, vec![record()]);
    assert_eq!(facts(&other).found, Found::default());
    let any = answer("a.kz", RecordType::ANY, vec![record(), address("a.kz", 9, "2001:db8::1")]);
    assert_eq!(texts(&facts(&any).found.addresses), ["203.0.113.1", "2001:db8::1"]);
}

#[test]
fn n4_t20_service_bindings_give_hints_targets_and_ech() {
    let message = answer(
        "listed.kz",
        RecordType::HTTPS,
        vec![
            cname("listed.kz", 50, "site.kz"),
            https("site.kz", 1, "", &["203.0.113.1", "2001:db8::1"], Some(ech(7, "Cover.Example"))),
            https("site.kz", 2, "other.kz", &["203.0.113.2"], None),
            https("site.kz", 3, "Site.KZ", &["203.0.113.1"], None),
        ],
    );
    let found = facts(&message).found;
    assert_eq!(texts(&found.hints), ["203.0.113.1", "2001:db8::1", "203.0.113.2"]);
    assert_eq!(found.addresses, Vec::<IpAddr>::new());
    let targets: Vec<_> = found.targets.iter().map(|target| target.host().unwrap()).collect();
    assert_eq!(targets, [b"other.kz"]);
    assert_eq!(found.ech, [EchConfig { config_id: 7, public_name: b"cover.example"[..].into() }]);
    assert_eq!(found.ttl, 50);
    // AliasMode has no parameters that count.
    let alias = answer("a.kz", RecordType::HTTPS, vec![https("a.kz", 0, "b.kz", &["203.0.113.9"], None)]);
    assert_eq!((facts(&alias).found.hints.len(), facts(&alias).found.targets.len()), (0, 1));
    let broken =
        answer("a.kz", RecordType::HTTPS, vec![https("a.kz", 1, "", &["203.0.113.9"], Some(vec![0, 9, 1]))]);
    assert_eq!(outcome(&broken), Outcome::Malformed { field: "ECHConfigList" });
}

#[test]
fn n4_unknown_types_and_options_harm_nothing_and_a_broken_record_gives_nothing() {
    let unknown = RData::Unknown { code: RecordType::from(65_280), rdata: NULL::with(vec![1, 2, 3]) };
    let text = RData::TXT(TXT::new(vec!["x".repeat(200)]));
    let mut message = answer(
        "a.kz",
        RecordType::A,
        vec![
            Record::from_rdata(fqdn("a.kz"), 60, unknown),
            address("a.kz", 60, "203.0.113.1"),
            Record::from_rdata(fqdn("a.kz"), 60, text),
        ],
    );
    message.set_edns(hickory_proto::op::Edns::new());
    assert_eq!(texts(&facts(&message).found.addresses), ["203.0.113.1"]);
    // The length of the address record's data, one too long.
    let mut bytes = message.to_vec().unwrap();
    let data = bytes.windows(4).position(|four| four == [203, 0, 113, 1]).unwrap();
    bytes[data - 1] = 5;
    assert_eq!(read(&bytes, &AnswerLimits::default()), Outcome::Malformed { field: "record" });
}

#[test]
fn n5_counts_without_records_allocate_next_to_nothing() {
    for counts in [[0xff; 8], [0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0, 1, 3, 0xff, 0, 0, 0, 0]] {
        let mut message = vec![0x12, 0x34, 0x80, 0];
        message.extend(counts);
        for tail in [&b""[..], b"\x01a\x02kz\0\0\x01\0\x01"] {
            let bytes = [&message[..], tail].concat();
            let cost = allocation_counter::measure(|| {
                let outcome = read(&bytes, &AnswerLimits::default());
                assert!(!matches!(outcome, Outcome::Answer(_)));
                assert!(dns::question(&bytes).is_ok() == (!tail.is_empty() && counts[1] == 1));
            });
            assert!(cost.bytes_total < 64 * 1024, "{} bytes", cost.bytes_total);
        }
    }
}

#[test]
fn t20_compression_loops_and_every_truncation_give_nothing() {
    let good =
        answer("listed.kz", RecordType::A, vec![address("listed.kz", 60, "203.0.113.1")]).to_vec().unwrap();
    for length in 0..good.len() {
        let outcome = read(&good[..length], &AnswerLimits::default());
        assert!(!matches!(outcome, Outcome::Answer(_)), "{length}");
    }
    // The owner of the record is a pointer; let it lead to itself, forward, and to another pointer.
    let pointer = good.windows(2).position(|two| two == [0xc0, 12]).unwrap();
    for target in [pointer, pointer + 2, good.len(), 0x3fff] {
        let mut looped = good.clone();
        let [high, low] = u16::try_from(target).unwrap().to_be_bytes();
        looped[pointer] = 0xc0 | high;
        looped[pointer + 1] = low;
        let cost = allocation_counter::measure(|| {
            assert!(!matches!(read(&looped, &AnswerLimits::default()), Outcome::Answer(_)));
        });
        assert!(cost.bytes_total < 64 * 1024);
    }
}

#[test]
fn t19_many_addresses_and_odd_ttls() {
    let many: Vec<Record> = (1..=40).map(|last| address("a.kz", 30, &format!("203.0.113.{last}"))).collect();
    assert_eq!(facts(&answer("a.kz", RecordType::A, many)).found.addresses.len(), 40);
    let at = |ttl| facts(&answer("a.kz", RecordType::A, vec![address("a.kz", ttl, "203.0.113.1")])).found.ttl;
    assert_eq!((at(0), at(30), at(0x7fff_ffff), at(0x8000_0000)), (0, 30, 0x7fff_ffff, 0));
}

#[test]
fn limits_hold_at_the_limit_and_one_over() {
    let limits =
        AnswerLimits { records_max: 3, message_bytes_max: 400, found_max: 2, ..AnswerLimits::default() };
    let with = |count: u8| {
        let records = (1..=count).map(|last| address("a.kz", 30, &format!("203.0.113.{last}"))).collect();
        answer("a.kz", RecordType::A, records).to_vec().unwrap()
    };
    let Outcome::Answer(facts) = read(&with(3), &limits) else { panic!() };
    assert_eq!(texts(&facts.found.addresses), ["203.0.113.1", "203.0.113.2"]);
    assert_eq!(read(&with(4), &limits), Outcome::Oversize);
    let mut long = with(1);
    long.resize(400, 0);
    assert!(matches!(read(&long, &limits), Outcome::Answer(_)), "what follows the records is not looked at");
    long.push(0);
    assert_eq!(read(&long, &limits), Outcome::Oversize);
}

#[test]
fn n9_an_answer_for_the_a_label_matches_the_cyrillic_entry() {
    let entry = DomainName::from_list_entry("білім.қаз").unwrap();
    let message = answer(entry.as_str(), RecordType::A, vec![address(entry.as_str(), 60, "203.0.113.1")]);
    let host = facts(&message).question.name.host().unwrap();
    assert_eq!(DomainName::from_wire(&host).unwrap(), entry);
}
