//! Listed name ↔ addresses, for everybody: where a name was answered with, and what else is known of those addresses.
//!
//! The set is additive: an address stays for the whole retention after it was last seen, so that rotating answers
//! converge. Of addresses it is known how many listed names have them, whether they count as shared with unlisted names,
//! and which configurations of Encrypted Client Hello were published for them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;

use super::Learnt;
use super::sharing::{AddressFacts, Stated};
use crate::flow::time::Monotonic;

/// A full set is searched for expired pairs at most so often: the search looks at every pair.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Encrypted Client Hello configurations remembered of one name or address; the first to be learnt makes room.
const ECH_MAX: usize = 8;

/// A published configuration: its id, and the keyed hash of its public name.
pub(super) type Ech = (u8, u64);

/// Name → addresses, address → what is known of it.
pub(super) struct Verification {
    pub(super) retention: Duration,
    pairs_max: usize,
    addresses_per_name_max: usize,
    names_per_address_max: u32,
    names: HashMap<DomainName, Entry>,
    addresses: HashMap<IpAddr, Known>,
    /// What the operator states of addresses.
    facts: AddressFacts,
    pairs: usize,
    /// When expired pairs were last dropped.
    swept: Option<Monotonic>,
}

/// What is known of a name.
#[derive(Default)]
struct Entry {
    seen: Vec<Seen>,
    ech: Vec<Ech>,
}

/// One address of a name.
struct Seen {
    address: IpAddr,
    /// When it was first seen.
    since: Monotonic,
    /// Last moment at which it counts; `None`: pinned by the configuration, never expires.
    expires: Option<Monotonic>,
}

/// What is known of an address.
struct Known {
    /// Listed names that have it.
    names: u32,
    /// What the operator states of it.
    stated: Option<Stated>,
    /// Last moment at which it counts as serving unlisted names.
    unlisted_until: Option<Monotonic>,
    ech: Vec<Ech>,
}

impl Known {
    /// One that no name has yet.
    const fn new(stated: Option<Stated>) -> Self {
        Self { names: 0, stated, unlisted_until: None, ech: Vec::new() }
    }

    /// Whether it serves unlisted names too, or more than `names_max` listed ones.
    fn is_shared(&self, names_max: u32, now: Monotonic) -> bool {
        match self.stated {
            Some(Stated::Shared) => true,
            Some(Stated::Dedicated) => false,
            None => self.names > names_max || self.unlisted_until.is_some_and(|until| now <= until),
        }
    }
}

impl Seen {
    /// Whether the address still counts at `now`.
    fn counts(&self, now: Monotonic) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

impl Verification {
    /// An empty set.
    pub(super) fn new(
        retention: Duration,
        pairs_max: usize,
        addresses_per_name_max: usize,
        names_per_address_max: u32,
    ) -> Self {
        Self {
            retention,
            pairs_max,
            addresses_per_name_max,
            names_per_address_max,
            names: HashMap::new(),
            addresses: HashMap::new(),
            facts: AddressFacts::default(),
            pairs: 0,
            swept: None,
        }
    }

    /// Takes what the operator states of addresses; to be called before anything is learnt.
    pub(super) fn state(&mut self, facts: AddressFacts) {
        self.facts = facts;
    }

    /// Puts in an answer of the configuration, which never expires and is never evicted.
    pub(super) fn pin(&mut self, name: &DomainName, address: IpAddr) {
        let entry = self.names.entry(name.clone()).or_default();
        if let Some(known) = entry.seen.iter_mut().find(|seen| seen.address == address) {
            known.expires = None;
        } else {
            self.add(name, Seen { address, since: Monotonic::default(), expires: None });
        }
    }

    /// Learns that `name` has `address` until `expires`.
    pub(super) fn learn(
        &mut self,
        name: &DomainName,
        address: IpAddr,
        expires: Monotonic,
        now: Monotonic,
    ) -> Learnt {
        let entry = self.names.get_mut(name);
        let crowded = entry.as_ref().is_some_and(|entry| entry.seen.len() >= self.addresses_per_name_max);
        if let Some(known) =
            entry.and_then(|entry| entry.seen.iter_mut().find(|seen| seen.address == address))
        {
            known.expires = known.expires.map(|known| known.max(expires));
            return Learnt::Refreshed;
        }
        if crowded {
            if !self.drop_oldest(name) {
                return Learnt::Full;
            }
        } else if self.pairs >= self.pairs_max {
            if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP_PAUSE) {
                self.sweep(now);
            }
            if self.pairs >= self.pairs_max {
                return Learnt::Full;
            }
        }
        self.add(name, Seen { address, since: now, expires: Some(expires) });
        Learnt::New
    }

    /// Adds a pair that is not there.
    fn add(&mut self, name: &DomainName, seen: Seen) {
        let facts = &self.facts;
        let known = self.addresses.entry(seen.address).or_insert_with(|| Known::new(facts.of(seen.address)));
        known.names = known.names.saturating_add(1);
        let entry = self.names.entry(name.clone()).or_default();
        entry.ech.iter().for_each(|ech| push_ech(&mut known.ech, *ech));
        entry.seen.push(seen);
        self.pairs = self.pairs.saturating_add(1);
    }

    /// Drops the address of `name` that was seen longest ago; `false` when all are pinned.
    fn drop_oldest(&mut self, name: &DomainName) -> bool {
        let Some(entry) = self.names.get_mut(name) else { return false };
        let places = entry.seen.iter().enumerate();
        let oldest = places.filter_map(|(place, seen)| Some((seen.expires?, place))).min();
        let Some((_, place)) = oldest else { return false };
        let dropped = entry.seen.swap_remove(place);
        self.pairs = self.pairs.saturating_sub(1);
        release(&mut self.addresses, dropped.address);
        true
    }

