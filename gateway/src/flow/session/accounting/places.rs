//! Who claims each spot, and who had it last.

use std::collections::{BTreeMap, VecDeque};

use billing_export::Session;

use super::book::QUEUE_MIN;
use super::spot::Spot;

/// All spots that are claimed or remembered.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: BTreeMap<Spot, Place>,
    /// How many there are of each length of prefix, so that an address is looked for by those there are.
    lengths: BTreeMap<u8, usize>,
    /// Spots that became free, the earliest first, and when.
    freed: VecDeque<(Spot, u32)>,
    /// No holder that started later than this was forgotten for want of room.
    forgotten: u32,
}

/// A spot.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The sessions that claim it, by slot. All are one subscriber's, who has it; where they are not they started in the same second,
    /// and nobody has it.
    pub(super) claims: Claims,
    /// Who had it last, where nobody claims it.
    pub(super) last: Option<Box<Last>>,
    /// The latest start among those that claim it or did since it was free.
    pub(super) top: u32,
    /// The latest start of another subscriber's session that claimed it, or 0: who did not start later has lost it (rule 9).
    pub(super) other: u32,
}

/// Who had a spot last.
#[derive(Debug)]
pub(super) struct Last {
    /// The realm and the session; none where that was nobody.
    pub(super) who: (u32, Option<Session>),
    /// The latest start among that subscriber's sessions.
    pub(super) start: u32,
    /// The event that ended it.
    pub(super) event: u32,
    /// When that was heard.
    heard: u32,
}

/// Slots of sessions; nearly always one.
#[derive(Debug, Default)]
pub(super) enum Claims {
    /// Nobody.
    #[default]
    None,
    /// One session.
    One(u32),
    /// Several.
    Many(Box<[u32]>),
}

impl Claims {
    /// The slots, the earliest first.
    pub(super) fn slots(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    /// Adds a session that is not among them.
    pub(super) fn add(&mut self, slot: u32) {
        *self = Self::from_iter(self.slots().iter().copied().chain([slot]));
    }

    /// Takes a session out; says whether it was among them.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let before = self.slots().len();
        *self = Self::from_iter(self.slots().iter().copied().filter(|claim| *claim != slot));
        self.slots().len() < before
    }
}

impl FromIterator<u32> for Claims {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let slots: Vec<u32> = slots.into_iter().collect();
        match slots.as_slice() {
            [] => Self::None,
            [slot] => Self::One(*slot),
            _ => Self::Many(slots.into()),
        }
    }
}

impl Places {
    /// The place of a spot.
    pub(super) fn get(&self, spot: Spot) -> Option<&Place> {
        self.all.get(&spot)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, spot: Spot) -> Option<&mut Place> {
        self.all.get_mut(&spot)
    }

    /// The place of a spot that is to be claimed by a session that started at `start`; none where there is no room, or where nobody can
    /// tell any more whether somebody had it since.
    pub(super) fn claimed(&mut self, spot: Spot, start: u32, places_max: usize) -> Option<&mut Place> {
        if !self.all.contains_key(&spot) {
            if self.all.len() >= places_max {
                self.forget_oldest();
            }
            if self.all.len() >= places_max || start <= self.forgotten {
                return None;
            }
            let of_length = self.lengths.entry(spot.length()).or_default();
            *of_length = of_length.saturating_add(1);
        }
        Some(self.all.entry(spot).or_default())
    }

    /// No holder that started later than this was forgotten for want of room.
    pub(super) const fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// Notes what was forgotten before a restart.
    pub(super) fn raise_forgotten(&mut self, start: u32) {
        self.forgotten = self.forgotten.max(start);
    }

    /// Those that are of the same addresses and share a port with it, itself among them.
    pub(super) fn rivals(&self, spot: Spot) -> Vec<Spot> {
        let (least, greatest) = spot.rivals();
        let all = self.all.range(least..=greatest).map(|(other, _)| *other);
        all.filter(|other| other.overlaps(spot)).collect()
    }

    /// Notes that nobody claims a spot any more.
    pub(super) fn free(&mut self, spot: Spot, who: (u32, Option<Session>), event: u32, heard: u32) {
        let Some(place) = self.all.get_mut(&spot) else { return };
        place.last = Some(Box::new(Last { who, start: place.top, event, heard }));
        self.freed.push_back((spot, heard));
        // Of one that was claimed again since there is nothing to forget.
        if self.freed.len() > QUEUE_MIN.max(self.all.len().saturating_mul(2)) {
            let last = |spot: &Spot| self.all.get(spot).and_then(|place| place.last.as_ref());
            self.freed.retain(|(spot, heard)| last(spot).is_some_and(|last| last.heard == *heard));
        }
    }

    /// Notes of a spot that nobody claims that somebody had it from `start` on, who is not kept; the times are those of the event, and of
    /// when it was heard.
    pub(super) fn remember(
        &mut self,
        spot: Spot,
        who: (u32, Option<Session>),
        start: u32,
        (event, heard): (u32, u32),
        places_max: usize,
    ) {
        match self.claimed(spot, start, places_max) {
            Some(Place { claims, .. }) if !claims.slots().is_empty() => {}
            Some(Place { last: Some(last), .. }) if last.start >= start => {}
            Some(Place { last: Some(_), .. }) => self.pass(spot, who, start),
            Some(place) => {
                place.top = start;
                self.free(spot, who, event, heard);
            }
            None => self.forgotten = self.forgotten.max(start),
        }
    }

    /// Notes that a free spot was somebody else's since, from `start` on.
    pub(super) fn pass(&mut self, spot: Spot, who: (u32, Option<Session>), start: u32) {
        let Some(place) = self.all.get_mut(&spot) else { return };
        let Some(last) = &mut place.last else { return };
        place.other = place.other.max(last.start);
        place.top = start;
        last.who = who;
        last.start = start;
    }

    /// Forgets who had spots that became free before `since`, as many as one sweep may.
    pub(super) fn forget_before(&mut self, since: u32, count_max: usize) {
        for _ in 0..count_max {
            match self.freed.front() {
                Some((spot, heard)) if *heard < since => {
                    let (spot, heard) = (*spot, *heard);
                    self.freed.pop_front();
                    self.forget(spot, heard);
                }
                _ => break,
            }
        }
    }

    /// Forgets the spot that has been free for longest, and who might still ask for it.
    fn forget_oldest(&mut self) {
        while let Some((spot, heard)) = self.freed.pop_front() {
            if let Some(start) = self.forget(spot, heard) {
                self.forgotten = self.forgotten.max(start);
                break;
            }
        }
    }

    /// Forgets a spot if it has been free since then; the start of who had it.
    fn forget(&mut self, spot: Spot, heard: u32) -> Option<u32> {
        let last = self.all.get(&spot)?.last.as_ref().filter(|last| last.heard == heard)?;
        let start = last.start;
        self.all.remove(&spot);
        let of_length = self.lengths.get_mut(&spot.length())?;
        *of_length = of_length.saturating_sub(1);
        if *of_length == 0 {
            self.lengths.remove(&spot.length());
        }
        Some(start)
    }

    /// The lengths of prefix that there are, the longest first.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u8> {
        self.lengths.keys().rev().copied()
    }

    /// Spots that are known.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The places whose addresses are exactly `block`'s, in the order of their first ports.
    pub(super) fn of(&self, whole: Spot) -> impl Iterator<Item = (Spot, &Place)> {
        let (least, greatest) = whole.rivals();
        self.all.range(least..=greatest).map(|(spot, place)| (*spot, place))
    }
}
