//! Who has a spot that several sessions claim (rules 7 to 9).

use std::cmp::Ordering;

use super::book::is_same;
use super::decision::{End, Takeover};
use super::spot::Spot;
use super::work::Work;
use super::{Registry, SPOTS_PER_SESSION};

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It stands.
    Stands,
    /// Somebody else has the spot, or had it since.
    Refused,
    /// There is no room.
    Full,
}

/// How a claim fares at one spot that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    /// Nobody is in its way.
    Free,
    /// It takes the spot from another subscriber.
    Takes(Takeover),
    /// It started with another subscriber's session.
    Even,
    /// It started before another subscriber's.
    Late,
    /// Both go, and neither may come back before it is heard of again; or never, where both go on and contradict each other.
    BothGo { for_good: bool },
    /// It has lost to one that is gone, or may not yet be believed.
    Waits,
}

impl Meeting {
    /// Whether the claim does not stand.
    const fn is_refusal(self) -> bool {
        matches!(self, Self::Late | Self::BothGo { .. } | Self::Waits)
    }
}

impl Registry {
    /// A session claims a spot.
    pub(super) fn claim(&mut self, work: &mut Work, slot: u32, spot: Spot) -> Claim {
        let Some(start) = self.book.get(slot).map(|known| known.start) else { return Claim::Refused };
        self.touch(work, spot);
        if self.has(slot, spot) {
            self.settle(work, slot, spot);
            return if self.has(slot, spot) { Claim::Stands } else { Claim::Refused };
        }
        let rivals = self.places.rivals(spot);
        rivals.iter().for_each(|rival| self.touch(work, *rival));
        let meetings: Vec<_> =
            rivals.iter().map(|rival| (*rival, self.meet(slot, start, *rival, spot))).collect();
        let refused = meetings.iter().filter(|(_, (meeting, _))| meeting.is_refusal());
        let barrier = refused.map(|(_, (_, barrier))| *barrier).max();
        let mut dropped = Vec::new();
        for (rival, (meeting, _)) in meetings {
            match meeting {
                Meeting::Takes(kind) if barrier.is_none() => {
                    work.decision.takeovers.push(kind);
                    dropped.extend(self.drop_claims(work, rival, u32::MAX, start));
                }
                Meeting::Even if barrier.is_none() => {
                    if self.shown_slot(rival).is_some() {
                        work.decision.takeovers.push(Takeover::EqualStart);
                    }
                    dropped.extend(self.drop_claims(work, rival, start.saturating_sub(1), start));
                }
                Meeting::Late => dropped.extend(self.stands_between(work, start, start, rival)),
                Meeting::BothGo { for_good } => {
                    work.decision.takeovers.push(Takeover::EqualStart);
                    let until = if for_good { start.saturating_add(1) } else { start };
                    dropped.extend(self.drop_claims(work, rival, u32::MAX, until));
                    if for_good {
                        self.bar(rival, until);
                    }
                }
                Meeting::Free | Meeting::Waits | Meeting::Takes(_) | Meeting::Even => {}
            }
        }
        let claim = match barrier {
            Some(barrier) => {
                self.note_lost(work, slot, spot, barrier.max(start));
                Claim::Refused
            }
            None => self.add_claim(work, slot, start, spot),
        };
        self.settle(work, slot, spot);
        self.have_lost(work, slot, dropped);
        claim
    }

    /// Notes of a session that a spot which it named is another's, who started at `barrier`; 0: that it is its own.
    fn note_lost(&mut self, work: &mut Work, slot: u32, spot: Spot, barrier: u32) {
        if self.book.get_mut(slot).is_some_and(|known| known.set_lost(spot, barrier)) {
            work.rows.insert(slot);
        }
    }

    /// How the claim of `spot` by a session that started at `start` fares at `rival`, which shares addresses and ports with it, and
    /// the start that stands in its way there.
    fn meet(&self, slot: u32, start: u32, rival: Spot, spot: Spot) -> (Meeting, u32) {
        let (Some(place), Some(own)) = (self.places.get(rival), self.book.get(slot)) else {
            return (Meeting::Free, 0);
        };
        let claims = place.claims.slots();
        let is_foreign = claims.iter().any(|claim| !self.is_same(*claim, slot));
        let barrier = match &place.last {
            _ if is_foreign => place.top,
            Some(last) if !is_same((last.who.0, last.who.1.as_ref()), (own.realm, own.session.as_ref())) => {
                last.start.max(place.other)
            }
            _ => place.other,
        };
        let is_settled = own.is_settled();
        let meeting = match (start.cmp(&barrier), is_foreign) {
            (Ordering::Greater, true) => Meeting::Takes(Takeover::LaterStart),
            (Ordering::Greater, false) => Meeting::Free,
            (Ordering::Equal, false) if is_settled => Meeting::Free,
            (Ordering::Less, true) => Meeting::Late,
            (Ordering::Equal | Ordering::Less, false) => Meeting::Waits,
            (Ordering::Equal, true) if rival == spot => {
                let started = |claim: &u32| self.book.get(*claim).is_some_and(|known| known.start == start);
                let is_even = claims.iter().any(|claim| started(claim) && !self.is_same(*claim, slot));
                match (is_even, is_settled) {
                    (true, _) => Meeting::Even,
                    (false, true) => Meeting::Takes(Takeover::EqualStart),
                    (false, false) => Meeting::Late,
                }
            }
            (Ordering::Equal, true) => {
                let theirs =
                    claims.iter().any(|claim| self.book.get(*claim).is_some_and(|known| known.is_settled()));
                match (is_settled, theirs) {
                    (true, false) => Meeting::Takes(Takeover::EqualStart),
                    (false, true) => Meeting::Waits,
                    (both, _) => Meeting::BothGo { for_good: both },
                }
            }
        };
        let until =
            if meeting == (Meeting::BothGo { for_good: true }) { barrier.saturating_add(1) } else { barrier };
        (meeting, until)
    }

