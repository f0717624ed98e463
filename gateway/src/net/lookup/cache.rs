//! The answers of our own look-ups, and which of them go first when there is no more room.
//!
//! Names below a listed one can be made up without end, so a name is kept by what came of it: one that nobody's flow has
//! used goes first, one that several subscribers use last; among equals the one used longest ago. One in eight places is
//! left to names that are new, so that they can come to something. Names that one subscriber alone uses take one in sixteen at
//! most: his next one takes the place of his own.

mod cached;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;

pub(super) use self::cached::Landed;
use self::cached::{Cached, Last, Rank};
use super::LookupError;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// One in so many places is for names that nobody has used.
const SHARE_OF_NEW: usize = 8;
/// Names that one subscriber alone has used take one place in so many.
const SHARE_OF_USER: usize = 16;
/// A name's place among equals is looked after at most so often.
const MOVE_PAUSE: Duration = Duration::from_secs(60);

/// Answers by name.
pub(super) struct Cache {
    names_max: usize,
    names: HashMap<DomainName, Cached>,
    /// The names of each rank, the one used longest ago first.
    order: [BTreeMap<u64, DomainName>; 4],
    /// Who alone has used a name, and its place: of each the one used longest ago first.
    of_users: BTreeSet<(u64, u64)>,
    /// How many of them each has.
    counts: HashMap<u64, usize>,
    /// The next place.
    next: u64,
    key: RandomState,
}

impl Cache {
    /// Room for so many names.
    pub(super) fn new(names_max: usize) -> Self {
        let key = RandomState::new();
        Self {
            names_max: names_max.max(1),
            names: HashMap::new(),
            order: Default::default(),
            of_users: BTreeSet::new(),
            counts: HashMap::new(),
            next: 0,
            key,
        }
    }

    /// What is known of a name.
    pub(super) fn get(&self, name: &DomainName) -> Option<&Cached> {
        self.names.get(name)
    }

    /// Says whether asking further may be worth it.
    pub(super) fn set_worth_asking(&mut self, name: &DomainName, worth_asking: bool) {
        if let Some(known) = self.names.get_mut(name) {
            known.worth_asking = worth_asking;
        }
    }

    /// Keeps an answer that came at `now`.
    pub(super) fn land(&mut self, name: &DomainName, landed: &Landed<'_>, now: Monotonic) {
        let found = landed.answer.as_ref().ok().map(|addresses| Last {
            addresses: Arc::clone(addresses),
            counts_until: Some(now.plus(landed.retention)),
        });
        let least = if landed.listed { Rank::Listed } else { Rank::Asked };
        let fresh_until = now.plus(landed.ttl);
        if let Some(known) = self.names.get_mut(name) {
            known.answer = landed.answer.clone();
            known.asked = now;
            known.fresh_until = fresh_until;
            known.last = found.or_else(|| known.last.take());
            let rank = known.rank.max(least);
            self.move_to(name, rank);
            return;
        }
        let answer = landed.answer.clone();
        self.add(name, Cached::new(answer, now, fresh_until, found, least));
    }

    /// Takes back the addresses of a name that was in use in the run before.
    pub(super) fn restore(&mut self, name: &DomainName, addresses: Arc<[IpAddr]>, now: Monotonic) {
        if !self.names.contains_key(name) {
            let last = Some(Last { addresses, counts_until: None });
            let known = Cached::new(Err(LookupError::Failed), now, now, last, Rank::Used);
            // Nobody has asked in this run.
            self.add(name, Cached { worth_asking: true, ..known });
        }
    }

    /// A flow of `subscriber` has reached the name.
    pub(super) fn note_use(&mut self, name: &DomainName, subscriber: &SubscriberKey, now: Monotonic) {
        let user = self.key.hash_one(subscriber);
        let Some(known) = self.names.get_mut(name) else { return };
        let rank = match known.user {
            Some(first) if first != user => Rank::Shared,
            Some(_) | None => known.rank.max(Rank::Used),
        };
        known.user = known.user.or(Some(user));
        known.noted = now;
        if rank != known.rank || now.since(known.moved) >= MOVE_PAUSE {
            known.moved = now;
            self.move_to(name, rank);
            self.keep_share(user);
        }
    }

    /// Drops what is over the share of a subscriber: of the names he alone uses the one he used longest ago.
    fn keep_share(&mut self, user: u64) {
        let most = (self.names_max / SHARE_OF_USER).max(1);
        while self.counts.get(&user).is_some_and(|count| *count > most) {
            let Some((_, place)) = self.of_users.range((user, 0)..).next().copied() else { return };
            let used = self.order.get_mut(Rank::Used.index());
            let Some(name) = used.and_then(|used| used.remove(&place)) else { return };
            self.forget(&name);
        }
    }

    /// Takes a name out that has no place in the order any more; whether it was there.
    fn forget(&mut self, name: &DomainName) -> bool {
        let Some(known) = self.names.remove(name) else { return false };
        self.leave_user(&known);
        true
    }

    /// Counts a name for who alone uses it.
    fn join_user(&mut self, user: Option<u64>, rank: Rank, place: u64) {
        if let (Some(user), Rank::Used) = (user, rank) {
            self.of_users.insert((user, place));
            let count = self.counts.entry(user).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    /// Counts it no more.
    fn leave_user(&mut self, known: &Cached) {
        let Some(user) = known.user else { return };
        if self.of_users.remove(&(user, known.place)) {
            let left = self.counts.get(&user).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                self.counts.remove(&user);
            } else {
                self.counts.insert(user, left);
            }
        }
    }

    /// Names that came to something, with the addresses at which they were last found.
    pub(super) fn last_known(&self) -> impl Iterator<Item = (&DomainName, &[IpAddr])> {
        self.names
            .iter()
            .filter(|(_, known)| known.rank > Rank::Asked)
            .filter_map(|(name, known)| known.last.as_ref().map(|last| (name, &*last.addresses)))
    }

    /// Gives a name the last place of a rank.
    fn move_to(&mut self, name: &DomainName, rank: Rank) {
        let Some(mut known) = self.names.remove(name) else { return };
        self.leave_user(&known);
        let owned = self.order.get_mut(known.rank.index()).and_then(|order| order.remove(&known.place));
        known.rank = rank;
        known.place = self.next;
        let order = self.order.get_mut(rank.index());
        if let (Some(order), Some(owned)) = (order, owned) {
            order.insert(self.next, owned);
        }
        self.join_user(known.user, rank, known.place);
        self.names.insert(name.clone(), known);
        self.next = self.next.wrapping_add(1);
    }

    /// Adds a name that is not there.
    fn add(&mut self, name: &DomainName, mut known: Cached) {
        while self.names.len() >= self.names_max && self.drop_one() {}
        known.place = self.next;
        if let Some(order) = self.order.get_mut(known.rank.index()) {
            order.insert(self.next, name.clone());
        }
        self.next = self.next.wrapping_add(1);
        self.names.insert(name.clone(), known);
    }

    /// Drops the name that is missed least; false when there is none.
    fn drop_one(&mut self) -> bool {
        let [asked, rest @ ..] = &mut self.order;
        let new_may_go = asked.len() > self.names_max / SHARE_OF_NEW;
        let from = if new_may_go { None } else { rest.iter_mut().find(|order| !order.is_empty()) };
        let dropped = from.unwrap_or(asked).pop_first();
        dropped.is_some_and(|(_, name)| self.forget(&name))
    }
}

#[cfg(test)]
mod tests;
