//! Trusted answers: what is learnt, for whom, how long, and what a restart keeps (traps N6–N8, N10–N13, T17–T21).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

#[path = "trusted_answers/records.rs"]
mod records;
#[path = "trusted_answers/room.rs"]
mod room;
#[path = "trusted_answers/shared.rs"]
mod shared;
#[path = "trusted_answers/snapshot.rs"]
mod snapshot;

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use billing_export::{Session, SubscriberType};
use gateway::flow::address::is_public;
use gateway::flow::binding::{AnswerLimits, DnsOnlyStanding, Learning, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::Monotonic;
use gateway::wire::dns::Facts;
use support::messages::addresses;

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::new(Duration::from_secs(seconds))
}

fn who(last: u8) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
}

/// Names below `listed.kz` are listed.
fn listed(name: &DomainName) -> bool {
    name.is_within(&self::name("listed.kz"))
}

/// Public addresses of this file: the documentation ranges count too.
fn permits(address: IpAddr) -> bool {
    let documentation = ["192.0.2.", "198.51.100.", "203.0.", "2001:db8:"];
    is_public(address, &Nat64::default())
        || documentation.iter().any(|range| address.to_string().starts_with(range))
}

/// Maps of an ordinary node, with a retention of 1,000 s; two domains with two subscribers each make an address shared.
fn maps() -> TrustedAnswers {
    with(AnswerLimits {
        retention: Duration::from_secs(1_000),
        shared_subscribers_min: 2,
        shared_domains_min: 2,
        ..AnswerLimits::default()
    })
}

/// A subscriber whom the operator knows.
fn known(number: usize) -> SubscriberKey {
    let id = format!("s{number}");
    SubscriberKey::Session(Session::new(SubscriberType::Account, &id, "").unwrap())
}

/// So many subscribers ask for so many unlisted names at an address.
fn witness(maps: &mut TrustedAnswers, address: &str, subscribers: usize, domains: usize, now: u64) {
    for subscriber in 0..subscribers {
        for domain in 0..domains {
            let facts = addresses(&format!("www.stranger-{domain}.kz"), 300, &[address]);
            maps.learn_answer(&facts, Some(&known(subscriber)), listed, permits, at(now));
        }
    }
}

fn with(limits: AnswerLimits) -> TrustedAnswers {
    TrustedAnswers::new(limits, Nat64::default(), RandomState::new())
}

/// Learns an answer that subscriber 1 was given.
fn learn(maps: &mut TrustedAnswers, facts: &Facts, now: u64) -> Learning {
    maps.learn_answer(facts, Some(&who(1)), listed, permits, at(now))
}

/// What subscriber 1 may say of an address.
fn standing(maps: &TrustedAnswers, address: &str, start: u64) -> Option<DnsOnlyStanding> {
    maps.dns_only(&who(1), ip(address), at(start)).map(|found| found.standing)
}
