//! The table of sessions: who has an address, changed one block at a time while everybody reads.
//!
//! A hash table of immutable chains, one for each slot. A reader takes the chain's head without a lock and without waiting;
//! a writer puts another head in its place. An address is looked up by the lengths of prefix that are in use, the longest
//! first. Writers take turns; what they changed is told in numbered writes ([`News`]), behind the change itself.
//!
//! Memory: some 300 bytes for a block with a session of its own; their number is limited, and what is over binds nobody.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use billing_export::Session;

use super::block::{Block, MAPPED_BITS};
use super::news::{Latest, News, What};
use super::slots::{Link, Slots, links};

/// Slots of a table that holds little.
const SLOTS_MIN: usize = 64;
/// Bits of a word.
const WORD_BITS: u8 = 64;
/// The length that the lowest bit of each word stands for, of IPv4 and of IPv6.
const V4_FIRSTS: [u8; 1] = [MAPPED_BITS];
const V6_FIRSTS: [u8; 3] = [0, WORD_BITS, 2 * WORD_BITS];
/// How often an address is looked up again while writes go on beside it; each takes less than a microsecond.
const TRIES: usize = 8;

/// Who says that a session has a block. Of two with the same block the later one here counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The operator's static table.
    Static,
    /// The access network's accounting.
    Accounting,
}

/// What is known of a session that holds a block. One that has ended holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It lasts.
    Active,
    /// It lasted before a restart, and nothing was heard of it since.
    Suspect,
    /// Nothing was heard of it for too long.
    Stale,
}

/// A session at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The session.
    pub session: Session,
    /// Its state.
    pub state: SessionState,
    /// The block that it holds.
    pub block: Block,
    /// The write by which it came to the block.
    pub since: u64,
}

impl Holding {
    /// The session, unless it is stale: whose bytes they would be.
    pub fn counted(&self) -> Option<&Session> {
        match self.state {
            SessionState::Active | SessionState::Suspect => Some(&self.session),
            SessionState::Stale => None,
        }
    }
}

/// What happens to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session has it and is active, whoever had it before.
    Bind(Session),
    /// The session that has it is in another state.
    Turn(SessionState),
    /// Nobody has it.
    Release,
}

/// An event of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The block.
    pub block: Block,
    /// Who says so; what others say of the block stays.
    pub source: Source,
    /// What happens.
    pub event: Event,
}

/// What became of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Those that changed something.
    pub changed: usize,
    /// Those that found no room: their sessions have nothing.
    pub full: usize,
}

/// The table.
pub struct Sessions {
    slots: ArcSwap<Slots>,
    /// Which lengths are in use: of IPv4 in the first word, of IPv6 in the others.
    lengths: [AtomicU64; 4],
    /// Rises before each change of a slot.
    changes: AtomicU64,
    latest: Latest,
    /// Blocks held, of each source once.
    held: AtomicUsize,
    /// Blocks that the static table names, and those of them that found no room.
    stated: AtomicUsize,
    unbound: AtomicUsize,
    held_max: AtomicUsize,
    hasher: RandomState,
    writer: Mutex<Writer>,
}

/// What only writers need.
#[derive(Default)]
struct Writer {
    /// Blocks of each length, in the order of [`Sessions::lengths`].
    counts: HashMap<(bool, u8), usize>,
    /// How many blocks each session holds.
    sessions: HashMap<Session, usize>,
    /// Sessions that have lost their last block and were not asked for yet.
    ended: Vec<Session>,
    /// Slots that were replaced, for as long as somebody reads them: no reader is to free a million links.
    retired: Vec<Arc<Slots>>,
}

impl Sessions {
    /// An empty table of at most `held_max` blocks.
    pub fn new(held_max: usize, hasher: RandomState) -> Self {
        Self {
            slots: ArcSwap::from_pointee(Slots::new(SLOTS_MIN)),
            lengths: Default::default(),
            changes: AtomicU64::new(0),
            latest: Latest::new(),
            held: AtomicUsize::new(0),
            stated: AtomicUsize::new(0),
            unbound: AtomicUsize::new(0),
            held_max: AtomicUsize::new(held_max),
            hasher,
            writer: Mutex::default(),
        }
    }

