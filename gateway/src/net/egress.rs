//! The queues of this machine's interfaces: whether what is sent leaves, or is dropped before it does (DESIGN decision 27).
//!
//! All interfaces of the network namespace are looked at, once before each tick: which of them leads to which subscriber
//! changes with every route, and a shaper may stand on the device below. What other machines drop is theirs: it has left.

mod kernel;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::kernel::{Found, Place, Reader};
use super::attention::{Attention, AttentionReason};
use super::clock::Clock;
use crate::flow::sent::Queues;

/// How long after the last drop trains are sent apart, and the operator is told.
const DROPPING_MS: u64 = 60_000;
/// What counts for a queue that was taken away with packets in it: nobody says how many went with it.
const TAKEN_AWAY: u64 = u32::MAX as u64;

/// What is known of them.
pub struct Egress {
    looks: AtomicU64,
    emptied: AtomicU64,
    dropped: AtomicU64,
    /// Milliseconds of the monotonic clock at which drops were last seen, and one more; 0: never.
    dropped_at: AtomicU64,
    /// Looks that failed from the first on: nothing is known.
    blind: AtomicU64,
    state: Mutex<State>,
    clock: Clock,
}

/// What the next look is compared with.
#[derive(Default)]
struct State {
    reader: Option<Reader>,
    /// Every queue as it was found last.
    queues: HashMap<Place, Found>,
    /// Packets that each interface could not send, at the last look.
    unsent: HashMap<u32, u64>,
    /// An earlier look, and what stood in the queues then.
    standing: Option<(u64, HashMap<Place, Found>)>,
    /// Whether a look ever succeeded.
    seen: bool,
}

impl Egress {
    /// Nothing looked at yet but what there is.
    pub fn new(clock: Clock) -> Arc<Self> {
        let egress = Self {
            looks: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dropped_at: AtomicU64::new(0),
            blind: AtomicU64::new(0),
            state: Mutex::default(),
            clock,
        };
        egress.look();
        Arc::new(egress)
    }

    /// The queues by the last look.
    pub fn queues(&self) -> Queues {
        // In this order: drops are told before the look that found them, which is told before what has emptied.
        let emptied = self.emptied.load(Ordering::Acquire);
        let looks = self.looks.load(Ordering::Acquire);
        Queues { looks, emptied, dropped: self.dropped.load(Ordering::Acquire) }
    }

    /// Packets seen dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether packets were dropped of late.
    pub fn is_dropping(&self) -> bool {
        let at = self.dropped_at.load(Ordering::Relaxed);
        at != 0 && self.now_ms().saturating_sub(at) < DROPPING_MS
    }

    /// What the operator is to know of them.
    pub fn attention(&self) -> Option<Attention> {
        if self.is_blind() {
            let text = "the queues of this machine's interfaces cannot be read: what they drop is counted as carried. Remedy: AF_NETLINK for the gateway";
            return Some(Attention::new(AttentionReason::EgressUnknown, text));
        }
        let text = "an interface of this machine drops packets, and what they may have been is not counted. Remedy: shape behind this machine, or with longer queues";
        self.is_dropping().then(|| Attention::new(AttentionReason::EgressDrops, text))
    }

    /// Whether nothing is known of the queues: then what is sent counts as having left.
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed) != 0
    }

    /// Milliseconds of the clock.
    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis()
    }

    /// Looks at them. It may wait for whoever changes interfaces at the moment, so nobody calls it on the path of bytes.
    pub fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = self.looks.load(Ordering::Relaxed).saturating_add(1);
        match state.read() {
            Ok((queues, unsent)) => {
                let dropped = state.compare(&queues, &unsent);
                if dropped > 0 {
                    self.dropped.fetch_max(self.dropped().saturating_add(dropped), Ordering::Release);
                    self.dropped_at.store(self.now_ms().saturating_add(1), Ordering::Relaxed);
                }
                self.looks.store(looks, Ordering::Release);
                if let Some(emptied) = state.follow(looks, queues) {
                    self.emptied.fetch_max(emptied, Ordering::Release);
                }
                state.unsent = unsent;
                self.blind.store(0, Ordering::Relaxed);
            }
            Err(error) if !state.seen => {
                if self.blind.swap(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "the queues of interfaces cannot be looked at: what they drop is counted as carried. Remedy: let the gateway open netlink sockets (AF_NETLINK)");
                }
                self.looks.store(looks, Ordering::Release);
                self.emptied.store(looks, Ordering::Release);
            }
            // Nothing is settled by it.
            Err(error) => tracing::debug!(%error, "queues of interfaces not read"),
        }
    }
}

