//! Learning from answers: only for the name that was asked for and those whose bindings lead to it, only if it is listed, only
//! addresses that may be learnt, only for the subscriber who asked, never more than the limits; and a snapshot gives the same
//! back.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::collections::HashSet;
use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use gateway::flow::address;
use gateway::flow::binding::{AnswerLimits, Listing, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::{Moment, Monotonic};
use gateway::wire::dns::{self, Facts, Outcome};

/// Small enough that the fuzzer meets the limits.
const LIMITS: AnswerLimits = AnswerLimits {
    retention: Duration::from_secs(60),
    pairs_max: 6,
    pairs_per_rule_max: 4,
    pairs_per_subscriber_max: 3,
    wildcard_names_min: 2,
    addresses_per_name_max: 3,
    names_per_address_max: 2,
    shared_subscribers_min: 2,
    shared_domains_min: 2,
    dns_only_pairs_max: 4,
    dns_only_pairs_per_subscriber_max: 2,
};

/// Host of the rule.
const LISTED: &str = "listed.example";

/// Everything below `listed.example`.
fn is_listed(name: &DomainName) -> bool {
    listing(name) != Listing::Unlisted
}

/// The same by a rule for the names below it.
fn listing(name: &DomainName) -> Listing {
    match name.as_str().strip_suffix(LISTED) {
        Some("") => Listing::Own,
        Some(rest) if rest.ends_with('.') => Listing::Below { host_bytes: LISTED.len() },
        Some(_) | None => Listing::Unlisted,
    }
}

/// Whether the name is below the rule's host.
fn is_below(name: &DomainName) -> bool {
    matches!(listing(name), Listing::Below { .. })
}

/// An empty map.
fn empty() -> TrustedAnswers {
    TrustedAnswers::new(LIMITS, Nat64::default(), RandomState::new())
}

/// Subscribers who ask in turn, so that each comes to have more answers than are kept for one.
const SUBSCRIBERS: usize = 2;

/// An answer that was learnt.
pub struct Told {
    /// The name that was asked for.
    name: DomainName,
    /// The place of the subscriber who asked.
    subscriber: usize,
    /// Addresses of the answer, as rules speak of them.
    addresses: Vec<IpAddr>,
    /// Addresses that its service bindings hint at, the same.
    hints: Vec<IpAddr>,
    /// Where its service bindings lead.
    targets: Vec<DomainName>,
}

/// All that were learnt.
type Asked = Vec<Told>;

/// A name of the wire as one that lists have; `None` when it is no host.
fn host(name: &dns::Name) -> Option<DomainName> {
    name.host().and_then(|host| DomainName::from_wire(&host).ok())
}

/// What an answer told that was given to this subscriber.
fn told(facts: &Facts, subscriber: usize) -> Option<Told> {
    let mapped = |all: &[IpAddr]| all.iter().map(|one| Nat64::default().destination(*one)).collect();
    Some(Told {
        name: host(&facts.question.name)?,
        subscriber,
        addresses: mapped(&facts.found.addresses),
        hints: mapped(&facts.found.hints),
        targets: facts.found.targets.iter().filter_map(host).collect(),
    })
}

/// The subscriber of this place.
fn who(place: usize) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::from([10, 0, 0, place as u8]))
}

/// Whether an answer speaks for `name`: it was asked for, or a binding of `name` leads to what was.
fn speaks_for(told: &Told, name: &DomainName, asked: &Asked) -> bool {
    let leads = |other: &Told| other.name == *name && other.targets.contains(&told.name);
    told.name == *name || asked.iter().any(leads)
}

/// Whether an address may be learnt: as by default.
fn is_public(address: IpAddr) -> bool {
    address::is_public(address, &Nat64::default())
}

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
        let subscriber = asked.len() % SUBSCRIBERS;
        answers.learn_answer(&facts, Some(&who(subscriber)), listing, is_public, now);
        asked.extend(told(&facts, subscriber));
    }
    (answers, asked, now)
}

/// What was learnt must follow from what was answered.
pub fn run(data: &[u8]) {
    let (answers, asked, now) = learn(data);
    assert!(answers.pairs() <= LIMITS.pairs_max);
    assert!(answers.dns_only_pairs() <= LIMITS.dns_only_pairs_max);
    assert!(answers.dns_only_subscribers() <= SUBSCRIBERS);
    for name in answers.names() {
        assert!(is_listed(&name), "an unlisted name is held");
        assert!(asked.iter().any(|told| told.name == name), "{name} was never asked for");
    }
    let wall = jiff::Timestamp::from_second(1_600_000_000).unwrap();
    let mut again = empty();
    let moment = Moment { wall, monotonic: now };
    again.restore(&answers.snapshot(moment), listing, is_public, moment).unwrap();
    assert_eq!(again.dns_only_pairs(), 0, "who looked up what is never written");
    for address in asked.iter().flat_map(|told| told.addresses.iter().chain(&told.hints)) {
        for Told { name, .. } in &asked {
            let vouched = answers.vouches(name, *address, now);
            // A pair in its last moment is not written: a copy never says more, and all that counts a moment longer.
            let kept = again.vouches(name, *address, now);
            let lasts = answers.vouches(name, *address, now.plus(Duration::from_millis(1)));
            assert!((!kept || vouched) && (!lasts || kept), "{name} {address}");
            let gave = |told: &Told| told.addresses.contains(address) || told.hints.contains(address);
            let speaks =
                |name: &DomainName| asked.iter().any(|told| gave(told) && speaks_for(told, name, &asked));
            // Or it is where the site answers whatever is asked below it.
            let below: HashSet<_> =
                asked.iter().map(|told| &told.name).filter(|name| is_below(name)).collect();
            let names = below.into_iter().filter(|name| speaks(name)).count();
            let earned = speaks(name) || (is_below(name) && names >= LIMITS.wildcard_names_min);
            assert!(!vouched || (is_listed(name) && is_public(*address) && earned), "{name} {address}");
        }
        (0..SUBSCRIBERS).for_each(|subscriber| judge_dns_only(&answers, &asked, subscriber, *address, now));
    }
    // A snapshot that is none is refused whole.
    let mut other = empty();
    if other.restore(data, listing, is_public, moment).is_err() {
        assert_eq!(other.pairs(), 0);
    }
}

/// A subscriber has names at an address only from answers that he was given, and never from hints.
fn judge_dns_only(
    answers: &TrustedAnswers,
    asked: &Asked,
    subscriber: usize,
    address: IpAddr,
    now: Monotonic,
) {
    let Some(found) = answers.dns_only(&who(subscriber), address, now) else { return };
    assert!(is_public(address) && !found.names.is_empty());
    assert!(found.names.len() <= LIMITS.dns_only_pairs_per_subscriber_max);
    for name in &found.names {
        let own = |told: &Told| told.subscriber == subscriber && told.addresses.contains(&address);
        let earned = asked.iter().any(|told| own(told) && speaks_for(told, name, asked));
        assert!(is_listed(name) && earned, "{name} {address}");
    }
}