    /// The session of `address`: of the longest prefix that is held. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn find(&self, address: IpAddr) -> Option<Holding> {
        let block = Block::of(address);
        let mut found = None;
        for _ in 0..TRIES {
            let before = self.changes.load(Ordering::Acquire);
            found = self.find_around(block);
            // Of two changes beside the look at several slots it may have seen the second and not the first.
            if self.changes.load(Ordering::Acquire) == before {
                break;
            }
        }
        found
    }

    /// Who has the block, by itself or by a wider one.
    fn find_around(&self, block: Block) -> Option<Holding> {
        let slots = self.slots.load();
        let [v4, v6 @ ..] = &self.lengths;
        let (words, firsts) = match block.v4_length() {
            Some(_) => (std::slice::from_ref(v4), &V4_FIRSTS[..]),
            None => (&v6[..], &V6_FIRSTS[..]),
        };
        for (word, first) in words.iter().zip(firsts).rev() {
            let mut bits = word.load(Ordering::Acquire);
            while let Some(bit) = bits.checked_ilog2() {
                bits ^= 1_u64.checked_shl(bit).unwrap_or(bits);
                let length = first.saturating_add(u8::try_from(bit).unwrap_or(u8::MAX));
                if length > block.length() {
                    continue;
                }
                if let Some(holding) = slots.find(block.widened(length), &self.hasher) {
                    return Some(holding);
                }
            }
        }
        None
    }

    /// Blocks held, of each source once.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether no address has a session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks that the static table names.
    pub fn stated(&self) -> usize {
        self.stated.load(Ordering::Relaxed)
    }

    /// Those of them that found no room.
    pub fn unbound(&self) -> usize {
        self.unbound.load(Ordering::Relaxed)
    }

    /// Most blocks.
    pub fn held_max(&self) -> usize {
        self.held_max.load(Ordering::Relaxed)
    }

    /// Changes how many blocks there are at most; what is held stays.
    pub fn set_held_max(&self, held_max: usize) {
        self.held_max.store(held_max, Ordering::Relaxed);
    }

    /// Number of the latest write; 0 before the first.
    pub fn number(&self) -> u64 {
        self.latest.number()
    }

    /// The writes after the one with number `seen`.
    pub fn news(&self, seen: u64) -> News {
        self.latest.since(seen)
    }

    /// Sessions that have lost their last block since the last call.
    pub fn take_ended(&self) -> Vec<Session> {
        std::mem::take(&mut self.writer().ended)
    }

    /// Applies changes in their order, as one write.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Applied {
        self.write(&mut self.writer(), changes, self.held_max())
    }

    /// Has the static table say `rows` and nothing else; of equal blocks the last one counts. What other sources say stays, and
    /// so does a block whose row is what it was. At each moment an address has the session it had before or has after; for
    /// that, what comes is there before what goes has gone.
    pub fn replace_static(&self, rows: impl IntoIterator<Item = (Block, Session)>) -> Applied {
        let mut writer = self.writer();
        let mut wanted: HashMap<Block, Session> = rows.into_iter().collect();
        self.stated.store(wanted.len(), Ordering::Relaxed);
        let (mut bound, mut released) = (Vec::new(), Vec::new());
        self.slots.load().each(|source, holding| match source {
            Source::Static => match wanted.remove(&holding.block) {
                Some(session) if session == holding.session => {}
                Some(session) => bound.push((holding.block, session)),
                None => released.push(holding.block),
            },
            Source::Accounting => {}
        });
        let mut new: Vec<_> = wanted.into_iter().collect();
        let longest_first = |(block, _): &(Block, Session)| Reverse((block.length(), block.ends()));
        new.sort_unstable_by_key(longest_first);
        let kept = self.len().saturating_sub(released.len());
        let (stated, room) = (new.len(), self.held_max().saturating_sub(kept));
        new.truncate(room);
        let full = stated.saturating_sub(new.len());
        self.unbound.store(full, Ordering::Relaxed);
        self.make_room(&mut writer, new.len());
        // Longest first, then what is released the other way round: nothing wider shows through in between.
        bound.append(&mut new);
        bound.sort_unstable_by_key(longest_first);
        released.sort_unstable_by_key(|block| (block.length(), block.ends()));
        let change = |block, event| Change { block, source: Source::Static, event };
        let bound = bound.into_iter().map(|(block, session)| change(block, Event::Bind(session)));
        let released = released.into_iter().map(|block| change(block, Event::Release));
        let applied = self.write(&mut writer, bound.chain(released), usize::MAX);
        Applied { full, ..applied }
    }

    /// Applies changes, where there is room for so many blocks, and tells of them.
    fn write(
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
            if is_full && self.slots.load().find_of(block, change.source, &self.hasher).is_none() {
                applied.full = applied.full.saturating_add(1);
            } else if self.change(writer, change, number, &mut left) {
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
        let before = self.slots.load().find_of(block, source, &self.hasher);
        let after = match (event, &before) {
            (Event::Bind(session), Some(before)) if before.session == session => {
                Some(Holding { state: SessionState::Active, ..before.clone() })
            }
            (Event::Bind(session), _) => {
                Some(Holding { session, state: SessionState::Active, block, since: number })
            }
            (Event::Turn(state), Some(before)) => Some(Holding { state, ..before.clone() }),
            (Event::Turn(_) | Event::Release, None) => None,
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
        }
        left.extend(before.and_then(|before| writer.give_back(before.session)));
        true
    }

    /// Puts another chain in the place of the one that has, or is to have, the block of a source.
    fn put(&self, block: Block, source: Source, after: Option<Holding>) {
        let slots = self.slots.load();
        let Some(slot) = slots.slot(block, &self.hasher) else { return };
        let head = slot.load_full();
        let others = links(head.as_deref())
            .filter(|link| link.source != source || link.holding.block != block)
            .map(|link| (link.source, link.holding.clone()));
        let chain = others.chain(after.map(|holding| (source, holding)));
        let chain =
            chain.fold(None, |next, (source, holding)| Some(Arc::new(Link { source, holding, next })));
        self.changes.fetch_add(1, Ordering::AcqRel);
        slot.store(chain);
    }

    /// More slots, where there would be fewer of them than blocks with those that come.
    fn make_room(&self, writer: &mut Writer, coming: usize) {
        let blocks = self.len().saturating_add(coming);
        if blocks <= self.slots.load().len() {
            return;
        }
        let larger = Slots::new(blocks.next_power_of_two());
        self.slots.load().each(|source, holding| {
            let Some(slot) = larger.slot(holding.block, &self.hasher) else { return };
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

    /// The writers' part; a panic elsewhere does not make it unusable.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a block.
#[derive(Clone, Copy)]
enum Count {
    /// It is held from here on.
    Comes,
    /// It is not.
    Goes,
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

/// Which of [`Sessions::lengths`] has a block's length, and the bit there.
fn place(block: Block) -> (usize, u64) {
    let (word, bit) = match block.v4_length() {
        Some(length) => (0, length),
        None => (usize::from(block.length() / WORD_BITS).saturating_add(1), block.length() % WORD_BITS),
    };
    (word, 1_u64.checked_shl(bit.into()).unwrap_or(0))
}
