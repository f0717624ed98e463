//! What a subscriber's own look-ups say of an address: evidence of second class, for flows without a readable name
//! (decision 10).
//!
//! A pair holds as long as the answer's TTL and a grace, at most an hour, and only for the subscriber who asked; it is
//! looked at when a flow starts. Hints do not enter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

use super::Learnt;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// A shorter TTL counts as this: applications keep addresses longer than they may.
const TTL_MIN: Duration = Duration::from_secs(60);
/// From the end of the TTL to the start of a flow (a key of `config/examples/full.toml`).
const GRACE: Duration = Duration::from_secs(120);
/// Longest time a pair holds (a key of `config/examples/full.toml`).
pub(super) const HELD_MAX: Duration = Duration::from_secs(3_600);
/// How long an expired pair is remembered, so that the flow is told `dns_expired` and not `no_name`.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// A full map is searched for old pairs at most so often: the search looks at every pair.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

/// What a subscriber's look-ups say of the address of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOnly {
    /// The listed names he asked for that the address was an answer to; the one that holds longest first, never empty.
    pub names: Vec<DomainName>,
    /// Whether they count.
    pub standing: DnsOnlyStanding,
}

/// Whether DNS-only evidence counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsOnlyStanding {
    /// It does.
    Fresh,
    /// The answer had expired when the flow began.
    Expired,
    /// The address serves names that are not listed, or too many names.
    Shared,
}

impl DnsOnly {
    /// The same, at an address that serves others too. What has expired stays expired.
    #[must_use]
    pub fn shared(self) -> Self {
        let standing = match self.standing {
            DnsOnlyStanding::Fresh | DnsOnlyStanding::Shared => DnsOnlyStanding::Shared,
            DnsOnlyStanding::Expired => DnsOnlyStanding::Expired,
        };
        Self { standing, ..self }
    }
}

/// Address and name by subscriber.
pub(super) struct DnsOnlyMap {
    pairs_per_subscriber_max: usize,
    pairs_max: usize,
    subscribers: HashMap<SubscriberKey, Vec<Pair>>,
    pairs: usize,
    /// When old pairs were last dropped.
    swept: Option<Monotonic>,
}

/// A listed name that was answered with an address.
struct Pair {
    address: IpAddr,
    name: DomainName,
    /// When it last was.
    seen: Monotonic,
    /// The last moment at which a flow may begin.
    expires: Monotonic,
}

impl DnsOnlyMap {
    /// An empty map.
    pub(super) fn new(pairs_per_subscriber_max: usize, pairs_max: usize) -> Self {
        Self { pairs_per_subscriber_max, pairs_max, subscribers: HashMap::new(), pairs: 0, swept: None }
    }

