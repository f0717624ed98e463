//! Connection ids of servers, by which a flow is known again when its subscriber's NAT gives it another port (trap T16,
//! Q12), also in the middle of the handshake.
//!
//! An id counts only for the same subscriber at the same destination, and for 60 seconds after the flow that taught it last
//! moved. Copied to another server, or by another subscriber, it says nothing. Ids that a server hands out encrypted
//! (NEW_CONNECTION_ID) are never seen, and a client that migrates on purpose takes one of those (RFC 9000 §9.5): nobody can tell
//! what stands behind it. Where the subscriber's connections go is known all the same ([`ConnectionIds::latest`]).
//!
//! Shared by the workers, for the system may give the new flow to another one. The lock is taken for a long header of a server
//! with an unknown id, for the first datagram of a flow when it cannot be that of a connection, and when a flow's name proves
//! wrong; never for an ordinary datagram.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::holders::Holders;
use crate::flow::decide::Vouched;
use crate::flow::identify::Identity;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::wire::quic::{ConnectionId, is_addressed_to};

/// How long after its last datagram a flow may be continued from another port (notes §2.3).
pub const CONTINUED_WITHIN: Duration = Duration::from_secs(60);
/// Ids known at once; of more the oldest of whoever has most goes.
pub const KNOWN_MAX: usize = 65_536;
/// Ids of one subscriber at one destination; the oldest goes.
pub const KNOWN_PER_PAIR_MAX: usize = 64;
/// The shortest id taken: a shorter one would be met by chance.
const LENGTH_MIN: usize = 4;

/// What a flow that teaches ids tells of itself.
#[derive(Debug, Default)]
pub struct Life {
    /// When it last moved, in milliseconds of the monotonic clock.
    moved: AtomicU64,
    /// The subscriber has used an id that the server chose: he receives what it sends, and his address is not forged.
    proven: AtomicBool,
}

impl Life {
    /// It moved.
    pub fn note_moved(&self, now: Monotonic) {
        self.moved.store(now.as_millis(), Ordering::Relaxed);
    }

    /// The subscriber has answered the server.
    pub fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// Whether he has.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Whether it moved lately enough to be continued.
    fn is_recent(&self, now: Monotonic) -> bool {
        let last = Monotonic::new(Duration::from_millis(self.moved.load(Ordering::Relaxed)));
        now.since(last) <= CONTINUED_WITHIN
    }
}

/// The life of a flow, which it shares with the ids that it taught.
pub type Pulse = Arc<Life>;

/// A flow that may be continued from another port.
#[derive(Clone)]
pub struct Continued {
    /// What it is called.
    pub identity: Identity,
    /// The origin's address as dialled.
    pub target: SocketAddr,
    /// What was known of the name's right to it.
    pub vouched: Vouched,
    /// When it last moved.
    pub pulse: Pulse,
}

/// One id.
struct Known {
    /// Its number among all that were learnt.
    number: u64,
    id: ConnectionId,
    flow: Continued,
}

/// Who speaks with whom.
type Pair = (SubscriberKey, SocketAddr);

/// The ids of all workers.
#[derive(Default)]
pub struct ConnectionIds {
    state: Mutex<State>,
}

/// The ids, and whose they are.
#[derive(Default)]
struct State {
    pairs: HashMap<Pair, VecDeque<Known>>,
    /// Where each stands, by its number.
    holders: Holders<SubscriberKey, (Pair, u64)>,
    /// How many were learnt.
    learnt: u64,
}

impl ConnectionIds {
    /// Learns a server's id on a flow of `subscriber` to `destination`. Over [`KNOWN_MAX`] ids the oldest of whoever has most is
    /// forgotten: what one subscriber opens keeps nobody else's connections from being known.
    pub fn learn(
        &self,
        subscriber: &SubscriberKey,
        destination: SocketAddr,
        id: ConnectionId,
        flow: Continued,
    ) {
        if id.as_bytes().len() < LENGTH_MIN {
            return;
        }
        let mut state = self.state();
        let number = state.learnt;
        state.learnt = number.saturating_add(1);
        let pair = (subscriber.clone(), destination);
        let known = state.pairs.entry(pair.clone()).or_default();
        let mut gone = Vec::new();
        known.retain(|other| {
            let is_same = other.id.as_bytes() == id.as_bytes();
            gone.extend(is_same.then_some(other.number));
            !is_same
        });
        if known.len() >= KNOWN_PER_PAIR_MAX {
            gone.extend(known.pop_front().map(|oldest| oldest.number));
        }
        known.push_back(Known { number, id, flow });
        state.holders.insert(subscriber, number, (pair, number));
        for number in gone {
            state.holders.remove(subscriber, number);
        }
        while state.holders.len() > KNOWN_MAX {
            let Some((pair, number)) = state.holders.oldest_of_largest().cloned() else { break };
            state.retain(&pair, |known| known.number != number);
        }
    }

