//! The trusted answers as all threads share them: learnt by the DNS plane and by our own look-ups, asked once a flow.
//!
//! The rules are [`crate::flow::binding`]'s; here stand the lock, the clock, and what the policy in force says of names
//! and addresses.

use std::collections::HashSet;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use allowlist::DomainName;

use crate::flow::binding::{
    AddressFacts, AnswerLimits, Asker, DnsOnly, Lack, Learning, Nat64, News, Restored, SnapshotError,
    TrustedAnswers,
};
use crate::flow::engine::Evidence;
use crate::flow::session::SubscriberKey;
use crate::net::node::policy::PolicyCell;
use crate::net::node::settings::DialRules;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::clock::Clock;
use crate::wire::dns;

/// Trusted answers behind a lock.
pub struct Answers {
    trusted: RwLock<TrustedAnswers>,
    nat64: Nat64,
    retention: Duration,
    policy: Arc<PolicyCell>,
    dial: Arc<DialRules>,
    clock: Clock,
    counts: Counts,
}

/// What came of answers, since the start.
#[derive(Default)]
struct Counts {
    private: AtomicU64,
    full: AtomicU64,
    ech_suspects: AtomicU64,
}

/// Sizes and counts for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFigures {
    /// Pairs of listed name and address.
    pub pairs: u64,
    /// Addresses of listed names that count as shared for everybody.
    pub shared_addresses: u64,
    /// Pairs of the DNS-only map.
    pub dns_only_pairs: u64,
    /// Subscribers in it.
    pub dns_only_subscribers: u64,
    /// Addresses that were not learnt since they may not be, since the start.
    pub private: u64,
    /// Pairs that found no room, since the start.
    pub full: u64,
    /// Names displaced to make room, since the start.
    pub displaced: u64,
    /// Flows whose outer hello looked like one that hides another name, since the start.
    pub ech_suspects: u64,
}

impl Evidence for Answers {
    fn destination(&self, address: IpAddr) -> IpAddr {
        Self::destination(self, address)
    }

    fn vouches_for(&self, subscriber: &SubscriberKey, name: &DomainName, address: IpAddr) -> bool {
        self.read().vouches_for(subscriber, name, address, self.clock.monotonic())
    }

    fn is_shared_for(&self, subscriber: &SubscriberKey, address: IpAddr) -> bool {
        self.read().is_shared_for(subscriber, address, self.clock.monotonic())
    }
}

impl Answers {
    /// Nothing learnt yet.
    pub fn new(
        limits: AnswerLimits,
        nat64: Nat64,
        policy: Arc<PolicyCell>,
        dial: Arc<DialRules>,
        clock: Clock,
    ) -> Arc<Self> {
        let retention = limits.retention;
        let trusted = RwLock::new(TrustedAnswers::new(limits, nat64.clone(), RandomState::new()));
        Arc::new(Self { trusted, nat64, retention, policy, dial, clock, counts: Counts::default() })
    }

    /// Takes what the operator states of addresses; to be called before anything is learnt.
    pub fn state(&self, facts: AddressFacts) {
        self.write().state(facts);
    }

    /// Puts in a trusted answer of the configuration.
    pub fn pin(&self, name: &DomainName, address: IpAddr) {
        self.write().pin(name, address);
    }

    /// Learns the answer to a question that `subscriber` asked, where it is known who asked; id, question and addresses have
    /// been compared.
    pub fn learn(&self, facts: &dns::Facts, subscriber: Option<&SubscriberKey>) -> Learning {
        let policy = self.policy.load();
        self.note(self.write().learn_answer(
            facts,
            subscriber,
            |name| policy.listing(name),
            |address| self.dial.permits_address(address),
            self.clock.monotonic(),
        ))
    }

    /// Learns what our own look-up of `name` found, of our own accord.
    pub(in crate::net) fn learn_found(&self, name: &DomainName, found: &dns::Found) -> Learning {
        self.learn_looked_up(name, found, Asker::Gateway)
    }

    /// Learns what our own look-up of `name` found, which a flow of `subscriber` needs.
    pub(in crate::net) fn learn_for(
        &self,
        subscriber: &SubscriberKey,
        name: &DomainName,
        found: &dns::Found,
    ) -> Learning {
        self.learn_looked_up(name, found, Asker::Flow(subscriber))
    }

    /// Learns what a look-up found.
    fn learn_looked_up(&self, name: &DomainName, found: &dns::Found, asker: Asker<'_>) -> Learning {
        let policy = self.policy.load();
        self.note(self.write().learn_found(
            name,
            found,
            asker,
            |name| policy.listing(name),
            |address| self.dial.permits_address(address),
            self.clock.monotonic(),
        ))
    }

