//! Learns answers: which addresses of one are kept, for which names, and on whose account.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

use super::TrustedAnswers;
use super::addresses::Ech;
use super::learner::{Asker, Bringer, Listing};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::wire::dns;

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

impl TrustedAnswers {
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
}
