//! What is known of the addresses that listed names have: who has them, whether they count as shared, and which
//! configurations of Encrypted Client Hello were published for them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::sharing::{AddressFacts, Stated};
use crate::flow::time::Monotonic;

/// Encrypted Client Hello configurations remembered of one name or address; the first to be learnt makes room.
const ECH_MAX: usize = 8;

/// A published configuration: its id, and the keyed hash of its public name.
pub(super) type Ech = (u8, u64);

/// Address → what is known of it.
pub(super) struct Addresses {
    known: HashMap<IpAddr, Known>,
    /// Those that may count as shared, so that they can be counted without a look at all.
    maybe_shared: HashSet<IpAddr>,
    /// What the operator states.
    facts: AddressFacts,
    /// Entries of the list that may have an address before it counts as shared.
    entries_max: u32,
}

/// What is known of an address.
struct Known {
    /// Pairs with it.
    pairs: u32,
    /// Entries of the list that have it: names with an entry of their own, and rules for the names below them. However many
    /// names were made up below a rule, it is one.
    entries: u32,
    /// What the operator states of it.
    stated: Option<Stated>,
    /// Last moment at which it counts as serving unlisted names.
    unlisted_until: Option<Monotonic>,
    ech: Vec<Ech>,
}

impl Known {
    /// Whether it serves unlisted names too, or more than `entries_max` entries of the list.
    fn is_shared(&self, entries_max: u32, now: Monotonic) -> bool {
        match self.stated {
            Some(Stated::Shared) => true,
            Some(Stated::Dedicated) => false,
            None => self.entries > entries_max || self.unlisted_until.is_some_and(|until| now <= until),
        }
    }
}

impl Addresses {
    /// None.
    pub(super) fn new(entries_max: u32) -> Self {
        let (known, maybe_shared) = (HashMap::new(), HashSet::new());
        Self { known, maybe_shared, facts: AddressFacts::default(), entries_max }
    }

    /// Takes what the operator states of addresses; to be called before anything is learnt.
    pub(super) fn state(&mut self, facts: AddressFacts) {
        self.facts = facts;
    }

    /// One pair more has the address, for which these configurations were published with its name.
    pub(super) fn hold(&mut self, address: IpAddr, published: &[Ech]) {
        let facts = &self.facts;
        let known = self.known.entry(address).or_insert_with(|| Known {
            pairs: 0,
            entries: 0,
            stated: facts.of(address),
            unlisted_until: None,
            ech: Vec::new(),
        });
        if known.pairs == 0 && known.stated == Some(Stated::Shared) {
            self.maybe_shared.insert(address);
        }
        known.pairs = known.pairs.saturating_add(1);
        published.iter().for_each(|config| push_ech(&mut known.ech, *config));
    }

    /// One pair fewer has the address; with the last one everything known of it goes.
    pub(super) fn release(&mut self, address: IpAddr) {
        if let Some(known) = self.known.get_mut(&address) {
            known.pairs = known.pairs.saturating_sub(1);
            if known.pairs == 0 {
                self.known.remove(&address);
                self.maybe_shared.remove(&address);
            }
        }
    }

    /// One entry of the list more has the address, which is held.
    pub(super) fn enter(&mut self, address: IpAddr) {
        if let Some(known) = self.known.get_mut(&address) {
            known.entries = known.entries.saturating_add(1);
            if known.entries > self.entries_max {
                self.maybe_shared.insert(address);
            }
        }
    }

    /// One entry of the list fewer has it.
    pub(super) fn leave(&mut self, address: IpAddr) {
        if let Some(known) = self.known.get_mut(&address) {
            known.entries = known.entries.saturating_sub(1);
        }
    }

    /// Whether some listed name has the address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address)
    }

    /// Marks the address of a listed name as one that serves unlisted names too, until `until`.
    pub(super) fn mark_unlisted(&mut self, address: IpAddr, until: Monotonic) {
        if let Some(known) = self.known.get_mut(&address) {
            known.unlisted_until = known.unlisted_until.max(Some(until));
            self.maybe_shared.insert(address);
        }
    }

    /// Until when the address counts as serving unlisted names; `None` when that time is over or never was.
    pub(super) fn unlisted_until(&self, address: IpAddr, now: Monotonic) -> Option<Monotonic> {
        self.known.get(&address)?.unlisted_until.filter(|until| now <= *until)
    }

    /// Whether the address serves unlisted names too, or more entries of the list than are told apart.
    pub(super) fn is_shared(&self, address: IpAddr, now: Monotonic) -> bool {
        self.known.get(&address).is_some_and(|known| known.is_shared(self.entries_max, now))
    }

    /// How many addresses are shared.
    pub(super) fn shared(&self, now: Monotonic) -> usize {
        self.maybe_shared.iter().filter(|address| self.is_shared(**address, now)).count()
    }

    /// What the operator states of an address of a listed name.
    pub(super) fn stated(&self, address: IpAddr) -> Option<Stated> {
        self.known.get(&address)?.stated
    }

    /// Remembers configurations published for an address that a listed name has.
    pub(super) fn publish(&mut self, address: IpAddr, configs: &[Ech]) {
        if let Some(known) = self.known.get_mut(&address) {
            configs.iter().for_each(|config| push_ech(&mut known.ech, *config));
        }
    }

    /// Configurations published for an address.
    pub(super) fn ech(&self, address: IpAddr) -> &[Ech] {
        self.known.get(&address).map_or(&[], |known| &known.ech)
    }
}

/// Remembers a configuration.
pub(super) fn push_ech(all: &mut Vec<Ech>, config: Ech) {
    if all.contains(&config) {
        return;
    }
    if all.len() >= ECH_MAX {
        all.remove(0);
    }
    all.push(config);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_an_address_of_many_entries_is_shared_as_long_as_they_have_it_and_forgotten_with_its_last_pair() {
        let (at, now) = ("192.0.2.1".parse().unwrap(), Monotonic::default());
        let mut addresses = Addresses::new(2);
        let found = |addresses: &Addresses| {
            (
                addresses.has(at),
                addresses.is_shared(at, now),
                addresses.shared(now),
                addresses.maybe_shared.len(),
            )
        };
        addresses.enter(at);
        assert_eq!(found(&addresses), (false, false, 0, 0), "it is not held");
        for _ in 0..2 {
            addresses.hold(at, &[]);
            addresses.enter(at);
            assert_eq!(found(&addresses), (true, false, 0, 0));
        }
        addresses.hold(at, &[]);
        addresses.enter(at);
        assert_eq!(found(&addresses), (true, true, 1, 1), "one over");
        addresses.leave(at);
        assert_eq!(found(&addresses), (true, false, 0, 1));
        addresses.enter(at);
        for _ in 0..2 {
            addresses.release(at);
            assert_eq!(found(&addresses), (true, true, 1, 1), "one pair has it");
        }
        addresses.release(at);
        assert_eq!(found(&addresses), (false, false, 0, 0));
        // Nothing of it is left for whoever has it next.
        addresses.hold(at, &[]);
        addresses.enter(at);
        assert_eq!(found(&addresses), (true, false, 0, 0));
        let until = Monotonic::new(std::time::Duration::from_secs(60));
        addresses.mark_unlisted(at, until);
        assert!(addresses.is_shared(at, until) && addresses.shared(until) == 1);
        let after = Monotonic::new(std::time::Duration::from_millis(60_001));
        assert!(!addresses.is_shared(at, after) && addresses.unlisted_until(at, after).is_none());
        addresses.mark_unlisted(at, now);
        assert!(addresses.is_shared(at, until), "an earlier end takes nothing back");
    }
}