    /// Learns that the subscriber was given `address` for `name`.
    pub(super) fn learn(
        &mut self,
        subscriber: &SubscriberKey,
        name: &DomainName,
        address: IpAddr,
        ttl: Duration,
        now: Monotonic,
    ) -> Learnt {
        let held = ttl.max(TTL_MIN).saturating_add(GRACE).min(HELD_MAX);
        let expires = now.plus(held);
        let own = self.subscribers.get_mut(subscriber);
        let count = own.as_ref().map_or(0, |own| own.len());
        if let Some(own) = own {
            let known = own.iter_mut().find(|pair| pair.address == address && pair.name == *name);
            if let Some(known) = known {
                (known.seen, known.expires) = (now, known.expires.max(expires));
                return Learnt::Refreshed;
            }
            if count >= self.pairs_per_subscriber_max {
                let Some(oldest) = own.iter_mut().min_by_key(|pair| pair.expires) else {
                    return Learnt::Full;
                };
                *oldest = Pair { address, name: name.clone(), seen: now, expires };
                return Learnt::New;
            }
        }
        if self.pairs >= self.pairs_max {
            if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP_PAUSE) {
                self.sweep(now);
            }
            if self.pairs >= self.pairs_max {
                return Learnt::Full;
            }
        }
        let own = self.subscribers.entry(subscriber.clone()).or_default();
        own.push(Pair { address, name: name.clone(), seen: now, expires });
        self.pairs = self.pairs.saturating_add(1);
        Learnt::New
    }

    /// Whether the subscriber was given `address` for `name` within `retention`, as far as it is remembered.
    pub(super) fn has(
        &self,
        subscriber: &SubscriberKey,
        name: &DomainName,
        address: IpAddr,
        retention: Duration,
        now: Monotonic,
    ) -> bool {
        let own = self.subscribers.get(subscriber).into_iter().flatten();
        let mut given = own.filter(|pair| pair.address == address && pair.name == *name);
        given.any(|pair| now.since(pair.seen) <= retention && now.since(pair.expires) < REMEMBERED)
    }

    /// What the subscriber's answers say of `address`, for a flow that begins at `start`.
    pub(super) fn find(
        &self,
        subscriber: &SubscriberKey,
        address: IpAddr,
        start: Monotonic,
    ) -> Option<DnsOnly> {
        let own = self.subscribers.get(subscriber)?;
        let mut pairs: Vec<&Pair> = own.iter().filter(|pair| pair.address == address).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.expires));
        let newest = pairs.first()?;
        let standing =
            if newest.expires >= start { DnsOnlyStanding::Fresh } else { DnsOnlyStanding::Expired };
        let counts = |pair: &&&Pair| pair.expires >= start || standing == DnsOnlyStanding::Expired;
        let names = pairs.iter().filter(counts).map(|pair| pair.name.clone()).collect();
        Some(DnsOnly { names, standing })
    }

    /// Drops pairs that nobody needs to be told of any more.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        let mut pairs = 0_usize;
        self.subscribers.retain(|_, own| {
            own.retain(|pair| now.since(pair.expires) < REMEMBERED);
            pairs = pairs.saturating_add(own.len());
            !own.is_empty()
        });
        self.pairs = pairs;
        self.swept = Some(now);
    }

    /// Pairs held.
    pub(super) const fn pairs(&self) -> usize {
        self.pairs
    }

    /// Subscribers with at least one pair.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn who(last: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    fn v4(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([203, 0, high, low])
    }

    /// Whether evidence of one TTL counts for a flow that begins that many seconds later.
    fn counts(ttl: u64, later: u64) -> bool {
        let mut map = DnsOnlyMap::new(8, 8);
        map.learn(&who(1), &name("a.kz"), v4(1), Duration::from_secs(ttl), at(10));
        let found = map.find(&who(1), v4(1), at(10 + later)).unwrap();
        found.standing == DnsOnlyStanding::Fresh
    }

    #[test]
    fn n6_a_pair_holds_for_its_ttl_and_grace_and_at_most_an_hour() {
        for (ttl, edge) in
            [(0, 180), (30, 180), (60, 180), (61, 181), (300, 420), (3_480, 3_600), (86_400, 3_600)]
        {
            assert!(counts(ttl, edge), "{ttl}");
            assert!(!counts(ttl, edge + 1), "{ttl}");
        }
    }

    #[test]
    fn n13_a_pair_is_its_subscribers_alone() {
        let mut map = DnsOnlyMap::new(8, 8);
        map.learn(&who(1), &name("a.kz"), v4(1), TTL_MIN, at(0));
        assert!(map.find(&who(1), v4(1), at(0)).is_some());
        assert_eq!(map.find(&who(2), v4(1), at(0)), None);
        assert_eq!(map.find(&who(1), v4(2), at(0)), None);
    }

    #[test]
    fn n8_the_pair_over_the_subscribers_limit_takes_the_place_of_the_first_to_expire() {
        let mut map = DnsOnlyMap::new(512, 10_000);
        for last in 0..512_u16 {
            map.learn(&who(1), &name("a.kz"), v4(last), Duration::from_secs(100 + u64::from(last)), at(0));
        }
        assert_eq!(map.pairs(), 512);
        assert_eq!(map.learn(&who(1), &name("a.kz"), v4(600), TTL_MIN, at(0)), Learnt::New);
        assert_eq!(map.pairs(), 512);
        assert_eq!(map.find(&who(1), v4(0), at(0)), None);
        assert!(map.find(&who(1), v4(600), at(0)).is_some());
    }

    #[test]
    fn a_full_map_refuses_until_old_pairs_may_be_forgotten() {
        let mut map = DnsOnlyMap::new(8, 2);
        map.learn(&who(1), &name("a.kz"), v4(1), TTL_MIN, at(0));
        map.learn(&who(2), &name("a.kz"), v4(1), TTL_MIN, at(0));
        assert_eq!(map.learn(&who(3), &name("a.kz"), v4(1), TTL_MIN, at(1)), Learnt::Full);
        assert_eq!(map.find(&who(3), v4(1), at(1)), None);
        assert_eq!(map.learn(&who(3), &name("a.kz"), v4(1), TTL_MIN, at(180 + 3_600)), Learnt::New);
        assert_eq!((map.pairs(), map.subscribers()), (1, 1));
    }

    #[test]
    fn all_fresh_names_of_an_address_are_told_the_longest_lived_first() {
        let mut map = DnsOnlyMap::new(8, 8);
        map.learn(&who(1), &name("a.kz"), v4(1), TTL_MIN, at(0));
        map.learn(&who(1), &name("b.kz"), v4(1), TTL_MIN, at(100));
        let found = |start| map.find(&who(1), v4(1), at(start)).unwrap();
        assert_eq!(found(180).names, [name("b.kz"), name("a.kz")]);
        assert_eq!(found(181).names, [name("b.kz")]);
        assert_eq!(found(281).standing, DnsOnlyStanding::Expired);
        assert_eq!(found(281).names, [name("b.kz"), name("a.kz")]);
    }
}
