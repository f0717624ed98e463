//! Learning from answers: only the name that was asked for, only if it is listed, only addresses that may be learnt, never
//! more than the limits; and a snapshot gives the same back.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use gateway::flow::address::is_public;
use gateway::flow::binding::{AnswerLimits, Nat64, TrustedAnswers};
use gateway::flow::time::{Moment, Monotonic};
use gateway::wire::dns::{self, Outcome};

/// Small enough that the fuzzer meets the limits.
const LIMITS: AnswerLimits = AnswerLimits {
    retention: Duration::from_secs(60),
    pairs_max: 6,
    addresses_per_name_max: 3,
    names_per_address_max: 2,
    dns_only_pairs_max: 4,
    dns_only_pairs_per_subscriber_max: 2,
};

/// Everything below `listed.example`.
fn is_listed(name: &DomainName) -> bool {
    name.as_str() == "listed.example" || name.as_str().ends_with(".listed.example")
}

/// An empty map.
fn empty() -> TrustedAnswers {
    TrustedAnswers::new(LIMITS, Nat64::default(), RandomState::new())
}

/// Names with what answers said of them.
type Asked = Vec<(DomainName, Vec<IpAddr>)>;

/// Learns from messages, cut by a byte of length times eight each; a second passes between two.
pub fn learn(data: &[u8]) -> (TrustedAnswers, Asked, Monotonic) {
    let mut answers = empty();
    let mut now = Monotonic::new(Duration::from_secs(1));
    let mut asked = Asked::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (message, after) = after.split_at((usize::from(*length) * 8).min(after.len()));
        rest = after;
        now = now.plus(Duration::from_secs(1));
        let Outcome::Answer(facts) = dns::answer(message, &dns::AnswerLimits::default()) else { continue };
        answers.learn_answer(&facts, None, is_listed, is_public, now);
        if let Some(name) = facts.question.name.host().and_then(|host| DomainName::from_wire(&host).ok()) {
            let found = [facts.found.addresses.clone(), facts.found.hints.clone()].concat();
            asked.push((name, found));
        }
    }
    (answers, asked, now)
}

/// What was learnt must follow from what was answered.
pub fn run(data: &[u8]) {
    let (answers, asked, now) = learn(data);
    assert!(answers.pairs() <= LIMITS.pairs_max);
    assert!(answers.names().all(is_listed), "an unlisted name is held");
    for name in answers.names() {
        assert!(asked.iter().any(|(known, _)| known == name), "{name} was never asked for");
    }
    let wall = jiff::Timestamp::from_second(1_600_000_000).unwrap();
    let mut again = empty();
    let moment = Moment { wall, monotonic: now };
    again.restore(&answers.snapshot(moment), is_listed, is_public, moment).unwrap();
    for (name, found) in &asked {
        for address in found {
            let vouched = answers.vouches(name, *address, now);
            assert!(!vouched || (is_listed(name) && is_public(Nat64::default().destination(*address))));
            assert_eq!(again.vouches(name, *address, now), vouched, "{name} {address}");
        }
    }
    // A snapshot that is none is refused whole.
    let mut other = empty();
    if other.restore(data, is_listed, is_public, moment).is_err() {
        assert_eq!(other.pairs(), 0);
    }
}
