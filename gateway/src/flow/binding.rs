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
mod learn;
mod learner;
mod limits;
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
pub use self::learn::{Learning, Learnt};
pub use self::learner::{Asker, Listing};
pub use self::limits::AnswerLimits;
pub use self::nat64::{Nat64, Nat64Error, Nat64Prefix};
pub use self::news::News;
pub use self::sharing::AddressFacts;
pub use self::snapshot::{Restored, SnapshotError};

use self::asked::LedTo;
use self::dns_only::DnsOnlyMap;
use self::news::Newcomers;
use self::sharing::{Stated, Witnesses};
use self::targets::Targets;
use self::verification::{Pressure, Verification};
use super::session::SubscriberKey;
use super::time::Monotonic;

/// For how long a share counts as used up after room was last made in it.
const PRESSURE_TOLD: Duration = Duration::from_secs(600);

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

/// The two maps, and what keeps them honest.
pub struct TrustedAnswers {
    verification: Verification,
    dns_only: DnsOnlyMap,
    asked: LedTo,
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
            asked: LedTo::new(key.clone()),
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
