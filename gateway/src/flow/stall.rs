//! Which flows are ended for the memory that their sockets hold: bytes wait there for a receiver who takes none.
//!
//! As with places (see `super::room`), who holds most loses first: whoever holds more than a subscriber may, and where all
//! together hold too much, as if it were taken byte by byte from whoever holds most. Of one subscriber's flows those go
//! first that moved least for what they hold. A receiver who reads slowly, but reads, is ended only behind all who do not.

use std::cmp::Reverse;
use std::time::Duration;

use super::room::level;

/// A flow whose bytes wait for less is none that stalls: a round trip and what a busy receiver takes to come back.
pub const STALL_MIN: Duration = Duration::from_secs(2);
/// What a flow moved lately must be at least one in so many of the bytes it holds: at a lower pace minutes pass until they
/// are taken.
const PACE_SHARE: u64 = 16;

/// Bytes of a flow of a worker that wait in its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Whose it is: an index into [`Memory::holdings`].
    pub holder: usize,
    /// Memory its sockets hold.
    pub bytes: u64,
    /// Bytes that passed lately.
    pub recent: u64,
    /// Time since the first of them was seen to wait.
    pub age: Duration,
}

/// How things stand in the whole process.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// Memory of sockets of each holder.
    pub holdings: &'a [u64],
    /// What one may hold.
    pub share: u64,
    /// What is to come free of what all hold together.
    pub surplus: u64,
}

/// The flows among `queues` that are ended, by their indices, in the order in which they go.
pub fn choose(queues: &[Queue], memory: &Memory<'_>) -> Vec<usize> {
    let within_share = memory.holdings.iter().map(|held| (*held).min(memory.share));
    let limit = if memory.surplus > 0 { level(within_share, memory.surplus) } else { memory.share };
    let mut ranked: Vec<_> = queues.iter().enumerate().collect();
    ranked.sort_by_key(|(index, queue)| (queue.holder, order(queue), *index));
    let mut chosen = Vec::new();
    for own in ranked.chunk_by(|(_, one), (_, next)| one.holder == next.holder) {
        let here = own.iter().fold(0_u64, |sum, (_, queue)| sum.saturating_add(queue.bytes));
        let held = own.first().and_then(|(_, queue)| memory.holdings.get(queue.holder)).copied();
        let held = held.unwrap_or(0).max(here);
        // This worker's part of what is too much; others have the rest.
        let part = scaled(held.saturating_sub(limit), here, held);
        let mut freed = 0_u64;
        for (index, queue) in own.iter().filter(|(_, queue)| queue.is_stalled()) {
            if freed >= part {
                break;
            }
            freed = freed.saturating_add(queue.bytes);
            chosen.push(*index);
        }
    }
    chosen
}

impl Queue {
    /// Whether what waits is not being taken.
    fn is_stalled(&self) -> bool {
        self.age >= STALL_MIN && self.recent.saturating_mul(PACE_SHARE) < self.bytes
    }
}

/// The order in which the flows of one holder go: what moved least for what it holds first, then what has stood longest.
fn order(queue: &Queue) -> (u64, Reverse<Duration>) {
    const STEPS: u64 = 1 << 10;
    let pace = queue.recent.saturating_mul(STEPS).checked_div(queue.bytes).unwrap_or(u64::MAX);
    (pace, Reverse(queue.age))
}

