//! Trusted answers: which addresses a listed name was seen at (DESIGN decisions 1 and 10, notes on DNS §4.3).
//!
//! Only answers of configured resolvers enter, and only for names that some list covers; of other names nothing is kept but
//! keyed hashes of their addresses. Private answers are never learnt; the caller says what is private, for
//! laboratories may permit it. Two maps:
//!
//! - `verification`: name ↔ address for everybody, 24 hours after it was last seen. It answers "may this name be there?".
//! - `dns_only`: address → name for one subscriber, minutes. It answers "what may a flow without a name be?".
//!
//! What is known beside them of an address that serves others too stands in `sharing`, for everybody, and `asked`, for one
//! subscriber. Both speak of IPv4 where an address is behind a NAT64 (`nat64`). Time and randomness are arguments.

mod asked;
mod dns_only;
mod nat64;
mod news;
mod sharing;
mod snapshot;
mod verification;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

pub use self::dns_only::{DnsOnly, DnsOnlyStanding};
pub use self::nat64::{Nat64, Nat64Error, Nat64Prefix};
pub use self::news::News;
pub use self::sharing::AddressFacts;
pub use self::snapshot::{Restored, SnapshotError};

use self::asked::Asked;
use self::dns_only::DnsOnlyMap;
use self::news::Newcomers;
use self::sharing::{Stated, Witnesses};
use self::verification::{Ech, Verification};
use super::session::SubscriberKey;
use super::time::Monotonic;
use crate::wire::dns;

/// Names that service bindings lead to, remembered at once; about 100 bytes each.
const TARGETS_MAX: usize = 65_536;
/// Listed names that one such target stands for; more are left out, and verified by their own look-ups.
const NAMES_PER_TARGET_MAX: usize = 16;

/// Sizes and times of the maps (DESIGN §7).
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// How long an address counts after it was last seen.
    pub retention: Duration,
    /// Pairs of name and address in all. Worst case about 250 bytes each.
    pub pairs_max: usize,
    /// Addresses of one name; the one seen longest ago makes room.
    pub addresses_per_name_max: usize,
    /// Listed names of one address; with more it counts as shared.
    pub names_per_address_max: u32,
    /// Subscribers to whom a domain must have been answered with an address of a listed name before it is a witness that the
    /// address is shared.
    pub shared_subscribers_min: usize,
    /// Domains that must be such witnesses before it counts as shared.
    pub shared_domains_min: usize,
    /// Pairs of the DNS-only map in all. Worst case about 150 bytes each.
    pub dns_only_pairs_max: usize,
    /// Pairs of one subscriber; the one that expires first makes room.
    pub dns_only_pairs_per_subscriber_max: usize,
}

impl Default for AnswerLimits {
    /// Those of DESIGN §7.
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(86_400),
            pairs_max: 1_000_000,
            addresses_per_name_max: 512,
            names_per_address_max: 256,
            shared_subscribers_min: 32,
            shared_domains_min: 8,
            dns_only_pairs_max: 1_000_000,
            dns_only_pairs_per_subscriber_max: 512,
        }
    }
}

/// What became of one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// A new pair.
    New,
    /// A known pair, seen again.
    Refreshed,
    /// The map is full of pairs that still hold.
    Full,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learning {
    /// Pairs that are new.
    pub new: usize,
    /// Pairs that were known.
    pub refreshed: usize,
    /// Pairs that found no room.
    pub full: usize,
    /// Addresses that may not be learnt.
    pub private: usize,
}

impl Learning {
    /// Counts what became of a pair.
    fn count(&mut self, learnt: Learnt) {
        let count = match learnt {
            Learnt::New => &mut self.new,
            Learnt::Refreshed => &mut self.refreshed,
            Learnt::Full => &mut self.full,
        };
        *count = count.saturating_add(1);
    }
}

/// The two maps, and what keeps them honest.
pub struct TrustedAnswers {
    verification: Verification,
    dns_only: DnsOnlyMap,
    asked: Asked,
    witnesses: Witnesses,
    /// Target of a service binding → the listed names it stands for, each with its last moment.
    targets: HashMap<DomainName, Vec<(DomainName, Monotonic)>>,
    nat64: Nat64,
    /// New addresses for whoever follows them.
    newcomers: Newcomers,
    /// Hashes the public names of Encrypted Client Hello.
    key: RandomState,
}

impl TrustedAnswers {
    /// Empty maps. `key` is random and of this process alone.
    pub fn new(limits: AnswerLimits, nat64: Nat64, key: RandomState) -> Self {
        Self {
            verification: Verification::new(
                limits.retention,
                limits.pairs_max,
                limits.addresses_per_name_max,
                limits.names_per_address_max,
            ),
            dns_only: DnsOnlyMap::new(limits.dns_only_pairs_per_subscriber_max, limits.dns_only_pairs_max),
            asked: Asked::new(key.clone()),
            witnesses: Witnesses::new(
                key.clone(),
                limits.retention,
                limits.shared_subscribers_min,
                limits.shared_domains_min,
            ),
            targets: HashMap::new(),
            nat64,
            newcomers: Newcomers::default(),
            key,
        }
    }

