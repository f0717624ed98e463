//! The queues of this machine's interfaces: whether what is sent leaves, or is dropped before it does (decision 27).
//!
//! All interfaces of the network namespace are looked at, once before each tick: which of them leads to which subscriber
//! changes with every route, and a shaper may stand on the device below. Where the operator says which lead to subscribers, the
//! others are nothing to it. What other machines drop is theirs: it has left.

mod kernel;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::kernel::{Found, QueueId, Reader};
use super::clock::Clock;
use crate::flow::sent::Queues;
use crate::net::sys::attention::{Attention, AttentionReason};

/// How long after the last drop trains are sent apart, and the operator is told.
const DROPPING_MS: u64 = 60_000;
/// How long no look settles anything before the operator is told: looks are a second apart.
const STUCK_MS: u64 = 10_000;
/// What a queue hangs on that is the interface's own (`TC_H_ROOT` of linux/pkt_sched.h): it counts what those below it drop, too.
const ROOT: u32 = u32::MAX;
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
    /// Milliseconds of the monotonic clock, and one more, at which a look last settled something; 0: never.
    settled_at: AtomicU64,
    state: Mutex<State>,
    clock: Clock,
}

/// What the next look is compared with.
#[derive(Default)]
struct State {
    /// Names of interfaces that are looked at; none: all.
    interfaces: Vec<String>,
    reader: Option<Reader>,
    /// Every queue as it was found last.
    queues: HashMap<QueueId, Found>,
    /// Packets that each interface could not send, at the last look.
    unsent: HashMap<u32, u64>,
    /// Packets that each interface's own queue has dropped since the first look.
    roots: HashMap<u32, u64>,
    /// An earlier look, and what stood in the queues then.
    standing: Option<(u64, HashMap<QueueId, Found>)>,
    /// Whether a look ever succeeded.
    seen: bool,
}

impl Egress {
    /// Nothing looked at yet but what there is. `interfaces` are the names, and patterns with `*` at their end, of those that lead
    /// to subscribers; none: all.
    pub fn new(clock: Clock, interfaces: Vec<String>) -> Arc<Self> {
        let egress = Self {
            looks: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dropped_at: AtomicU64::new(0),
            blind: AtomicU64::new(0),
            settled_at: AtomicU64::new(0),
            state: Mutex::new(State { interfaces, ..State::default() }),
            clock,
        };
        egress.look();
        Arc::new(egress)
    }

    /// The queues by the last look.
    pub fn queues(&self) -> Queues {
        // In this order: a look is told before it finds drops, which are told before what has emptied.
        let emptied = self.emptied.load(Ordering::Acquire);
        let looks = self.looks.load(Ordering::Acquire);
        Queues { looks, emptied, dropped: self.dropped.load(Ordering::Acquire) }
    }

    /// Packets seen dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Packets that the queues of these interfaces dropped, by the last look and since the first; none while somebody looks.
    pub fn dropped_at(&self, interfaces: impl Iterator<Item = u32>) -> Option<u64> {
        let state = self.state.try_lock().ok()?;
        let dropped = interfaces.filter_map(|interface| state.roots.get(&interface));
        Some(dropped.fold(0, |sum, dropped| sum.saturating_add(*dropped)))
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
        if self.is_stuck() {
            let text = "a queue of this machine's interfaces stands still, or the queues are not read any more: what is sent over UDP meanwhile, or stays in the kernel, is not counted. Remedy: look for an interface whose packets do not leave (tc -s qdisc)";
            return Some(Attention::new(AttentionReason::EgressUnknown, text));
        }
        let text = "an interface of this machine drops packets, and what they may have been is not counted. Remedy: shape behind this machine, or with longer queues";
        self.is_dropping().then(|| Attention::new(AttentionReason::EgressDrops, text))
    }

    /// Whether nothing is known of the queues: then what is sent counts as having left.
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed) != 0
    }

    /// Whether no look has settled anything for long.
    fn is_stuck(&self) -> bool {
        let at = self.settled_at.load(Ordering::Relaxed);
        at != 0 && self.now_ms().saturating_sub(at) > STUCK_MS
    }

    /// Milliseconds of the clock.
    fn now_ms(&self) -> u64 {
        self.clock.monotonic().as_millis()
    }

    /// Looks at them. It may wait for whoever changes interfaces at the moment, so nobody calls it on the path of bytes.
    pub fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = self.looks.load(Ordering::Relaxed).saturating_add(1);
        // Before the tables are read: what is sent from here on may not stand in them, and waits for the next look.
        self.looks.store(looks, Ordering::Release);
        match state.read() {
            Ok((queues, unsent)) => {
                let dropped = state.compare(&queues, &unsent);
                if dropped > 0 {
                    self.dropped.fetch_max(self.dropped().saturating_add(dropped), Ordering::Release);
                    self.dropped_at.store(self.now_ms().saturating_add(1), Ordering::Relaxed);
                }
                if let Some(emptied) = state.follow(looks, queues) {
                    self.emptied.fetch_max(emptied, Ordering::Release);
                    self.settled_at.store(self.now_ms().saturating_add(1), Ordering::Relaxed);
                }
                state.unsent = unsent;
                self.blind.store(0, Ordering::Relaxed);
            }
            Err(error) if !state.seen => {
                if self.blind.swap(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "the queues of interfaces cannot be looked at: what they drop is counted as carried. Remedy: let the gateway open netlink sockets (AF_NETLINK)");
                }
                self.emptied.store(looks, Ordering::Release);
            }
            // Nothing is settled by it.
            Err(error) => tracing::debug!(%error, "queues of interfaces not read"),
        }
    }
}

