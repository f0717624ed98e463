//! The hash table below that of sessions: chains of links that never change. Another chain takes the place of one that does.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::block::Block;
use super::table::{Holding, SessionSource};

/// Slots for a block: more than one, so that few chains have a second link, which would be another look into memory.
const SLOTS_PER_BLOCK: usize = 2;
/// The odd number nearest to 2^64 divided by the golden ratio: its product spreads neighbours over all slots.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15;

/// Where the chains of blocks begin, by numbers of the process's own. The table's blocks are the operator's: whoever looks
/// an address up adds to no chain, so this need not withstand chosen ones as the standard library's hash does, which takes
/// several times as long.
pub(super) struct Places([u64; 2]);

impl Places {
    /// Places by numbers drawn from `random`.
    pub(super) fn new(random: &RandomState) -> Self {
        Self([random.hash_one(0_u8), random.hash_one(1_u8)])
    }

    /// A number that is spread over all 64 bits.
    fn of(&self, block: Block) -> u64 {
        let [first, second] = self.0;
        let (high, low) = block.halves();
        let inner = folded(low ^ first);
        folded(
            inner
                ^ high
                ^ second
                ^ u64::from(block.length()).rotate_left(32)
                ^ u64::from(block.port()).rotate_left(40),
        )
    }
}

/// The two halves of the product with [`SPREAD`] in one word.
fn folded(word: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
        u128::from(word).wrapping_mul(SPREAD).to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ u64::from_be_bytes([i, j, k, l, m, n, o, p])
}

/// The heads of all chains; their number is a power of two.
pub(super) struct Slots(Box<[ArcSwapOption<Link>]>);

/// A link of a chain.
pub(super) struct Link {
    /// Who says that the session has the block.
    pub(super) source: SessionSource,
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

    /// Slots for so many blocks.
    pub(super) fn for_blocks(blocks: usize) -> Self {
        Self::new(blocks.saturating_mul(SLOTS_PER_BLOCK).next_power_of_two())
    }

    /// How many blocks there may be before there are to be more slots.
    pub(super) fn blocks_max(&self) -> usize {
        self.0.len() / SLOTS_PER_BLOCK
    }

    /// Where the chain of a block begins.
    pub(super) fn slot(&self, block: Block, places: &Places) -> Option<&ArcSwapOption<Link>> {
        let place = places.of(block) & (self.0.len() as u64).saturating_sub(1);
        self.0.get(usize::try_from(place).ok()?)
    }

    /// Who has the block; of two sources the later one counts.
    pub(super) fn find(&self, block: Block, places: &Places) -> Option<Holding> {
        let head = self.slot(block, places)?.load();
        let held = links(head.as_deref()).filter(|link| link.holding.block == block);
        held.max_by_key(|link| link.source).map(|link| link.holding.clone())
    }

    /// Who has the block by the word of `source`.
    pub(super) fn find_of(&self, block: Block, source: SessionSource, places: &Places) -> Option<Holding> {
        let head = self.slot(block, places)?.load();
        let mut held = links(head.as_deref());
        let link = held.find(|link| link.source == source && link.holding.block == block)?;
        Some(link.holding.clone())
    }

    /// Calls `each` for every block of every source.
    pub(super) fn each(&self, mut each: impl FnMut(SessionSource, &Holding)) {
        for slot in &self.0 {
            links(slot.load().as_deref()).for_each(|link| each(link.source, &link.holding));
        }
    }
}

/// A chain from its head on.
pub(super) fn links(head: Option<&Link>) -> impl Iterator<Item = &Link> {
    std::iter::successors(head, |link| link.next.as_deref())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    /// Blocks in each pattern.
    const BLOCKS: u32 = 1 << 16;
    /// The longest chain among so many at random, with half of the chains in use, is 6 or 7.
    const CHAIN_MAX: usize = 12;

    #[test]
    fn neighbours_and_prefixes_far_apart_are_spread_over_the_chains() {
        let v6 = |high: u64| IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64));
        let patterns: [&dyn Fn(u32) -> IpAddr; 4] = [
            &|number| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)),
            &|number| IpAddr::V4(Ipv4Addr::from_bits(number << 8)),
            &|number| v6(0x2001_0db8_0000_0000 + u64::from(number)),
            &|number| v6(0x2001_0db8_0000_0000 + (u64::from(number) << 8)),
        ];
        for seed in 0..8_u64 {
            let places = Places([seed, seed.wrapping_mul(0x5851_f42d_4c95_7f2d)]);
            for (pattern, address) in patterns.iter().enumerate() {
                let chains = Slots::for_blocks(BLOCKS as usize).0.len();
                let mut lengths = vec![0_usize; chains];
                for number in 0..BLOCKS {
                    let place = places.of(Block::of(address(number))) as usize & (chains - 1);
                    lengths[place] += 1;
                }
                let longest = lengths.iter().max().copied().unwrap_or(0);
                assert!(longest <= CHAIN_MAX, "seed {seed}, pattern {pattern}: a chain of {longest}");
            }
        }
    }
}
