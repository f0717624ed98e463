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
/// Most ids remembered; beyond it the oldest one of the subscriber who has most goes.
pub const IDS_MAX: usize = 65_536;
/// Ids of one subscriber at one destination; the oldest goes.
pub const IDS_PER_PAIR_MAX: usize = 64;
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
    /// Learns a server's id on a flow of `subscriber` to `destination`. Over [`IDS_MAX`] ids the oldest of whoever has most is
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
        if known.len() >= IDS_PER_PAIR_MAX {
            gone.extend(known.pop_front().map(|oldest| oldest.number));
        }
        known.push_back(Known { number, id, flow });
        state.holders.insert(subscriber, number, (pair, number));
        for number in gone {
            state.holders.remove(subscriber, number);
        }
        while state.holders.len() > IDS_MAX {
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
mod tests;