    /// The flow that a datagram continues: it is addressed to a known id.
    pub fn find(
        &self,
        subscriber: &SubscriberKey,
        destination: SocketAddr,
        datagram: &[u8],
        now: Monotonic,
    ) -> Option<Continued> {
        let state = self.state();
        let known = state.pairs.get(&(subscriber.clone(), destination))?;
        let found = known.iter().rev().find(|known| is_addressed_to(datagram, &known.id))?;
        found.flow.pulse.is_recent(now).then(|| found.flow.clone())
    }

    /// Where the subscriber's connection to this destination goes that moved last, of those where he has answered the server.
    pub fn latest(
        &self,
        subscriber: &SubscriberKey,
        destination: SocketAddr,
        now: Monotonic,
    ) -> Option<(SocketAddr, Pulse)> {
        let state = self.state();
        let known = state.pairs.get(&(subscriber.clone(), destination))?.iter().map(|known| &known.flow);
        let live = known.filter(|flow| flow.pulse.is_proven() && flow.pulse.is_recent(now));
        let last = live.max_by_key(|flow| flow.pulse.moved.load(Ordering::Relaxed))?;
        Some((last.target, Arc::clone(&last.pulse)))
    }

    /// Forgets what a flow taught: its name does not hold.
    pub fn forget(&self, subscriber: &SubscriberKey, destination: SocketAddr, pulse: &Pulse) {
        let pair = (subscriber.clone(), destination);
        self.state().retain(&pair, |known| !Arc::ptr_eq(&known.flow.pulse, pulse));
    }

    /// Drops ids of flows that can no longer be continued.
    pub fn sweep(&self, now: Monotonic) {
        self.state().drop_silent(now);
    }

