//! The DNS message reader: places lie within the message, and what is believed hangs together.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::net::IpAddr;

use gateway::flow::dns_tunnel::suspicious;
use gateway::wire::dns::{
    AnswerLimits, Facts, HEADER_BYTES, Name, Outcome, RCODE_NO_ERROR, TYPE_A, TYPE_AAAA, TYPE_ANY, answer,
    question,
};
use gateway::wire::dnstap;
use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, RData, Record};

/// Small enough that the fuzzer meets the limits.
const LIMITS: AnswerLimits = AnswerLimits {
    message_bytes_max: 4_096,
    records_max: 64,
    cnames_max: 4,
    found_max: 8,
    ech_configs_max: 2,
};

/// What an answer says must follow from its question.
fn judge(message: &[u8], facts: &Facts) {
    let asked = question(message).expect("an answer has a readable question");
    assert_eq!(asked, facts.question);
    assert!(asked.is_response);
    let found = &facts.found;
    let nothing = found.addresses.is_empty() && found.hints.is_empty() && found.targets.is_empty();
    if facts.rcode != RCODE_NO_ERROR || asked.truncated {
        assert!(nothing && found.chain.is_empty() && found.ech.is_empty(), "{facts:?}");
    }
    assert!(found.chain.len() <= LIMITS.cnames_max && !found.chain.contains(&asked.name));
    for (place, name) in found.chain.iter().enumerate() {
        assert!(!found.chain[..place].contains(name), "a circle");
    }
    for list in [&found.addresses, &found.hints] {
        assert!(list.len() <= LIMITS.found_max);
    }
    assert!(found.targets.len() <= LIMITS.found_max && found.ech.len() <= LIMITS.ech_configs_max);
    let read = Message::from_vec(message).expect("an answer is believed in whole");
    reached(facts, &read.answers);
}

/// Every step of the chain is a record, every address one of the type asked for at its end, and none outlasts its records.
fn reached(facts: &Facts, answers: &[Record]) {
    let (asked, found) = (&facts.question, &facts.found);
    let mut at = &asked.name;
    for next in &found.chain {
        let leads = |data: &RData| matches!(data, RData::CNAME(target) if is(&target.0, next));
        holds(answers, at, found.ttl, leads);
        at = next;
    }
    for address in &found.addresses {
        let kind = if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        assert!([kind, TYPE_ANY].contains(&asked.kind), "{address} for type {}", asked.kind);
        holds(answers, at, found.ttl, |data| match data {
            RData::A(held) => IpAddr::V4(held.0) == *address,
            RData::AAAA(held) => IpAddr::V6(held.0) == *address,
            _ => false,
        });
    }
}

/// `owner` has such a record, and none of them ends before `ttl`.
fn holds(answers: &[Record], owner: &Name, ttl: u32, such: impl Fn(&RData) -> bool) {
    let mut records = answers
        .iter()
        .filter(|record| record.dns_class == DNSClass::IN && is(&record.name, owner) && such(&record.data))
        .peekable();
    assert!(records.peek().is_some(), "{owner:?} has no such record");
    assert!(records.all(|record| ttl <= record.ttl), "{ttl} outlasts a record of {owner:?}");
}

/// Whether the library's name is ours: label by label, in lower case.
fn is(theirs: &hickory_proto::rr::Name, ours: &Name) -> bool {
    theirs.iter().map(<[u8]>::to_ascii_lowercase).eq(ours.labels().map(<[u8]>::to_vec))
}

/// The bytes are a message, and a dnstap frame's payload.
pub fn run(data: &[u8]) {
    if let Ok(asked) = question(data) {
        assert_eq!(asked.section.start, HEADER_BYTES);
        assert!(asked.section.end <= data.len());
        // What stands behind the question does not change it.
        assert_eq!(question(&data[..asked.section.end]).as_ref().map(|asked| &asked.name), Ok(&asked.name));
        if let Some(domain) = suspicious(&asked.name, asked.kind, &mut [0; _]) {
            // A registered domain, a dot and something below it.
            assert!(!domain.is_empty() && domain.len() + 2 <= asked.name.wire().len());
        }
    }
    match answer(data, &LIMITS) {
        Outcome::Answer(facts) => judge(data, &facts),
        Outcome::Oversize | Outcome::NotAnAnswer | Outcome::Malformed { .. } => {}
    }
    if let Ok(Some(told)) = dnstap::observed(data) {
        assert!(told.response.len() <= data.len());
    }
    if let Ok((control, _)) = dnstap::control(data) {
        // Its written form is read as itself.
        let written = dnstap::control_frame(control);
        assert_eq!(dnstap::control(&written[8..]).map(|(control, _)| control), Ok(control));
    }
}
