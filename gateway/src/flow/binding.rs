//! Trusted answers: which addresses a listed name was seen at (decisions 1 and 10, notes on DNS §4.3).
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

mod addresses;
mod asked;
mod dns_only;
mod learner;
mod nat64;
mod news;
mod shares;
mod sharing;
mod snapshot;
mod targets;
mod verification;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

pub use self::dns_only::{DnsOnly, DnsOnlyStanding};
pub use self::learner::{Asker, Listing};
pub use self::nat64::{Nat64, Nat64Error, Nat64Prefix};
pub use self::news::News;
pub use self::sharing::AddressFacts;
pub use self::snapshot::{Restored, SnapshotError};

use self::addresses::Ech;
use self::asked::Asked;
use self::dns_only::DnsOnlyMap;
use self::learner::Bringer;
use self::news::Newcomers;
use self::sharing::{Stated, Witnesses};
use self::targets::Targets;
use self::verification::{Pressure, Verification};
use super::session::SubscriberKey;
use super::time::Monotonic;
use crate::wire::dns;

/// For how long a share counts as used up after room was last made in it.
const PRESSURE_TOLD: Duration = Duration::from_secs(600);

/// Sizes and times of the maps (a key of `config/examples/full.toml`).
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// How long an address counts after it was last seen.
    pub retention: Duration,
    /// Pairs of name and address in all. Worst case about 400 bytes each.
    pub pairs_max: usize,
    /// Of these, pairs of names below one rule.
    pub pairs_per_rule_max: usize,
    /// Pairs of names below rules that one subscriber was the first to have looked up.
    pub pairs_per_subscriber_max: usize,
    /// Names below one rule that were answered with an address before it is kept once, for all names below the rule.
    pub wildcard_names_min: usize,
    /// Addresses of one name; the one seen longest ago makes room.
    pub addresses_per_name_max: usize,
    /// Entries of the list that have one address; with more it counts as shared. All names below a rule are one.
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
    /// The defaults of `[trusted_answers]`.
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(86_400),
            pairs_max: 1_000_000,
            pairs_per_rule_max: 250_000,
            pairs_per_subscriber_max: 15_625,
            wildcard_names_min: 32,
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
    /// The map, or the share of the rule or subscriber, is full of pairs that stay.
    Full,
}