    /// Ids known.
    pub fn len(&self) -> usize {
        self.state().holders.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids; every change leaves them consistent, so that a panic elsewhere does not make them unusable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops ids of flows that have been silent for too long.
    fn drop_silent(&mut self, now: Monotonic) {
        let pairs: Vec<Pair> = self.pairs.keys().cloned().collect();
        pairs.iter().for_each(|pair| self.retain(pair, |known| known.flow.pulse.is_recent(now)));
    }

    /// Keeps of a pair's ids those that `keep` says.
    fn retain(&mut self, pair: &Pair, keep: impl Fn(&Known) -> bool) {
        let Some(known) = self.pairs.get_mut(pair) else { return };
        let mut gone = Vec::new();
        known.retain(|known| {
            let stays = keep(known);
            gone.extend((!stays).then_some(known.number));
            stays
        });
        if known.is_empty() {
            self.pairs.remove(pair);
        }
        for number in gone {
            self.holders.remove(&pair.0, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn subscriber(number: u8) -> SubscriberKey {
        SubscriberKey::Address(IpAddr::from([10, 0, 0, number]))
    }

    fn destination(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn flow() -> Continued {
        let name = allowlist::DomainName::from_wire(b"www.listed.example").unwrap();
        Continued {
            identity: Identity { name: Some(name), seen_in: None, gave_up: None, ech: None },
            target: destination(443),
            vouched: Vouched::Steered,
            pulse: Pulse::default(),
        }
    }

    fn id(bytes: &[u8]) -> ConnectionId {
        ConnectionId::new(bytes).unwrap()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, &[7; 30]].concat()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    #[test]
    fn q12_an_id_counts_for_its_subscriber_at_its_destination_alone() {
        let ids = ConnectionIds::default();
        ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow());
        let found = |number, port, bytes: &[u8]| {
            ids.find(&subscriber(number), destination(port), &short(bytes), at(1)).is_some()
        };
        assert!(found(1, 443, b"serverid"));
        assert!(!found(2, 443, b"serverid"), "another subscriber");
        assert!(!found(1, 444, b"serverid"), "another destination");
        assert!(!found(1, 443, b"serverix"), "another id");
        let cut = ids.find(&subscriber(1), destination(443), b"\x40server", at(1));
        assert!(cut.is_none(), "a part of the id");
    }

    #[test]
    fn q12_a_flow_is_continued_for_sixty_seconds_after_it_moved() {
        let ids = ConnectionIds::default();
        let flow = flow();
        let pulse = Arc::clone(&flow.pulse);
        ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow);
        let found = |now| ids.find(&subscriber(1), destination(443), &short(b"serverid"), now).is_some();
        pulse.note_moved(at(100));
        assert!(found(at(160)));
        assert!(!found(Monotonic::new(Duration::from_millis(160_001))), "one over");
        ids.sweep(at(161));
        assert!(ids.is_empty());
    }

    #[test]
    fn f45_a_known_id_in_a_long_header_continues_too() {
        let ids = ConnectionIds::default();
        ids.learn(&subscriber(1), destination(443), id(b"serverid"), flow());
        let long = |bytes: &[u8]| {
            let length = u8::try_from(bytes.len()).unwrap();
            [&[0xe3, 0, 0, 0, 1, length], bytes, &[0; 30]].concat()
        };
        let found = |bytes: &[u8]| ids.find(&subscriber(1), destination(443), &long(bytes), at(1)).is_some();
        assert!(found(b"serverid"));
        assert!(!found(b"serveridx") && !found(b"server") && !found(b""));
    }

    #[test]
    fn f45_the_connection_that_moved_last_is_named_if_its_subscriber_answered() {
        let ids = ConnectionIds::default();
        let latest = |number, now| {
            ids.latest(&subscriber(number), destination(443), at(now)).map(|(target, _)| target)
        };
        let mut pulses = Vec::new();
        for port in 1..=3_u8 {
            let flow = Continued { target: destination(port.into()), ..flow() };
            flow.pulse.note_moved(at(port.into()));
            pulses.push(Arc::clone(&flow.pulse));
            ids.learn(&subscriber(1), destination(443), id(&[b'a' + port; 8]), flow);
        }
        assert_eq!(latest(1, 4), None, "nobody has answered");
        pulses[0].prove();
        assert_eq!(latest(1, 4), Some(destination(1)));
        pulses[1].prove();
        assert_eq!(latest(1, 4), Some(destination(2)), "the third may be forged");
        pulses[0].note_moved(at(50));
        assert_eq!((latest(1, 50), latest(2, 50)), (Some(destination(1)), None));
        assert_eq!(latest(1, 111), None, "too long ago");
    }

    #[test]
    fn q12_short_ids_are_not_learnt_and_forgotten_ones_not_found() {
        let ids = ConnectionIds::default();
        for bytes in [&b""[..], b"1", b"123"] {
            ids.learn(&subscriber(1), destination(443), id(bytes), flow());
        }
        assert!(ids.is_empty());
        let (one, other) = (flow(), flow());
        let pulse = Arc::clone(&one.pulse);
        ids.learn(&subscriber(1), destination(443), id(b"1234"), one);
        ids.learn(&subscriber(1), destination(443), id(b"5678"), other);
        ids.forget(&subscriber(1), destination(443), &pulse);
        let found = |bytes| ids.find(&subscriber(1), destination(443), &short(bytes), at(1)).is_some();
        assert!(!found(b"1234") && found(b"5678"));
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn f5_ids_at_the_limits_and_one_over_of_whoever_has_most() {
        let ids = ConnectionIds::default();
        for number in 0..=KNOWN_PER_PAIR_MAX {
            ids.learn(&subscriber(1), destination(1), id(&number.to_be_bytes()), flow());
        }
        assert_eq!(ids.len(), KNOWN_PER_PAIR_MAX);
        let find = |number: usize| {
            ids.find(&subscriber(1), destination(1), &short(&number.to_be_bytes()), at(1)).is_some()
        };
        assert!(!find(0) && find(1) && find(KNOWN_PER_PAIR_MAX), "the oldest goes");
        for number in KNOWN_PER_PAIR_MAX..KNOWN_MAX {
            let port = u16::try_from(2 + number / 64).unwrap();
            ids.learn(&subscriber(2), destination(port), id(&number.to_be_bytes()), flow());
        }
        assert_eq!(ids.len(), KNOWN_MAX);
        let of_the_holder = |number: usize| {
            let port = u16::try_from(2 + number / 64).unwrap();
            ids.find(&subscriber(2), destination(port), &short(&number.to_be_bytes()), at(1)).is_some()
        };
        assert!(of_the_holder(KNOWN_PER_PAIR_MAX), "at the limit");
        // One over: whoever has most gives way, and nobody else.
        ids.learn(&subscriber(3), destination(1), id(b"over"), flow());
        assert_eq!(ids.len(), KNOWN_MAX);
        assert!(ids.find(&subscriber(3), destination(1), &short(b"over"), at(1)).is_some());
        assert!(!of_the_holder(KNOWN_PER_PAIR_MAX) && of_the_holder(KNOWN_PER_PAIR_MAX + 1));
        assert!(find(1) && find(KNOWN_PER_PAIR_MAX));
        // Also for one more of his own.
        ids.learn(&subscriber(2), destination(1), id(b"more"), flow());
        assert!(!of_the_holder(KNOWN_PER_PAIR_MAX + 1) && of_the_holder(KNOWN_MAX - 1) && find(1));
        // A minute later all of them are silent.
        let late = flow();
        late.pulse.note_moved(at(61));
        ids.learn(&subscriber(3), destination(1), id(b"late"), late);
        ids.sweep(at(61));
        assert_eq!(ids.len(), 1);
    }
}