/// `part` of `whole` of an `amount`, rounded up.
fn scaled(amount: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(amount).saturating_mul(u128::from(part));
    let scaled = product.div_ceil(u128::from(whole.max(1)));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn queue(holder: usize, bytes: u64, recent: u64, age: u64) -> Queue {
        Queue { holder, bytes, recent, age: Duration::from_secs(age) }
    }

    /// What each of `holders` holds.
    fn holdings(queues: &[Queue], holders: usize) -> Vec<u64> {
        let of = |holder| queues.iter().filter(|queue| queue.holder == holder).map(|queue| queue.bytes).sum();
        (0..holders).map(of).collect()
    }

    #[test]
    fn f14_above_the_share_the_longest_stalled_go_and_whoever_reads_slowly_stays() {
        let queues = [
            queue(0, 3 * MIB, 0, 10),
            queue(0, 3 * MIB, 0, 60),
            // 40 kB a second of which half is forgotten every eight.
            queue(0, 3 * MIB, 320_000, 99),
            queue(0, 3 * MIB, 0, 30),
            queue(1, 7 * MIB, 0, 600),
        ];
        let held = holdings(&queues, 2);
        let chosen = |share, surplus| choose(&queues, &Memory { holdings: &held, share, surplus });
        assert!(chosen(12 * MIB, 0).is_empty(), "at the limit");
        assert_eq!(chosen(12 * MIB - 1, 0), [1], "one over");
        assert_eq!(chosen(8 * MIB, 0), [1, 3]);
        assert_eq!(chosen(0, 0), [1, 3, 0, 4], "never one that moves");
    }

    #[test]
    fn f14_what_has_just_begun_to_wait_is_no_stall() {
        let fresh = Queue { age: STALL_MIN - Duration::from_millis(1), ..queue(0, 9 * MIB, 0, 0) };
        let memory = Memory { holdings: &[9 * MIB], share: MIB, surplus: 0 };
        assert!(choose(&[fresh], &memory).is_empty());
        assert_eq!(choose(&[Queue { age: STALL_MIN, ..fresh }], &memory), [0]);
    }

    #[test]
    fn f14_where_all_hold_too_much_whoever_holds_most_loses_first() {
        let queues = [queue(0, 10 * MIB, 0, 9), queue(0, 10 * MIB, 0, 9), queue(1, 8 * MIB, 0, 99)];
        let held = holdings(&queues, 2);
        let memory = |surplus| Memory { holdings: &held, share: 64 * MIB, surplus };
        assert_eq!(choose(&queues, &memory(5 * MIB)), [0]);
        assert_eq!(choose(&queues, &memory(12 * MIB)), [0, 1]);
        assert_eq!(choose(&queues, &memory(u64::MAX)), [0, 1, 2]);
    }

    #[test]
    fn f14_each_worker_ends_its_part_and_no_more() {
        // Half of the forty are here.
        let here: Vec<_> = (0..20).map(|_| queue(0, MIB, 0, 9)).collect();
        let memory = Memory { holdings: &[40 * MIB], share: 30 * MIB, surplus: 0 };
        assert_eq!(choose(&here, &memory).len(), 5);
    }

    proptest! {
        #[test]
        fn f14_nobody_within_his_share_loses_anything_while_there_is_memory(
            queues in prop::collection::vec((0_usize..5, 0_u64..10_000, 0_u64..1_000, 0_u64..9), 0..60),
            share in 0_u64..40_000,
        ) {
            let queues: Vec<_> = queues.into_iter().map(|(holder, bytes, recent, age)| queue(holder, bytes, recent, age)).collect();
            let held = holdings(&queues, 5);
            let chosen = choose(&queues, &Memory { holdings: &held, share, surplus: 0 });
            for (holder, held) in held.into_iter().enumerate() {
                let ended: Vec<_> = chosen.iter().filter(|index| queues[**index].holder == holder).collect();
                let freed: u64 = ended.iter().map(|index| queues[**index].bytes).sum();
                prop_assert!(held > share || ended.is_empty());
                // No more goes than must: without the last one he would be over his share.
                if let Some(last) = ended.last() {
                    prop_assert!(held - (freed - queues[**last].bytes) > share);
                }
                // What is left over the share is what moves.
                let stalled = |index: &usize| queues[*index].holder == holder && queues[*index].is_stalled();
                let left = (0..queues.len()).filter(stalled).count() - ended.len();
                prop_assert!(held - freed <= share || left == 0);
            }
        }
    }
}
