//! What changed in the table of sessions, for those who follow it: each reads from where it left off, without a lock.
//!
//! A ring of the latest writes. Who was away for longer than it reaches back is told so, and looks at everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use billing_export::Session;

use super::block::Block;

/// Writes that are kept: a tenth of a second, which is how often workers look, at 40,000 writes a second.
const BATCHES: usize = 4_096;
/// Blocks that one write names one by one; of a larger one it is told that everything may have changed. With all of [`BATCHES`]
/// as large as that they hold 50 MB.
const CHANGED_MAX: usize = 256;

/// A block that changed hands or state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The block.
    pub block: Block,
    /// Who had it after the write, by itself or by a wider block.
    pub holder: Option<Session>,
}

/// What a write changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// These blocks.
    Blocks(Box<[Changed]>),
    /// More than is told one by one.
    Everything,
}

impl What {
    /// What a write of these blocks says, where `holder` knows who has each after it.
    pub(super) fn of(blocks: Vec<Block>, holder: impl Fn(Block) -> Option<Session>) -> Self {
        if blocks.len() > CHANGED_MAX {
            return Self::Everything;
        }
        Self::Blocks(blocks.into_iter().map(|block| Changed { block, holder: holder(block) }).collect())
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number: one more than that of the write before.
    pub number: u64,
    /// What it changed.
    pub what: What,
}

/// What there is to know since a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These writes, the oldest first.
    Batches(Vec<Arc<Batch>>),
    /// More than is kept. The latest write has this number.
    TooMany(u64),
}

/// The latest writes.
pub(super) struct Latest {
    /// The write with number n stands at n modulo the length.
    ring: Box<[ArcSwapOption<Batch>]>,
    /// Number of the latest one; 0 before the first.
    number: AtomicU64,
}

impl Latest {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { ring: (0..BATCHES).map(|_| ArcSwapOption::empty()).collect(), number: AtomicU64::new(0) }
    }

    /// Number of the latest write.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Tells of a write whose changes readers of the table can see already. Writers take turns.
    pub(super) fn publish(&self, number: u64, what: What) {
        if let Some(place) = self.place(number) {
            place.store(Some(Arc::new(Batch { number, what })));
        }
        self.number.store(number, Ordering::Release);
    }

    /// The writes after the one with number `seen`.
    pub(super) fn since(&self, seen: u64) -> News {
        let latest = self.number();
        let batches = (seen.saturating_add(1)..=latest)
            .map(|number| self.place(number)?.load_full().filter(|batch| batch.number == number));
        let too_many = latest.saturating_sub(seen) > self.ring.len() as u64;
        let batches = if too_many { None } else { batches.collect() };
        batches.map_or(News::TooMany(latest), News::Batches)
    }

    /// Where the write with this number stands.
    fn place(&self, number: u64) -> Option<&ArcSwapOption<Batch>> {
        let place = number.checked_rem(self.ring.len() as u64)?;
        self.ring.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_for_as_long_as_the_ring_reaches_is_told_all_and_one_write_longer_that_it_is_too_much() {
        let latest = Latest::new();
        assert_eq!(latest.since(0), News::Batches(Vec::new()));
        for number in 1..=BATCHES as u64 {
            latest.publish(number, What::Everything);
        }
        let News::Batches(batches) = latest.since(0) else { panic!("all of them are kept") };
        let numbers: Vec<_> = batches.iter().map(|batch| batch.number).collect();
        assert_eq!(numbers, (1..=BATCHES as u64).collect::<Vec<_>>());
        latest.publish(BATCHES as u64 + 1, What::Everything);
        assert_eq!(latest.since(0), News::TooMany(BATCHES as u64 + 1));
        assert!(matches!(latest.since(1), News::Batches(batches) if batches.len() == BATCHES));
    }

    #[test]
    fn a_write_of_more_blocks_than_are_told_says_everything() {
        let of = |count| What::of(vec![Block::of("10.0.0.1".parse().unwrap()); count], |_| None);
        assert!(matches!(of(CHANGED_MAX), What::Blocks(blocks) if blocks.len() == CHANGED_MAX));
        assert_eq!(of(CHANGED_MAX + 1), What::Everything);
    }
}