    /// Counts what came of an answer.
    fn note(&self, learning: Learning) -> Learning {
        self.counts.private.fetch_add(learning.private as u64, Ordering::Relaxed);
        let before = self.counts.full.fetch_add(learning.full as u64, Ordering::Relaxed);
        if before == 0 && learning.full > 0 {
            tracing::warn!("trusted answers found no room: `/readyz` says in which share of trusted_answers");
        }
        learning
    }

    /// Whether `address` is a trusted answer for `name`.
    pub fn vouches(&self, name: &DomainName, address: IpAddr) -> bool {
        self.read().vouches(name, address, self.clock.monotonic())
    }

    /// What the subscriber's own answers say of the destination of a flow that begins.
    pub fn dns_only(&self, subscriber: &SubscriberKey, address: IpAddr) -> Option<DnsOnly> {
        self.read().dns_only(subscriber, address, self.clock.monotonic())
    }

    /// Counts a hello that shows `outer` to `address` and carries this Encrypted Client Hello id, if it looks like one
    /// that hides another name; whether it does.
    pub fn note_ech(&self, outer: &DomainName, address: IpAddr, config_id: u8) -> bool {
        let suspect = self.read().is_ech_suspect(outer, address, config_id);
        self.counts.ech_suspects.fetch_add(u64::from(suspect), Ordering::Relaxed);
        suspect
    }

    /// The address that rules speak of: IPv4 where the destination stands behind a NAT64.
    pub fn destination(&self, address: IpAddr) -> IpAddr {
        self.nat64.destination(address)
    }

    /// How long an address counts after it was last seen.
    pub(in crate::net) const fn retention(&self) -> Duration {
        self.retention
    }

    /// At most `max` addresses of a name, the one that counts longest first, past their time the last.
    pub(in crate::net) fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
        self.read().known_addresses(name, max)
    }

    /// How many addresses a name has.
    pub(in crate::net) fn addresses(&self, name: &DomainName) -> usize {
        self.read().addresses(name)
    }

    /// At most `max` of the names that are worth asking for again: those with an entry of their own, and those that a flow
    /// bore.
    pub(in crate::net) fn names(&self, max: usize) -> Vec<DomainName> {
        self.read().names_in_use().take(max).collect()
    }

    /// Addresses that are new since the last call.
    pub(in crate::net) fn take_news(&self) -> News {
        self.write().take_news()
    }

    /// All addresses at which some listed name is, each once.
    pub(in crate::net) fn all_addresses(&self) -> HashSet<IpAddr> {
        self.read().addresses_counting(self.clock.monotonic()).collect()
    }

    /// Drops what is past its time.
    pub fn sweep(&self) {
        self.write().sweep(self.clock.monotonic());
    }

    /// The verification map as bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        self.read().snapshot(self.clock.now())
    }

    /// Takes back a snapshot, as far as list and rules of today allow.
    ///
    /// # Errors
    /// [`SnapshotError`]; then nothing was taken.
    pub fn restore(&self, bytes: &[u8]) -> Result<Restored, SnapshotError> {
        let policy = self.policy.load();
        self.write().restore(
            bytes,
            |name| policy.listing(name),
            |address| self.dial.permits_address(address),
            self.clock.now(),
        )
    }

    /// Where room has been lacking of late, and what to do.
    pub fn attention(&self) -> Vec<Attention> {
        let (Lack { all, rule, subscriber }, _) = self.read().lack(self.clock.monotonic());
        let items = [
            (all, "no room at all", "pairs_max"),
            (rule, "a rule has used up its share", "pairs_per_rule_max"),
            (subscriber, "a subscriber has used up a share", "pairs_per_subscriber_max"),
        ];
        let lacking = items.into_iter().filter(|(lacks, ..)| *lacks);
        let told = lacking.map(|(_, what, key)| {
            let text = format!("{what}: names are made up, or trusted_answers.{key} is too low");
            Attention::new(AttentionReason::TrustedAnswersFull, text)
        });
        told.collect()
    }

    /// Sizes and counts.
    pub fn figures(&self) -> AnswerFigures {
        let trusted = self.read();
        let (_, displaced) = trusted.lack(self.clock.monotonic());
        AnswerFigures {
            displaced,
            pairs: trusted.pairs() as u64,
            shared_addresses: trusted.shared_addresses(self.clock.monotonic()) as u64,
            dns_only_pairs: trusted.dns_only_pairs() as u64,
            dns_only_subscribers: trusted.dns_only_subscribers() as u64,
            private: self.counts.private.load(Ordering::Relaxed),
            full: self.counts.full.load(Ordering::Relaxed),
            ech_suspects: self.counts.ech_suspects.load(Ordering::Relaxed),
        }
    }

    /// The maps to read; a panic elsewhere does not make them unusable: at worst a pair is missing.
    fn read(&self) -> RwLockReadGuard<'_, TrustedAnswers> {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The maps to change.
    fn write(&self) -> RwLockWriteGuard<'_, TrustedAnswers> {
        self.trusted.write().unwrap_or_else(PoisonError::into_inner)
    }
}