impl State {
    /// Reads the kernel's tables.
    fn read(&mut self) -> io::Result<(HashMap<Place, Found>, HashMap<u32, u64>)> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::new()?,
        };
        // A reader that failed is not used again: the rest of its answer would be read as the next one.
        let read = (reader.queues()?, reader.unsent()?);
        self.reader = Some(reader);
        Ok(read)
    }

    /// Packets dropped since the last look.
    fn compare(&mut self, queues: &HashMap<Place, Found>, unsent: &HashMap<u32, u64>) -> u64 {
        if !std::mem::replace(&mut self.seen, true) {
            return 0;
        }
        let mut dropped = 0_u64;
        for (place, found) in queues {
            let before = self.queues.get(place).map_or(0, |before| before.drops);
            dropped = dropped.saturating_add(u64::from(found.drops.wrapping_sub(before)));
        }
        for (interface, count) in unsent {
            let before = self.unsent.get(interface).copied().unwrap_or(0);
            dropped = dropped.saturating_add(count.saturating_sub(before));
        }
        let gone =
            self.queues.iter().filter(|(place, before)| before.backlog > 0 && !queues.contains_key(place));
        dropped.saturating_add(TAKEN_AWAY.saturating_mul(gone.count() as u64))
    }

    /// Keeps what was found at look number `looks`; the look before which everything has left the queues, where that is known.
    fn follow(&mut self, looks: u64, queues: HashMap<Place, Found>) -> Option<u64> {
        let emptied = if queues.values().all(|found| found.backlog == 0) {
            self.standing = None;
            Some(looks)
        } else {
            let passed = |(place, stood): (&Place, &Found)| {
                queues.get(place).is_none_or(|found| found.backlog == 0 || found.has_passed(stood))
            };
            let (then, all) = match &self.standing {
                Some((then, stood)) => (Some(*then), stood.iter().all(passed)),
                None => (None, true),
            };
            if all {
                let standing = queues.iter().filter(|(_, found)| found.backlog > 0);
                self.standing = Some((looks, standing.map(|(place, found)| (*place, *found)).collect()));
            }
            then.filter(|_| all)
        };
        self.queues = queues;
        emptied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(drops: u32, packets: u32, backlog: u32) -> Found {
        Found { drops, packets, backlog }
    }

    fn at(interface: u32) -> Place {
        Place { interface, handle: 1, parent: u32::MAX }
    }

    #[test]
    fn f61_the_queues_of_this_machine_are_read() {
        let egress = Egress::new(Clock::new());
        egress.look();
        assert!(!egress.is_blind());
        assert_eq!(egress.queues().looks, 2);
    }

    #[test]
    fn f61_drops_are_counted_from_the_first_look_on_beyond_32_bits_and_with_queues_that_go() {
        let mut state = State::default();
        let mut look = |queues: &[(Place, Found)], unsent: &[(u32, u64)]| {
            let (queues, unsent) = (queues.iter().copied().collect(), unsent.iter().copied().collect());
            let dropped = state.compare(&queues, &unsent);
            state.queues = queues;
            state.unsent = unsent;
            dropped
        };
        assert_eq!(look(&[(at(2), found(u32::MAX - 1, 0, 0))], &[(2, 7)]), 0);
        assert_eq!(look(&[(at(2), found(3, 0, 0))], &[(2, 7)]), 5);
        assert_eq!(look(&[(at(2), found(3, 0, 0)), (at(3), found(4, 0, 1))], &[(2, 9)]), 6);
        assert_eq!(look(&[(at(3), found(4, 0, 1))], &[(2, 9)]), 0, "it was empty");
        assert_eq!(look(&[], &[]), TAKEN_AWAY);
    }

    #[test]
    fn f61_what_stood_in_a_queue_has_left_when_as_much_has_passed() {
        let mut state = State::default();
        let mut follow = |looks, packets, backlog| {
            state.follow(looks, HashMap::from([(at(2), found(0, packets, backlog))]))
        };
        assert_eq!(follow(1, 100, 0), Some(1));
        assert_eq!(follow(2, u32::MAX - 2, 5), None);
        assert_eq!(follow(3, 0, 9), None, "three of five");
        assert_eq!(follow(4, 2, 9), Some(2));
        assert_eq!(follow(5, 10, 1), None, "eight of nine");
        assert_eq!(follow(6, 11, 1), Some(4));
        assert_eq!(follow(7, 11, 0), Some(7));
    }
}
