//! How the table is changed: by one writer at a time, while everybody reads.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use billing_export::Session;

use super::{Applied, Begun, Change, Event, Holding, SessionSource, SessionState, Sessions, WORD_BITS};
use crate::flow::session::block::{Block, MAPPED_BITS};
use crate::flow::session::news::What;
use crate::flow::session::slots::{Link, Slots, links};

impl Sessions {
    /// Has the static table say `rows` and nothing else; of equal blocks the last one counts. What other sources say stays, and
    /// so does a block whose row is what it was. Of more rows than there is room for the longest prefixes have it. At each moment
    /// an address has the session it had before or has after; for that, what comes is there before what goes has gone.
    pub fn replace_static(&self, rows: impl IntoIterator<Item = (Block, Session)>) -> Applied {
        let mut writer = self.writer();
        let rows: HashMap<Block, Session> = rows.into_iter().collect();
        self.stated.store(rows.len(), Ordering::Relaxed);
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|(block, _)| longest_first(*block));
        let mut others = 0_usize;
        self.slots.load().each(|source, _| match source {
            SessionSource::Static => {}
            SessionSource::Accounting => others = others.saturating_add(1),
        });
        let room = rows.len().min(self.held_max().saturating_sub(others));
        let over = rows.split_off(room);
        let mut wanted: HashMap<Block, Session> = rows.into_iter().collect();
        let (mut bound, mut released) = (Vec::new(), Vec::new());
        self.slots.load().each(|source, holding| match source {
            SessionSource::Static => match wanted.remove(&holding.block) {
                Some(session) if session == holding.session => {}
                Some(session) => bound.push((holding.block, session)),
                None => released.push(holding.block),
            },
            SessionSource::Accounting => {}
        });
        self.make_room(&mut writer, wanted.len());
        // Longest first, then what is released the other way round: nothing wider has an address in between.
        bound.extend(wanted);
        bound.sort_unstable_by_key(|(block, _)| longest_first(*block));
        released.sort_unstable_by_key(|block| Reverse(longest_first(*block)));
        let change = |block, event| Change { block, source: SessionSource::Static, event };
        let bind = |(block, session)| change(block, Event::Bind(session));
        let bound = bound.into_iter().map(bind);
        let released = released.into_iter().map(|block| change(block, Event::Release));
        let applied = self.write(&mut writer, bound.chain(released), usize::MAX);
        // Those for which there is no room, where a wider block of another source has their addresses.
        let full = over.len();
        let covered: Vec<_> =
            over.into_iter().filter(|(block, _)| self.find_around(*block).is_some()).collect();
        let forced = self.write(&mut writer, covered.into_iter().map(bind), self.held_max());
        self.unbound.store(full, Ordering::Relaxed);
        Applied { changed: applied.changed.saturating_add(forced.changed), full }
    }

    /// Nobody hears of the sessions of accounting any more: those that are in a better state are in this one.
    pub fn doubt_accounting(&self, state: SessionState) -> Applied {
        let mut writer = self.writer();
        let mut changes = Vec::new();
        self.slots.load().each(|source, holding| {
            let is_better = match holding.state {
                SessionState::Active => state != SessionState::Active,
                SessionState::Suspect => state == SessionState::Stale,
                SessionState::Stale => false,
            };
            if source == SessionSource::Accounting && is_better {
                let event = Event::SetState(state);
                changes.push(Change { block: holding.block, source, event });
            }
        });
        self.write(&mut writer, changes, usize::MAX)
    }

    /// Applies changes, where there is room for so many blocks, and tells of them.
    pub(super) fn write(
        &self,
        writer: &mut Writer,
        changes: impl IntoIterator<Item = Change>,
        held_max: usize,
    ) -> Applied {
        let number = self.latest.number().wrapping_add(1);
        let (mut applied, mut touched, mut left) = (Applied::default(), Vec::new(), Vec::new());
        for change in changes {
            let block = change.block;
            let is_full = matches!(change.event, Event::Bind(_)) && self.len() >= held_max;
            if is_full && self.slots.load().find_of(block, change.source, &self.places).is_none() {
                applied.full = applied.full.saturating_add(1);
                let Some(wider) = self.widest_around(block) else { continue };
                for source in SessionSource::ALL {
                    let release = Change { block: wider, source, event: Event::Release };
                    if self.change(writer, release, number, &mut left) && source == SessionSource::Static {
                        self.unbound.fetch_add(1, Ordering::Relaxed);
                    }
                }
                touched.push(wider);
            }
            if self.change(writer, change, number, &mut left) {
                touched.push(block);
            }
        }
        applied.changed = touched.len();
        writer.retired.retain(|slots| Arc::strong_count(slots) > 1);
        writer.note_ended(left, self.held_max());
        if applied.changed > 0 {
            let holder = |block| self.find_around(block).map(|holding| holding.session);
            self.latest.publish(number, What::of(touched, holder));
        }
        applied
    }

    /// Applies one change, and says whether it is one; a session that loses its last block by it goes to `left`.
    fn change(&self, writer: &mut Writer, change: Change, number: u64, left: &mut Vec<Session>) -> bool {
        let Change { block, source, event } = change;
        let before = self.slots.load().find_of(block, source, &self.places);
        let after = match (event, &before) {
            (Event::Bind(session), Some(before)) if before.session == session => {
                Some(Holding { state: SessionState::Active, ..before.clone() })
            }
            (Event::Bind(session), _) => {
                let state = SessionState::Active;
                let begun = writer.begun.get(&block).copied();
                Some(Holding { session, state, block, since: number, regained: number, begun })
            }
            (Event::SetState(state), Some(before)) => Some(Holding { state, ..before.clone() }),
            (Event::SetState(_) | Event::Release, None) => None,
            (Event::Release, Some(_)) => None,
        };
        if before == after {
            return false;
        }
        if let Some(after) = &after {
            writer.take(&after.session);
        }
        if before.is_none() {
            self.make_room(writer, 1);
            self.count(writer, block, Count::Comes);
        }
        let goes = after.is_none();
        self.put(block, source, after);
        if goes {
            self.count(writer, block, Count::Goes);
            if let Some(heir) = self.find_around(block) {
                self.relink(
                    heir.block,
                    |_, holding| Some(Holding { regained: number, ..holding.clone() }),
                    None,
                );
            }
        }
        left.extend(before.and_then(|before| writer.give_back(before.session)));
        true
    }

    /// Puts what a source says of a block in the place of what it said.
    fn put(&self, block: Block, source: SessionSource, after: Option<Holding>) {
        let others = |of, holding: &Holding| (of != source).then(|| holding.clone());
        self.relink(block, others, after.map(|holding| (source, holding)));
    }

    /// Puts another chain in the place of the one that has, or is to have, a block: of its holdings what `keep` makes of them, and
    /// one more.
    fn relink(
        &self,
        block: Block,
        keep: impl Fn(SessionSource, &Holding) -> Option<Holding>,
        more: Option<(SessionSource, Holding)>,
    ) {
        let slots = self.slots.load();
        let Some(slot) = slots.slot(block, &self.places) else { return };
        let head = slot.load_full();
        let kept = links(head.as_deref()).filter_map(|link| {
            let holding = &link.holding;
            let after =
                if holding.block == block { keep(link.source, holding) } else { Some(holding.clone()) };
            Some((link.source, after?))
        });
        let chain = kept.chain(more);
        let chain =
            chain.fold(None, |next, (source, holding)| Some(Arc::new(Link { source, holding, next })));
        self.changes.fetch_add(1, Ordering::AcqRel);
        slot.store(chain);
    }

    /// The widest block with a session that the block is in, itself by the word of another source among them.
    fn widest_around(&self, block: Block) -> Option<Block> {
        let slots = self.slots.load();
        let shortest = if block.is_v4() { MAPPED_BITS } else { 0 };
        let wider = (shortest..=block.length()).map(|length| block.widened(length));
        wider.into_iter().find(|wider| slots.find(*wider, &self.places).is_some())
    }

    /// More slots, where there would be fewer of them than blocks with those that come.
    fn make_room(&self, writer: &mut Writer, coming: usize) {
        let blocks = self.len().saturating_add(coming);
        if blocks <= self.slots.load().blocks_max() {
            return;
        }
        let larger = Slots::for_blocks(blocks);
        self.slots.load().each(|source, holding| {
            let Some(slot) = larger.slot(holding.block, &self.places) else { return };
            let next = slot.load_full();
            slot.store(Some(Arc::new(Link { source, holding: holding.clone(), next })));
        });
        self.changes.fetch_add(1, Ordering::AcqRel);
        writer.retired.push(self.slots.swap(Arc::new(larger)));
    }

    /// Counts a block that comes or goes, so that readers look for the lengths there are.
    fn count(&self, writer: &mut Writer, block: Block, count: Count) {
        let of_length = writer.counts.entry((block.is_v4(), block.length())).or_default();
        match count {
            Count::Comes => {
                *of_length = of_length.saturating_add(1);
                self.held.fetch_add(1, Ordering::Relaxed);
            }
            Count::Goes => {
                *of_length = of_length.saturating_sub(1);
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let (word, bit) = place(block);
        if let Some(word) = self.lengths.get(word) {
            match *of_length {
                0 => word.fetch_and(!bit, Ordering::AcqRel),
                _ => word.fetch_or(bit, Ordering::AcqRel),
            };
        }
    }
}

/// What only writers need.
#[derive(Default)]
pub(super) struct Writer {
    /// Blocks of each length, in the order of [`Sessions::lengths`].
    counts: HashMap<(bool, u8), usize>,
    /// How many blocks each session holds.
    sessions: HashMap<Session, usize>,
    /// Since when sessions have had blocks that they come to by the write that is made.
    pub(super) begun: HashMap<Block, Begun>,
    /// Sessions that have lost their last block and were not asked for yet.
    pub(super) ended: Vec<Session>,
    /// Those of them that ended without a Stop.
    pub(super) lost: Vec<Session>,
    /// Slots that were replaced, for as long as somebody reads them: no reader is to free a million links.
    retired: Vec<Arc<Slots>>,
}

/// What becomes of a block.
#[derive(Clone, Copy)]
enum Count {
    /// It is held from here on.
    Comes,
    /// It is not.
    Goes,
}

/// The order in which blocks of the static table get room, and come.
const fn longest_first(block: Block) -> Reverse<(u8, (u128, u128))> {
    Reverse((block.length(), block.ends()))
}

/// Which of [`Sessions::lengths`] has a block's length, and the bit there.
fn place(block: Block) -> (usize, u64) {
    let (word, bit) = match block.v4_length() {
        Some(length) => (0, length),
        None => (usize::from(block.length() / WORD_BITS).saturating_add(1), block.length() % WORD_BITS),
    };
    (word, 1_u64.checked_shl(bit.into()).unwrap_or(0))
}

impl Writer {
    /// Counts one more block of a session.
    fn take(&mut self, session: &Session) {
        let blocks = self.sessions.entry(session.clone()).or_default();
        *blocks = blocks.saturating_add(1);
    }

    /// Counts one block less; the session, if it was its last.
    fn give_back(&mut self, session: Session) -> Option<Session> {
        let blocks = self.sessions.get_mut(&session)?;
        *blocks = blocks.saturating_sub(1);
        if *blocks > 0 {
            return None;
        }
        self.sessions.remove(&session);
        Some(session)
    }

    /// Notes sessions that have lost their last block and did not get another one since; of more than `ended_max` nobody is
    /// told.
    fn note_ended(&mut self, mut left: Vec<Session>, ended_max: usize) {
        left.retain(|session| !self.sessions.contains_key(session));
        left.sort_unstable();
        left.dedup();
        let room = ended_max.saturating_sub(self.ended.len());
        self.ended.extend(left.into_iter().take(room));
    }
}