    /// The operator's NAT64: destinations are mapped with it before rules are asked.
    pub const fn nat64(&self) -> &Nat64 {
        &self.nat64
    }

    /// Takes what the operator states of addresses; to be called before anything is learnt.
    pub fn state(&mut self, facts: AddressFacts) {
        self.verification.state(facts);
    }

    /// Puts in an answer of the configuration, which never expires and is never evicted.
    pub fn pin(&mut self, name: &DomainName, address: IpAddr) {
        self.verification.pin(name, self.nat64.destination(address));
    }

    /// Learns an answer that a trusted resolver gave to a question that was asked: the caller has compared id, question
    /// and addresses. `subscriber` is who asked, none for our own look-ups. `listed` says whether some list speaks of a
    /// name, `permits` whether an address may be learnt.
    pub fn learn_answer(
        &mut self,
        facts: &dns::Facts,
        subscriber: Option<&SubscriberKey>,
        listed: impl Fn(&DomainName) -> bool,
        permits: impl Fn(IpAddr) -> bool,
        now: Monotonic,
    ) -> Learning {
        match facts.question.name.host().and_then(|host| DomainName::from_wire(&host).ok()) {
            Some(name) => self.learn_found(&name, &facts.found, subscriber, listed, permits, now),
            None => Learning::default(),
        }
    }

    /// Learns what was found for `name`; see [`TrustedAnswers::learn_answer`].
    pub fn learn_found(
        &mut self,
        name: &DomainName,
        found: &dns::Found,
        subscriber: Option<&SubscriberKey>,
        listed: impl Fn(&DomainName) -> bool,
        permits: impl Fn(IpAddr) -> bool,
        now: Monotonic,
    ) -> Learning {
        let mut learning = Learning::default();
        let addresses = self.usable(&found.addresses, &permits, &mut learning);
        let hints = self.usable(&found.hints, &permits, &mut learning);
        let ech: Vec<Ech> = found
            .ech
            .iter()
            .map(|config| (config.config_id, self.key.hash_one(&*config.public_name)))
            .collect();
        let expires = now.plus(self.verification.retention);
        let names = self.credited(name, &listed, now);
        if names.is_empty() {
            for address in addresses.iter().chain(&hints) {
                self.see_unlisted(name, *address, subscriber, now);
                self.verification.publish_at(*address, &ech);
            }
        }
        let ttl = Duration::from_secs(u64::from(found.ttl));
        for name in &names {
            for address in addresses.iter().chain(&hints) {
                learning.count(self.learn(name, *address, now));
            }
            if let Some(subscriber) = subscriber {
                for address in &addresses {
                    self.dns_only.learn(subscriber, name, *address, ttl, now);
                }
            }
            self.verification.publish(name, &ech);
            for target in &found.targets {
                self.lead(target, name, expires, now);
            }
        }
        learning
    }

    /// Learns that `name`, which is listed, has `address`.
    pub fn learn(&mut self, name: &DomainName, address: IpAddr, now: Monotonic) -> Learnt {
        let address = self.nat64.destination(address);
        let expires = now.plus(self.verification.retention);
        let learnt = self.verification.learn(name, address, expires, now);
        match learnt {
            Learnt::New => self.newcomers.add(address),
            Learnt::Refreshed | Learnt::Full => {}
        }
        learnt
    }

    /// Notes that `name`, which is not listed, was answered with `address`.
    fn see_unlisted(
        &mut self,
        name: &DomainName,
        address: IpAddr,
        subscriber: Option<&SubscriberKey>,
        now: Monotonic,
    ) {
        let Some(subscriber) = subscriber else { return };
        self.asked.see(subscriber, address, now);
        if !self.verification.has_address(address) {
            return;
        }
        let domain = allowlist::registry_domain(name.as_str().as_bytes());
        if let Some(until) = domain.and_then(|domain| self.witnesses.note(address, domain, subscriber, now)) {
            self.verification.mark_unlisted(address, until);
        }
    }

    /// The addresses that may be learnt, as rules speak of them.
    fn usable(
        &self,
        addresses: &[IpAddr],
        permits: impl Fn(IpAddr) -> bool,
        learning: &mut Learning,
    ) -> Vec<IpAddr> {
        let mapped = addresses.iter().map(|address| self.nat64.destination(*address));
        let usable: Vec<IpAddr> = mapped.filter(|address| permits(*address)).collect();
        let refused = addresses.len().saturating_sub(usable.len());
        learning.private = learning.private.saturating_add(refused);
        usable
    }

    /// The listed names that an answer for `name` speaks of: itself, and those whose service bindings lead to it.
    fn credited(
        &self,
        name: &DomainName,
        listed: impl Fn(&DomainName) -> bool,
        now: Monotonic,
    ) -> Vec<DomainName> {
        let own = std::iter::once(name).filter(|name| listed(name));
        let led = self.targets.get(name).into_iter().flatten();
        let led = led.filter(|(led, until)| now <= *until && led != name && listed(led));
        own.chain(led.map(|(led, _)| led)).cloned().collect()
    }