impl State {
    /// Reads the kernel's tables.
    fn read(&mut self) -> io::Result<(HashMap<QueueId, Found>, HashMap<u32, u64>)> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::new()?,
        };
        // A reader that failed is not used again: the rest of its answer would be read as the next one.
        let (mut queues, mut unsent) = (reader.queues()?, reader.unsent()?);
        if !self.interfaces.is_empty() {
            let names = reader.names()?;
            let leads =
                |interface: &u32| names.get(interface).is_some_and(|name| is_one_of(name, &self.interfaces));
            queues.retain(|place, _| leads(&place.interface));
            unsent.retain(|interface, _| leads(interface));
        }
        self.reader = Some(reader);
        Ok((queues, unsent))
    }

    /// Packets dropped since the last look.
    fn compare(&mut self, queues: &HashMap<QueueId, Found>, unsent: &HashMap<u32, u64>) -> u64 {
        if !std::mem::replace(&mut self.seen, true) {
            return 0;
        }
        let mut dropped = 0_u64;
        for (place, found) in queues {
            let before = self.queues.get(place).map_or(0, |before| before.drops);
            let more = u64::from(found.drops.wrapping_sub(before));
            dropped = dropped.saturating_add(more);
            if place.parent == ROOT {
                let root = self.roots.entry(place.interface).or_insert(0);
                *root = root.saturating_add(more);
            }
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
    fn follow(&mut self, looks: u64, queues: HashMap<QueueId, Found>) -> Option<u64> {
        let emptied = if queues.values().all(|found| found.backlog == 0) {
            self.standing = None;
            Some(looks)
        } else {
            let passed = |(place, stood): (&QueueId, &Found)| {
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

/// The interfaces that packets leave by that leave by another one: the device of a VLAN, the parts of a bond or a bridge.
///
/// # Errors
/// What the system says: address family not permitted, interfaces changed meanwhile.
pub fn below() -> io::Result<HashMap<u32, Vec<u32>>> {
    Reader::new()?.below()
}

/// Whether a name is one of these names and patterns.
fn is_one_of(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(stem) => name.starts_with(stem),
        None => name == pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(drops: u32, bytes: u64, backlog: u32) -> Found {
        Found { drops, bytes, backlog }
    }

    fn at(interface: u32) -> QueueId {
        QueueId { interface, handle: 1, parent: u32::MAX }
    }

    #[test]
    fn f61_the_queues_of_this_machine_are_read() {
        let egress = Egress::new(Clock::new(), Vec::new());
        egress.look();
        assert!(!egress.is_blind());
        assert_eq!(egress.queues().looks, 2);
    }

    #[test]
    fn f61_only_interfaces_that_lead_to_subscribers_are_looked_at_where_they_are_named() {
        let patterns = ["eth1".to_owned(), "ppp*".to_owned()];
        let wanted = |name| is_one_of(name, &patterns);
        assert!(wanted("eth1") && wanted("ppp0") && wanted("ppp"));
        assert!(!wanted("eth10") && !wanted("eth0") && !wanted("xppp0"));
        let reader = || Reader::new().unwrap();
        let names = reader().names().unwrap();
        assert!(names.values().any(|name| name == "lo"), "{names:?}");
        let unsent = |interfaces: &[&str]| {
            let interfaces = interfaces.iter().map(ToString::to_string).collect();
            State { interfaces, ..State::default() }.read().unwrap().1.len()
        };
        assert_eq!((unsent(&["lo"]), unsent(&["none"])), (1, 0));
        assert_eq!(unsent(&[]), names.len());
    }

    #[test]
    fn f61_drops_are_counted_from_the_first_look_on_beyond_32_bits_and_with_queues_that_go() {
        let mut state = State::default();
        let mut look = |queues: &[(QueueId, Found)], unsent: &[(u32, u64)]| {
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
        let mut follow =
            |looks, bytes, backlog| state.follow(looks, HashMap::from([(at(2), found(0, bytes, backlog))]));
        assert_eq!(follow(1, 100, 0), Some(1));
        assert_eq!(follow(2, u64::MAX - 2, 5), None);
        assert_eq!(follow(3, 0, 9), None, "three of five");
        assert_eq!(follow(4, 2, 9), Some(2));
        assert_eq!(follow(5, 10, 1), None, "eight of nine");
        assert_eq!(follow(6, 11, 1), Some(4));
        assert_eq!(follow(7, 11, 0), Some(7));
    }
}
