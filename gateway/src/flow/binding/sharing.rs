//! What makes an address of a listed name *shared*, so that DNS-only evidence gives no right there and the caps for shared
//! addresses apply (decisions 10 and 26; traps N7, N8, T24, F1).
//!
//! Whoever has a domain can have it answer with any address, without the consent of who is there; a question for such a name
//! is proof of nothing. So three things count, and no others:
//!
//! - **Facts of the operator** ([`AddressFacts`]): prefixes that are shared, and prefixes that are not whatever is asked.
//! - **The list**: more exact entries and rules whose own answers hold the address than are told apart (N8). These names
//!   nobody can make up.
//! - **Many independent witnesses**, gathered here: at least `domains_min` domains, each of which was answered with the
//!   address to at least `subscribers_min` subscribers, within half the retention. A domain is what was bought at a
//!   registry: all that a provider gives away below its own name is one. A subscriber is kind and number, however many
//!   sessions and addresses he has; who is not known counts for nothing. Without new evidence it ends with the retention.
//!
//! What subscribers ask for is hearsay however many they are. An attacker with *k* subscriptions and *d* domains reaches
//! nothing with k < `subscribers_min`, whatever d, and nothing with d < `domains_min`, whatever k: for a domain to count,
//! that many others must have been led there too. With both he has an address counted as shared as long as he goes on
//! asking: then no more than the caps for shared addresses is exempt there for each subscriber, and flows without a name
//! are charged. The operator ends it with `dedicated_addresses`. Where sources can be forged, k is what can be forged. The
//! other way round he can keep evidence out: with questions below many domains he takes the places of an address, but
//! no more than his share of them.
//!
//! Only keyed hashes of domains and subscribers are kept, in memory, and only for addresses of listed names.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// Domains told apart at one address. At least as many as may be demanded.
const DOMAINS_PER_ADDRESS_MAX: usize = 64;
/// Witnesses remembered in all: one for each subscriber, domain and address. They take at most 40 MB.
const WITNESSES_MAX: usize = 1 << 20;
/// Of these, what one subscriber's questions bring.
const WITNESSES_PER_SUBSCRIBER_MAX: u32 = 1_024;

/// What the operator states of addresses. The longest prefix that has an address counts.
#[derive(Clone, Debug, Default)]
pub struct AddressFacts {
    /// Prefixes of addresses that serve other sites too.
    pub shared: Vec<IpNet>,
    /// Prefixes of addresses that serve listed sites alone, whatever is asked and answered.
    pub dedicated: Vec<IpNet>,
}

/// What is stated of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    /// It serves other sites too.
    Shared,
    /// It serves listed sites alone.
    Dedicated,
}

impl AddressFacts {
    /// What is stated of an address; of two prefixes of one length that it is shared.
    pub(super) fn of(&self, address: IpAddr) -> Option<Stated> {
        let longest = |prefixes: &[IpNet]| {
            prefixes.iter().filter(|prefix| prefix.contains(&address)).map(IpNet::prefix_len).max()
        };
        let (shared, dedicated) = (longest(&self.shared), longest(&self.dedicated));
        let stated = if shared >= dedicated { Stated::Shared } else { Stated::Dedicated };
        shared.max(dedicated).map(|_| stated)
    }
}

/// Who was led by which domains to addresses of listed names.
pub(super) struct Witnesses {
    key: RandomState,
    /// How long witnesses are gathered before all are forgotten.
    turn: Duration,
    subscribers_min: usize,
    domains_min: usize,
    /// When gathering began.
    began: Monotonic,
    addresses: HashMap<IpAddr, Gathered>,
    by_subscriber: HashMap<u64, u32>,
    witnesses: usize,
}

/// What was gathered of one address.
enum Gathered {
    /// Not enough.
    Some(Vec<Domain>),
    /// Enough: nothing more is asked for in this turn.
    Enough,
}

/// A domain that was answered with the address.
struct Domain {
    hash: u64,
    /// Whom; empty once they are enough.
    subscribers: Vec<u64>,
    /// They were enough.
    counts: bool,
}

impl Witnesses {
    /// None yet; they are gathered for half of `retention`.
    pub(super) fn new(
        key: RandomState,
        retention: Duration,
        subscribers_min: usize,
        domains_min: usize,
    ) -> Self {
        Self {
            key,
            turn: retention / 2,
            subscribers_min,
            domains_min: domains_min.min(DOMAINS_PER_ADDRESS_MAX),
            began: Monotonic::default(),
            addresses: HashMap::new(),
            by_subscriber: HashMap::new(),
            witnesses: 0,
        }
    }