    /// Since when `name` has had `address`; `None` when it does not at `now`.
    pub(super) fn since(&self, name: &DomainName, address: IpAddr, now: Monotonic) -> Option<Monotonic> {
        let seen = self.names.get(name)?.seen.iter().find(|seen| seen.address == address)?;
        seen.counts(now).then_some(seen.since)
    }

    /// At most `max` addresses of `name`, the one that counts longest first.
    pub(super) fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
        let Some(entry) = self.names.get(name) else { return Vec::new() };
        let mut seen: Vec<&Seen> = entry.seen.iter().collect();
        // Pinned ones count for ever.
        seen.sort_by_key(|seen| std::cmp::Reverse((seen.expires.is_none(), seen.expires)));
        seen.into_iter().map(|seen| seen.address).take(max).collect()
    }

    /// How many addresses `name` has.
    pub(super) fn addresses(&self, name: &DomainName) -> usize {
        self.names.get(name).map_or(0, |entry| entry.seen.len())
    }

    /// Whether some listed name has the address.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Marks the address of a listed name as one that serves an unlisted name too, until `until`.
    pub(super) fn mark_unlisted(&mut self, address: IpAddr, until: Monotonic) {
        if let Some(known) = self.addresses.get_mut(&address) {
            known.unlisted_until = known.unlisted_until.max(Some(until));
        }
    }

    /// Until when the address counts as serving an unlisted name; `None` when that time is over or never was.
    pub(super) fn unlisted_until(&self, address: IpAddr, now: Monotonic) -> Option<Monotonic> {
        self.addresses.get(&address)?.unlisted_until.filter(|until| now <= *until)
    }

    /// Whether the address serves unlisted names too, or more listed names than are told apart.
    pub(super) fn is_shared(&self, address: IpAddr, now: Monotonic) -> bool {
        let known = self.addresses.get(&address);
        known.is_some_and(|known| known.is_shared(self.names_per_address_max, now))
    }

    /// Addresses that are shared.
    pub(super) fn shared_addresses(&self, now: Monotonic) -> usize {
        self.addresses.values().filter(|known| known.is_shared(self.names_per_address_max, now)).count()
    }

    /// What the operator states of an address of a listed name.
    pub(super) fn stated(&self, address: IpAddr) -> Option<Stated> {
        self.addresses.get(&address)?.stated
    }

    /// Remembers configurations that a listed name publishes, for it and for all addresses it has.
    pub(super) fn publish(&mut self, name: &DomainName, configs: &[Ech]) {
        let Some(entry) = self.names.get_mut(name) else { return };
        for config in configs {
            push_ech(&mut entry.ech, *config);
            for seen in &entry.seen {
                if let Some(known) = self.addresses.get_mut(&seen.address) {
                    push_ech(&mut known.ech, *config);
                }
            }
        }
    }

    /// Remembers configurations published for an address that a listed name has.
    pub(super) fn publish_at(&mut self, address: IpAddr, configs: &[Ech]) {
        if let Some(known) = self.addresses.get_mut(&address) {
            configs.iter().for_each(|config| push_ech(&mut known.ech, *config));
        }
    }

    /// Configurations published for an address.
    pub(super) fn ech(&self, address: IpAddr) -> &[Ech] {
        self.addresses.get(&address).map_or(&[], |known| &known.ech)
    }

    /// Drops every pair past its retention.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        let (addresses, mut pairs) = (&mut self.addresses, 0_usize);
        self.names.retain(|_, entry| {
            entry.seen.retain(|seen| {
                let counts = seen.counts(now);
                if !counts {
                    release(addresses, seen.address);
                }
                counts
            });
            pairs = pairs.saturating_add(entry.seen.len());
            !entry.seen.is_empty()
        });
        self.pairs = pairs;
        self.swept = Some(now);
    }

    /// Names with the addresses that expire, and when.
    pub(super) fn expiring(
        &self,
    ) -> impl Iterator<Item = (&DomainName, impl Iterator<Item = (IpAddr, Monotonic)> + Clone)> {
        self.names.iter().map(|(name, entry)| {
            (name, entry.seen.iter().filter_map(|seen| Some((seen.address, seen.expires?))))
        })
    }

    /// Addresses that count at `now`, in no order; one of several names as often.
    pub(super) fn counting(&self, now: Monotonic) -> impl Iterator<Item = IpAddr> {
        let all = self.names.values().flat_map(|entry| &entry.seen);
        all.filter(move |seen| seen.counts(now)).map(|seen| seen.address)
    }

    /// Names held, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &DomainName> {
        self.names.keys()
    }

    /// Pairs held.
    pub(super) const fn pairs(&self) -> usize {
        self.pairs
    }
}

/// One name fewer has the address; with the last one everything known of it goes.
fn release(addresses: &mut HashMap<IpAddr, Known>, address: IpAddr) {
    if let Some(known) = addresses.get_mut(&address) {
        known.names = known.names.saturating_sub(1);
        if known.names == 0 {
            addresses.remove(&address);
        }
    }
}

/// Remembers a configuration.
fn push_ech(all: &mut Vec<Ech>, config: Ech) {
    if all.contains(&config) {
        return;
    }
    if all.len() >= ECH_MAX {
        all.remove(0);
    }
    all.push(config);
}