    /// Remembers that a service binding leads from `name` to `target`: what `target` has, `name` has (RFC 9460 §3).
    fn lead(&mut self, target: &dns::Name, name: &DomainName, until: Monotonic, now: Monotonic) {
        let Some(target) = target.host().and_then(|host| DomainName::from_wire(&host).ok()) else { return };
        if !self.targets.contains_key(&target) && self.targets.len() >= TARGETS_MAX {
            self.forget_targets(now);
            if self.targets.len() >= TARGETS_MAX {
                return;
            }
        }
        let names = self.targets.entry(target).or_default();
        let room = names.len() < NAMES_PER_TARGET_MAX;
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = until.max(*known),
            None if room => names.push((name.clone(), until)),
            None => {}
        }
    }

    /// Drops targets past their time.
    fn forget_targets(&mut self, now: Monotonic) {
        self.targets.retain(|_, names| {
            names.retain(|(_, until)| now <= *until);
            !names.is_empty()
        });
    }

    /// What was learnt since the last call. From the first call on, which says that everything may be new, new addresses are
    /// kept for the next one.
    pub fn take_news(&mut self) -> News {
        self.newcomers.take()
    }

    /// Addresses at which some listed name is at `now`, in no order; one of several names as often.
    pub fn addresses_counting(&self, now: Monotonic) -> impl Iterator<Item = IpAddr> {
        self.verification.counting(now)
    }

    /// Whether `address` was a trusted answer for `name` within the retention.
    pub fn vouches(&self, name: &DomainName, address: IpAddr, now: Monotonic) -> bool {
        self.vouched_since(name, address, now).is_some()
    }

    /// Since when `address` has been a trusted answer for `name`; `None` when it is not.
    pub fn vouched_since(&self, name: &DomainName, address: IpAddr, now: Monotonic) -> Option<Monotonic> {
        self.verification.since(name, self.nat64.destination(address), now)
    }

    /// What the subscriber's own answers say of `address`, for a flow that begins at `start`.
    pub fn dns_only(&self, subscriber: &SubscriberKey, address: IpAddr, start: Monotonic) -> Option<DnsOnly> {
        let address = self.nat64.destination(address);
        let found = self.dns_only.find(subscriber, address, start)?;
        Some(if self.is_shared_for(subscriber, address, start) { found.shared() } else { found })
    }

    /// Whether `address` counts as shared for the flows of `subscriber`: for everybody, or since he asked himself for an
    /// unlisted name that is there.
    pub fn is_shared_for(&self, subscriber: &SubscriberKey, address: IpAddr, now: Monotonic) -> bool {
        let address = self.nat64.destination(address);
        let dedicated = || self.verification.stated(address) == Some(Stated::Dedicated);
        self.verification.is_shared(address, now)
            || (self.asked.has(subscriber, address, now) && !dedicated())
    }

    /// Whether `address` counts as shared for everybody: it is stated, many independent witnesses say so, or it has more
    /// listed names than are told apart.
    pub fn is_shared(&self, address: IpAddr, now: Monotonic) -> bool {
        self.verification.is_shared(self.nat64.destination(address), now)
    }

    /// Whether an outer hello looks like one that hides another name: its `config_id` was published for `address`, and it
    /// does not show that configuration's public name. Invented ids (GREASE) hit one time in 256: an indicator, no proof.
    pub fn is_ech_suspect(&self, outer: &DomainName, address: IpAddr, config_id: u8) -> bool {
        let shown = self.key.hash_one(outer.as_str().as_bytes());
        let published = self.verification.ech(self.nat64.destination(address));
        let mut with_id = published.iter().filter(|(known, _)| *known == config_id).peekable();
        with_id.peek().is_some() && with_id.all(|(_, public_name)| *public_name != shown)
    }

    /// Drops everything past its time.
    pub fn sweep(&mut self, now: Monotonic) {
        self.verification.sweep(now);
        self.dns_only.sweep(now);
        self.forget_targets(now);
    }

    /// Pairs of name and address held.
    pub const fn pairs(&self) -> usize {
        self.verification.pairs()
    }

    /// Pairs of the DNS-only map.
    pub const fn dns_only_pairs(&self) -> usize {
        self.dns_only.pairs()
    }

    /// Subscribers with DNS-only evidence.
    pub fn dns_only_subscribers(&self) -> usize {
        self.dns_only.subscribers()
    }

    /// Addresses of listed names that count as shared for everybody at `now`.
    pub fn shared_addresses(&self, now: Monotonic) -> usize {
        self.verification.shared_addresses(now)
    }

    /// At most `max` addresses of `name`, the one that counts longest first, and such as no longer count the last.
    pub fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
        self.verification.known_addresses(name, max)
    }

    /// How many addresses `name` has.
    pub fn addresses(&self, name: &DomainName) -> usize {
        self.verification.addresses(name)
    }

    /// The names that have an address, in no order.
    pub fn names(&self) -> impl Iterator<Item = &DomainName> {
        self.verification.names()
    }
}
