//! What one decision touches: from what was there before and is there after, the changes follow.

use std::collections::{BTreeMap, BTreeSet};

use billing_export::Session;

use super::Registry;
use super::book::is_same;
use super::decision::{Bound, Decision, RowChange};
use super::places::Place;
use super::spot::Spot;
use crate::flow::session::{Block, Change, Event, SessionSource, SessionState};

/// A decision in the making.
pub(super) struct Work {
    pub(super) decision: Decision,
    /// The event that it is about.
    pub(super) event: u32,
    /// When it was heard of.
    pub(super) heard: u32,
    /// By how many seconds its event may seem later than it was.
    pub(super) late_max: u32,
    /// What spots showed before it.
    before: BTreeMap<Spot, Before>,
    /// Sessions whose rows change.
    pub(super) rows: BTreeSet<u32>,
    /// The same of access servers.
    pub(super) servers: BTreeSet<u32>,
}

/// What a spot showed.
struct Before {
    shown: Option<Shown>,
    /// The event that ended the last holding of it.
    free_since: Option<u32>,
}

/// What the table says of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// A session has it.
    Held {
        /// The session.
        session: Session,
        /// Its state.
        state: SessionState,
        /// Its start.
        start: u32,
    },
    /// It is occupied, and nobody can tell by whom: no wider block has it either.
    Nobody,
}

impl Work {
    /// One that is about an event, and was heard of then.
    pub(super) fn new(event: u32, heard: u32) -> Self {
        Self {
            decision: Decision::default(),
            event,
            heard,
            late_max: 0,
            before: BTreeMap::new(),
            rows: BTreeSet::new(),
            servers: BTreeSet::new(),
        }
    }

    /// Spots that it touched.
    pub(super) fn touched(&self) -> Vec<Spot> {
        self.before.keys().copied().collect()
    }
}

impl Registry {
    /// Notes what a spot shows, before it changes.
    pub(super) fn touch(&self, work: &mut Work, spot: Spot) {
        work.before.entry(spot).or_insert_with(|| {
            let last = self.places.get(spot).and_then(|place| place.last.as_ref());
            let free_since = last.map(|last| last.event);
            Before { shown: self.shown(spot), free_since }
        });
    }

    /// The decision, with what its touching comes to.
    pub(super) fn finish(&mut self, mut work: Work) -> Decision {
        self.join_again(&mut work);
        for (spot, before) in &work.before {
            let after = self.shown(*spot);
            if before.shown == after {
                continue;
            }
            for block in spot.blocks() {
                work.decision.changes.extend(changes(block, before.shown.as_ref(), after.as_ref()));
                work.decision.bound.extend(bound(block, before, after.as_ref(), work.event));
            }
        }
        // Two ranges may share a block: who comes to it has it, in whatever order they stand, and whoever still has it.
        work.decision
            .changes
            .sort_by_key(|change| change.event != Event::Release || !change.block.has_port());
        let gone = work.before.iter().filter(|(spot, before)| {
            spot.block().is_none() && before.shown.is_some() && self.shown(**spot).is_none()
        });
        for rival in gone.flat_map(|(spot, _)| self.places.rivals(*spot)) {
            let shown = self.shown(rival).filter(|_| rival.block().is_none());
            let blocks = if shown.is_some() { rival.blocks() } else { Vec::new() };
            let again = blocks.into_iter().flat_map(|block| changes(block, None, shown.as_ref()));
            work.decision.changes.extend(again);
        }
        self.occupy(&mut work);
        let rows = work.rows.iter().filter_map(|slot| self.book.row(*slot, &self.servers));
        work.decision.rows.extend(rows.map(RowChange::Upsert));
        self.forget_over_limit(&mut work);
        let servers = work.servers.iter().filter_map(|place| self.servers.row(*place));
        work.decision.rows.extend(servers.map(RowChange::Server));
        if self.places.forgotten() > self.told_forgotten {
            self.told_forgotten = self.places.forgotten();
            work.decision.rows.push(RowChange::Forgotten(self.told_forgotten));
        }
        work.decision
    }
}

impl Registry {
    /// An address of which anybody has ports is nobody's but for those: no wider block has it.
    fn occupy(&mut self, work: &mut Work) {
        // Nearly all have whole addresses.
        if self.occupied.is_empty() && work.before.keys().all(|spot| spot.block().is_some()) {
            return;
        }
        let touched: BTreeSet<Spot> = work.before.keys().map(|spot| spot.whole()).collect();
        let mut occupied = Vec::new();
        for whole in touched {
            let Some(block) = whole.block() else { continue };
            let is_whole = self.shown(whole).is_some();
            let has_ports = |(spot, place): (Spot, &Place)| spot != whole && !place.claims.slots().is_empty();
            let is_wanted = !is_whole && self.places.of(whole).any(has_ports);
            let change = |event| Change { block, source: SessionSource::Accounting, event };
            match (is_wanted, self.occupied.contains(&whole)) {
                (true, false) => {
                    self.occupied.insert(whole);
                    occupied.push(change(Event::Bind(Session::none())));
                }
                // Who had it as a whole has left it by this decision.
                (true, true) if work.before.contains_key(&whole) => {
                    occupied.push(change(Event::Bind(Session::none())));
                }
                (false, true) => {
                    self.occupied.remove(&whole);
                    if !is_whole {
                        work.decision.changes.push(change(Event::Release));
                    }
                }
                (true, true) | (false, false) => {}
            }
        }
        // In the place of a release: not for a moment has a wider block the address.
        let is_released = |change: &Change| {
            change.event == Event::Release && occupied.iter().any(|own| own.block == change.block)
        };
        work.decision.changes.retain(|change| !is_released(change));
        work.decision.changes.extend(occupied);
    }
}

/// The changes of the table by which a block shows something else.
fn changes(block: Block, before: Option<&Shown>, after: Option<&Shown>) -> Vec<Change> {
    let change = |event| Change { block, source: SessionSource::Accounting, event };
    match (before, after) {
        (_, None) => vec![change(Event::Release)],
        (_, Some(Shown::Nobody)) => vec![change(Event::Bind(Session::none()))],
        (Some(Shown::Held { session: before, .. }), Some(Shown::Held { session, state, .. }))
            if before == session && *state != SessionState::Active =>
        {
            vec![change(Event::SetState(*state))]
        }
        (_, Some(Shown::Held { session, state, .. })) => {
            let mut changes = vec![change(Event::Bind(session.clone()))];
            if *state != SessionState::Active {
                changes.push(change(Event::SetState(*state)));
            }
            changes
        }
    }
}

/// What there is to know of a block to which another subscriber comes.
fn bound(block: Block, before: &Before, after: Option<&Shown>, event: u32) -> Option<Bound> {
    let Some(Shown::Held { session, start, .. }) = after else { return None };
    let free_since = match &before.shown {
        // By realm they may differ; then somebody was there until this event, and nothing is adopted.
        Some(Shown::Held { session: before, .. }) if is_same((0, Some(before)), (0, Some(session))) => {
            return None;
        }
        Some(_) => Some(event),
        None => before.free_since,
    };
    Some(Bound { block, start: *start, free_since })
}