    /// Notes that `subscriber` was given `address`, which a listed name has, for a name of `domain`. Until when the address
    /// counts as shared, if it is with this one that they are enough.
    pub(super) fn note(
        &mut self,
        address: IpAddr,
        domain: &[u8],
        subscriber: &SubscriberKey,
        now: Monotonic,
    ) -> Option<Monotonic> {
        let subscriber = match subscriber {
            SubscriberKey::Session(session) => {
                self.key.hash_one((session.subscriber_type(), session.subscriber_id()))
            }
            SubscriberKey::Address(_) => return None,
        };
        if now.since(self.began) >= self.turn {
            self.forget(now);
        }
        let own = self.by_subscriber.get(&subscriber).copied().unwrap_or(0);
        if self.witnesses >= WITNESSES_MAX || own >= WITNESSES_PER_SUBSCRIBER_MAX {
            return None;
        }
        let hash = self.key.hash_one(domain);
        let gathered = self.addresses.entry(address).or_insert_with(|| Gathered::Some(Vec::new()));
        let Gathered::Some(domains) = gathered else { return None };
        let domain = place(domains, hash, &mut self.witnesses)?;
        if domain.counts || domain.subscribers.contains(&subscriber) {
            return None;
        }
        domain.subscribers.push(subscriber);
        self.witnesses = self.witnesses.saturating_add(1);
        self.by_subscriber.insert(subscriber, own.saturating_add(1));
        if domain.subscribers.len() < self.subscribers_min {
            return None;
        }
        self.witnesses = self.witnesses.saturating_sub(domain.subscribers.len());
        (domain.subscribers, domain.counts) = (Vec::new(), true);
        if domains.iter().filter(|domain| domain.counts).count() < self.domains_min {
            return None;
        }
        let rest: usize = domains.iter().map(|domain| domain.subscribers.len()).sum();
        self.witnesses = self.witnesses.saturating_sub(rest);
        *gathered = Gathered::Enough;
        Some(self.began.plus(self.turn.saturating_mul(2)))
    }

    /// Begins anew.
    fn forget(&mut self, now: Monotonic) {
        (self.addresses, self.by_subscriber, self.witnesses) = (HashMap::new(), HashMap::new(), 0);
        self.began = now;
    }
}

/// The place of a domain, if need be that of the one with the fewest subscribers, the first of them.
fn place<'a>(domains: &'a mut Vec<Domain>, hash: u64, witnesses: &mut usize) -> Option<&'a mut Domain> {
    let known = domains.iter().position(|domain| domain.hash == hash);
    let fresh = || Domain { hash, subscribers: Vec::new(), counts: false };
    let at = match known {
        Some(at) => at,
        None if domains.len() < DOMAINS_PER_ADDRESS_MAX => {
            domains.push(fresh());
            domains.len().saturating_sub(1)
        }
        None => {
            let replaceable = domains.iter().enumerate().filter(|(_, domain)| !domain.counts);
            let (at, fewest) = replaceable.min_by_key(|(_, domain)| domain.subscribers.len())?;
            *witnesses = witnesses.saturating_sub(fewest.subscribers.len());
            domains.remove(at);
            domains.push(fresh());
            domains.len().saturating_sub(1)
        }
    };
    domains.get_mut(at)
}

#[cfg(test)]
mod tests {
    use billing_export::{Session, SubscriberType};

    use super::*;

    const SUBSCRIBERS_MIN: usize = 3;
    const DOMAINS_MIN: usize = 2;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    /// Ten hours of retention: five of gathering.
    fn witnesses() -> Witnesses {
        Witnesses::new(RandomState::new(), Duration::from_secs(36_000), SUBSCRIBERS_MIN, DOMAINS_MIN)
    }

    fn site() -> IpAddr {
        IpAddr::from([203, 0, 113, 1])
    }

    /// A subscriber in one of his sessions.
    fn who(number: usize, session: usize) -> SubscriberKey {
        let session =
            Session::new(SubscriberType::Account, &format!("s{number}"), &format!("{session}")).unwrap();
        SubscriberKey::Session(session)
    }

