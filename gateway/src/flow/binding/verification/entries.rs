//! Keeps names and shares in step: a pair that comes, goes or changes hands is counted where it belongs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::room::{is_heavy, is_live};
use super::{Entry, Seen, Verification, host_of};
use crate::flow::binding::learner::{Bringer, Listing};

impl Verification {
    /// A name that was seen below a rule has an entry of its own.
    pub(super) fn own(&mut self, name: &str) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let Some(below) = entry.below.take() else { return };
        for seen in &entry.seen {
            self.shares.unpair(Some(&below), seen.address);
            self.shares.pair(None, seen.address, &entry.ech);
        }
        self.shares.leave(&below);
    }

    /// Puts a name that came on the account of whoever holds too much on that of a subscriber who holds little, and asked for
    /// it too: it does not go with the names that are made up.
    pub(super) fn hand_over(&mut self, name: &str, bringer: Bringer) {
        match bringer {
            Bringer::Subscriber(_) if !is_heavy(bringer, &self.shares, &self.limits) => {}
            Bringer::Subscriber(_) | Bringer::Stranger | Bringer::Gateway => return,
        }
        let Some((key, mut entry)) = self.names.remove_entry(name) else { return };
        if let Some(below) = entry.below.take() {
            entry.seen.iter().for_each(|seen| self.shares.unpair(Some(&below), seen.address));
            self.shares.leave(&below);
            let names = &self.names;
            let is_live = |name: &str, ticket| is_live(names, name, ticket);
            let below = self.shares.enter(&key, &below.rule, (bringer, below.is_denied), is_live);
            for seen in &entry.seen {
                self.shares.pair(Some(&below), seen.address, &entry.ech);
            }
            entry.below = Some(Box::new(below));
        }
        self.names.insert(key, entry);
    }

    /// Adds a pair that is not there.
    pub(super) fn add(&mut self, name: &str, (listing, bringer): (Listing, Bringer), seen: Seen) {
        if !self.names.contains_key(name) {
            let key: Arc<str> = name.into();
            let below = match listing {
                Listing::Unlisted | Listing::Own => None,
                Listing::Below { host_bytes } => Some((host_bytes, false)),
                Listing::Denied { host_bytes } => Some((host_bytes, true)),
            };
            let names = &self.names;
            let is_live = |name: &str, ticket| is_live(names, name, ticket);
            let below = below.map(|(host_bytes, is_denied)| {
                let host = host_of(name, host_bytes);
                Box::new(self.shares.enter(&key, host, (bringer, is_denied), is_live))
            });
            let is_used = AtomicBool::new(false);
            self.names.insert(key, Entry { seen: Vec::new(), ech: Vec::new(), below, is_used });
        }
        if let Some(entry) = self.names.get_mut(name) {
            self.shares.pair(entry.below.as_deref(), seen.address, &entry.ech);
            entry.seen.push(seen);
        }
    }

    /// Displaces a name.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(entry) = self.names.remove(name) else { return };
        self.pressure.displaced = self.pressure.displaced.saturating_add(1);
        for seen in &entry.seen {
            self.shares.unpair(entry.below.as_deref(), seen.address);
        }
        if let Some(below) = &entry.below {
            self.shares.leave(below);
        }
    }

    /// Drops the address of `name` that was seen longest ago; `false` when all are pinned.
    pub(super) fn drop_oldest(&mut self, name: &str) -> bool {
        let Some(entry) = self.names.get_mut(name) else { return false };
        let places = entry.seen.iter().enumerate();
        let oldest = places.filter_map(|(place, seen)| Some((seen.expires?, place))).min();
        let Some((_, place)) = oldest else { return false };
        let dropped = entry.seen.swap_remove(place);
        self.shares.unpair(entry.below.as_deref(), dropped.address);
        true
    }
}
