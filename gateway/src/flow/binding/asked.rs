//! What a subscriber asked for himself that no list has: at an address of such a name he has no DNS-only evidence, and a cap
//! for shared addresses applies to him, whichever of the two names was answered first (traps N7, F1).
//!
//! For his own flows his own questions are enough, and count at once: which of the two names a flow is for nobody can see.
//! They say nothing to anybody else ([`super::sharing`] does). No name and no address is kept, only keyed hashes of
//! subscriber and address, in memory; the key is the caller's and random. Two generations of bounded size: what is old is
//! forgotten by halves, and forgetting early never charges anybody.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::dns_only::HELD_MAX;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// Hashes in one generation; both together take at most 20 MB.
const GENERATION_MAX: usize = 1 << 19;
/// How long a generation takes new hashes: what was asked is remembered as long as DNS-only evidence can hold, at least.
const TURN: Duration = HELD_MAX;

/// Which subscriber was led to which addresses by unlisted names.
pub(super) struct LedTo {
    key: RandomState,
    generation_max: usize,
    current: HashSet<u64>,
    previous: HashSet<u64>,
    /// When the current generation began.
    began: Monotonic,
}

impl LedTo {
    /// Nothing asked yet.
    pub(super) fn new(key: RandomState) -> Self {
        Self {
            key,
            generation_max: GENERATION_MAX,
            current: HashSet::new(),
            previous: HashSet::new(),
            began: Monotonic::default(),
        }
    }

    /// Remembers that the subscriber was given `address` for an unlisted name.
    pub(super) fn see(&mut self, subscriber: &SubscriberKey, address: IpAddr, now: Monotonic) {
        let age = now.since(self.began);
        if age >= TURN {
            self.next(now);
        }
        if age >= TURN.saturating_mul(2) {
            self.previous = HashSet::new();
        }
        let hash = self.key.hash_one((subscriber, address));
        if self.current.len() >= self.generation_max && !self.current.contains(&hash) {
            self.next(now);
        }
        self.current.insert(hash);
    }

    /// Whether the subscriber was lately given `address` for an unlisted name.
    pub(super) fn has(&self, subscriber: &SubscriberKey, address: IpAddr, now: Monotonic) -> bool {
        let (age, hash) = (now.since(self.began), self.key.hash_one((subscriber, address)));
        (age < TURN.saturating_mul(2) && self.current.contains(&hash))
            || (age < TURN && self.previous.contains(&hash))
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

    fn who(last: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn f1_n7_what_a_subscriber_asked_is_his_alone_and_remembered_for_an_hour_at_least() {
        let mut asked = LedTo::new(RandomState::new());
        asked.see(&who(1), v4(1), at(3_599));
        assert!(asked.has(&who(1), v4(1), at(7_199)));
        assert!(!asked.has(&who(2), v4(1), at(3_599)) && !asked.has(&who(1), v4(2), at(3_599)));
        assert!(!asked.has(&who(1), v4(1), at(7_200)), "nothing new was asked for two turns");
        asked.see(&who(1), v4(2), at(7_199));
        assert!(asked.has(&who(1), v4(1), at(10_798)) && !asked.has(&who(1), v4(1), at(10_799)));
        asked.see(&who(1), v4(3), at(20_000));
        assert!(!asked.has(&who(1), v4(2), at(20_000)), "two turns later");
    }

    #[test]
    fn the_number_of_hashes_is_bounded() {
        let mut asked = LedTo::new(RandomState::new());
        asked.generation_max = 10;
        for last in 0..35 {
            asked.see(&who(1), v4(last), at(0));
            assert!(asked.current.len() <= 10 && asked.previous.len() <= 10);
        }
        assert!(asked.has(&who(1), v4(34), at(0)) && asked.has(&who(1), v4(21), at(0)));
        assert!(!asked.has(&who(1), v4(0), at(0)));
    }
}
