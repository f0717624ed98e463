//! Addresses that answers for names outside the list led to, so that DNS-only evidence is not given for an address that
//! serves strangers, whichever of the two was answered first (trap N7).
//!
//! No name and no address is kept, only keyed hashes of addresses, in memory; the key is the caller's and random. Two
//! generations of bounded size: what is old is forgotten by halves.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::flow::time::Monotonic;

/// Hashes in one generation; both together take at most 20 MB.
const GENERATION_MAX: usize = 1 << 19;

/// Which addresses were seen with unlisted names.
pub(super) struct Unlisted {
    key: RandomState,
    /// How long a generation takes new hashes.
    turn: Duration,
    generation_max: usize,
    current: HashSet<u64>,
    previous: HashSet<u64>,
    /// When the current generation began.
    began: Monotonic,
}

impl Unlisted {
    /// Nothing seen yet; what was seen is remembered for between half of `retention` and all of it.
    pub(super) fn new(key: RandomState, retention: Duration) -> Self {
        Self {
            key,
            turn: retention / 2,
            generation_max: GENERATION_MAX,
            current: HashSet::new(),
            previous: HashSet::new(),
            began: Monotonic::default(),
        }
    }

    /// Remembers that `address` was answered for an unlisted name.
    pub(super) fn see(&mut self, address: IpAddr, now: Monotonic) {
        self.turn_over(now);
        let hash = self.key.hash_one(address);
        if self.current.len() >= self.generation_max && !self.current.contains(&hash) {
            self.next(now);
        }
        self.current.insert(hash);
    }

    /// Whether `address` was lately answered for an unlisted name.
    pub(super) fn has(&mut self, address: IpAddr, now: Monotonic) -> bool {
        self.turn_over(now);
        let hash = self.key.hash_one(address);
        self.current.contains(&hash) || self.previous.contains(&hash)
    }

    /// Begins a new generation when the time of the current one is over.
    fn turn_over(&mut self, now: Monotonic) {
        let age = now.since(self.began);
        if age >= self.turn {
            self.next(now);
            if age >= self.turn.saturating_mul(2) {
                self.previous = HashSet::new();
            }
        }
    }

    /// Begins a new generation and forgets the one before the current.
    fn next(&mut self, now: Monotonic) {
        self.previous = std::mem::take(&mut self.current);
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn v4(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([203, 0, high, low])
    }

    #[test]
    fn what_was_seen_is_remembered_for_half_of_the_retention_at_least() {
        let mut unlisted = Unlisted::new(RandomState::new(), Duration::from_secs(100));
        unlisted.see(v4(1), at(49));
        assert!(unlisted.has(v4(1), at(99)));
        assert!(!unlisted.has(v4(2), at(99)));
        assert!(!unlisted.has(v4(1), at(149)));
        unlisted.see(v4(1), at(150));
        assert!(!unlisted.has(v4(1), at(1_000)), "two generations later");
    }

    #[test]
    fn the_number_of_hashes_is_bounded() {
        let mut unlisted = Unlisted::new(RandomState::new(), Duration::from_secs(100));
        unlisted.generation_max = 10;
        for last in 0..35 {
            unlisted.see(v4(last), at(0));
            assert!(unlisted.current.len() <= 10 && unlisted.previous.len() <= 10);
        }
        assert!(unlisted.has(v4(34), at(0)) && unlisted.has(v4(21), at(0)));
        assert!(!unlisted.has(v4(0), at(0)));
    }
}