    /// Subscribers, each with two sessions, ask for domains, all of each before the next; what came of the last question.
    fn ask(witnesses: &mut Witnesses, subscribers: usize, domains: usize, now: u64) -> Option<Monotonic> {
        let mut last = None;
        for domain in 0..domains {
            for number in 0..subscribers {
                for session in 0..2 {
                    let domain = format!("domain-{domain}.example");
                    let found = witnesses.note(site(), domain.as_bytes(), &who(number, session), at(now));
                    last = last.or(found);
                }
            }
        }
        last
    }

    #[test]
    fn f1_one_subscriber_or_one_domain_fewer_than_demanded_reaches_nothing() {
        assert_eq!(ask(&mut witnesses(), SUBSCRIBERS_MIN - 1, 1_000, 0), None);
        assert_eq!(ask(&mut witnesses(), 1_000, DOMAINS_MIN - 1, 0), None);
        assert_eq!(ask(&mut witnesses(), SUBSCRIBERS_MIN, DOMAINS_MIN, 0), Some(at(36_000)));
    }

    #[test]
    fn f1_addresses_without_a_subscriber_are_no_witnesses() {
        let mut witnesses = witnesses();
        for last in 0..200 {
            for domain in [b"one.example", b"two.example"] {
                let who = SubscriberKey::Address(IpAddr::from([10, 0, 0, last]));
                assert_eq!(witnesses.note(site(), domain, &who, at(0)), None);
            }
        }
        assert_eq!(witnesses.witnesses, 0);
    }

    #[test]
    fn f1_evidence_is_forgotten_after_half_the_retention_and_ends_with_it() {
        let mut gathering = witnesses();
        assert_eq!(ask(&mut gathering, SUBSCRIBERS_MIN - 1, DOMAINS_MIN, 100), None);
        let mut last = |now| {
            let found = ["domain-0.example", "domain-1.example"]
                .map(|domain| gathering.note(site(), domain.as_bytes(), &who(9, 0), at(now)));
            found[1]
        };
        assert_eq!(last(18_000), None, "the turn is over: this is the first witness of the next");
        let mut in_time = witnesses();
        assert_eq!(ask(&mut in_time, SUBSCRIBERS_MIN, DOMAINS_MIN, 17_999), Some(at(36_000)));
        assert_eq!(ask(&mut in_time, SUBSCRIBERS_MIN, DOMAINS_MIN, 17_999), None, "told once a turn");
        assert_eq!(ask(&mut in_time, SUBSCRIBERS_MIN, DOMAINS_MIN, 18_500), Some(at(54_500)));
    }

    #[test]
    fn f1_a_subscriber_s_share_is_all_he_can_bring_or_keep_out() {
        let mut witnesses = witnesses();
        let domain = |number: usize| format!("flood-{number}.example");
        for number in 0..5_000 {
            witnesses.note(site(), domain(number).as_bytes(), &who(0, 0), at(0));
        }
        assert_eq!(witnesses.by_subscriber.values().copied().max(), Some(WITNESSES_PER_SUBSCRIBER_MAX));
        assert_eq!(witnesses.witnesses, DOMAINS_PER_ADDRESS_MAX);
        let elsewhere = IpAddr::from([203, 0, 113, 2]);
        assert_eq!(witnesses.note(elsewhere, b"domain-0.example", &who(0, 0), at(0)), None);
        assert!(!witnesses.addresses.contains_key(&elsewhere), "his share is used up");
        // His domains go first: each has one subscriber.
        let mut found = None;
        for number in 1..=SUBSCRIBERS_MIN {
            for domain in [b"one.example", b"two.example"] {
                found = found.or(witnesses.note(site(), domain, &who(number, 0), at(0)));
            }
        }
        assert_eq!(found, Some(at(36_000)));
        assert_eq!(witnesses.witnesses, 0, "once they are enough nobody need be remembered");
    }

    #[test]
    fn f1_what_the_operator_states_holds_by_the_longest_prefix() {
        let facts = AddressFacts {
            shared: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            dedicated: vec!["203.0.113.64/26".parse().unwrap(), "198.51.100.0/24".parse().unwrap()],
        };
        let of = |text: &str| facts.of(text.parse().unwrap());
        assert_eq!(of("203.0.113.63"), Some(Stated::Shared));
        assert_eq!(of("203.0.113.64"), Some(Stated::Dedicated));
        assert_eq!(of("198.51.100.1"), Some(Stated::Dedicated));
        assert_eq!(of("2001:db8::1"), Some(Stated::Shared));
        assert_eq!(of("192.0.2.1"), None);
    }
}