    /// Adds a claim that nothing forbids.
    fn add_claim(&mut self, work: &mut Work, slot: u32, start: u32, spot: Spot) -> Claim {
        let places_max = self.places_max();
        let own = self.book.get(slot).map(|known| (known.realm, known.session.clone()));
        let Some(place) = self.places.claimed(spot, start, places_max) else {
            // Where somebody may have had it who is forgotten. Else there is no room, and nobody in its way.
            let forgotten = self.places.forgotten();
            self.note_lost(work, slot, spot, if start <= forgotten { forgotten } else { 0 });
            return Claim::Full;
        };
        if let Some(last) = place.last.take() {
            let own = own.as_ref().map(|(realm, session)| (*realm, session.as_ref()));
            let is_own = own.is_some_and(|own| is_same((last.who.0, last.who.1.as_ref()), own));
            if is_own {
                place.top = last.start;
            } else {
                place.other = place.other.max(last.start);
                place.top = 0;
            }
        }
        place.top = place.top.max(start);
        place.claims.add(slot);
        self.note_lost(work, slot, spot, 0);
        Claim::Stands
    }

    /// Spots that are known at most.
    pub(super) const fn places_max(&self) -> usize {
        self.sessions_max.saturating_mul(SPOTS_PER_SESSION)
    }

    /// Another subscriber had a spot from `start` on, before the one who has it since: of his sessions those that began at `before`
    /// or earlier are not to have it when the later ones end.
    pub(super) fn stands_between(
        &mut self,
        work: &mut Work,
        start: u32,
        before: u32,
        spot: Spot,
    ) -> Vec<u32> {
        let is_one = self.shown_slot(spot).is_some();
        if let Some(place) = self.places.get_mut(spot).filter(|_| is_one) {
            place.other = place.other.max(start);
        }
        self.drop_claims(work, spot, before, start)
    }

    /// Of sessions that started together one that goes on alone has the spot.
    pub(super) fn settle(&mut self, work: &mut Work, own: u32, spot: Spot) {
        let slots = self.places.get(spot).map(|place| place.claims.slots().to_vec()).unwrap_or_default();
        let Some(first) = slots.first() else { return };
        if slots.iter().all(|slot| self.is_same(*first, *slot)) {
            return;
        }
        let is_settled = |slot: &&u32| self.book.get(**slot).is_some_and(|known| known.is_settled());
        let settled: Vec<u32> = slots.iter().filter(is_settled).copied().collect();
        let Some(winner) = settled.first().copied() else { return };
        if !settled.iter().all(|slot| self.is_same(winner, *slot)) {
            return;
        }
        let losers: Vec<u32> = slots.into_iter().filter(|slot| !self.is_same(winner, *slot)).collect();
        let barrier = self.book.get(winner).map_or(0, |known| known.start);
        for loser in &losers {
            self.drop_claim(work, *loser, spot);
            self.note_lost(work, *loser, spot, barrier);
        }
        self.have_lost(work, own, losers);
    }

    /// Whether a session claims a spot.
    pub(super) fn has(&self, slot: u32, spot: Spot) -> bool {
        self.places.get(spot).is_some_and(|place| place.claims.slots().contains(&slot))
    }

    /// Takes a session's claim of a spot out. The spot has been touched.
    pub(super) fn drop_claim(&mut self, work: &mut Work, slot: u32, spot: Spot) {
        let Some((start, who)) =
            self.book.get(slot).map(|known| (known.start, (known.realm, known.session.clone())))
        else {
            return;
        };
        let slots = self.places.get(spot).map(|place| place.claims.slots().to_vec()).unwrap_or_default();
        let is_foreign = slots.iter().any(|other| !self.is_same(*other, slot));
        let Some(place) = self.places.get_mut(spot) else { return };
        if !place.claims.remove(slot) {
            return;
        }
        if is_foreign {
            place.other = place.other.max(start);
        }
        if place.claims.slots().is_empty() {
            self.places.free(spot, who, work.event, work.heard);
        }
    }

    /// Takes the claims of sessions out that started at `start` or before, for one that started at `barrier`; whose.
    pub(super) fn drop_claims(&mut self, work: &mut Work, spot: Spot, start: u32, barrier: u32) -> Vec<u32> {
        let slots = self.places.get(spot).map(|place| place.claims.slots().to_vec()).unwrap_or_default();
        let is_early = |slot: &u32| self.book.get(*slot).is_some_and(|known| known.start <= start);
        let dropped: Vec<u32> = slots.into_iter().filter(is_early).collect();
        for slot in &dropped {
            self.drop_claim(work, *slot, spot);
            self.note_lost(work, *slot, spot, barrier);
        }
        dropped
    }

    /// Nobody who started before `start` is to have a spot.
    fn bar(&mut self, spot: Spot, start: u32) {
        if let Some(place) = self.places.get_mut(spot) {
            place.other = place.other.max(start);
            if let Some(last) = &mut place.last {
                last.start = last.start.max(start);
            }
        }
    }

    /// Ends those that have lost their last spot; `own` is being heard of, and goes on.
    pub(super) fn have_lost(&mut self, work: &mut Work, own: u32, slots: Vec<u32>) {
        for slot in slots.into_iter().filter(|slot| *slot != own) {
            let Some(known) = self.book.get(slot) else { continue };
            if known.is_open() && !known.wanted().into_iter().any(|spot| self.has(slot, spot)) {
                self.end(work, slot, End::Lost, work.event);
            }
        }
    }
}