/// Where room has been lacking of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    /// In all.
    pub all: bool,
    /// In the share of a rule.
    pub rule: bool,
    /// In the share of a subscriber.
    pub subscriber: bool,
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
    targets: Targets,
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
            verification: Verification::new(limits),
            dns_only: DnsOnlyMap::new(limits.dns_only_pairs_per_subscriber_max, limits.dns_only_pairs_max),
            asked: Asked::new(key.clone()),
            witnesses: Witnesses::new(
                key.clone(),
                limits.retention,
                limits.shared_subscribers_min,
                limits.shared_domains_min,
            ),
            targets: Targets::default(),
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
        self.verification.shares.addresses.state(facts);
    }

    /// Puts in an answer of the configuration, which never expires and is never evicted.
    pub fn pin(&mut self, name: &DomainName, address: IpAddr) {
        self.verification.pin(name, self.nat64.destination(address));
    }

    /// Learns an answer that a trusted resolver gave to a question that was asked: the caller has compared id, question
    /// and addresses. `subscriber` is who asked, none where that is not known. `listed` says how lists speak of a name,
    /// `permits` whether an address may be learnt.
    pub fn learn_answer<L: Into<Listing>>(
        &mut self,
        facts: &dns::Facts,
        subscriber: Option<&SubscriberKey>,
        listed: impl Fn(&DomainName) -> L,
        permits: impl Fn(IpAddr) -> bool,
        now: Monotonic,
    ) -> Learning {
        let asker = subscriber.map_or(Asker::Stranger, Asker::Subscriber);
        match facts.question.name.host().and_then(|host| DomainName::from_wire(&host).ok()) {
            Some(name) => self.learn_found(&name, &facts.found, asker, listed, permits, now),
            None => Learning::default(),
        }
    }

    /// Learns what was found for `name`; see [`TrustedAnswers::learn_answer`].
    pub fn learn_found<'a, L: Into<Listing>>(
        &mut self,
        name: &DomainName,
        found: &dns::Found,
        asker: impl Into<Asker<'a>>,
        listed: impl Fn(&DomainName) -> L,
        permits: impl Fn(IpAddr) -> bool,
        now: Monotonic,
    ) -> Learning {
        let asker = asker.into();
        let mut learning = Learning::default();
        let addresses = self.usable(&found.addresses, &permits, &mut learning);
        let hints = self.usable(&found.hints, &permits, &mut learning);
        let ech: Vec<Ech> = found
            .ech
            .iter()
            .map(|config| (config.config_id, self.key.hash_one(&*config.public_name)))
            .collect();
        let names = self.credited(name, &listed, now);
        if names.is_empty() {
            for address in addresses.iter().chain(&hints) {
                self.see_unlisted(name, *address, asker.told(), now);
                self.verification.shares.addresses.publish(*address, &ech);
            }
        }
        let bringer = asker.bringer(&self.key);
        let ttl = Duration::from_secs(u64::from(found.ttl));
        for (name, listing) in &names {
            for address in addresses.iter().chain(&hints) {
                learning.count(self.learn_as(name, (*listing, bringer), *address, now));
            }
            if let Some(subscriber) = asker.told() {
                for address in &addresses {
                    self.dns_only.learn(subscriber, name, *address, ttl, now);
                }
            }
            self.verification.publish(name, &ech);
            let until = now.plus(self.verification.retention());
            let hosts = found.targets.iter().filter_map(|target| target.host());
            for target in hosts.filter_map(|host| DomainName::from_wire(&host).ok()) {
                self.targets.lead(target, (name, *listing), until, now);
            }
        }
        learning
    }

    /// Learns that `name`, which has an entry of its own, has `address`.
    pub fn learn(&mut self, name: &DomainName, address: IpAddr, now: Monotonic) -> Learnt {
        let address = self.nat64.destination(address);
        self.learn_as(name, (Listing::Own, Bringer::Gateway), address, now)
    }

    /// Learns that `name`, which is listed so, has `address`, as somebody had looked up.
    fn learn_as(
        &mut self,
        name: &DomainName,
        kept: (Listing, Bringer),
        address: IpAddr,
        now: Monotonic,
    ) -> Learnt {
        let expires = now.plus(self.verification.retention());
        let learnt = self.verification.learn(name, kept, address, expires, now);
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
        if !self.verification.shares.addresses.has(address) {
            return;
        }
        let domain = allowlist::registry_domain(name.as_str().as_bytes());
        if let Some(until) = domain.and_then(|domain| self.witnesses.note(address, domain, subscriber, now)) {
            self.verification.shares.addresses.mark_unlisted(address, until);
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

    /// The listed names that an answer for `name` speaks of, and how they are listed: itself, and those whose service
    /// bindings lead to it.
    fn credited<L: Into<Listing>>(
        &self,
        name: &DomainName,
        listed: impl Fn(&DomainName) -> L,
        now: Monotonic,
    ) -> Vec<(DomainName, Listing)> {
        let led = self.targets.of(name, now).filter(|led| *led != name);
        let all = std::iter::once(name).chain(led).map(|name| (name, listed(name).into()));
        let listed = all.filter(|(_, listing)| *listing != Listing::Unlisted);
        listed.map(|(name, listing)| (name.clone(), listing)).collect()
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

    /// The same for a flow of `subscriber`: what he was answered himself counts for him, whatever others displaced since.
    pub fn vouches_for(
        &self,
        subscriber: &SubscriberKey,
        name: &DomainName,
        address: IpAddr,
        now: Monotonic,
    ) -> bool {
        let (address, retention) = (self.nat64.destination(address), self.verification.retention());
        self.verification.since(name, address, now).is_some()
            || self.dns_only.has(subscriber, name, address, retention, now)
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
        let dedicated = || self.verification.shares.addresses.stated(address) == Some(Stated::Dedicated);
        self.verification.shares.addresses.is_shared(address, now)
            || (self.asked.has(subscriber, address, now) && !dedicated())
    }

    /// Whether `address` counts as shared for everybody: it is stated, many independent witnesses say so, or it has more
    /// listed names than are told apart.
    pub fn is_shared(&self, address: IpAddr, now: Monotonic) -> bool {
        self.verification.shares.addresses.is_shared(self.nat64.destination(address), now)
    }

    /// Whether an outer hello looks like one that hides another name: its `config_id` was published for `address`, and it
    /// does not show that configuration's public name. Invented ids (GREASE) hit one time in 256: an indicator, no proof.
    pub fn is_ech_suspect(&self, outer: &DomainName, address: IpAddr, config_id: u8) -> bool {
        let shown = self.key.hash_one(outer.as_str().as_bytes());
        let published = self.verification.shares.addresses.ech(self.nat64.destination(address));
        let mut with_id = published.iter().filter(|(known, _)| *known == config_id).peekable();
        with_id.peek().is_some() && with_id.all(|(_, public_name)| *public_name != shown)
    }

    /// Drops everything past its time.
    pub fn sweep(&mut self, now: Monotonic) {
        self.verification.sweep(now);
        self.dns_only.sweep(now);
        self.targets.sweep(now);
    }

    /// Pairs of name and address held.
    pub const fn pairs(&self) -> usize {
        self.verification.shares.pairs
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
        self.verification.shares.addresses.shared(now)
    }

    /// At most `max` addresses of `name`, the one that counts longest first, and such as no longer count the last.
    pub fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
        self.verification.known_addresses(name, max)
    }

    /// How many addresses `name` has.
    pub fn addresses(&self, name: &DomainName) -> usize {
        self.verification.addresses(name)
    }

    /// The names that have an address of their own, in no order.
    pub fn names(&self) -> impl Iterator<Item = DomainName> {
        self.verification.names().filter_map(|name| DomainName::from_wire(name.as_bytes()).ok())
    }

    /// Of these, the names with an entry of their own, and those that a flow bore to one of their addresses.
    pub fn names_in_use(&self) -> impl Iterator<Item = DomainName> {
        self.verification.names_in_use().filter_map(|name| DomainName::from_wire(name.as_bytes()).ok())
    }

    /// Where room has been lacking of late, and how many names were displaced since the start.
    pub fn lack(&self, now: Monotonic) -> (Lack, u64) {
        let Pressure { all, rule, subscriber, displaced } = self.verification.pressure;
        let of_late = |last: Option<Monotonic>| last.is_some_and(|last| now.since(last) < PRESSURE_TOLD);
        let lack = Lack { all: of_late(all), rule: of_late(rule), subscriber: of_late(subscriber) };
        (lack, displaced)
    }
}
