//! A capture of one client, its resolver and one attacker, and the flows behind it: nothing is learnt that answers no
//! question, no private address, and no name but the one asked for.
//!
//! The input is a list of datagrams: one byte says who sends to whom, two say how long the message is, then the message.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use gateway::flow::address::is_public;
use gateway::flow::binding::{AnswerLimits, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::Monotonic;
use gateway::wire::dns::{self, Outcome};

/// Datagrams of one input.
const DATAGRAMS_MAX: usize = 64;

/// Whether a name is on the list of this target: every second one, so that both kinds are met.
fn listed(name: &DomainName) -> bool {
    name.as_str().len().is_multiple_of(2)
}

/// Takes the next datagram: whether it comes from the resolver, and the message.
fn next<'a>(data: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let (&[who, high, low], rest) = data.split_first_chunk::<3>()?;
    let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (message, rest) = rest.split_at(length);
    *data = rest;
    Some((who & 1 == 1, message))
}

/// `data` is the datagrams.
pub fn run(data: &[u8]) {
    let mut rest = data;
    let limits = AnswerLimits { pairs_max: 40, addresses_per_name_max: 8, ..AnswerLimits::default() };
    let mut trusted = TrustedAnswers::new(limits, Nat64::default(), RandomState::new());
    let subscriber = SubscriberKey::stranger(IpAddr::from([10, 0, 0, 2]));
    let mut asked: HashSet<(u16, Vec<u8>)> = HashSet::new();
    // What an honest reader could have learnt: names asked for and answered, and where their bindings lead.
    let mut answered: HashMap<DomainName, HashSet<IpAddr>> = HashMap::new();
    let mut leads = false;
    for number in 0..DATAGRAMS_MAX {
        let Some((from_resolver, message)) = next(&mut rest) else { break };
        let Ok(read) = dns::question(message) else { continue };
        let key = (read.id, message[read.section.clone()].to_vec());
        if !from_resolver {
            if !read.is_response {
                asked.insert(key);
            }
            continue;
        }
        if !read.is_response || !asked.remove(&key) {
            continue;
        }
        let Outcome::Answer(facts) = dns::answer(message, &dns::AnswerLimits::default()) else { continue };
        let now = Monotonic::new(Duration::from_secs(number as u64));
        let learning = trusted.learn_answer(&facts, Some(&subscriber), listed, is_public, now);
        assert!(trusted.pairs() <= 40 && trusted.dns_only_pairs() <= 512 * 40);
        let found = facts.found.addresses.iter().chain(&facts.found.hints);
        let found: HashSet<IpAddr> = found.map(|address| trusted.nat64().destination(*address)).collect();
        assert!(
            learning.new + learning.refreshed + learning.full == 0 || found.iter().any(|one| is_public(*one))
        );
        leads |= !facts.found.targets.is_empty();
        if let Some(name) = read.name.host().and_then(|host| DomainName::from_wire(&host).ok()) {
            answered.entry(name).or_default().extend(found);
        }
    }
    let now = Monotonic::new(Duration::from_secs(DATAGRAMS_MAX as u64));
    let names: Vec<DomainName> = trusted.names().cloned().collect();
    assert!(names.iter().all(listed), "a name outside the list is stored");
    let everywhere: HashSet<IpAddr> = answered.values().flatten().copied().collect();
    for name in &names {
        for address in &everywhere {
            if trusted.vouches(name, *address, now) {
                assert!(is_public(*address), "{address} is private");
                let own = answered.get(name).is_some_and(|own| own.contains(address));
                assert!(own || leads, "{name} never had {address}");
            }
        }
    }
    restart(&trusted, now);
}

/// What a restart takes back is what was there.
fn restart(trusted: &TrustedAnswers, now: Monotonic) {
    let moment = gateway::flow::time::Moment {
        wall: allowlist::Timestamp::from_second(1_600_000_000).unwrap(),
        monotonic: now,
    };
    let mut after = TrustedAnswers::new(AnswerLimits::default(), Nat64::default(), RandomState::new());
    let restored = after.restore(&trusted.snapshot(moment), listed, is_public, moment).unwrap();
    assert_eq!((restored.pairs, restored.dropped), (trusted.pairs(), 0));
}
