//! The table of sessions: who has an address, changed one block at a time while everybody reads.
//!
//! To add a source of sessions, add a variant to [`SessionSource`], and have whoever hears of them call [`Sessions::apply`], as
//! accounting does. The static table calls [`Sessions::replace_static`] at start and at each reload.
//!
//! A hash table of immutable chains, one for each slot. A reader takes the chain's head without a lock and without waiting;
//! a writer puts another head in its place. An address is looked up by the lengths of prefix that are in use, the longest
//! first. Writers take turns; what they changed is told in numbered writes ([`News`]), behind the change itself.
//!
//! Memory: some 300 bytes for a block with a session of its own; their number is limited. What is over binds nobody, and leaves its
//! addresses to nobody: where a wider block would have them, that one gives way, the widest first.

mod write;

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use billing_export::{Session, SubscriberType};

use self::write::Writer;
use super::block::{Block, MAPPED_BITS};
use super::news::{Latest, News};
use super::slots::{Places, Slots};

/// Slots of a table that holds little.
const SLOTS_MIN: usize = 64;
/// Bits of a word.
const WORD_BITS: u8 = 64;
/// The length that the lowest bit of each word stands for, of IPv4 and of IPv6.
const V4_FIRSTS: [u8; 1] = [MAPPED_BITS];
const V6_FIRSTS: [u8; 3] = [0, WORD_BITS, 2 * WORD_BITS];
/// How often an address is looked up again while writes go on beside it; each takes less than a microsecond.
const TRIES: usize = 8;

/// Who says that a session has a block. Where two say so of the same block, the one that stands later here counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionSource {
    /// The operator's static table.
    Static,
    /// The access network's accounting, by what `accounting` decides.
    Accounting,
}

impl SessionSource {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Static, Self::Accounting];
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
    /// The latest write that gave it back an address: one that somebody had by a narrower block, or by a later source's word.
    pub regained: u64,
    /// Since when it had the block by its access server's word, where that is known.
    pub begun: Option<Begun>,
}

/// Since when a session has had a block, which may be long before anybody heard of it. Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its start.
    pub start: u32,
    /// The event by which whoever had it before lost it; none where nobody is remembered.
    pub free_since: Option<u32>,
}

impl Begun {
    /// Whether a flow that began then, in Unix seconds, began in the session: a second after its start, so that clocks that differ
    /// by less decide nothing, and with nobody else at the block in between.
    pub fn has_flow_of(self, began: u32) -> bool {
        self.start < began && self.free_since.is_none_or(|free| free < self.start)
    }
}

/// Whether a block is not occupied by nobody.
fn is_somebodys(holding: &Holding) -> bool {
    holding.session.subscriber_type() != SubscriberType::None
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
    /// The session has it and is active, whoever had it before. Of nobody's session: it is occupied, and no wider block has it.
    Bind(Session),
    /// The session that has it is in another state.
    SetState(SessionState),
    /// Nobody has it.
    Release,
}

/// An event of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The block.
    pub block: Block,
    /// Who says so; what others say of the block stays.
    pub source: SessionSource,
    /// What happens.
    pub event: Event,
}

/// What became of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Those that changed something.
    pub changed: usize,
    /// Blocks for which there was no room, or of which others took it: their addresses are nobody's.
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
    places: Places,
    writer: Mutex<Writer>,
}

impl Sessions {
    /// An empty table of at most `held_max` blocks.
    pub fn new(held_max: usize, random: RandomState) -> Self {
        Self {
            slots: ArcSwap::from_pointee(Slots::new(SLOTS_MIN)),
            lengths: Default::default(),
            changes: AtomicU64::new(0),
            latest: Latest::new(),
            held: AtomicUsize::new(0),
            stated: AtomicUsize::new(0),
            unbound: AtomicUsize::new(0),
            held_max: AtomicUsize::new(held_max),
            places: Places::new(&random),
            writer: Mutex::default(),
        }
    }

    /// The session of `address`: of the longest prefix that is held. IPv4-mapped IPv6 addresses count as IPv4. Nobody's, where
    /// the address changes hands at each of a few looks, and where several have its ports.
    pub fn find(&self, address: IpAddr) -> Option<Holding> {
        self.find_at(address, None)
    }

    /// The session of a port of `address`, where one is known: of whoever has the ports that it is among, or the address.
    pub fn find_at(&self, address: IpAddr, port: Option<u16>) -> Option<Holding> {
        let block = Block::at(address, port);
        let mut last = None;
        for _ in 0..TRIES {
            let before = self.changes.load(Ordering::Acquire);
            let found = self.find_around(block).filter(is_somebodys);
            // Of two changes beside a look at several slots it may have seen the second and not the first. What such a look
            // finds, the next one does not: it sees both.
            if self.changes.load(Ordering::Acquire) == before || last.as_ref() == Some(&found) {
                return found;
            }
            last = Some(found);
        }
        None
    }

    /// Whether some session has `address`, also one of which nobody can tell whose it is: a customer's, not a stranger's.
    pub fn is_held(&self, address: IpAddr) -> bool {
        self.find_around(Block::of(address)).is_some()
    }

    /// Who has the block, by itself or by a wider one.
    fn find_around(&self, block: Block) -> Option<Holding> {
        let slots = self.slots.load();
        let (words, firsts) = self.lengths_of(block);
        for (word, first) in words.iter().zip(firsts).rev() {
            let mut bits = word.load(Ordering::Acquire);
            while let Some(bit) = bits.checked_ilog2() {
                bits ^= 1_u64.checked_shl(bit).unwrap_or(bits);
                let length = first.saturating_add(u8::try_from(bit).unwrap_or(u8::MAX));
                if length > block.length() {
                    continue;
                }
                if let Some(holding) = slots.find(block.widened(length), &self.places) {
                    return Some(holding);
                }
            }
        }
        None
    }

    /// The words of the lengths in use for blocks of its family, and the length that the first bit of each stands for.
    fn lengths_of(&self, block: Block) -> (&[AtomicU64], &'static [u8]) {
        let [v4, v6 @ ..] = &self.lengths;
        match block.v4_length() {
            Some(_) => (std::slice::from_ref(v4), &V4_FIRSTS),
            None => (v6, &V6_FIRSTS),
        }
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

    /// Changes how many blocks there are at most; what is held stays until the static table is read again.
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

    /// Notes sessions that end without a Stop; of more than there may be blocks nothing is noted.
    pub fn note_lost(&self, sessions: impl IntoIterator<Item = Session>) {
        let mut writer = self.writer();
        let room = self.held_max().saturating_sub(writer.lost.len());
        writer.lost.extend(sessions.into_iter().take(room));
    }

    /// Those noted since the last call.
    pub fn take_lost(&self) -> Vec<Session> {
        std::mem::take(&mut self.writer().lost)
    }

    /// Sessions that have lost their last block since the last call.
    pub fn take_ended(&self) -> Vec<Session> {
        std::mem::take(&mut self.writer().ended)
    }

    /// Applies changes in their order, as one write; of blocks that sessions come to by it, `begun` says since when they had them.
    pub fn apply_begun(
        &self,
        changes: impl IntoIterator<Item = Change>,
        begun: HashMap<Block, Begun>,
    ) -> Applied {
        let mut writer = self.writer();
        writer.begun = begun;
        let applied = self.write(&mut writer, changes, self.held_max());
        writer.begun = HashMap::new();
        applied
    }

    /// Applies changes in their order, as one write.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Applied {
        self.write(&mut self.writer(), changes, self.held_max())
    }

    /// The writers' part; a panic elsewhere does not make it unusable.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
