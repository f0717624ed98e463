//! The answers of our own look-ups, and which of them go first when there is no more room.
//!
//! Names below a listed one can be made up without end, so a name is kept by what came of it: one that nobody's flow has
//! used goes first, one that several subscribers use last; among equals the one used longest ago. One in eight places is
//! left to names that are new, so that they can come to something. Names that one subscriber alone uses take one in sixteen at
//! most: his next one takes the place of his own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;

use super::{Answer, LookupError};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// One in so many places is for names that nobody has used.
const SHARE_OF_NEW: usize = 8;
/// Names that one subscriber alone has used take one place in so many.
const SHARE_OF_USER: usize = 16;
/// A name's place among equals is looked after at most so often.
const MOVE_PAUSE: Duration = Duration::from_secs(60);
/// A flow that reaches a name is noted at most so often, unless it is the first.
const NOTE_PAUSE: Duration = Duration::from_secs(1);

/// What came of a name, from what is dropped first to what is dropped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It was asked for.
    Asked,
    /// The list names it itself.
    Listed,
    /// A flow of one subscriber reached it.
    Used,
    /// Flows of several did.
    Shared,
}

impl Rank {
    /// Its place in arrays.
    const fn index(self) -> usize {
        self as usize
    }
}

/// The last answer for a name.
pub(super) struct Cached {
    pub(super) answer: Answer,
    pub(super) asked: Monotonic,
    pub(super) fresh_until: Monotonic,
    /// The last inquiry vouched for what was wanted, or further questions brought further addresses: an unknown address
    /// may be one more of a rotating site.
    pub(super) worth_asking: bool,
    /// The last answer with addresses, for when there are none.
    pub(super) last: Option<Last>,
    rank: Rank,
    /// Its key among those of its rank.
    place: u64,
    /// When a flow that reached it was last noted.
    noted: Monotonic,
    /// When it was given its place.
    moved: Monotonic,
    /// Keyed hash of the first subscriber whose flow reached it.
    user: Option<u64>,
}

/// The last addresses of a name that our own look-ups found.
#[derive(Clone)]
pub(super) struct Last {
    pub(super) addresses: Arc<[IpAddr]>,
    /// How long they are evidence; after it they are dialled all the same. None: the run before found them, and the trusted
    /// answers say whether they count.
    pub(super) counts_until: Option<Monotonic>,
}

/// An answer that has come.
pub(super) struct Landed<'a> {
    /// What it says.
    pub(super) answer: &'a Answer,
    /// How long it is fresh.
    pub(super) ttl: Duration,
    /// How long its addresses are evidence.
    pub(super) retention: Duration,
    /// The list names it itself.
    pub(super) listed: bool,
}

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

impl Cached {
    /// One whose place is not known yet.
    fn new(answer: Answer, asked: Monotonic, fresh_until: Monotonic, last: Option<Last>, rank: Rank) -> Self {
        Self {
            answer,
            asked,
            fresh_until,
            worth_asking: false,
            last,
            rank,
            place: 0,
            noted: asked,
            moved: asked,
            user: None,
        }
    }

    /// Whether something came of the name.
    pub(super) fn is_known(&self) -> bool {
        self.rank > Rank::Asked
    }

