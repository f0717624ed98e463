//! The hash table below that of sessions: chains of links that never change. Another chain takes the place of one that does.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::block::Block;
use super::table::{Holding, Source};

/// The heads of all chains; their number is a power of two.
pub(super) struct Slots(Box<[ArcSwapOption<Link>]>);

/// A link of a chain.
pub(super) struct Link {
    /// Who says that the session has the block.
    pub(super) source: Source,
    /// The session at the block.
    pub(super) holding: Holding,
    /// The rest of the chain.
    pub(super) next: Option<Arc<Link>>,
}

impl Slots {
    /// So many empty chains, a power of two.
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| ArcSwapOption::empty()).collect())
    }

    /// How many chains there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the chain of a block begins.
    pub(super) fn slot(&self, block: Block, hasher: &RandomState) -> Option<&ArcSwapOption<Link>> {
        let place = hasher.hash_one(block) & (self.0.len() as u64).saturating_sub(1);
        self.0.get(usize::try_from(place).ok()?)
    }

    /// Who has the block; of two sources the later one counts.
    pub(super) fn find(&self, block: Block, hasher: &RandomState) -> Option<Holding> {
        let head = self.slot(block, hasher)?.load();
        let held = links(head.as_deref()).filter(|link| link.holding.block == block);
        held.max_by_key(|link| link.source).map(|link| link.holding.clone())
    }

    /// Who has the block by the word of `source`.
    pub(super) fn find_of(&self, block: Block, source: Source, hasher: &RandomState) -> Option<Holding> {
        let head = self.slot(block, hasher)?.load();
        let mut held = links(head.as_deref());
        let link = held.find(|link| link.source == source && link.holding.block == block)?;
        Some(link.holding.clone())
    }

    /// Calls `each` for every block of every source.
    pub(super) fn each(&self, mut each: impl FnMut(Source, &Holding)) {
        for slot in &self.0 {
            links(slot.load().as_deref()).for_each(|link| each(link.source, &link.holding));
        }
    }
}

/// A chain from its head on.
pub(super) fn links(head: Option<&Link>) -> impl Iterator<Item = &Link> {
    std::iter::successors(head, |link| link.next.as_deref())
}
