//! Keeps flows to destinations that do not answer on the kernel's way (see [`crate::flow::silence`] for what and for whom).
//!
//! Workers note failures and answers; [`crate::net::edge`] has a task that tells the kernel's table, in one transaction a look. The
//! first connection to a dead destination has been answered by us when we learn that it is dead: what comes of the client's
//! next try is all that can be mended here. A flow that succeeds takes no lock unless its destination may be known.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::flow::session::SubscriberKey;
use crate::flow::silence::{Failure, Order, Silence, SilenceLimits};
use crate::flow::time::Monotonic;

/// How long a flow that has failed waits until the kernel knows, so that its client's next try passes by.
const TOLD_MAX: Duration = Duration::from_millis(500);
/// Words of the sieve, 64 bits each.
const SIEVE_WORDS: usize = 256;

/// What workers know of destinations that did not answer.
pub struct Silences {
    memory: Mutex<Memory>,
    /// A bit for each destination in the memory: without it there is nothing to ask the memory.
    sieve: Box<[AtomicU64]>,
    key: RandomState,
    /// Failures noted.
    failures: AtomicU64,
    /// Somebody tells the kernel.
    is_kept: AtomicBool,
    /// There is something to tell.
    wanted: Notify,
    /// The last round of telling that is over.
    told: watch::Sender<u64>,
}

/// What is behind the lock.
struct Memory {
    silence: Silence,
    /// Rounds of telling that have begun.
    rounds: u64,
}

/// The round in which the kernel is told of a failure; none where nobody tells it.
#[derive(Clone, Copy, Debug)]
pub struct Round(Option<u64>);

impl Silences {
    /// Nothing is known.
    pub fn new(limits: SilenceLimits) -> Self {
        Self {
            memory: Mutex::new(Memory { silence: Silence::new(limits), rounds: 0 }),
            sieve: (0..SIEVE_WORDS).map(|_| AtomicU64::new(0)).collect(),
            key: RandomState::new(),
            failures: AtomicU64::new(0),
            is_kept: AtomicBool::new(false),
            wanted: Notify::new(),
            told: watch::Sender::new(0),
        }
    }

    /// `destination` did not take a connection from `source`.
    pub fn note_failure(
        &self,
        subscriber: &SubscriberKey,
        source: IpAddr,
        destination: SocketAddr,
        failure: Failure,
        now: Monotonic,
    ) -> Round {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut memory = self.memory();
        memory.silence.failed(subscriber, source, destination, failure, now);
        self.mark(destination);
        if !self.is_kept.load(Ordering::Relaxed) {
            memory.silence.take_orders();
            return Round(None);
        }
        self.wanted.notify_one();
        Round(Some(memory.rounds.saturating_add(1)))
    }

    /// Waits until the kernel has been told in that round, not for long.
    pub async fn told(&self, round: Round) {
        let Round(Some(round)) = round else { return };
        let mut told = self.told.subscribe();
        // Whether it was or the time is over: nothing else is to be done.
        let _ = timeout(TOLD_MAX, told.wait_for(|told| *told >= round)).await;
    }

    /// `destination` took a connection from `source`.
    pub fn note_answer(&self, source: IpAddr, destination: SocketAddr) {
        if self.may_know(destination) {
            self.memory().silence.answered(source, destination);
            self.wanted.notify_one();
        }
    }

    /// Whether it is known that flows from `source` get no answer from `destination`.
    pub fn is_silent_for(&self, source: IpAddr, destination: SocketAddr, now: Monotonic) -> bool {
        self.may_know(destination) && self.memory().silence.is_silent_for(source, destination, now)
    }

    /// Pairs of source and destination that pass by.
    pub fn held(&self) -> u64 {
        self.memory().silence.len() as u64
    }

    /// Connections that destinations did not take.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Those that found no room in the memory.
    pub fn full(&self) -> u64 {
        self.memory().silence.full()
    }

    /// Somebody tells the kernel from here on, or nobody does.
    pub(in crate::net) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }

    /// Waits until there may be something to tell.
    pub(in crate::net) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// What was to be told in this round has been, as far as that can be done.
    pub(in crate::net) fn note_told(&self, round: u64) {
        self.told.send_replace(round);
    }

    /// What is to be told, and the round in which it is.
    pub(in crate::net) fn take_orders(&self) -> (Vec<Order>, u64) {
        let mut memory = self.memory();
        let orders = memory.silence.take_orders();
        if !orders.is_empty() {
            memory.rounds = memory.rounds.saturating_add(1);
        }
        (orders, memory.rounds)
    }

    /// Forgets what is over, and what the sieve still shows of it.
    pub(in crate::net) fn expire(&self, now: Monotonic) {
        let mut memory = self.memory();
        memory.silence.expire(now);
        let mut bits = vec![0_u64; SIEVE_WORDS];
        for destination in memory.silence.destinations() {
            let (word, bit) = self.place(destination);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
        // Nobody marks meanwhile: whoever does has the lock.
        for (word, bits) in self.sieve.iter().zip(bits) {
            word.store(bits, Ordering::Relaxed);
        }
    }

    /// Whether the memory may know the destination.
    fn may_know(&self, destination: SocketAddr) -> bool {
        let (word, bit) = self.place(destination);
        self.sieve.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// The memory may know the destination from here on.
    fn mark(&self, destination: SocketAddr) {
        let (word, bit) = self.place(destination);
        if let Some(word) = self.sieve.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// The destination's bit, and the word it is in.
    fn place(&self, destination: SocketAddr) -> (usize, u64) {
        let hash = self.key.hash_one(destination);
        let word = usize::try_from(hash >> 6).unwrap_or(usize::MAX) % SIEVE_WORDS;
        (word, 1 << (hash & 63))
    }

    /// The memory; a panic elsewhere does not make it unusable, for every change is a whole one.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f31_the_sieve_lets_through_what_is_known_and_forgets_what_is_over() {
        let limits = SilenceLimits { time: Duration::from_secs(10), max: 1_000, per_subscriber_max: 1_000 };
        let silences = Silences::new(limits);
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let source: IpAddr = "10.0.0.1".parse().unwrap();
        let place = |port| SocketAddr::new("11.0.0.1".parse().unwrap(), port);
        let subscriber = SubscriberKey::Address(source);
        for port in 1..=500 {
            silences.note_failure(
                &subscriber,
                source,
                place(port),
                Failure::Silent,
                at(u64::from(port % 2) * 5),
            );
        }
        assert!((1..=500).all(|port| silences.is_silent_for(source, place(port), at(9))));
        assert!((501..=9_999).all(|port| !silences.is_silent_for(source, place(port), at(9))));
        silences.note_answer(source, place(7));
        assert!(!silences.is_silent_for(source, place(7), at(9)));
        silences.expire(at(10));
        assert_eq!(silences.held(), 249);
        assert!(
            (1..=500)
                .all(|port| silences.is_silent_for(source, place(port), at(10))
                    == (port % 2 == 1 && port != 7))
        );
        silences.expire(at(15));
        assert!((1..=9_999).all(|port| !silences.may_know(place(port))), "no bit is left");
    }
}