    /// Whether a flow that reaches the name is to be noted.
    pub(super) fn is_noteworthy(&self, now: Monotonic) -> bool {
        let pause = match self.rank {
            Rank::Asked | Rank::Listed => Duration::ZERO,
            // Another subscriber's may be the next.
            Rank::Used => NOTE_PAUSE,
            Rank::Shared => MOVE_PAUSE,
        };
        now.since(self.noted) >= pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn who(last: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    fn found() -> Answer {
        Ok(Arc::from([IpAddr::from([203, 0, 113, 1])]))
    }

    fn land(cache: &mut Cache, text: &str, answer: &Answer, listed: bool, seconds: u64) {
        let landed = Landed { answer, ttl: Duration::from_secs(60), retention: HOUR, listed };
        cache.land(&name(text), &landed, at(seconds));
    }

    #[test]
    fn f4_made_up_names_displace_none_that_came_to_something() {
        let mut cache = Cache::new(64);
        for kept in ["used.kz", "shared.kz"] {
            land(&mut cache, kept, &found(), false, 1);
            cache.note_use(&name(kept), &who(1), at(1));
        }
        cache.note_use(&name("shared.kz"), &who(2), at(2));
        land(&mut cache, "listed.kz", &found(), true, 3);
        for number in 0..1_000 {
            land(&mut cache, &format!("n{number}.kz"), &found(), false, 4);
        }
        assert_eq!(cache.names.len(), 64, "at the limit");
        assert!(cache.order.iter().map(BTreeMap::len).eq([61, 1, 1, 1]));
        for kept in ["used.kz", "shared.kz", "listed.kz", "n999.kz"] {
            assert!(cache.get(&name(kept)).is_some(), "{kept}");
        }
        assert!(cache.get(&name("n938.kz")).is_none(), "the oldest went");
    }

    #[test]
    fn f4_names_of_one_subscriber_go_before_those_of_several_and_new_ones_find_room() {
        let mut cache = Cache::new(16);
        for number in 0..16_u8 {
            let (text, second) = (format!("n{number}.kz"), u64::from(number));
            land(&mut cache, &text, &found(), false, second);
            cache.note_use(&name(&text), &who(10 + number), at(second));
            if number < 4 {
                cache.note_use(&name(&text), &who(2), at(second));
            }
        }
        for number in 16..40 {
            land(&mut cache, &format!("n{number}.kz"), &found(), false, number);
        }
        // Two places in sixteen, and the one that is about to come.
        assert!(cache.order.iter().map(BTreeMap::len).eq([3, 0, 9, 4]), "{:?}", cache.order);
        assert!((0..4).chain(7..16).all(|number| cache.get(&name(&format!("n{number}.kz"))).is_some()));
    }

    #[test]
    fn f4_whoever_reaches_made_up_names_displaces_his_own() {
        let mut cache = Cache::new(64);
        land(&mut cache, "pupil.kz", &found(), false, 1);
        cache.note_use(&name("pupil.kz"), &who(1), at(1));
        for number in 0..200 {
            let text = format!("n{number}.kz");
            land(&mut cache, &text, &found(), false, 2);
            cache.note_use(&name(&text), &who(2), at(2));
        }
        let known = |text: &str| cache.get(&name(text)).is_some();
        assert!(known("pupil.kz"), "another's");
        assert!((196..200).all(|number| known(&format!("n{number}.kz"))) && !known("n195.kz"), "four of 64");
        assert_eq!((cache.names.len(), cache.of_users.len()), (5, 5));
        // What another uses too is nobody's alone.
        cache.note_use(&name("n196.kz"), &who(1), at(3));
        assert_eq!(cache.counts.values().sum::<usize>(), 4);
        for number in 0..64 {
            land(&mut cache, &format!("m{number}.kz"), &found(), true, 4);
        }
        assert_eq!(cache.counts.values().sum::<usize>(), cache.of_users.len());
        assert_eq!(cache.names.len(), 64);
    }

    #[test]
    fn f4_the_name_used_longest_ago_goes_first_among_equals() {
        let mut cache = Cache::new(8);
        for number in 0..8 {
            let text = format!("n{number}.kz");
            land(&mut cache, &text, &found(), true, 0);
            cache.note_use(&name(&text), &who(1 + number), at(0));
        }
        cache.note_use(&name("n0.kz"), &who(1), at(59));
        assert_eq!(cache.order[Rank::Used.index()].values().next(), Some(&name("n0.kz")), "not yet");
        cache.note_use(&name("n0.kz"), &who(1), at(60));
        land(&mut cache, "other.kz", &found(), true, 61);
        assert!(cache.get(&name("n0.kz")).is_some() && cache.get(&name("n1.kz")).is_none());
    }

    #[test]
    fn f12_the_last_addresses_outlive_every_failure() {
        let mut cache = Cache::new(8);
        land(&mut cache, "a.kz", &found(), false, 0);
        assert_eq!(cache.last_known().count(), 0, "nobody has used it");
        cache.note_use(&name("a.kz"), &who(1), at(0));
        for failure in [LookupError::Failed, LookupError::ServerFailure, LookupError::NoAddress] {
            land(&mut cache, "a.kz", &Err(failure), false, 1_000_000);
            let last = cache.get(&name("a.kz")).unwrap().last.as_ref().unwrap();
            assert_eq!((Ok(Arc::clone(&last.addresses)), last.counts_until), (found(), Some(at(3_600))));
        }
        assert_eq!(cache.last_known().count(), 1);
        let other: Arc<[IpAddr]> = Arc::from([IpAddr::from([203, 0, 113, 2])]);
        cache.restore(&name("a.kz"), Arc::clone(&other), at(2));
        cache.restore(&name("b.kz"), other, at(2));
        assert_eq!(cache.get(&name("a.kz")).unwrap().last.as_ref().unwrap().counts_until, Some(at(3_600)));
        assert!(cache.get(&name("b.kz")).unwrap().last.as_ref().unwrap().counts_until.is_none());
    }
}
